//! One customer's life, for the contract suite.

use tol_events::{Attribute, Event, EventTime};

/// A fact of the example customer, `day` days after 2026-01-01.
fn fact(event_type: &str, id: &str, day: i64, data: serde_json::Value) -> Event {
    const FIRST_DAY: EventTime = EventTime::from_secs(1_767_225_600); // 2026-01-01T00:00:00Z
    let mut event = Event::new(id, "/examples/revenue", event_type, "customer/42").at(FIRST_DAY.plus_micros(day * 86_400_000_000));
    event.data = data.to_string().into_bytes();
    event
}

/// The fact, admitted `day` days after 2026-01-01: before it happens.
fn announced(mut fact: Event, day: i64) -> Event {
    fact.set(Attribute::RecordedTime, EventTime::from_secs(1_767_225_600 + day * 86_400).to_string());
    fact
}

pub(crate) fn examples() -> Vec<Event> {
    let money = |minor: i64, currency: &str| serde_json::json!({"minor": minor, "currency": currency});
    let subscription = |id: &str, interval: &str, quantity: u64, unit_price: serde_json::Value| serde_json::json!({"subscription_id": id, "customer_id": "42", "plan": "gold", "interval": interval, "quantity": quantity, "unit_price": unit_price});
    let cancelled = |id: &str| serde_json::json!({"subscription_id": id, "customer_id": "42"});
    vec![
        fact("commerce.customer_registered.v1", "e01", 0, serde_json::json!({"customer_id": "42"})),
        fact("billing.subscription_started.v1", "e02", 1, subscription("s1", "year", 4, money(50_000, "USD"))),
        fact("billing.subscription_started.v1", "e03", 2, subscription("s2", "month", 2, money(3_000, "USD"))),
        fact("billing.subscription_changed.v1", "e04", 3, subscription("s2", "month", 3, money(3_000, "USD"))),
        fact("billing.subscription_changed.v1", "e05", 4, subscription("s2", "month", 3, money(2_500, "EUR"))),
        fact("billing.subscription_cancelled.v1", "e06", 5, cancelled("s2")),
        fact("billing.subscription_cancelled.v1", "e07", 6, cancelled("s1")),
        fact("billing.subscription_started.v1", "e08", 7, subscription("s3", "month", 3, money(5_000, "USD"))),
        fact("commerce.order_placed.v1", "e09", 8, serde_json::json!({"order_id": "o1", "customer_id": "42", "total": money(1_177, "USD")})),
        fact(
            "billing.payment_succeeded.v1",
            "e10",
            9,
            serde_json::json!({"payment_id": "p1", "customer_id": "42", "amount": money(1_177, "USD"), "order_id": "o1"}),
        ),
        fact(
            "billing.payment_succeeded.v1",
            "e11",
            10,
            serde_json::json!({"payment_id": "p2", "customer_id": "42", "amount": money(15_000, "USD"), "subscription_id": "s3"}),
        ),
        fact("billing.payment_failed.v1", "e12", 11, serde_json::json!({"payment_id": "p3", "customer_id": "42", "amount": money(15_000, "USD")})),
        fact(
            "commerce.order_refunded.v1",
            "e13",
            12,
            serde_json::json!({"order_id": "o1", "customer_id": "42", "refund_id": "r1", "amount": money(177, "USD")}),
        ),
        fact(
            "billing.refund_issued.v1",
            "e14",
            13,
            serde_json::json!({"refund_id": "r2", "payment_id": "p2", "customer_id": "42", "amount": money(500, "USD")}),
        ),
        // Late: they correct what was said of s3, of p4 and of r3.
        fact("billing.subscription_started.v1", "e15", 6, subscription("s4", "quarter", 1, money(900, "USD"))),
        fact(
            "billing.payment_succeeded.v1",
            "e16",
            15,
            serde_json::json!({"payment_id": "p4", "customer_id": "42", "amount": money(400, "USD"), "order_id": "o4"}),
        ),
        fact(
            "commerce.order_refunded.v1",
            "e17",
            16,
            serde_json::json!({"order_id": "o4", "customer_id": "42", "refund_id": "r3", "amount": money(700, "USD")}),
        ),
        fact("commerce.order_placed.v1", "e18", 14, serde_json::json!({"order_id": "o4", "customer_id": "42", "total": money(1_000, "USD")})),
        // A change that is announced for the next year.
        announced(fact("billing.subscription_changed.v1", "e19", 400, subscription("s3", "month", 2, money(5_000, "USD"))), 17),
    ]
}
