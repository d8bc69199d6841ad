//! The read models against oracles written differently, and against any split into batches.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use tol_events::revenue::{MrrClass, MrrMoved, Recognized, Refunded, RevenueSource};
use tol_events::{Attribute, DomainEvent, Event, EventTime, Money};
use tol_system::projection::{MemoryRows, NoRows, Projection, erase};

use crate::customers::Customers;
use crate::deployments::ServiceDeployments;
use crate::revenue::RevenueByMonth;
use crate::testing::business;

/// Folds events dealt to `partitions` by subject, letting all rows go through storage at each of `cuts`.
fn fold<P: Projection>(make: impl Fn() -> P, events: &[Event], partitions: u32, cuts: &[usize]) -> BTreeMap<String, Value> {
    let mut by_key: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    let projection = erase(make());
    for partition in 0..partitions {
        let (mut overlay, mut stored) = (projection.overlay(), MemoryRows::default());
        for (number, event) in events.iter().enumerate() {
            if cuts.contains(&number) {
                stored.store(&mut *overlay).unwrap();
            }
            if tol_events::id::partition_of(event.get(Attribute::Subject), partitions) == partition {
                overlay.fold(event.encode().view(), &stored).unwrap();
            }
        }
        stored.store(&mut *overlay).unwrap();
        stored.into_rows().into_iter().for_each(|(key, row)| by_key.entry(key).or_default().push(row));
    }
    by_key.into_iter().filter_map(|(key, rows)| Some((key.clone(), projection.value(&key, &rows).unwrap()?))).collect()
}

fn day(event: Event, hours: i64) -> Event {
    event.at(EventTime::from_secs(hours * 3_600))
}

fn usd(minor: i64) -> Money {
    Money::new(minor, "USD".parse().unwrap())
}

fn revenue_event(id: usize, (kind, customer, hours, minor): (u8, u8, i64, i64)) -> Event {
    let customer_id = customer.to_string();
    let (customer_id, reference) = (customer_id.as_str(), "x");
    let event = match kind {
        0 => Recognized {
            customer_id: customer_id.into(),
            amount: usd(minor),
            source: RevenueSource::Payment,
            reference: reference.into(),
            order_id: None,
            fact: None,
        }
        .to_event(id.to_string(), "/s"),
        1 => Refunded { customer_id: customer_id.into(), amount: usd(minor), unmatched: None, reference: reference.into(), fact: None }
            .to_event(id.to_string(), "/s"),
        _ => {
            let class = [MrrClass::New, MrrClass::Expansion, MrrClass::Contraction, MrrClass::Churn, MrrClass::Reactivation][usize::from(kind) % 5];
            let sign = if matches!(class, MrrClass::Contraction | MrrClass::Churn) { -1 } else { 1 };
            MrrMoved {
                subscription_id: "s".into(),
                customer_id: customer_id.into(),
                class,
                amount: usd(sign * minor),
                mrr_after: usd(0),
                annual: None,
                fact: None,
            }
            .to_event(id.to_string(), "/s")
        }
    };
    day(event.unwrap(), hours)
}

