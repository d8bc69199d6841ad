//! What clients of a run tell the flag system: few flags, few rollouts and few experiments, so that what is told collides.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use tol_events::{Event, EventTime};

/// What a run draws once.
struct Run {
    /// When the facts begin.
    start: EventTime,
    /// How often a bandit weighs, so that a run that begins hours ago does not weigh all day.
    every_millis: u64,
    flags: u32,
}

/// The facts of a run, in the order in which they happened.
pub(crate) fn facts(random: &mut ChaCha8Rng, start: EventTime) -> Vec<Event> {
    // What waits an hour is looked at again in runs that begin hours ago.
    let ago = if random.random_bool(0.3) { random.random_range(0..9_000_000_000) } else { 0 };
    let every_millis = if ago > 0 { 3_600_000 } else { 60_000 };
    let run = Run { start: start.plus_micros(-ago), every_millis, flags: random.random_range(1..=2) };
    let count = random.random_range(20..60);
    (0..count).map(|number| fact(random, &run, number)).collect()
}

fn fact(random: &mut ChaCha8Rng, run: &Run, number: i64) -> Event {
    let key = format!("f{}", random.random_range(0..run.flags));
    // A flag has to be there before anything can happen to it.
    let kind = if number < 3 { 0 } else { random.random_range(0..100) };
    let (event_type, data) = match kind {
        0..20 => ("change_requested", change(random, run, &key)),
        20..26 => ("kill_requested", kill(random)),
        26..44 => ("rollout_requested", rollout(random)),
        44..49 => ("rollback_requested", json!({"rollout_id": rollout_id(random), "by": "ada", "reason": "I saw something"})),
        49..65 => ("metrics_observed", metrics(random)),
        65..84 => ("counts_reported", counts(random)),
        84..91 => ("experiment_requested", experiment(random, run)),
        91..95 => ("deployment_observed", deployment(random)),
        _ => ("shared_change_requested", shared(random)),
    };
    let (subject, data) = match data {
        Value::Object(data) if event_type == "shared_change_requested" => (format!("flag-set/{}", data["environment"].as_str().unwrap_or_default()), data),
        Value::Object(mut data) => {
            data.insert("key".to_owned(), key.as_str().into());
            (format!("flag/{key}"), data)
        }
        _ => (format!("flag/{key}"), Map::new()),
    };
    let id = format!("g{number}-{}", random.random::<u32>());
    // Senders' clocks differ.
    let at = run.start.plus_micros(number * 20_001 - random.random_range(0..300_000));
    let mut event = Event::new(id, "/shop", format!("flags.{event_type}.v1"), subject).at(at);
    event.data = Value::Object(data).to_string().into_bytes();
    event
}

fn with(mut object: Value, name: &str, value: Option<Value>) -> Value {
    if let (Value::Object(object), Some(value)) = (&mut object, value) {
        object.insert(name.to_owned(), value);
    }
    object
}

fn some<T>(random: &mut ChaCha8Rng, probability: f64, value: impl FnOnce(&mut ChaCha8Rng) -> T) -> Option<T> {
    random.random_bool(probability).then(|| value(random))
}

fn pick<T: Clone>(random: &mut ChaCha8Rng, from: &[T]) -> T {
    from.choose(random).unwrap_or(&from[0]).clone()
}

/// A definition as the flag system writes it: the same text comes back.
fn change(random: &mut ChaCha8Rng, run: &Run, key: &str) -> Value {
    let mut environments = Map::new();
    environments.insert("production".to_owned(), environment(random, run));
    if random.random_bool(0.3) {
        environments.insert("staging".to_owned(), environment(random, run));
    }
    let named = if random.random_bool(0.03) { "another" } else { key };
    let family = if random.random_bool(0.06) { "flagd" } else { "unleash" };
    let definition = json!({"key": named, "type": "boolean", "family": family, "variants": {}, "environments": environments});
    let wanted = json!({"definition": definition, "by": "ada", "reason": "it is time"});
    let base = some(random, 0.15, |random| json!(random.random_range(0..6)));
    let stale = some(random, 0.2, |random| json!(run.start.plus_micros(random.random_range(0..4_000_000))));
    let anew = some(random, 0.04, |_| json!(true));
    with(with(with(wanted, "base_version", base), "stale_at", stale), "anew", anew)
}

fn environment(random: &mut ChaCha8Rng, run: &Run) -> Value {
    let rules = if random.random_bool(0.93) { 1 } else { 2 };
    let rules: Vec<Value> = (0..rules)
        .map(|_| {
            let part = if random.random_bool(0.03) { 20_000 } else { pick(random, &[0, 1_000, 4_800, 4_800, 4_900, 5_000, 10_000]) };
            let salt = if random.random_bool(0.9) { "s" } else { "t" };
            let share = some(random, 0.95, |_| json!({"part": part, "salt": salt}));
            with(json!({"kind": "targeted", "serve": {"serve": "on"}}), "share", share)
        })
        .collect();
    let schedule = some(random, 0.1, |random| {
        let first = run.start.plus_micros(random.random_range(0..3_000_000));
        json!([{"at": first, "enabled": random.random_bool(0.7)}, {"at": first.plus_micros(700_000), "enabled": true}])
    });
    let killed = some(random, 0.03, |_| json!(true));
    with(with(json!({"enabled": random.random_bool(0.93), "rules": rules}), "schedule", schedule), "killed", killed)
}

