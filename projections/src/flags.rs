//! `flags`: each flag as it is served, and what an environment's flags share. Folded from what the flag system decided.
//!
//! Key: the subject, `flag/{key}` or `flag-set/{environment}`. The definition is kept as the text of its JSON: its shape is the flag system's own,
//! and rows are stored in a format that does not describe itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tol_events::flags::{
    BanditAllocated, ExperimentConcluded, ExperimentObserved, ExperimentStarted, FlagChanged, FlagKilled, FlagStale, Object, RequestRefused, RolloutAdvanced,
    RolloutHeld, RolloutRolledBack, SampleRatioMismatchDetected, SharedChanged,
};
use tol_events::{DomainEvent, EventTime, EventView};

use crate::projection::{Projection, Rows, refuse_other_version};

/// Changes that a row remembers; the log has all of them.
pub const HISTORY: usize = 50;
/// Refused requests that a row remembers: those who asked look for theirs at once.
pub const REFUSED: usize = 16;

/// One change, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The definition's number after it.
    pub version: u64,
    /// Microseconds.
    pub at: i64,
    /// What happened: the event's type without domain and version.
    pub what: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The event that says so.
    pub event: String,
}

/// A request that changed nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its id.
    pub request: String,
    /// What was wrong with it.
    pub problem: String,
}

/// The rollout that runs, or the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its id.
    pub id: String,
    /// Where.
    pub environment: String,
    /// Which rule, from 0.
    pub rule: u32,
    /// `running`, `completed`, `rolled_back` or `killed`.
    pub state: String,
    /// The step, from 0.
    pub step: u32,
    /// How many have it, in ten-thousandths.
    pub treatment: u32,
    /// When the step began, microseconds.
    pub began_at: i64,
    /// The plan, as JSON.
    pub plan: String,
    /// Why it waits, as JSON.
    pub held: Option<String>,
    /// What showed harm, as JSON.
    pub evidence: Option<String>,
    /// The probability of its split, where that was found broken, as JSON.
    pub mismatch: Option<String>,
}

/// An experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experiment {
    /// What is asked.
    pub statement: String,
    /// Variations and metrics, as JSON.
    pub details: String,
    /// The definition's number it began on.
    pub version: u64,
    /// When it began, microseconds.
    pub began_at: i64,
    /// Who began it.
    pub by: String,
    /// What was counted since, as JSON; its results follow from this alone.
    pub counted: Option<String>,
    /// Subjects that each variation was meant to get, where a bandit changed the weights, as JSON.
    pub expected: Option<String>,
    /// What a bandit serves, as JSON.
    pub propensities: Option<String>,
    /// The probability of its split, where that was found broken, as JSON.
    pub mismatch: Option<String>,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
}

/// How an experiment ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conclusion {
    /// What was learned.
    pub statement: String,
    /// When, microseconds.
    pub at: i64,
    /// Who.
    pub by: String,
    /// Its results as they were then, and what its author added, as JSON.
    pub details: String,
}

/// A flag, or what an environment's flags share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagRow {
    /// The number of the last change; 0 while there was none but refused ones.
    pub version: u64,
    /// The definition as JSON.
    pub definition: Option<String>,
    /// When it is to be asked about, microseconds.
    pub stale_at: Option<i64>,
    /// Since when it has outlived its purpose, microseconds.
    pub stale_since: Option<i64>,
    /// The rollout that runs, or the last one.
    pub rollout: Option<Rollout>,
    /// By id.
    pub experiments: BTreeMap<String, Experiment>,
    /// Of a `flag-set/…` only: what its flags share as JSON, by format.
    pub shared: BTreeMap<String, String>,
    /// The last [`HISTORY`] changes, oldest first.
    pub changes: Vec<Change>,
    /// The last [`REFUSED`] requests that were refused.
    pub refused: Vec<Refused>,
}

fn keep<T>(list: &mut Vec<T>, item: T, most: usize) {
    if list.len() >= most {
        list.remove(0);
    }
    list.push(item);
}

fn text(object: &Object) -> String {
    // A map with texts for keys is always JSON.
    serde_json::to_string(object).unwrap_or_default()
}

