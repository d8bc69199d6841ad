//! A customer who met two flags and paid, and a service that a flag names, for the contract suite.

use serde_json::{Value, json};
use tol_events::{Attribute, Event, EventTime};

fn fact(event_type: &str, id: &str, subject: &str, hour: i64, data: &Value) -> Event {
    const FIRST: EventTime = EventTime::from_secs(1_767_225_600); // 2026-01-01T00:00:00Z
    let mut event = Event::new(id, "/examples/attribution", event_type, subject).at(FIRST.plus_micros(hour * 3_600_000_000));
    event.data = data.to_string().into_bytes();
    event
}

fn exposed(id: &str, hour: i64, trial: &str, arm: &str) -> Event {
    let data = json!({"customer_id": "42", "key": "new-checkout", "environment": "production", "trial": trial, "arm": arm,
        "metrics": ["billing.payment_failed", "usage.export"], "window_millis": 86_400_000});
    fact("flags.exposure_observed.v1", id, "customer/42", hour, &data)
}

pub(super) fn examples() -> Vec<Event> {
    let failed = json!({"payment_id": "p-1", "customer_id": "42", "amount": {"minor": 1999, "currency": "EUR"}});
    let used = json!({"customer_id": "42", "feature": "export", "count": 2});
    let deployed = json!({"deployment_id": "d-7", "service": "web", "environment": "production", "version": "7", "started_at": "2026-01-01T02:00:00Z"});
    let opened = json!({"incident_id": "i-1", "service": "web", "environment": "production", "opened_at": "2026-01-01T03:00:00Z"});
    let mut named = fact("flags.service_named.v1", "a6", "flag/new-checkout", 1, &json!({"key": "new-checkout", "service": "web", "named": true}));
    named.set(Attribute::Target, "service/web");
    vec![
        exposed("a1", 0, "rollout/r-1", "enabled"),
        exposed("a2", 0, "experiment/e-1", "enabled"),
        fact("billing.payment_failed.v1", "a3", "customer/42", 1, &failed),
        fact("usage.feature_used.v1", "a4", "customer/42", 2, &used),
        exposed("a5", 3, "experiment/e-1", "disabled"),
        named,
        fact("delivery.deployment_started.v1", "a7", "service/web", 2, &deployed),
        fact("delivery.incident_opened.v1", "a8", "service/web", 3, &opened),
    ]
}