/// Customers counted anew, straight from the JSON. No refund names an order that was placed, so that all are unmatched.
fn customers_oracle(events: &[Event]) -> BTreeMap<String, Value> {
    let of = |id: &str, event_type: &str| -> Vec<&Event> {
        events.iter().filter(|event| event.get(Attribute::Subject) == format!("customer/{id}") && event.get(Attribute::Type) == event_type).collect()
    };
    let sums = |events: &[&Event], field: &str| -> Value {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for event in events {
            let data: Value = serde_json::from_slice(&event.data).unwrap();
            *sums.entry(data[field]["currency"].as_str().unwrap().to_owned()).or_default() += data[field]["minor"].as_i64().unwrap();
        }
        sums.into_iter().map(|(currency, minor)| json!({"minor": minor, "currency": currency})).collect()
    };
    let times = |events: &[&Event]| -> Vec<String> {
        let mut times: Vec<String> = events.iter().map(|event| event.get(Attribute::Time).to_owned()).collect();
        times.sort(); // whole seconds of the same century sort as text
        times
    };
    let mut rows = BTreeMap::new();
    for id in events.iter().map(|event| event.get(Attribute::Subject).trim_start_matches("customer/").to_owned()) {
        let (orders, refunds, registered) =
            (of(&id, "commerce.order_placed.v1"), of(&id, "commerce.order_refunded.v1"), of(&id, "commerce.customer_registered.v1"));
        if orders.is_empty() && refunds.is_empty() && registered.is_empty() {
            continue;
        }
        let ordered = times(&orders);
        let value = json!({"customer_id": id, "orders": orders.len(), "spent": sums(&orders, "total"), "refunded": [], "refunded_unmatched": sums(&refunds, "amount"), "first_order_at": ordered.first(), "last_order_at": ordered.last(), "registered_at": times(&registered).first(), "orders_scheduled": 0, "spent_scheduled": []});
        rows.insert(id, value);
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn customers_equal_a_recount_however_they_are_split(count in 0usize..300, partitions in 1u32..6, cuts in proptest::collection::vec(0usize..300, 0..5)) {
        let events = business(count);
        prop_assert_eq!(fold(|| Customers, &events, partitions, &cuts), customers_oracle(&events));
    }

    #[test]
    fn revenue_equals_a_recount_however_it_is_split(rows in proptest::collection::vec((0u8..8, 0u8..9, 0i64..6_000, 1i64..1_000), 0..120), partitions in 1u32..6, cuts in proptest::collection::vec(0usize..120, 0..5)) {
        let events: Vec<Event> = rows.iter().enumerate().map(|(id, row)| revenue_event(id, *row)).collect();
        let found = fold(|| RevenueByMonth, &events, partitions, &cuts);
        let months: std::collections::BTreeSet<String> = rows.iter().map(|row| EventTime::from_secs(row.2 * 3_600).month()).collect();
        let sum = |month: Option<&str>, kinds: &dyn Fn(u8) -> bool| -> i64 {
            rows.iter().filter(|row| kinds(row.0) && month.is_none_or(|month| EventTime::from_secs(row.2 * 3_600).month() == *month)).map(|row| if row.0 > 1 && matches!(row.0 % 5, 2 | 3) { -row.3 } else { row.3 }).sum()
        };
        prop_assert_eq!(found.len(), if rows.is_empty() { 0 } else { months.len() + 1 });
        let mut mrr = 0;
        for month in &months {
            let value = &found[&format!("{month}/USD")];
            prop_assert_eq!(&value["recognized"]["minor"], &json!(sum(Some(month), &|kind| kind == 0)));
            prop_assert_eq!(&value["refunded"]["minor"], &json!(sum(Some(month), &|kind| kind == 1)));
            prop_assert_eq!(&value["mrr_movements"]["churn"]["minor"], &json!(sum(Some(month), &|kind| kind > 1 && kind % 5 == 3)));
            let net = sum(Some(month), &|kind| kind > 1);
            prop_assert_eq!(&value["net_mrr_movement"]["minor"], &json!(net));
            mrr += net;
            if let Some(shown) = found["current/USD"]["months"].as_array().unwrap().iter().find(|shown| shown["month"] == **month) {
                prop_assert_eq!(&shown["mrr_at_end"]["minor"], &json!(mrr));
            }
        }
        if !rows.is_empty() {
            prop_assert_eq!(&found["current/USD"]["mrr"]["minor"], &json!(mrr));
            prop_assert_eq!(&found["current/USD"]["arr"]["minor"], &json!(12 * mrr));
        }
    }
}

#[test]
fn a_projection_that_nothing_is_known_of_has_no_value() {
    let projection = erase(Customers);
    assert_eq!(projection.value("1", &[]).unwrap(), None);
    let mut overlay = projection.overlay();
    let unknown = Event::new("1", "/s", "commerce.order_placed.v2", "customer/1");
    assert!(overlay.fold(unknown.encode().view(), &NoRows).unwrap_err().to_string().contains("v2"));
}

/// Checks that the examples are valid events that fold, and that there is one of each type that the fold reads.
///
/// Facts of the types in `kept` are kept for later: by themselves they lead to nothing that is shown.
fn check_examples<P: Projection>(make: impl Fn() -> P, known: &[&str], kept: &[&str]) {
    let examples = make().examples();
    for example in &examples {
        let id = example.get(Attribute::Id);
        assert!(matches!(tol_events::registry::validate(&example.encode().view()), Ok(tol_events::registry::Validity::Known(_))), "{id}");
        let shows = !fold(&make, std::slice::from_ref(example), 1, &[]).is_empty();
        assert_eq!(shows, !kept.contains(&example.get(Attribute::Type)), "{} {id}", P::NAME);
    }
    let types: std::collections::BTreeSet<&str> = examples.iter().map(|example| example.get(Attribute::Type)).collect();
    assert_eq!(types, known.iter().copied().collect(), "{}", P::NAME);
    assert_eq!(fold(&make, &examples, 1, &[]), fold(&make, &examples, 4, &[2, 4]), "{}", P::NAME);
}

#[test]
fn examples_are_valid_and_cover_what_each_fold_reads() {
    check_examples(|| Customers, &crate::customers::KNOWN, &["billing.payment_succeeded.v1", "billing.refund_issued.v1"]);
    check_examples(|| RevenueByMonth, &crate::revenue::KNOWN, &[]);
    check_examples(|| ServiceDeployments, &crate::deployments::KNOWN, &[]);
}