impl FlagRow {
    fn change(&mut self, event: &EventView<'_>, version: u64, definition: Option<&Object>, by: &str, reason: &str) {
        self.version = version;
        if let Some(definition) = definition {
            self.definition = Some(text(definition));
        }
        let what = event.event_type().split('.').nth(1).unwrap_or_default().to_owned();
        let at = event.time().map_or(0, EventTime::as_micros);
        keep(&mut self.changes, Change { version, at, what, by: by.to_owned(), reason: reason.to_owned(), event: event.id().to_owned() }, HISTORY);
    }

    fn experiment(&mut self, id: &str) -> Option<&mut Experiment> {
        self.experiments.get_mut(id)
    }

    fn rollout(&mut self, id: &str) -> Option<&mut Rollout> {
        self.rollout.as_mut().filter(|rollout| rollout.id == id)
    }

    fn advanced(&mut self, event: &EventView<'_>, advanced: &RolloutAdvanced<'_>) {
        if let Some(plan) = &advanced.plan {
            let (id, environment) = (advanced.rollout_id.to_string(), advanced.environment.to_string());
            self.rollout = Some(Rollout { id, environment, rule: advanced.rule, plan: text(plan), ..Rollout::default() });
        }
        if let Some(rollout) = self.rollout(&advanced.rollout_id) {
            rollout.state = if advanced.completed { "completed" } else { "running" }.to_owned();
            (rollout.step, rollout.treatment, rollout.held) = (advanced.step, advanced.treatment, None);
            rollout.began_at = advanced.began_at.as_micros();
        }
        self.change(event, advanced.version, Some(&advanced.definition), &advanced.by, &advanced.reason);
    }
}

/// The projection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags;

const KNOWN: [&str; 13] = [
    FlagChanged::TYPE,
    FlagKilled::TYPE,
    FlagStale::TYPE,
    RequestRefused::TYPE,
    RolloutAdvanced::TYPE,
    RolloutHeld::TYPE,
    RolloutRolledBack::TYPE,
    SampleRatioMismatchDetected::TYPE,
    ExperimentStarted::TYPE,
    ExperimentObserved::TYPE,
    BanditAllocated::TYPE,
    ExperimentConcluded::TYPE,
    SharedChanged::TYPE,
];

