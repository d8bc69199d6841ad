//! A service's week, for the contract suite.

use tol_events::{Attribute, Event, EventTime};

const NOON: EventTime = EventTime::from_secs(1_767_268_800); // 2026-01-01T12:00:00Z

fn minute(minute: i64) -> EventTime {
    NOON.plus_micros(minute * 60_000_000)
}

fn fact(event_type: &str, id: &str, at: EventTime, data: serde_json::Value) -> Event {
    let mut event = Event::new(id, "/examples/delivery", event_type, "service/web").at(at);
    event.data = data.to_string().into_bytes();
    event
}

fn finished(id: &str, deployment: &str, at: i64, outcome: &str) -> Event {
    let data = serde_json::json!({"deployment_id": deployment, "service": "web", "environment": "production", "version": format!("v-{deployment}"),
        "outcome": outcome, "started_at": minute(at - 4), "finished_at": minute(at)});
    fact("delivery.deployment_finished.v1", id, minute(at), data)
}

fn incident(id: &str, incident: &str, at: i64) -> Event {
    let data = serde_json::json!({"incident_id": incident, "service": "web", "environment": "production", "opened_at": minute(at), "severity": "major"});
    fact("delivery.incident_opened.v1", id, minute(at), data)
}

pub(crate) fn examples() -> Vec<Event> {
    let started = serde_json::json!({"deployment_id": "d1", "service": "web", "environment": "production", "version": "v-d1", "started_at": minute(-4)});
    let rolled_back =
        serde_json::json!({"deployment_id": "d1", "service": "web", "environment": "production", "version": "v-d1", "rolled_back_at": minute(25)});
    let resolved = serde_json::json!({"incident_id": "i1", "service": "web", "environment": "production", "resolved_at": minute(26)});
    // It is told two hours before it happens.
    let mut planned = finished("e9", "d4", 300, "succeeded");
    planned.set(Attribute::RecordedTime, minute(180).to_string());
    // Corrected: it had not failed after all.
    let corrected = finished("e10", "d2", 60, "succeeded").at(minute(90));
    vec![
        fact("delivery.deployment_started.v1", "e1", minute(-4), started),
        finished("e2", "d1", 0, "succeeded"),
        incident("e3", "i1", 20),
        fact("delivery.deployment_rolled_back.v1", "e4", minute(25), rolled_back),
        fact("delivery.incident_resolved.v1", "e5", minute(26), resolved),
        finished("e6", "d2", 60, "failed"),
        finished("e7", "d3", 120, "succeeded"),
        incident("e8", "i2", 151),
        planned,
        corrected,
    ]
}
