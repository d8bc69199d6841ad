//! What a system without a model must have done: the plain run of the log, in which nothing goes wrong.
//!
//! The system is made anew and decides each input once, in the order in which the log says that they were taken, from states folded from the log
//! alone. Each group must be what that gives: types, data, targets and times, and the timers and effects that folding asks for. An input that led
//! to nothing must lead to nothing in a state that its subject had when it was passed. Sequence, epoch and `recordedtime` are not compared.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tol_events::{EventTime, id};
use tol_kafka::TopicPartition;
use tol_system::{AnySystem, Decision, Description, Draft, EffectOutcome, Evolution, Input, State};

use super::super::rules::Cause;
use super::{Findings, Model, Recorded, Source};

/// How effects ended, by request: the outcome and the time, the same each time that the effect ran.
pub(in crate::simulation) type Ended = BTreeMap<String, (EffectOutcome, EventTime)>;

/// States of one subject, each with the number of groups before it.
type States = Vec<(usize, State)>;

/// The plain run of one partition of one system.
pub(super) struct PlainRun<'a> {
    system: Arc<dyn AnySystem>,
    description: Description,
    ended: &'a Ended,
    states: BTreeMap<String, States>,
    /// Groups so far.
    groups: usize,
    /// Inputs in the order of their topic partition that were not passed yet, and the number of groups when the last one before them was taken.
    behind: BTreeMap<TopicPartition, (usize, VecDeque<&'a Source>)>,
}

impl<'a> PlainRun<'a> {
    pub(super) fn new(system: Arc<dyn AnySystem>, ended: &'a Ended, inputs: &'a BTreeMap<String, Source>) -> Self {
        let mut behind: BTreeMap<TopicPartition, (usize, VecDeque<&Source>)> = BTreeMap::new();
        for source in inputs.values() {
            behind.entry(source.topic_partition.clone()).or_default().1.push_back(source);
        }
        behind.values_mut().for_each(|(_, inputs)| inputs.make_contiguous().sort_by_key(|source| source.event.position));
        Self { description: system.describe(), system, ended, states: BTreeMap::new(), groups: 0, behind }
    }

    /// The states at the end, as they are cached.
    pub(super) fn rows(&self) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let mut rows = BTreeMap::new();
        for (subject, states) in &self.states {
            if let [_, .., (_, last)] = &states[..] {
                rows.insert(subject.clone(), self.system.write_state(last).map_err(|problem| format!("{subject}: {problem}"))?);
            }
        }
        Ok(rows)
    }

    /// What deciding `cause` gives in this state.
    fn decide(&self, state: &State, subject: &str, cause: &Cause, (source, id): (&str, &str), fact: Option<&Recorded>) -> Result<Vec<Draft>, String> {
        let input = match (cause, fact) {
            (Cause::Timer { id, due, .. }, _) => Input::Timer { id, subject, due: EventTime::from_micros(*due) },
            (Cause::Effect { request }, _) => {
                let (outcome, at) = self.ended.get(request).ok_or_else(|| format!("effect {request} settled but never ended"))?;
                Input::Effect { request_id: request, subject, outcome, at: *at }
            }
            (Cause::Event { .. }, Some(fact)) => Input::Event(fact.view()?),
            (Cause::Event { id, .. }, None) => return Err(format!("{id} is not an input")),
        };
        let mut decision = Decision::new(self.description.name, source, id);
        match catch_unwind(AssertUnwindSafe(|| self.system.decide(state, input, &mut decision).and_then(|()| decision.finish()))) {
            Ok(decided) => decided.map_err(|problem| problem.to_string()),
            Err(_) => Err("it panics".to_owned()),
        }
    }

    /// The inputs of a topic partition below this position that led to nothing: each does in a state that its subject had meanwhile.
    pub(super) fn pass(&mut self, of: &TopicPartition, until: u64, was_used: &dyn Fn(&str) -> bool) -> Result<(), String> {
        let Some((since, mut inputs)) = self.behind.remove(of) else { return Ok(()) };
        while let Some(source) = inputs.pop_front_if(|source| source.event.position < until) {
            let event = &source.event;
            if was_used(&event.id) {
                continue;
            }
            let subject = event.target.as_ref().unwrap_or(&event.subject);
            let cause = Cause::Event { id: event.id.clone(), time: event.time };
            let empty = vec![(0, self.system.empty_state())];
            let states = self.states.get(subject).unwrap_or(&empty);
            // A state holds until the next one.
            let held = states.iter().enumerate().filter(|(at, _)| states.get(at + 1).is_none_or(|(next, _)| *next > since));
            let mut led_to = Vec::new();
            let is_silent = held.into_iter().any(|(_, (_, state))| {
                let decided = self.decide(state, subject, &cause, (&event.source, &event.id), Some(event));
                let silent = decided.as_ref().is_ok_and(Vec::is_empty);
                led_to.push(decided.map(|drafts| drafts.into_iter().map(|draft| draft.event_type).collect::<Vec<_>>()));
                silent
            });
            if !is_silent {
                return Err(format!("{} {} of {of}@{} led to nothing under faults, and to {led_to:?} without", event.event_type, event.id, event.position));
            }
        }
        self.behind.insert(of.clone(), (self.groups, inputs));
        Ok(())
    }

    /// [`PlainRun::pass`] of all that is left.
    pub(super) fn pass_all(&mut self, was_used: &dyn Fn(&str) -> bool) -> Result<(), String> {
        let partitions: Vec<TopicPartition> = self.behind.keys().cloned().collect();
        partitions.iter().try_for_each(|of| self.pass(of, u64::MAX, was_used))
    }

    /// A group of any kind comes next.
    pub(super) fn count_group(&mut self) {
        self.groups += 1;
    }

    /// Whether an input fails in the state that its subject has now, so that it is rightly parked.
    pub(super) fn fails(&self, subject: &str, cause: &Cause, of_cause: (&str, &str), fact: Option<&Recorded>) -> bool {
        let empty = self.system.empty_state();
        let state = self.states.get(subject).and_then(|states| states.last()).map_or(&empty, |(_, state)| state);
        match self.decide(state, subject, cause, of_cause, fact) {
            Err(_) => true,
            // What it decides may not be folded, or not be listed, and is then refused as well.
            Ok(drafts) => drafts.iter().any(|draft| !self.description.emits.contains(&draft.event_type)),
        }
    }

    /// Decides an input and folds what it leads to, which must be these events.
    fn step(&mut self, subject: &str, cause: &Cause, of_cause: (&str, &str), fact: Option<&Recorded>, events: &[Recorded]) -> Result<Vec<Evolution>, String> {
        let mut state = match self.states.get(subject).and_then(|states| states.last()) {
            Some((_, state)) => self.system.copy_state(state),
            None => self.system.empty_state(),
        };
        let drafts =
            self.decide(&state, subject, cause, of_cause, fact).map_err(|problem| format!("it was decided under faults, and is refused without: {problem}"))?;
        let time = match cause {
            Cause::Event { time, .. } => *time,
            Cause::Timer { due, .. } => *due,
            Cause::Effect { request } => self.ended.get(request).map_or(0, |(_, at)| at.as_micros()),
        };
        let shown = |event_type: &str, data: &[u8], target: Option<&str>, time: i64| {
            format!(
                "{event_type} {}{} at {}",
                String::from_utf8_lossy(data),
                target.map(|target| format!(" for {target}")).unwrap_or_default(),
                EventTime::from_micros(time)
            )
        };
        let found: Vec<String> = events.iter().map(|event| shown(&event.event_type, &event.bytes, event.target.as_deref(), event.time)).collect();
        let expected: Vec<String> =
            drafts.iter().map(|draft| shown(draft.event_type, &draft.data, draft.target.as_deref(), draft.time.map_or(time, EventTime::as_micros))).collect();
        if found != expected {
            return Err(format!("it led to {found:?} under faults, and to {expected:?} without"));
        }
        let mut evolutions = Vec::new();
        for event in events {
            let mut evolution = Evolution::default();
            self.system
                .evolve(&mut state, event.view()?, &mut evolution)
                .map_err(|problem| format!("{} {} does not fold: {problem}", event.event_type, event.id))?;
            evolutions.push(evolution);
        }
        if !events.is_empty() {
            let states = self.states.entry(subject.to_owned()).or_insert_with(|| vec![(0, self.system.empty_state())]);
            states.push((self.groups, state));
        }
        Ok(evolutions)
    }
}

