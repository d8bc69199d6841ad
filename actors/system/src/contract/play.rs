//! One seeded run: live, then replayed from the events alone, decided again, and lived again with states restored at every step.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tol_events::{Attribute, Event, EventTime};

use super::guard::{Cause, Guard};
use super::{Report, Rule, Violation};
use crate::{EffectOutcome, Error, Evolution, Input, State};

/// An input that owns its parts, so that a run can be recorded and played again.
#[derive(Clone, Debug)]
enum Recorded {
    Fact(Event),
    Timer { id: String, subject: String, due: EventTime },
    Effect { request_id: String, subject: String, outcome: EffectOutcome, at: EventTime },
}

impl Recorded {
    /// Hands `call` the input as the runtime would give it.
    fn with<T>(&self, call: impl FnOnce(Input<'_>, &Cause<'_>) -> T) -> T {
        match self {
            Recorded::Fact(event) => {
                let encoded = event.encode();
                let view = encoded.view();
                call(Input::Event(view), &Cause { source: view.source(), id: view.id() })
            }
            Recorded::Timer { id, subject, due } => {
                let source = format!("timer/{subject}");
                call(Input::Timer { id, subject, due: *due }, &Cause { source: &source, id: &format!("{id}@{due}") })
            }
            Recorded::Effect { request_id, subject, outcome, at } => {
                let input = Input::Effect { request_id, subject, outcome, at: *at };
                call(input, &Cause { source: "effect", id: request_id })
            }
        }
    }
}

/// The subjects' states, and what `evolve` asked for that has not come back yet.
#[derive(Default)]
struct Owner {
    states: BTreeMap<String, State>,
    timers: BTreeMap<(String, String), EventTime>,
    effects: BTreeMap<String, (String, EventTime)>,
}

impl Owner {
    /// Decides an input and folds what it led to; with `restored`, through a state that was written and read first.
    fn step(&mut self, guard: &Guard<'_>, input: &Recorded, restored: bool) -> Result<Result<Vec<Event>, Error>, Violation> {
        input.with(|input, cause| {
            let subject = input.subject().to_owned();
            let mut state = match self.states.remove(&subject) {
                Some(state) => state,
                None => guard.empty_state()?,
            };
            if restored {
                state = guard.read(&guard.write(&state)?)?;
            }
            let answer = guard.decide(&state, input, cause)?;
            for event in answer.iter().flatten() {
                let evolution = guard.evolve(&mut state, event)?;
                self.remember(&subject, event, evolution);
            }
            self.states.insert(subject, state);
            Ok(answer)
        })
    }

    /// Folds an own event as a reader of the log does.
    fn fold(&mut self, guard: &Guard<'_>, event: &Event) -> Result<(), Violation> {
        let subject = event.get(Attribute::Subject).to_owned();
        let mut state = match self.states.remove(&subject) {
            Some(state) => state,
            None => guard.empty_state()?,
        };
        let evolution = guard.evolve(&mut state, event)?;
        self.remember(&subject, event, evolution);
        self.states.insert(subject, state);
        Ok(())
    }

    fn remember(&mut self, subject: &str, event: &Event, evolution: Evolution) {
        for timer in evolution.timers {
            let key = (subject.to_owned(), timer.id);
            match timer.due {
                Some(due) => self.timers.insert(key, due),
                None => self.timers.remove(&key),
            };
        }
        if evolution.effect.is_some() {
            let at = EventTime::parse(event.get(Attribute::Time)).unwrap_or_default();
            self.effects.insert(event.get(Attribute::Id).to_owned(), (subject.to_owned(), at));
        }
    }

    /// Every subject's state as bytes. A subject whose events led to nothing equals one that was never seen.
    fn bytes(&self, guard: &Guard<'_>) -> Result<BTreeMap<String, Vec<u8>>, Violation> {
        let empty = guard.write(&guard.empty_state()?)?;
        let mut all = BTreeMap::new();
        for (subject, state) in &self.states {
            let bytes = guard.write(state)?;
            if bytes != empty {
                all.insert(subject.clone(), bytes);
            }
        }
        Ok(all)
    }

    fn next_timer(&mut self, random: &mut ChaCha8Rng) -> Option<Recorded> {
        let ((subject, id), due) = self.timers.iter().choose(random).map(|(key, due)| (key.clone(), *due))?;
        self.timers.remove(&(subject.clone(), id.clone()));
        Some(Recorded::Timer { id, subject, due })
    }

    fn next_effect(&mut self, random: &mut ChaCha8Rng) -> Option<Recorded> {
        let (request_id, (subject, at)) = self.effects.iter().choose(random).map(|(id, request)| (id.clone(), request.clone()))?;
        self.effects.remove(&request_id);
        let outcome = match random.random_range(0..3) {
            0 => EffectOutcome::Failed("the contract suite let it fail".into()),
            1 => EffectOutcome::Completed(serde_json::json!({})),
            _ => EffectOutcome::Completed(serde_json::Value::Null),
        };
        Some(Recorded::Effect { request_id, subject, outcome, at: at.plus_micros(1_000_000) })
    }
}

