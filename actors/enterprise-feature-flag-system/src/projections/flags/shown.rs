//! Rows as people see them.

use serde_json::{Value, json};
use tol_events::EventTime;

use super::row::{Experiment, FlagRow};

pub(super) fn value(row: &FlagRow, key: &str) -> Value {
    let moment = |micros: i64| EventTime::from_micros(micros).to_string();
    let parsed = |text: &String| serde_json::from_str::<Value>(text).unwrap_or_default();
    let last = row.changes.last();
    let changes: Vec<Value> = row
        .changes
        .iter()
        .map(|change| {
            json!({"version": change.version, "at": moment(change.at), "what": change.what, "by": change.by, "reason": change.reason, "event": change.event})
        })
        .collect();
    let mut value = json!({
        "version": row.version,
        "changed_at": last.map(|change| moment(change.at)),
        "by": last.map(|change| &change.by),
        "reason": last.map(|change| &change.reason),
        "changes": changes,
    });
    if let Some(environment) = key.strip_prefix("flag-set/") {
        value["environment"] = environment.into();
        value["shared"] = row.shared.iter().map(|(format, shared)| (format.clone(), parsed(shared))).collect::<serde_json::Map<_, _>>().into();
        return value;
    }
    value["key"] = key.strip_prefix("flag/").unwrap_or(key).into();
    value["definition"] = row.definition.as_ref().map(parsed).unwrap_or_default();
    value["stale"] = row.stale_since.is_some().into();
    value["stale_at"] = row.stale_at.map(moment).into();
    value["stale_since"] = row.stale_since.map(moment).into();
    value["rollout"] = row.rollout.as_ref().map_or(Value::Null, |rollout| {
        json!({
            "id": rollout.id, "environment": rollout.environment, "rule": rollout.rule, "state": rollout.state, "step": rollout.step,
            "treatment": rollout.treatment, "began_at": moment(rollout.began_at), "plan": parsed(&rollout.plan),
            "held": rollout.held.as_ref().map(parsed), "evidence": rollout.evidence.as_ref().map(parsed), "mismatch": rollout.mismatch.as_ref().map(parsed),
        })
    });
    let optional = |text: &Option<String>| text.as_ref().map(parsed);
    let experiment = |one: &Experiment| {
        let conclusion = one.conclusion.as_ref().map(
            |conclusion| json!({"statement": conclusion.statement, "at": moment(conclusion.at), "by": conclusion.by, "details": parsed(&conclusion.details)}),
        );
        json!({
            "statement": one.statement, "state": if one.conclusion.is_some() { "concluded" } else { "running" }, "details": parsed(&one.details),
            "version": one.version, "began_at": moment(one.began_at), "by": one.by, "counted": optional(&one.counted), "expected": optional(&one.expected),
            "propensities": optional(&one.propensities), "mismatch": optional(&one.mismatch), "conclusion": conclusion,
        })
    };
    value["experiments"] = row.experiments.iter().map(|(id, one)| (id.clone(), experiment(one))).collect::<serde_json::Map<_, _>>().into();
    value["refused"] = row.refused.iter().map(|refused| json!({"request": refused.request, "problem": refused.problem})).collect::<Vec<_>>().into();
    value
}
