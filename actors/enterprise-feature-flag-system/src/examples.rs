//! One flag's life, for the contract suite.

use serde_json::{Value, json};
use tol_events::{Attribute, Event, EventTime};

/// A fact about the example flag, `hour` hours after 2026-01-01.
fn fact(event_type: &str, id: &str, hour: i64, mut data: Value) -> Event {
    const FIRST: EventTime = EventTime::from_secs(1_767_225_600); // 2026-01-01T00:00:00Z
    let mut event = Event::new(id, "/examples/flags", event_type, "flag/new-checkout").at(FIRST.plus_micros(hour * 3_600_000_000));
    data["key"] = "new-checkout".into();
    event.data = data.to_string().into_bytes();
    event
}

fn definition(description: &str) -> Value {
    let constraint = json!({"attribute": "plan", "operator": "in", "values": ["pro", "team"]});
    let share = json!({"part": 100, "by": "userId", "salt": "new-checkout"});
    json!({
        "key": "new-checkout", "type": "boolean", "family": "unleash", "description": description, "owner": "payments", "tags": ["checkout"], "services": ["web"],
        "environments": {"production": {"enabled": true, "schedule": [{"at": "2026-03-01T00:00:00Z", "enabled": false}], "rules": [
            {"kind": "targeted", "constraints": [constraint], "share": share, "serve": {"serve": "on"}}]}}
    })
}

fn change(id: &str, hour: i64, description: &str) -> Event {
    let data = json!({"definition": definition(description), "by": "ada@example.com", "reason": "checkout on one page", "stale_at": "2026-02-01T00:00:00Z"});
    fact("flags.change_requested.v1", id, hour, data)
}

fn rollout(id: &str, hour: i64, rollout_id: &str) -> Event {
    let step = |treatment: u32| json!({"treatment": treatment, "control": treatment, "minimum_millis": 3_600_000, "minimum_subjects": 500});
    let guard = json!({"metric": "errors", "harm": "increase", "kind": "proportion"});
    let plan = json!({"steps": [step(100), step(1_000)], "guards": [guard]});
    let data = json!({"rollout_id": rollout_id, "environment": "production", "rule": 0, "plan": plan, "by": "ada@example.com", "reason": "ready"});
    fact("flags.rollout_requested.v1", id, hour, data)
}

fn observed(id: &str, hour: i64, rollout_id: &str, control: (u64, u64), treatment: (u64, u64)) -> Event {
    let counts = |(subjects, events): (u64, u64)| json!({"subjects": subjects, "events": events});
    let errors = json!({"kind": "proportion", "control": counts(control), "treatment": counts(treatment)});
    let observation = json!({"control_subjects": control.0, "treatment_subjects": treatment.0, "metrics": {"errors": errors}});
    fact("flags.metrics_observed.v1", id, hour, json!({"rollout_id": rollout_id, "observation": observation}))
}

fn experiment(id: &str, hour: i64, action: &str, statement: &str) -> Event {
    let bandit = json!({"policy": "thompson", "floor": 0.1, "every_millis": 3_600_000});
    let details = json!({"variations": ["disabled", "enabled"], "metrics": [{"name": "purchases", "goal": "increase"}], "bandit": bandit});
    let data = json!({"experiment_id": "e-1", "action": action, "statement": statement, "details": details, "by": "ada@example.com"});
    fact("flags.experiment_requested.v1", id, hour, data)
}

fn counted(id: &str, hour: i64, enabled: (u64, u64), disabled: (u64, u64)) -> Event {
    let exposures = json!([{"arm": "enabled", "count": enabled.0}, {"arm": "disabled", "count": disabled.0}]);
    let purchases = |arm: &str, value: u64| json!({"arm": arm, "metric": "purchases", "measure": {"kind": "counter", "value": value}});
    let measures = json!([purchases("enabled", enabled.1), purchases("disabled", disabled.1)]);
    let data = json!({"environment": "production", "reporter": "shop", "exposures": exposures, "measuring": ["purchases"], "measures": measures});
    fact("flags.counts_reported.v1", id, hour, data)
}

fn shared(id: &str, hour: i64) -> Event {
    let segment = json!({"id": 1, "constraints": [{"contextName": "plan", "operator": "IN", "values": ["pilot"]}]});
    let data = json!({"environment": "production", "format": "unleash", "shared": {"segments": [segment]}, "by": "ada@example.com", "reason": "pilots"});
    let mut event = fact("flags.shared_change_requested.v1", id, hour, data.clone());
    event.set(Attribute::Subject, "flag-set/production");
    event.data = data.to_string().into_bytes();
    event
}

/// What `flag-attribution` sends about a customer.
fn outcome(id: &str, hour: i64, trial: &str) -> Event {
    let data = json!({"customer_id": "42", "environment": "production", "trial": trial, "arm": "enabled", "exposed_at": "2026-01-02T11:00:00Z", "values": {"purchases": 1}});
    let mut event = fact("flags.outcome_attributed.v1", id, hour, data);
    event.set(Attribute::Subject, "customer/42").set(Attribute::Target, "flag/new-checkout");
    event
}

pub(crate) fn examples() -> Vec<Event> {
    vec![
        change("f01", 0, "One page instead of four"),
        change("f02", 1, "One page instead of five"),
        rollout("f03", 2, "r-1"),
        observed("f04", 3, "r-1", (600, 6), (600, 6)),
        observed("f05", 4, "r-1", (1_200, 12), (1_200, 13)),
        observed("f06", 5, "r-1", (2_000, 20), (2_000, 21)),
        rollout("f07", 30, "r-2"),
        observed("f08", 31, "r-2", (2_000, 20), (2_000, 120)),
        rollout("f09", 32, "r-3"),
        observed("f10", 33, "r-3", (3_000, 30), (1_000, 10)),
        fact("flags.deployment_observed.v1", "f19", 33, json!({"service": "web", "deployment_id": "d-7", "what": "started"})),
        counted("f16", 33, (100, 12), (100, 10)),
        fact("flags.rollback_requested.v1", "f11", 34, json!({"rollout_id": "r-3", "by": "ada@example.com", "reason": "the split is broken"})),
        experiment("f12", 35, "start", "people buy more"),
        counted("f17", 36, (1_000, 120), (1_000, 100)),
        counted("f18", 38, (3_000, 360), (1_000, 100)),
        outcome("f20", 39, "experiment/e-1"),
        experiment("f13", 40, "conclude", "they do"),
        fact("flags.kill_requested.v1", "f14", 41, json!({"by": "ada@example.com", "reason": "payments fail"})),
        shared("f15", 42),
    ]
}
