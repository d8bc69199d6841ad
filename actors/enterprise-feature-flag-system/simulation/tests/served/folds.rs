//! The projection `flags` folds the flag system's events a second time: both must say the same after any history.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tol_enterprise_feature_flag_system::rollout::Phase;
use tol_enterprise_feature_flag_system::{EnterpriseFeatureFlagSystem, Flag, FlagsProjection};
use tol_events::reserved::{OWNER_CLAIMED, OwnerClaimed};
use tol_events::{Attribute, Event, EventTime};
use tol_flag_simulation::FlagGuest;
use tol_kafka::{Append, EventLog, Faults, MemoryLog, Record, TopicPartition, TopicSpec};
use tol_projections::{EngineOptions, ProjectionEngine, RocksStore, StoreOptions};
use tol_runtime::simulation::Guest;
use tol_system::{Decision, Evolution, Input, System};

const CASES: u64 = 256;
const TOPIC: &str = "enterprise-feature-flag-system.events";

/// A case: flags of its own, with all they decided.
#[derive(Default)]
struct Play {
    case: u64,
    flags: BTreeMap<String, (Flag, BTreeMap<String, EventTime>)>,
    told: Vec<Event>,
}

/// The fact about a flag, or a flag set, that no other case has.
fn own(case: u64, mut fact: Event) -> Event {
    let subject = fact.get(Attribute::Subject).to_owned();
    let mut data: Value = serde_json::from_slice(&fact.data).unwrap();
    let field = if subject.starts_with("flag/") { "key" } else { "environment" };
    let renamed = format!("{}-{case}", data[field].as_str().unwrap());
    if data["definition"]["key"] == data[field] {
        data["definition"]["key"] = json!(renamed);
    }
    data[field] = json!(renamed);
    fact.data = data.to_string().into_bytes();
    fact.set(Attribute::Subject, format!("{}/{renamed}", subject.split_once('/').unwrap().0));
    fact
}

impl Play {
    fn input(&mut self, input: Input<'_>) {
        let subject = input.subject().to_owned();
        let (flag, timers) = self.flags.entry(subject.clone()).or_default();
        let mut decision = Decision::new("enterprise-feature-flag-system", "case", &format!("{} {}", self.case, self.told.len()));
        EnterpriseFeatureFlagSystem.decide(flag, input, &mut decision).unwrap();
        for draft in decision.finish().unwrap() {
            let id = format!("{}-{}", self.case, self.told.len());
            let mut event = Event::new(id, "/systems/enterprise-feature-flag-system", draft.event_type, &subject).at(input.time());
            event.data = draft.data;
            let mut evolution = Evolution::default();
            EnterpriseFeatureFlagSystem.evolve(flag, event.encode().view(), &mut evolution).unwrap();
            for timer in evolution.timers {
                match timer.due {
                    Some(due) => drop(timers.insert(timer.id, due)),
                    None => drop(timers.remove(&timer.id)),
                }
            }
            self.told.push(event);
        }
    }

    fn timer(&mut self, random: &mut ChaCha8Rng) {
        let set: Vec<(String, String, EventTime)> =
            self.flags.iter().flat_map(|(subject, (_, timers))| timers.iter().map(move |(id, due)| (subject.clone(), id.clone(), *due))).collect();
        if set.is_empty() {
            return;
        }
        let (subject, id, due) = &set[random.random_range(0..set.len())];
        self.flags.get_mut(subject).unwrap().1.remove(id);
        self.input(Input::Timer { id, subject, due: *due });
    }

    fn of(case: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(case);
        let mut play = Self { case, ..Self::default() };
        for round in 0..random.random_range(1..5) {
            for fact in FlagGuest::default().facts(&mut random, EventTime::from_secs(1_750_000_000 + round * 3)) {
                let fact = own(case, fact).encode();
                play.input(Input::Event(fact.view()));
                if random.random_bool(0.25) {
                    play.timer(&mut random);
                }
            }
        }
        play
    }
}

/// Writes the events as one owner writes them.
fn write(log: &MemoryLog, events: &[Event]) {
    let to = TopicPartition::new(TOPIC, 0);
    let claim = OwnerClaimed { epoch: 1, nonce: "n".into(), node: "http://localhost".into(), code_version: "1".into(), config_hash: "0".into() };
    let mut first = Event::new("claim", "/test", OWNER_CLAIMED, "system/test").with_data(&claim).unwrap();
    first.set(Attribute::Epoch, "1");
    let numbered = events.iter().enumerate().map(|(at, event)| {
        let mut event = event.clone();
        event.set(Attribute::Sequence, (at + 1).to_string()).set(Attribute::Epoch, "1");
        event
    });
    let records: Vec<Record> = std::iter::once(first).chain(numbered).map(|event| Record::from_event(&event)).collect();
    for chunk in records.chunks(500) {
        log.append(vec![Append { to: to.clone(), expected: None, records: chunk.to_vec() }], Box::new(|done| drop(done.unwrap())));
    }
}

