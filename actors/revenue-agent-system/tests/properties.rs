//! Whatever comes in whatever order: movements add up to what the subscriptions bring, and nothing is recognised twice.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tol_events::billing::Interval;
use tol_events::{Event, Money};
use tol_revenue_agent_system::mrr::monthly_minor;
use tol_revenue_agent_system::{Customer, RevenueAgentSystem};
use tol_system::{Decision, Evolution, Input, System};

#[derive(Clone, Debug)]
enum Fact {
    Brings { started: bool, subscription: u8, yearly: bool, quantity: u64, price: i64, currency: &'static str },
    Cancelled { subscription: u8 },
    Ordered { order: u8, minor: i64 },
    Paid { payment: u8, order: Option<u8>, minor: i64 },
    Refunded { refund: u8, by_shop: bool, minor: i64 },
}

fn fact() -> impl Strategy<Value = Fact> {
    let currency = prop_oneof![Just("USD"), Just("EUR"), Just("JPY")];
    prop_oneof![
        4 => (any::<bool>(), 0..4u8, any::<bool>(), 1..5u64, 0..2_000i64, currency)
            .prop_map(|(started, subscription, yearly, quantity, price, currency)| Fact::Brings { started, subscription, yearly, quantity, price, currency }),
        2 => (0..4u8).prop_map(|subscription| Fact::Cancelled { subscription }),
        2 => (0..6u8, 0..900i64).prop_map(|(order, minor)| Fact::Ordered { order, minor }),
        2 => (0..6u8, proptest::option::of(0..6u8), 1..900i64).prop_map(|(payment, order, minor)| Fact::Paid { payment, order, minor }),
        1 => (0..4u8, any::<bool>(), 1..900i64).prop_map(|(refund, by_shop, minor)| Fact::Refunded { refund, by_shop, minor }),
    ]
}

fn event_of(fact: &Fact, id: usize) -> Event {
    let usd = |minor: &i64| serde_json::json!({"minor": minor, "currency": "USD"});
    let (event_type, data) = match fact {
        Fact::Brings { started, subscription, yearly, quantity, price, currency } => (
            if *started { "billing.subscription_started.v1" } else { "billing.subscription_changed.v1" },
            serde_json::json!({"subscription_id": format!("s{subscription}"), "customer_id": "7", "plan": "p", "interval": if *yearly { "year" } else { "month" },
                "quantity": quantity, "unit_price": {"minor": price, "currency": currency}}),
        ),
        Fact::Cancelled { subscription } => {
            ("billing.subscription_cancelled.v1", serde_json::json!({"subscription_id": format!("s{subscription}"), "customer_id": "7"}))
        }
        Fact::Ordered { order, minor } => {
            ("commerce.order_placed.v1", serde_json::json!({"order_id": format!("o{order}"), "customer_id": "7", "total": usd(minor)}))
        }
        Fact::Paid { payment, order, minor } => {
            let order_id = order.map(|order| format!("o{order}"));
            (
                "billing.payment_succeeded.v1",
                serde_json::json!({"payment_id": format!("p{payment}"), "customer_id": "7", "amount": usd(minor), "order_id": order_id}),
            )
        }
        Fact::Refunded { refund, by_shop: true, minor } => {
            ("commerce.order_refunded.v1", serde_json::json!({"refund_id": format!("r{refund}"), "order_id": "o1", "customer_id": "7", "amount": usd(minor)}))
        }
        Fact::Refunded { refund, by_shop: false, minor } => {
            ("billing.refund_issued.v1", serde_json::json!({"refund_id": format!("r{refund}"), "payment_id": "p1", "customer_id": "7", "amount": usd(minor)}))
        }
    };
    let mut event = Event::new(format!("f{id}"), "/test", event_type, "customer/7");
    event.data = data.to_string().into_bytes();
    event
}

/// Decides and folds all facts; the emitted (type, data).
fn live(facts: &[Fact]) -> (Customer, Vec<(&'static str, serde_json::Value)>) {
    let mut state = Customer::default();
    let mut emitted = Vec::new();
    for (id, fact) in facts.iter().enumerate() {
        let encoded = event_of(fact, id).encode();
        let mut decision = Decision::new("revenue-agent-system", "/test", &id.to_string());
        RevenueAgentSystem.decide(&state, Input::Event(encoded.view()), &mut decision).unwrap();
        for draft in decision.finish().unwrap() {
            let mut own = Event::new("own", "/systems/revenue-agent-system", draft.event_type, "customer/7");
            own.data = draft.data;
            RevenueAgentSystem.evolve(&mut state, own.encode().view(), &mut Evolution::default()).unwrap();
            emitted.push((draft.event_type, own.data_as().unwrap()));
        }
    }
    (state, emitted)
}

/// What the subscriptions bring a month by currency, computed from the facts alone.
fn recount(facts: &[Fact]) -> BTreeMap<String, i64> {
    let mut active: BTreeMap<u8, (&str, i64)> = BTreeMap::new();
    for fact in facts {
        match fact {
            Fact::Brings { subscription, yearly, quantity, price, currency, .. } => {
                let interval = if *yearly { Interval::Year } else { Interval::Month };
                active.insert(*subscription, (currency, monthly_minor(interval, *quantity, *price).unwrap()));
            }
            Fact::Cancelled { subscription } => drop(active.remove(subscription)),
            _ => {}
        }
    }
    let mut totals = BTreeMap::new();
    for (currency, minor) in active.into_values().filter(|(_, minor)| *minor != 0) {
        *totals.entry(currency.to_owned()).or_default() += minor;
    }
    totals
}

proptest! {
    #[test]
    fn movements_add_up_to_what_the_subscriptions_bring(facts in proptest::collection::vec(fact(), 0..60)) {
        let (state, emitted) = live(&facts);
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for (_, data) in emitted.iter().filter(|(event_type, _)| *event_type == "revenue.mrr_moved.v1") {
            let amount: Money = serde_json::from_value(data["amount"].clone()).unwrap();
            let after: Money = serde_json::from_value(data["mrr_after"].clone()).unwrap();
            let before = sums.get(amount.currency.as_str()).copied().unwrap_or(0);
            prop_assert!(amount.minor != 0);
            prop_assert_eq!(Money::new(before + amount.minor, amount.currency), after);
            let class = match (before, after.minor) {
                (0, _) => if seen.contains(amount.currency.as_str()) { "reactivation" } else { "new" },
                (_, 0) => "churn",
                (before, after) => if after > before { "expansion" } else { "contraction" },
            };
            prop_assert_eq!(data["class"].as_str().unwrap(), class);
            sums.insert(amount.currency.to_string(), after.minor);
            seen.insert(amount.currency.to_string());
        }
        sums.retain(|_, minor| *minor != 0);
        prop_assert_eq!(&sums, &recount(&facts));
        for (currency, recurring) in &state.recurring {
            prop_assert_eq!(recurring.total(), i128::from(sums.get(currency.as_str()).copied().unwrap_or(0)));
        }
    }

    #[test]
    fn nothing_is_recognized_or_refunded_twice(facts in proptest::collection::vec(fact(), 0..60)) {
        let (_, emitted) = live(&facts);
        let mut references = BTreeSet::new();
        let mut recognized = 0i64;
        for (event_type, data) in emitted.iter().filter(|(event_type, _)| *event_type != "revenue.mrr_moved.v1") {
            let key = format!("{event_type} {} {}", data["source"], data["reference"]);
            prop_assert!(references.insert(key.clone()), "{} twice", key);
            prop_assert!(data["amount"]["minor"].as_i64().unwrap() > 0);
            if *event_type == "revenue.recognized.v1" {
                recognized += data["amount"]["minor"].as_i64().unwrap();
            }
        }
        // An order is recognised from itself or from its payments, never from both.
        let of = |source: &str| emitted.iter().filter(|(_, data)| data["source"] == source).filter_map(|(_, data)| data["order_id"].as_str()).collect::<BTreeSet<_>>();
        prop_assert!(of("order").is_disjoint(&of("payment")));
        let greatest: i64 = facts.iter().map(|fact| match fact { Fact::Ordered { minor, .. } | Fact::Paid { minor, .. } => *minor, _ => 0 }).sum();
        prop_assert!(recognized <= greatest);
    }
}
