//! One flag's life as the flag system writes it, for the contract suite.

use serde_json::{Value, json};
use tol_events::flags::{
    BanditAllocated, ExperimentConcluded, ExperimentObserved, ExperimentStarted, FlagChanged, FlagKilled, FlagStale, RequestRefused, RolloutAdvanced,
    RolloutHeld, RolloutRolledBack, SampleRatioMismatchDetected, SharedChanged,
};
use tol_events::{DomainEvent, Event, EventTime};

/// An event of the flag system, `hour` hours after 2026-01-01.
fn event(event_type: &str, subject: &str, hour: i64, data: &Value) -> Event {
    const FIRST_HOUR: EventTime = EventTime::from_secs(1_767_225_600); // 2026-01-01T00:00:00Z
    let mut event = Event::new(format!("x{hour:02}"), "/systems/enterprise-feature-flag-system", event_type, subject);
    event = event.at(FIRST_HOUR.plus_micros(hour * 3_600_000_000));
    event.data = data.to_string().into_bytes();
    event
}

fn about_flag(event_type: &str, hour: i64, mut data: Value) -> Event {
    data["key"] = "new-checkout".into();
    event(event_type, "flag/new-checkout", hour, &data)
}

/// A change of the definition to `version`, with the fields of its own event.
fn changed(event_type: &str, hour: i64, version: u64, mut data: Value) -> Event {
    let share = json!({"part": 100 * version, "by": "userId", "salt": "new-checkout"});
    let rule = json!({"kind": "targeted", "serve": {"serve": "on"}, "share": share});
    data["definition"] = json!({
        "key": "new-checkout", "type": "boolean", "family": "unleash", "variants": {},
        "environments": {"production": {"enabled": event_type != FlagKilled::TYPE, "rules": [rule]}},
    });
    data["version"] = version.into();
    (data["by"], data["reason"]) = ("ada@example.com".into(), "checkout is ready".into());
    about_flag(event_type, hour, data)
}

pub(super) fn examples() -> Vec<Event> {
    let step = json!({"treatment": 100, "control": 100, "minimum_millis": 3_600_000, "minimum_subjects": 1_000});
    let plan = json!({"steps": [step], "guards": [{"metric": "errors", "harm": "increase", "kind": "proportion"}]});
    let advanced = json!({
        "rollout_id": "r-1", "environment": "production", "rule": 0, "step": 0, "treatment": 100, "began_at": "2026-01-01T01:00:00Z", "completed": false,
        "plan": plan,
    });
    let held = json!({
        "rollout_id": "r-1", "step": 0, "reason": {"reason": "too_few_subjects", "subjects": 10, "minimum": 1_000}, "again_at": "2026-01-01T03:00:00Z",
    });
    let propensity = |variation: &str, probability: f64| json!({"variation": variation, "probability": probability, "subjects": 1_000, "successes": 50});
    let allocated = json!({
        "experiment_id": "e-1", "propensities": [propensity("control", 0.1), propensity("one-page", 0.9)], "from": "2026-01-01T07:00:00Z", "version": 4,
        "again_at": "2026-01-02T07:00:00Z",
    });
    let refused = json!({"request": "flags.change_requested.v1", "request_id": "c-7", "problem": "it changes version 1, and the flag is at 2"});
    let started = json!({
        "experiment_id": "e-1", "statement": "people buy more with one page", "details": {"variations": ["control", "one-page"]}, "version": 3,
        "by": "ada@example.com",
    });
    let counted = json!({"exposures": {"control": 1_000, "one-page": 9_000}, "variants": {}, "metrics": {}});
    let concluded = json!({"experiment_id": "e-1", "statement": "they do", "details": {"lift": 0.04}, "by": "ada@example.com"});
    let shared = json!({
        "environment": "production", "format": "unleash", "shared": {"segments": [{"id": 1, "constraints": []}]}, "by": "ada@example.com",
        "reason": "the pilot customers", "version": 1,
    });
    vec![
        changed(FlagChanged::TYPE, 0, 1, json!({"stale_at": "2026-06-30T00:00:00Z"})),
        changed(RolloutAdvanced::TYPE, 1, 2, advanced),
        about_flag(RolloutHeld::TYPE, 2, held),
        about_flag(SampleRatioMismatchDetected::TYPE, 3, json!({"rollout_id": "r-1", "p_value": 1e-5})),
        changed(RolloutRolledBack::TYPE, 4, 3, json!({"rollout_id": "r-1", "environment": "production", "evidence": {"metric": "errors"}})),
        about_flag(ExperimentStarted::TYPE, 5, started),
        about_flag(ExperimentObserved::TYPE, 6, json!({"experiment_id": "e-1", "counted": counted, "expected": [500.0, 500.0]})),
        about_flag(BanditAllocated::TYPE, 7, allocated),
        about_flag(ExperimentConcluded::TYPE, 8, concluded),
        about_flag(RequestRefused::TYPE, 9, refused),
        about_flag(FlagStale::TYPE, 10, json!({"version": 3, "since": "2026-06-30T00:00:00Z", "owner": "payments"})),
        changed(FlagKilled::TYPE, 11, 4, json!({"environments": ["production"]})),
        event(SharedChanged::TYPE, "flag-set/production", 12, &shared),
    ]
}
