//! A system's bad day, for the contract suite.

use tol_events::{Event, EventTime};

fn fact(what: &str, id: &str, minute: i64, rest: serde_json::Value) -> Event {
    const NOON: EventTime = EventTime::from_secs(1_767_268_800); // 2026-01-01T12:00:00Z
    let mut data = rest;
    data["system"] = "revenue-agent-system".into();
    data["node"] = "http://127.0.0.1:7700".into();
    let event_type = format!("supervision.system_{what}_observed.v1");
    let mut event = Event::new(id, "/nodes/example", event_type, "system/revenue-agent-system").at(NOON.plus_micros(minute * 60_000_000));
    event.data = data.to_string().into_bytes();
    event
}

pub(crate) fn examples() -> Vec<Event> {
    let nothing_more = || serde_json::json!({});
    vec![
        fact("started", "e1", 0, serde_json::json!({"planned": true})),
        fact("failed", "e2", 60, serde_json::json!({"error": "a panic in decide"})),
        fact("restarted", "e3", 61, serde_json::json!({"attempt": 1, "backoff_ms": 60_000})),
        fact("failed", "e4", 90, serde_json::json!({"error": "a panic in decide"})),
        fact("degraded", "e5", 91, serde_json::json!({"reason": "5 restarts in 10 minutes"})),
        fact("recovered", "e6", 120, nothing_more()),
        fact("stopped", "e7", 180, serde_json::json!({"planned": true})),
    ]
}
