//! A business small enough to be reckoned by hand.

use serde_json::{Value, json};

use crate::common::event;

fn usd(minor: i64) -> Value {
    json!({"minor": minor, "currency": "USD"})
}

fn billing(id: &str, what: &str, customer: &str, day: &str, mut data: Value) -> Value {
    data["customer_id"] = customer.into();
    event(id, &format!("billing.{what}.v1"), &format!("customer/{customer}"), &format!("{day}T12:00:00Z"), data)
}

fn subscription(id: &str, what: &str, customer: &str, day: &str, (subscription, interval, quantity, price): (&str, &str, u64, Value)) -> Value {
    let data = json!({"subscription_id": subscription, "plan": "team", "interval": interval, "quantity": quantity, "unit_price": price});
    billing(id, what, customer, day, data)
}

fn delivery(id: &str, what: &str, time: &str, mut data: Value) -> Value {
    data["service"] = "web".into();
    data["environment"] = "production".into();
    event(id, &format!("delivery.{what}.v1"), "service/web", time, data)
}

fn finished(number: u32, day: &str, outcome: &str, committed: &str) -> Value {
    let at = |time: &str| format!("{day}T{time}:00Z");
    let data = json!({"deployment_id": format!("d{number}"), "version": number.to_string(), "outcome": outcome,
        "committed_at": at(committed), "started_at": at("09:55"), "finished_at": at("10:00")});
    delivery(&format!("ship-{number}"), "deployment_finished", &at("10:00"), data)
}

fn incident(id: &str, opened: &str, resolved: &str) -> [Value; 2] {
    let of = |what: &str, field: &str, time: &str| {
        let mut data = json!({"incident_id": id});
        data[field] = time.into();
        delivery(&format!("{id}-{what}"), &format!("incident_{what}"), time, data)
    };
    [of("opened", "opened_at", opened), of("resolved", "resolved_at", resolved)]
}

/// What is published, request by request.
pub fn steps() -> Vec<Vec<Value>> {
    let eur = json!({"minor": 900, "currency": "EUR"});
    let order = json!({"order_id": "o1", "customer_id": "bob", "total": usd(2_500)});
    let mut failed = finished(2, "2026-01-06", "failed", "09:00");
    failed["correlationid"] = "release-2".into();
    let rolled_back = json!({"deployment_id": "d2", "version": "2", "rolled_back_at": "2026-01-06T10:05:00Z"});
    vec![
        vec![
            subscription("b1", "subscription_started", "ann", "2026-01-02", ("s1", "month", 2, usd(5_000))),
            subscription("b2", "subscription_started", "bob", "2026-01-03", ("s2", "year", 1, usd(120_000))),
            subscription("b3", "subscription_started", "eve", "2026-01-04", ("s3", "month", 1, eur)),
            billing("b4", "payment_succeeded", "ann", "2026-01-05", json!({"payment_id": "p1", "amount": usd(10_000)})),
        ],
        vec![subscription("b5", "subscription_changed", "ann", "2026-02-02", ("s1", "month", 3, usd(5_000)))],
        vec![subscription("b6", "subscription_changed", "bob", "2026-02-03", ("s2", "year", 1, usd(60_000)))],
        // An order is revenue once, when it is placed; its payment is not revenue again, and a failed payment is none.
        vec![event("b7", "commerce.order_placed.v1", "customer/bob", "2026-02-04T12:00:00Z", order)],
        vec![billing("b8", "payment_succeeded", "bob", "2026-02-05", json!({"payment_id": "p2", "amount": usd(2_500), "order_id": "o1"}))],
        vec![billing("b9", "payment_failed", "bob", "2026-02-06", json!({"payment_id": "p3", "amount": usd(99)}))],
        vec![billing("b10", "subscription_cancelled", "ann", "2026-03-02", json!({"subscription_id": "s1"}))],
        vec![billing("b11", "refund_issued", "ann", "2026-03-03", json!({"refund_id": "r1", "payment_id": "p1", "amount": usd(1_000)}))],
        vec![subscription("b12", "subscription_started", "ann", "2026-04-02", ("s4", "month", 1, usd(7_000)))],
        vec![finished(1, "2026-01-05", "succeeded", "09:00")],
        vec![failed],
        vec![delivery("back-2", "deployment_rolled_back", "2026-01-06T10:05:00Z", rolled_back)],
        vec![finished(3, "2026-01-07", "succeeded", "08:00")],
        // Within 30 minutes of d3, and a minute too late for d4.
        incident("i1", "2026-01-07T10:20:00Z", "2026-01-07T11:00:00Z").to_vec(),
        vec![finished(4, "2026-01-09", "succeeded", "09:30")],
        incident("i2", "2026-01-09T10:31:00Z", "2026-01-09T10:41:00Z").to_vec(),
    ]
}

fn movements([new, expansion, contraction, churn, reactivation]: [i64; 5]) -> Value {
    json!({"new": usd(new), "expansion": usd(expansion), "contraction": usd(contraction), "churn": usd(churn), "reactivation": usd(reactivation)})
}

/// Rows of `revenue`.
pub fn revenue() -> Vec<(&'static str, Value)> {
    let eur = |minor: i64| json!({"minor": minor, "currency": "EUR"});
    let month = |month: &str, net: i64, end: i64| json!({"month": month, "net": usd(net), "mrr_at_end": usd(end)});
    vec![
        ("2026-01/USD", json!({"mrr_movements": movements([20_000, 0, 0, 0, 0]), "recognized": usd(10_000), "refunded": usd(0)})),
        ("2026-02/USD", json!({"mrr_movements": movements([0, 5_000, -5_000, 0, 0]), "recognized": usd(2_500), "net_mrr_movement": usd(0)})),
        ("2026-03/USD", json!({"mrr_movements": movements([0, 0, 0, -15_000, 0]), "recognized": usd(0), "refunded": usd(1_000)})),
        ("2026-04/USD", json!({"mrr_movements": movements([0, 0, 0, 0, 7_000])})),
        ("2026-01/EUR", json!({"net_mrr_movement": eur(900), "recognized": eur(0)})),
        ("current/EUR", json!({"mrr": eur(900), "arr": eur(10_800)})),
        (
            "current/USD",
            json!({"mrr": usd(12_000), "arr": usd(144_000), "recognized": usd(12_500), "refunded": usd(1_000),
                "months": [month("2026-01", 20_000, 20_000), month("2026-02", 0, 20_000), month("2026-03", -15_000, 5_000), month("2026-04", 7_000, 12_000)]}),
        ),
    ]
}

/// The window `all` of rows of `deployments`: d2 failed and an incident followed d3, so half of four changes failed, in four days. d2 was mended after five
/// minutes, the incidents took 40 and 10.
pub fn deployments() -> Vec<(&'static str, Value)> {
    let row = json!({"deployments": 4, "succeeded": 3, "failed": 1, "rolled_back": 1, "incidents": 2, "deployments_per_day": 0.75, "lead_time_seconds": 3_600,
        "change_failure_rate": 0.5, "time_to_restore_seconds": 600, "incident_restore_seconds": 1_500, "deployment_recovery_seconds": 300});
    vec![("web/production", row)]
}
