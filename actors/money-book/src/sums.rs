//! Sums by currency. They are 128 bits wide, so that amounts of 64 bits never overflow them; what is shown saturates and says so.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use smallvec::SmallVec;
use tol_events::{Currency, EventTime, Money};

/// Shows a sum as `{"minor", "currency"}`. One that does not fit 64 bits stands at the limit, with `"saturated": true`.
pub fn shown(minor: i128, currency: &str) -> Value {
    match i64::try_from(minor) {
        Ok(minor) => json!({"minor": minor, "currency": currency}),
        Err(_) => json!({"minor": if minor < 0 { i64::MIN } else { i64::MAX }, "currency": currency, "saturated": true}),
    }
}

/// Sums by currency, sorted; nearly always one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(SmallVec<[([u8; 3], i128); 1]>);

// As JSON in text: a JSON number of more than 64 bits does not read back.
impl Serialize for Amounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_seq(self.iter().map(|(currency, minor)| (currency, minor.to_string())))
        } else {
            serializer.collect_seq(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Amounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Ok(Self(Vec::<([u8; 3], i128)>::deserialize(deserializer)?.into()));
        }
        let mut amounts = Self::default();
        for (currency, minor) in Vec::<(Currency, String)>::deserialize(deserializer)? {
            amounts.add_code(code_of(currency), minor.parse().map_err(serde::de::Error::custom)?);
        }
        Ok(amounts)
    }
}

fn code_of(currency: Currency) -> [u8; 3] {
    let mut code = [0; 3];
    code.copy_from_slice(currency.as_str().as_bytes());
    code
}

impl Amounts {
    /// Adds an amount to those of its currency. A sum of zero stays: it says that there was something in that currency.
    pub fn add(&mut self, amount: Money) {
        self.add_code(code_of(amount.currency), i128::from(amount.minor));
    }

    fn add_code(&mut self, code: [u8; 3], minor: i128) {
        match self.0.binary_search_by_key(&code, |(code, _)| *code) {
            Ok(place) => self.0[place].1 = self.0[place].1.saturating_add(minor),
            Err(place) => self.0.insert(place, (code, minor)),
        }
    }

    /// Adds all of `other`.
    pub fn add_all(&mut self, other: &Amounts) {
        for (code, minor) in &other.0 {
            self.add_code(*code, *minor);
        }
    }

    /// Gives the sums, by currency.
    pub fn iter(&self) -> impl Iterator<Item = (Currency, i128)> {
        self.0.iter().filter_map(|(code, minor)| Some((std::str::from_utf8(code).ok()?.parse().ok()?, *minor)))
    }

    /// Shows the sums, by currency.
    pub fn to_json(&self) -> Value {
        self.iter().map(|(currency, minor)| shown(minor, currency.as_str())).collect()
    }
}

/// What the orders of a customer come to, and what the shop gave back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Orders.
    pub orders: u64,
    /// Sum of their totals.
    pub spent: Amounts,
    /// What was refunded of orders, within what was paid.
    pub refunded: Amounts,
    /// What was refunded of orders above what was paid, in another currency, or of orders that nobody knows.
    pub refunded_unmatched: Amounts,
    /// Microseconds, of the earliest order.
    pub first_order_at: Option<i64>,
    /// Microseconds, of the latest order.
    pub last_order_at: Option<i64>,
}

impl Totals {
    /// Adds an order.
    pub(crate) fn add_order(&mut self, at: EventTime, total: Money) {
        let at = at.as_micros();
        self.orders += 1;
        self.spent.add(total);
        self.first_order_at = Some(self.first_order_at.map_or(at, |first| first.min(at)));
        self.last_order_at = Some(self.last_order_at.map_or(at, |last| last.max(at)));
    }

    /// Adds the totals of another part of the same customer.
    pub fn add_all(&mut self, other: &Totals) {
        self.orders += other.orders;
        self.spent.add_all(&other.spent);
        self.refunded.add_all(&other.refunded);
        self.refunded_unmatched.add_all(&other.refunded_unmatched);
        self.first_order_at = self.first_order_at.into_iter().chain(other.first_order_at).min();
        self.last_order_at = self.last_order_at.max(other.last_order_at);
    }
}
