//! Purchases in the form of the CDNOW sample, drawn under a seed, and what must come of them, counted without the platform.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

struct Purchase {
    customer: u64,
    day: u32,
    units: u64,
    cents: i64,
}

/// A file of purchases.
pub struct Purchases(Vec<Purchase>);

impl Purchases {
    pub fn draw(seed: u64, count: usize, customers: u64) -> Self {
        let mut rng = Rng(seed);
        let mut one = || Purchase {
            customer: rng.below(customers),
            // January 1997 to June 1998, days that every month has.
            day: {
                let month = rng.below(18) as u32;
                19_970_000 + month / 12 * 10_000 + (month % 12 + 1) * 100 + rng.below(28) as u32 + 1
            },
            units: rng.below(5) + 1,
            // Some purchases cost nothing, as in the sample.
            cents: if rng.below(50) == 0 { 0 } else { rng.below(20_000) as i64 },
        };
        Self((0..count).map(|_| one()).collect())
    }

    /// The sample's form: columns apart by white space, no header.
    pub fn to_text(&self) -> String {
        let line = |purchase: &Purchase| {
            format!(" {:05} 0001 {} {:2} {:4}.{:02}\n", purchase.customer, purchase.day, purchase.units, purchase.cents / 100, purchase.cents % 100)
        };
        self.0.iter().map(line).collect()
    }

    /// What all purchases of those days cost, in cents.
    pub fn total(&self, wanted: impl Fn(u32) -> bool) -> i64 {
        self.0.iter().filter(|purchase| wanted(purchase.day)).map(|purchase| purchase.cents).sum()
    }

    /// Rows of `customers` from the purchases of those days.
    pub fn customers(&self, wanted: impl Fn(u32) -> bool) -> BTreeMap<String, Value> {
        let mut groups: BTreeMap<String, Vec<&Purchase>> = BTreeMap::new();
        for purchase in self.0.iter().filter(|purchase| wanted(purchase.day)) {
            groups.entry(format!("{:05}", purchase.customer)).or_default().push(purchase);
        }
        let time = |day: Option<u32>| day.map(|day| format!("{}-{:02}-{:02}T00:00:00Z", day / 10_000, day / 100 % 100, day % 100));
        let row = |customer: &str, purchases: &[&Purchase]| {
            let days = || purchases.iter().map(|purchase| purchase.day);
            let spent: i64 = purchases.iter().map(|purchase| purchase.cents).sum();
            json!({"customer_id": customer, "orders": purchases.len(), "spent": [{"minor": spent, "currency": "USD"}], "refunded": [], "refunded_unmatched": [],
                "orders_scheduled": 0, "spent_scheduled": [],
                "first_order_at": time(days().min()), "last_order_at": time(days().max()), "registered_at": null})
        };
        groups.iter().map(|(customer, purchases)| (customer.clone(), row(customer, purchases))).collect()
    }
}
