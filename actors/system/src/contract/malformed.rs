//! Examples with damaged data, and own events of unknown type: an error or an answer, never a panic.

use rand::{Rng, RngCore};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde_json::Value;
use tol_events::{Attribute, Event};

use super::guard::{Cause, Guard, named};
use super::{Damage, Report, Rule, Violation};
use crate::{Error, Input, State};

/// Damage that takes the data as a whole.
const WHOLE: [&[u8]; 14] =
    [b"", b" ", b"null", b"true", b"0", b"-1e400", b"\"text\"", b"[]", b"[[[[[[[[]]]]]]]]", b"{}", b"{", b"{\"a\":}", b"\xff\xfe{}", b"not json"];

/// What any value in the data is replaced by, one at a time.
fn replacements() -> Vec<Value> {
    let huge: Value = serde_json::from_str("1e300").unwrap_or_default();
    vec![
        Value::Null,
        Value::Bool(true),
        (-1).into(),
        0.into(),
        i64::MAX.into(),
        i64::MIN.into(),
        u64::MAX.into(),
        0.5.into(),
        huge,
        "".into(),
        "\u{0}".into(),
        "not a time, not a currency".into(),
        "9999-12-31T23:59:59.999999Z".into(),
        "ZZZ".into(),
        "x".repeat(10_000).into(),
        Value::Array(Vec::new()),
        serde_json::json!([1, "two", null]),
        serde_json::json!({}),
        serde_json::json!({"minor": i64::MAX, "currency": "USD"}),
        serde_json::json!({"minor": i64::MIN, "currency": "usd"}),
    ]
}

/// The pointers (RFC 6901) to every value inside `value`.
fn pointers(value: &Value, prefix: &str, found: &mut Vec<String>) {
    let mut visit = |key: String, inner: &Value| {
        let pointer = format!("{prefix}/{}", key.replace('~', "~0").replace('/', "~1"));
        pointers(inner, &pointer, found);
        found.push(pointer);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, inner)| visit(key.clone(), inner)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, inner)| visit(index.to_string(), inner)),
        _ => {}
    }
}

fn removed(value: &Value, pointer: &str) -> Option<Value> {
    let mut copy = value.clone();
    let (parent, key) = pointer.rsplit_once('/')?;
    match copy.pointer_mut(parent)? {
        Value::Object(fields) => fields.remove(&key.replace("~1", "/").replace("~0", "~")),
        Value::Array(items) => Some(items.remove(key.parse().ok()?)),
        _ => None,
    }?;
    Some(copy)
}

/// Every damaged form of an example's data.
fn damaged(example: &Event, damage: Damage, random: &mut ChaCha8Rng) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = WHOLE.iter().map(|bytes| bytes.to_vec()).collect();
    if damage == Damage::AsWhole {
        return all;
    }
    if let Ok(data) = serde_json::from_slice::<Value>(&example.data) {
        let mut found = Vec::new();
        pointers(&data, "", &mut found);
        for pointer in &found {
            all.extend(removed(&data, pointer).map(|value| value.to_string().into_bytes()));
            for replacement in replacements() {
                let mut copy = data.clone();
                if let Some(place) = copy.pointer_mut(pointer) {
                    *place = replacement;
                    all.push(copy.to_string().into_bytes());
                }
            }
        }
    }
    for cut in 1..example.data.len().min(64) {
        all.push(example.data[..example.data.len() - cut].to_vec());
    }
    for _ in 0..32 {
        let mut bytes = vec![0u8; random.random_range(1..200)];
        random.fill_bytes(&mut bytes);
        all.push(bytes);
        let mut flipped = example.data.clone();
        if !flipped.is_empty() {
            let place = random.random_range(0..flipped.len());
            flipped[place] ^= 1 << random.random_range(0..8);
        }
        all.push(flipped);
    }
    all
}