impl Projection for Flags {
    type Row = FlagRow;
    const NAME: &'static str = "flags";
    const VERSION: u32 = 2;
    const TOPIC: &'static str = "enterprise-feature-flag-system.events";
    const ROW_BYTES: usize = 4 << 10;

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, FlagRow>) -> Result<(), String> {
        let read = |problem: serde_json::Error| format!("its data does not read: {problem}");
        let subject = event.subject();
        match event.event_type() {
            FlagChanged::TYPE => {
                let changed: FlagChanged<'_> = event.data_as().map_err(read)?;
                let row = rows.get_mut(subject)?;
                (row.stale_at, row.stale_since) = (changed.stale_at.map(EventTime::as_micros), None);
                row.change(&event, changed.version, Some(&changed.definition), &changed.by, &changed.reason);
            }
            FlagKilled::TYPE => {
                let killed: FlagKilled<'_> = event.data_as().map_err(read)?;
                let row = rows.get_mut(subject)?;
                if let Some(rollout) = row.rollout.as_mut().filter(|rollout| rollout.state == "running" && killed.environments.contains(&rollout.environment)) {
                    (rollout.state, rollout.treatment) = ("killed".to_owned(), 0);
                }
                row.change(&event, killed.version, Some(&killed.definition), &killed.by, &killed.reason);
            }
            FlagStale::TYPE => {
                let stale: FlagStale<'_> = event.data_as().map_err(read)?;
                rows.get_mut(subject)?.stale_since = Some(stale.since.as_micros());
            }
            RequestRefused::TYPE => {
                let refused: RequestRefused<'_> = event.data_as().map_err(read)?;
                let refused = Refused { request: refused.request_id.into_owned(), problem: refused.problem.into_owned() };
                keep(&mut rows.get_mut(subject)?.refused, refused, REFUSED);
            }
            RolloutAdvanced::TYPE => rows.get_mut(subject)?.advanced(&event, &event.data_as().map_err(read)?),
            RolloutHeld::TYPE => {
                let held: RolloutHeld<'_> = event.data_as().map_err(read)?;
                if let Some(rollout) = rows.get_mut(subject)?.rollout(&held.rollout_id) {
                    rollout.held = Some(text(&held.reason));
                }
            }
            RolloutRolledBack::TYPE => {
                let back: RolloutRolledBack<'_> = event.data_as().map_err(read)?;
                let row = rows.get_mut(subject)?;
                if let Some(rollout) = row.rollout(&back.rollout_id) {
                    (rollout.state, rollout.treatment, rollout.evidence) = ("rolled_back".to_owned(), 0, back.evidence.as_ref().map(text));
                }
                row.change(&event, back.version, Some(&back.definition), &back.by, &back.reason);
            }
            SampleRatioMismatchDetected::TYPE => {
                let detected: SampleRatioMismatchDetected<'_> = event.data_as().map_err(read)?;
                let (row, p_value) = (rows.get_mut(subject)?, Some(json!(detected.p_value).to_string()));
                if let Some(rollout) = detected.rollout_id.as_ref().and_then(|id| row.rollout(id)) {
                    rollout.mismatch.clone_from(&p_value);
                }
                if let Some(experiment) = detected.experiment_id.as_ref().and_then(|id| row.experiment(id)) {
                    experiment.mismatch = p_value;
                }
            }
            ExperimentStarted::TYPE => {
                let started: ExperimentStarted<'_> = event.data_as().map_err(read)?;
                let experiment = Experiment {
                    statement: started.statement.into_owned(),
                    details: text(&started.details),
                    version: started.version,
                    began_at: event.time().map_or(0, EventTime::as_micros),
                    by: started.by.into_owned(),
                    ..Experiment::default()
                };
                rows.get_mut(subject)?.experiments.insert(started.experiment_id.into_owned(), experiment);
            }
            ExperimentObserved::TYPE => {
                let observed: ExperimentObserved<'_> = event.data_as().map_err(read)?;
                if let Some(experiment) = rows.get_mut(subject)?.experiment(&observed.experiment_id) {
                    experiment.counted = Some(text(&observed.counted));
                    experiment.expected = Some(observed.expected).filter(|expected| !expected.is_empty()).map(|expected| json!(expected).to_string());
                }
            }
            BanditAllocated::TYPE => {
                let allocated: BanditAllocated<'_> = event.data_as().map_err(read)?;
                if let Some(experiment) = rows.get_mut(subject)?.experiment(&allocated.experiment_id) {
                    experiment.propensities = Some(json!(allocated.propensities).to_string());
                }
            }
            ExperimentConcluded::TYPE => {
                let concluded: ExperimentConcluded<'_> = event.data_as().map_err(read)?;
                if let Some(experiment) = rows.get_mut(subject)?.experiment(&concluded.experiment_id) {
                    let at = event.time().map_or(0, EventTime::as_micros);
                    let (statement, by) = (concluded.statement.into_owned(), concluded.by.into_owned());
                    experiment.conclusion = Some(Conclusion { statement, at, by, details: text(&concluded.details) });
                }
            }
            SharedChanged::TYPE => {
                let changed: SharedChanged<'_> = event.data_as().map_err(read)?;
                let row = rows.get_mut(subject)?;
                let format = changed.format.to_string();
                if changed.shared.is_empty() {
                    row.shared.remove(&format);
                } else {
                    row.shared.insert(format, text(&changed.shared));
                }
                row.change(&event, changed.version, None, &changed.by, &changed.reason);
            }
            other => refuse_other_version(other, &KNOWN)?,
        }
        Ok(())
    }

    /// A subject lies in one partition, so nothing is joined in practice.
    fn merge(a: FlagRow, b: FlagRow) -> FlagRow {
        let order = |row: &FlagRow| (row.version, row.definition.clone(), row.changes.len(), row.refused.len());
        if order(&a) >= order(&b) { a } else { b }
    }

    fn value(row: &FlagRow, key: &str) -> Value {
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
            let conclusion = one.conclusion.as_ref().map(|conclusion| {
                json!({"statement": conclusion.statement, "at": moment(conclusion.at), "by": conclusion.by, "details": parsed(&conclusion.details)})
            });
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

    fn subject_of(key: &str) -> Option<String> {
        Some(key.to_owned())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use std::cell::RefCell;

    use tol_events::{Event, binding};

    use super::*;
    use crate::projection::{PutRow, RowSource, erase};

    /// Rows as the store holds them.
    #[derive(Default)]
    struct Stored(RefCell<BTreeMap<String, Vec<u8>>>);

    impl RowSource for Stored {
        fn load(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
            Ok(self.0.borrow().get(key).cloned())
        }
    }

    fn golden(name: &str) -> Event {
        let file = format!("{}/../events/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
        binding::json::decode(&std::fs::read(file).unwrap()).unwrap()
    }

    /// The rows after events, each of which went through storage.
    fn folded(events: &[Event]) -> BTreeMap<String, Value> {
        let (projection, stored) = (erase(Flags), Stored::default());
        for event in events {
            let mut overlay = projection.overlay();
            overlay.fold(event.encode().view(), &stored).unwrap();
            let put: PutRow<'_> = &mut |key, row| drop(stored.0.borrow_mut().insert(key.to_owned(), row.unwrap().to_vec()));
            overlay.drain(put).unwrap();
        }
        let rows = stored.0.into_inner();
        rows.into_iter().map(|(key, row)| (key.clone(), projection.value(&key, &[row]).unwrap().unwrap())).collect()
    }

    #[test]
    fn every_event_of_the_flag_system_is_in_its_row() {
        let names = ["flag_changed", "request_refused", "flag_stale", "rollout_advanced", "rollout_held", "sample_ratio_mismatch_detected"];
        let more =
            ["rollout_rolled_back", "experiment_started", "experiment_observed", "bandit_allocated", "experiment_concluded", "flag_killed", "shared_changed"];
        let events: Vec<Event> = names.iter().chain(&more).map(|name| golden(&format!("flags.{name}.v1"))).collect();
        let rows = folded(&events);
        assert_eq!(rows.keys().collect::<Vec<_>>(), ["flag-set/production", "flag/new-checkout"]);
        let flag = &rows["flag/new-checkout"];
        assert_eq!((&flag["key"], &flag["stale"], &flag["definition"]["key"]), (&json!("new-checkout"), &json!(true), &json!("new-checkout")));
        let what: Vec<&str> = flag["changes"].as_array().unwrap().iter().map(|change| change["what"].as_str().unwrap()).collect();
        assert_eq!(what, ["flag_changed", "rollout_advanced", "rollout_rolled_back", "flag_killed"]);
        let rollout = &flag["rollout"];
        assert!(rollout["state"] == "rolled_back" && rollout["treatment"] == 0 && rollout["held"].is_object() && rollout["mismatch"].is_number(), "{rollout}");
        assert_eq!(flag["refused"].as_array().unwrap().len(), 1);
        let experiment = &flag["experiments"]["e-1"];
        let asked = (&experiment["statement"], &experiment["state"], &experiment["began_at"], &experiment["version"]);
        assert_eq!(asked, (&json!("people buy more with one page"), &json!("concluded"), &json!("2026-01-31T12:00:00Z"), &json!(2)));
        assert_eq!((&experiment["counted"]["exposures"]["enabled"], &experiment["expected"]), (&json!(1000), &json!([500.0, 500.0])));
        assert_eq!((&experiment["conclusion"]["statement"], &experiment["conclusion"]["details"]), (&json!("they do"), &json!({"lift": 0.04})));
        assert!(experiment["propensities"][0]["probability"].is_number(), "{experiment}");
        assert!(rows["flag-set/production"]["shared"]["unleash"]["segments"].is_array());
        assert!(erase(Flags).overlay().fold(Event::new("1", "/s", "flags.flag_changed.v2", "flag/a").encode().view(), &Stored::default()).is_err());
    }

    #[test]
    fn a_row_stays_small_however_long_a_flag_lives() {
        let mut events = Vec::new();
        for _ in 0..60 {
            events.extend([golden("flags.flag_changed.v1"), golden("flags.request_refused.v1")]);
        }
        let flag = &folded(&events)["flag/new-checkout"];
        assert_eq!((flag["changes"].as_array().unwrap().len(), flag["refused"].as_array().unwrap().len()), (HISTORY, REFUSED));
    }
}