fn kill(random: &mut ChaCha8Rng) -> Value {
    let environment = some(random, 0.5, |random| json!(pick(random, &["production", "production", "staging", "nowhere"])));
    with(json!({"by": "bob", "reason": "payments fail"}), "environment", environment)
}

fn rollout_id(random: &mut ChaCha8Rng) -> String {
    format!("r{}", random.random_range(0..4))
}

fn rollout(random: &mut ChaCha8Rng) -> Value {
    let (millis, subjects) = (pick(random, &[0, 50, 300, 800]), pick(random, &[1, 20, 100, 150]));
    let step = |treatment: u32| json!({"treatment": treatment, "control": treatment, "minimum_millis": millis, "minimum_subjects": subjects});
    let steps: Vec<Value> = pick(random, &[vec![4_800, 4_900, 5_000], vec![1_000, 4_900, 5_000], vec![4_900]]).into_iter().map(step).collect();
    let guards = if random.random_bool(0.75) { json!([{"metric": "errors", "harm": "increase", "kind": "proportion"}]) } else { json!([]) };
    let environment = if random.random_bool(0.9) { "production" } else { "staging" };
    let rule = u32::from(random.random_bool(0.06));
    let plan = json!({"steps": steps, "guards": guards});
    json!({"rollout_id": rollout_id(random), "environment": environment, "rule": rule, "plan": plan, "by": "ada", "reason": "ready"})
}

/// Subjects and events of (control, treatment): as they should be; or the treatment does harm, or the split is broken.
fn arms(random: &mut ChaCha8Rng, subjects: u64) -> [(u64, u64); 2] {
    let noise = |random: &mut ChaCha8Rng| subjects + random.random_range(0..=subjects / 20);
    let (control, treatment) = (noise(random), noise(random));
    match random.random_range(0..12) {
        0 => [(control, control / 100), (treatment, treatment * 2 / 5)],
        1 => [(3 * control, control / 30), (treatment, treatment / 100)],
        _ => [(control, control / 100), (treatment, treatment / 100)],
    }
}

fn metrics(random: &mut ChaCha8Rng) -> Value {
    let subjects = 150 * random.random_range(1..7);
    let [control, treatment] = arms(random, subjects);
    let counted = |(subjects, events): (u64, u64)| json!({"subjects": subjects, "events": events});
    let errors = json!({"kind": "proportion", "control": counted(control), "treatment": counted(treatment)});
    let metrics = if random.random_bool(0.8) { json!({"errors": errors}) } else { json!({}) };
    let observation = json!({"control_subjects": control.0, "treatment_subjects": treatment.0, "metrics": metrics});
    json!({"rollout_id": rollout_id(random), "observation": observation})
}

fn counts(random: &mut ChaCha8Rng) -> Value {
    let subjects = random.random_range(20..250);
    let [control, treatment] = arms(random, subjects);
    let exposures = json!([{"arm": "disabled", "count": control.0}, {"arm": "enabled", "count": treatment.0}]);
    let errors = |arm: &str, value: u64| json!({"arm": arm, "metric": "errors", "measure": {"kind": "counter", "value": value}});
    let report = json!({"reporter": "shop", "exposures": exposures});
    let measuring = random.random_bool(0.85);
    let environment = some(random, 0.7, |random| json!(pick(random, &["production", "production", "production", "staging"])));
    let measures = measuring.then(|| json!([errors("disabled", control.1), errors("enabled", treatment.1)]));
    with(with(with(report, "environment", environment), "measures", measures), "measuring", measuring.then(|| json!(["errors"])))
}

fn experiment(random: &mut ChaCha8Rng, run: &Run) -> Value {
    let bandit = some(random, 0.3, |_| json!({"policy": "thompson", "floor": 0.1, "every_millis": run.every_millis}));
    let spec = json!({"variations": ["disabled", "enabled"], "metrics": [{"name": "errors", "goal": "increase"}]});
    let details = if random.random_bool(0.8) { with(spec, "bandit", bandit) } else { json!({}) };
    let action = if random.random_bool(0.65) { "start" } else { "conclude" };
    json!({"experiment_id": format!("e{}", random.random_range(0..3)), "action": action, "statement": "people err", "details": details, "by": "ada"})
}

fn deployment(random: &mut ChaCha8Rng) -> Value {
    let what = pick(random, &["started", "succeeded", "succeeded", "failed", "rolled_back", "incident_opened", "incident_resolved"]);
    let service = pick(random, &["web", "api"]);
    let environment = some(random, 0.4, |random| json!(pick(random, &["production", "staging"])));
    let id = some(random, 0.5, |random| json!(pick(random, &["d-1", "d-2"])));
    with(with(json!({"service": service, "what": what}), "environment", environment), "deployment_id", id)
}

fn shared(random: &mut ChaCha8Rng) -> Value {
    let shared = pick(random, &[json!({}), json!({"segments": [{"id": 1}]}), json!({"segments": [{"id": 1}, {"id": 2}]})]);
    let (environment, format) = (pick(random, &["production", "staging"]), pick(random, &["unleash", "growthbook"]));
    json!({"environment": environment, "format": format, "shared": shared, "by": "ada", "reason": "pilots"})
}