/// Decides every damaged form of every example, from the empty state and from the one all examples led to. One violation an example is enough.
pub(super) fn inputs(guard: &Guard<'_>, examples: &[Event], damage: Damage, report: &mut Report, violations: &mut Vec<Violation>) {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    for example in examples {
        let states = match states_of(guard, examples, example) {
            Ok(states) => states,
            Err(violation) => {
                violations.push(violation);
                return;
            }
        };
        let mut found = None;
        let mut decide = |event: &Event| {
            let Some(problem) = states.iter().find_map(|state| one(guard, state, event, report).err()) else { return };
            found.get_or_insert(problem);
        };
        for data in damaged(example, damage, &mut random) {
            let mut event = example.clone();
            event.data = data;
            decide(&event);
        }
        for attribute in [Attribute::Time, Attribute::Subject, Attribute::DataContentType] {
            for value in ["", "\u{0}", "not/a/subject", "9999-12-31T23:59:59Z"] {
                let mut event = example.clone();
                event.set(attribute, value);
                decide(&event);
            }
            let mut event = example.clone();
            event.unset(attribute);
            decide(&event);
        }
        violations.extend(found);
    }
}

fn states_of(guard: &Guard<'_>, examples: &[Event], example: &Event) -> Result<[State; 2], Violation> {
    let mut state = guard.empty_state()?;
    for other in examples.iter().filter(|other| other.get(Attribute::Subject) == example.get(Attribute::Subject)) {
        let encoded = other.encode();
        let view = encoded.view();
        let answer = guard.decide(&state, Input::Event(view), &Cause { source: view.source(), id: view.id() })?;
        for event in answer.iter().flatten() {
            guard.evolve(&mut state, event)?;
        }
    }
    Ok([guard.empty_state()?, state])
}

fn one(guard: &Guard<'_>, state: &State, event: &Event, report: &mut Report) -> Result<(), Violation> {
    let encoded = event.encode();
    let view = encoded.view();
    let cause = Cause { source: view.source(), id: view.id() };
    report.malformed += 1;
    match guard.decide(state, Input::Event(view), &cause)? {
        Ok(events) => {
            let mut state = guard.copy(state)?;
            for event in &events {
                guard.evolve(&mut state, event)?;
            }
            guard.read(&guard.write(&state)?)?;
            Ok(())
        }
        Err(problem) => {
            report.refused += 1;
            let message = problem.to_string();
            let names_the_input = message.contains(view.id()) || message.contains(view.event_type());
            if matches!(problem, Error::UnknownOwnEvent(_)) || !names_the_input {
                let detail = format!("{}: \"{message}\" names neither its id nor its type", named(&Input::Event(view), &cause));
                return Err(Violation::new(Rule::ErrorsNameTheInput, detail));
            }
            Ok(())
        }
    }
}

/// Own events of a type or version that nobody knows, and known ones whose data does not read.
pub(super) fn unknown_own_events(guard: &Guard<'_>, violations: &mut Vec<Violation>) {
    let source = format!("/systems/{}", guard.description.name);
    let mut unknown = vec!["contract.never_heard_of.v1".to_owned(), String::new()];
    for listed in guard.description.emits {
        if let Some((name, _)) = listed.rsplit_once(".v") {
            unknown.push(format!("{name}.v999999"));
        }
    }
    for event_type in unknown {
        let mut event = Event::new("own", &source, &event_type, "contract/unknown");
        event.data = b"{}".to_vec();
        let answer = guard.empty_state().and_then(|mut state| guard.evolve_raw(&mut state, &event));
        match answer {
            Err(violation) => violations.push(violation),
            Ok(Err(Error::UnknownOwnEvent(named_type))) if named_type == event_type => {}
            Ok(other) => {
                let detail = format!("evolve answered \"{event_type}\" with {other:?}; it has to answer UnknownOwnEvent, so that its partition stops");
                violations.push(Violation::new(Rule::UnknownOwnEvent, detail));
            }
        }
    }
    for listed in guard.description.emits {
        for data in WHOLE {
            let mut event = Event::new("own", &source, *listed, "contract/damaged");
            event.data = data.to_vec();
            let answer = guard.empty_state().and_then(|mut state| guard.evolve_raw(&mut state, &event));
            violations.extend(answer.err());
        }
    }
}