/// The example as if it had happened to another subject: its id in the subject and wherever the data names it.
pub fn moved_to(example: &Event, suffix: &str) -> Event {
    let mut event = example.clone();
    let subject = example.get(Attribute::Subject);
    let Some((_, old_id)) = subject.split_once('/') else { return event };
    event.set(Attribute::Subject, format!("{subject}{suffix}"));
    event.set(Attribute::Id, format!("{}{suffix}", example.get(Attribute::Id)));
    if let Ok(mut data) = serde_json::from_slice(&example.data) {
        rename(&mut data, old_id, &format!("{old_id}{suffix}"));
        event.data = data.to_string().into_bytes();
    }
    event
}

fn rename(value: &mut serde_json::Value, old: &str, new: &str) {
    match value {
        serde_json::Value::String(text) if text == old => new.clone_into(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| rename(item, old, new)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| rename(field, old, new)),
        _ => {}
    }
}

/// The facts of one run: each example for three subjects, some repeated as they are, some under another id.
fn facts(examples: &[Event], random: &mut ChaCha8Rng, seed: u64) -> Vec<Event> {
    let mut facts: Vec<Event> = Vec::new();
    for suffix in ["", "-b", "-c"] {
        facts.extend(examples.iter().map(|example| moved_to(example, suffix)));
    }
    let mut repeats: Vec<Event> = facts.choose_multiple(random, facts.len().div_ceil(3)).cloned().collect();
    for (index, repeat) in repeats.iter_mut().enumerate() {
        if random.random_bool(0.5) {
            let id = format!("{}-again-{index}", repeat.get(Attribute::Id));
            repeat.set(Attribute::Id, id);
        }
    }
    facts.extend(repeats);
    if seed > 0 {
        facts.shuffle(random); // the first run keeps the examples in their own order, which is likely the natural one
    }
    facts
}

/// What one run did: its inputs with what each led to.
type History = Vec<(Recorded, Result<Vec<Event>, Error>)>;

fn live(guard: &Guard<'_>, examples: &[Event], (seed, most): (u64, usize)) -> Result<(Owner, History), Violation> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut owner = Owner::default();
    let mut history = History::new();
    let mut facts = facts(examples, &mut random, seed).into_iter();
    let mut follow_ups = 0;
    loop {
        let may_follow = follow_ups < most && (facts.len() == 0 || random.random_bool(0.2));
        let follow_up = if may_follow { owner.next_timer(&mut random).or_else(|| owner.next_effect(&mut random)) } else { None };
        follow_ups += usize::from(follow_up.is_some());
        let Some(input) = follow_up.or_else(|| facts.next().map(Recorded::Fact)) else { break };
        let answer = owner.step(guard, &input, false)?;
        history.push((input, answer));
    }
    Ok((owner, history))
}

/// Runs everything for one seed, with so many timers and effects at most.
pub(super) fn run(
    guard: &Guard<'_>,
    examples: &[Event],
    (seed, most): (u64, usize),
    report: &mut Report,
    reached: &mut BTreeSet<String>,
) -> Result<(), Violation> {
    let (owner, history) = live(guard, examples, (seed, most))?;
    for (input, answer) in &history {
        report.inputs += 1;
        report.timers += u64::from(matches!(input, Recorded::Timer { .. }));
        report.effects += u64::from(matches!(input, Recorded::Effect { .. }));
        for event in answer.iter().flatten() {
            report.events += 1;
            reached.insert(event.get(Attribute::Type).to_owned());
        }
    }
    let live_bytes = owner.bytes(guard)?;
    let mut folded = Owner::default();
    for event in history.iter().flat_map(|(_, answer)| answer.iter().flatten()) {
        folded.fold(guard, event)?;
    }
    compare(seed, Rule::ReplayEqualsLive, "folding the emitted events alone", &live_bytes, &folded.bytes(guard)?)?;
    for (what, restored, rule) in
        [("deciding the recorded inputs again", false, Rule::ReplayEqualsLive), ("restoring the state before every input", true, Rule::StateRoundTrip)]
    {
        let mut again = Owner::default();
        for (input, first) in &history {
            let second = again.step(guard, input, restored)?;
            if second != *first {
                let detail = format!("seed {seed}, {what}: {input:?} led to {first:?} and then to {second:?}");
                return Err(Violation::new(rule, detail));
            }
        }
        compare(seed, rule, what, &live_bytes, &again.bytes(guard)?)?;
    }
    for (subject, state) in &owner.states {
        let restored = guard.read(&guard.write(state)?)?;
        if guard.observe(state)? != guard.observe(&restored)? || guard.observe(state)? != guard.observe(&guard.copy(state)?)? {
            return Err(Violation::new(Rule::StateRoundTrip, format!("seed {seed}: {subject} shows something else once written and read, or copied")));
        }
    }
    Ok(())
}

fn compare(seed: u64, rule: Rule, what: &str, live: &BTreeMap<String, Vec<u8>>, other: &BTreeMap<String, Vec<u8>>) -> Result<(), Violation> {
    if live == other {
        return Ok(());
    }
    let subjects: BTreeSet<&String> = live.keys().chain(other.keys()).collect();
    let differing = subjects.into_iter().find(|subject| live.get(*subject) != other.get(*subject));
    let text = |states: &BTreeMap<String, Vec<u8>>| {
        let bytes = differing.and_then(|subject| states.get(subject));
        bytes.map_or("the empty state".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let subject = differing.map_or("", String::as_str);
    Err(Violation::new(rule, format!("seed {seed}, {what} gives another state of {subject}: {} live, {} then", text(live), text(other))))
}