impl Model<'_> {
    /// Whether a system without a model fails on this input now; `false` of the others.
    pub(super) fn fails_by_itself(&self, subject: &str, cause: &Cause, of_cause: (&str, &str)) -> bool {
        self.plain_run.as_ref().is_some_and(|plain| plain.fails(subject, cause, of_cause, self.fact_of(cause)))
    }

    fn fact_of(&self, cause: &Cause) -> Option<&Recorded> {
        match cause {
            Cause::Event { id, .. } => self.inputs.get(id).map(|source| &source.event),
            Cause::Timer { .. } | Cause::Effect { .. } => None,
        }
    }

    /// What the plain run says of a group of a system without a model.
    pub(super) fn events_of_system(
        &mut self,
        subject: &str,
        cause: &Cause,
        of_cause: (&str, &str),
        events: &[Recorded],
        first_index: u32,
        findings: &mut Findings,
    ) -> Result<(), String> {
        let name = cause.name();
        for (index, event) in events.iter().enumerate() {
            let id = id::derived(self.kind.name(), of_cause.0, of_cause.1, first_index + index as u32).to_string();
            if event.id != id {
                return Err(format!("{name} led to {} instead of {id}", event.id));
            }
        }
        let inputs = self.inputs;
        let fact = match cause {
            Cause::Event { id, .. } => inputs.get(id).map(|source| &source.event),
            Cause::Timer { .. } | Cause::Effect { .. } => None,
        };
        let Some(plain) = &mut self.plain_run else { return Ok(()) };
        let evolutions = plain.step(subject, cause, of_cause, fact, events).map_err(|problem| format!("{name}: {problem}"))?;
        for (event, evolution) in events.iter().zip(evolutions) {
            *findings.emitted.entry(event.event_type.clone()).or_default() += 1;
            for timer in evolution.timers {
                self.set_timer(subject, &timer.id, timer.due.map(|due| (due.as_micros(), event.id.as_str())));
            }
            if evolution.effect.is_some() {
                self.effects.insert(event.id.clone(), subject.to_owned());
                findings.requests.insert(event.id.clone());
            }
        }
        Ok(())
    }
}