/// What both know of a flag, from the flag system's state.
fn of_state(flag: &Flag) -> Value {
    let last = |list: Vec<Value>, most: usize| list[list.len().saturating_sub(most)..].to_vec();
    let (refused, changes): (Vec<_>, Vec<_>) = flag.history.iter().partition(|change| change.what == "refused");
    let changes = changes
        .into_iter()
        .map(|change| json!({"version": change.version, "at": change.at.to_string(), "what": change.what, "by": change.by, "reason": change.reason}));
    let rollout = flag.rollout.as_ref().map(|ramp| {
        let running = ramp.rollout.phase() == Phase::Running;
        json!({
            "id": ramp.id, "environment": ramp.environment, "rule": ramp.rule, "running": running, "completed": ramp.rollout.phase() == Phase::Completed,
            "treatment": ramp.rollout.treatment(), "mismatch": ramp.mismatch_told, "step": running.then(|| ramp.rollout.step()),
            "held": if running { json!(ramp.held) } else { Value::Null }, "evidence": ramp.rollout.evidence(),
        })
    });
    let experiments: BTreeMap<&String, Value> =
        flag.experiments.iter().map(|(id, known)| (id, json!({"statement": known.statement, "concluded": known.concluded}))).collect();
    json!({
        "version": flag.version, "definition": flag.definition, "stale": flag.stale, "stale_at": flag.stale_at, "rollout": rollout,
        "experiments": experiments, "shared": flag.shared, "changes": changes.collect::<Vec<_>>(),
        "refused": last(refused.into_iter().map(|change| json!({"request": change.by, "problem": change.reason})).collect(), 16),
    })
}

/// The same from the projection's row; as many changes and refusals as the state remembers, which keeps both in one list of fifty.
fn of_row(row: &Value, like: &Value) -> Value {
    let what = |change: &Value| match change["what"].as_str().unwrap() {
        "flag_changed" | "shared_changed" => "changed",
        "flag_killed" => "killed",
        "rollout_rolled_back" => "rolled back",
        "rollout_advanced" if change["reason"] == "completed" => "rolled out",
        _ => "rollout advanced",
    };
    let last = |list: &Value, most: &Value| {
        let (list, most) = (list.as_array().cloned().unwrap_or_default(), most.as_array().map_or(0, Vec::len));
        list[list.len().saturating_sub(most)..].to_vec()
    };
    let changes = last(&row["changes"], &like["changes"]).into_iter().zip(like["changes"].as_array().into_iter().flatten()).map(|(change, like)| {
        // A row says what happened by the event's type, which is the same for the last step.
        let what = if like["what"] == "rolled out" && what(&change) == "rollout advanced" { "rolled out" } else { what(&change) };
        json!({"version": change["version"], "at": change["at"], "what": what, "by": change["by"], "reason": change["reason"]})
    });
    let rollout = row["rollout"].as_object().map(|rollout| {
        let running = rollout["state"] == "running";
        json!({
            "id": rollout["id"], "environment": rollout["environment"], "rule": rollout["rule"], "running": running,
            "completed": rollout["state"] == "completed", "treatment": rollout["treatment"], "mismatch": rollout["mismatch"].is_number(),
            "step": running.then(|| rollout["step"].clone()), "held": if running { rollout["held"].clone() } else { Value::Null },
            "evidence": rollout["evidence"],
        })
    });
    let experiments: BTreeMap<&String, Value> = row["experiments"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(id, known)| (id, json!({"statement": known["statement"], "concluded": known["state"] == "concluded"})))
        .collect();
    let or = |value: &Value, otherwise: Value| if value.is_null() { otherwise } else { value.clone() };
    json!({
        "version": row["version"], "definition": row["definition"], "stale": or(&row["stale"], json!(false)), "stale_at": row["stale_at"],
        "rollout": rollout, "experiments": experiments, "shared": or(&row["shared"], json!({})), "changes": changes.collect::<Vec<_>>(),
        "refused": last(&row["refused"], &like["refused"]),
    })
}

#[test]
fn the_projection_and_the_flag_system_fold_the_same_events_into_the_same_flags() {
    let plays: Vec<Play> = (0..CASES).map(Play::of).collect();
    let events: Vec<Event> = plays.iter().flat_map(|play| play.told.clone()).collect();
    let log = MemoryLog::new(1, Faults::default());
    log.ensure_topics(&[TopicSpec { name: TOPIC.to_owned(), partitions: 1, retention: None }]).unwrap();
    write(&log, &events);
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(RocksStore::open(folder.path(), &StoreOptions { cache_bytes: 4 << 20, write_buffer_bytes: 8 << 20, open_files: 64 }).unwrap());
    let mut engine = ProjectionEngine::new(Arc::new(log), store, EngineOptions::default()).unwrap();
    engine.register(FlagsProjection);
    while engine.step() {}
    let mut long = 0;
    for (subject, (flag, _)) in plays.iter().flat_map(|play| &play.flags) {
        let Some(row) = engine.get("flags", subject).unwrap() else {
            assert_eq!(*flag, Flag::default(), "{subject} has no row");
            continue;
        };
        let expected = of_state(flag);
        assert_eq!(of_row(&row, &expected), expected, "{subject}");
        long += usize::from(flag.history.len() == 50);
    }
    let told = |wanted: &str| events.iter().filter(|event| event.get(Attribute::Type) == wanted).count();
    let rolled_back = told("flags.rollout_rolled_back.v1");
    assert!(events.len() > 5_000 && long > 5 && rolled_back > 50, "histories of {} events, {long} flags with many, {rolled_back} rollbacks", events.len());
}
