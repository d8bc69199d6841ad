//! Calls into a system that turn a panic into a [`Violation`], and decisions into events as the runtime does.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tol_events::{Attribute, Event, id};

use super::{MAX_GROUP, Rule, Violation};
use crate::{AnySystem, Decision, Description, Draft, Error, Evolution, Input, Parameters, QueryError, QuerySpec, State};

/// What identifies an input: from it and the system the ids of what it leads to are derived.
pub(super) struct Cause<'a> {
    pub(super) source: &'a str,
    pub(super) id: &'a str,
}

pub(super) struct Guard<'s> {
    pub(super) system: &'s dyn AnySystem,
    pub(super) description: Description,
}

/// Runs `call`; a panic in it breaks [`Rule::NoPanic`].
fn caught<T>(what: &dyn Fn() -> String, call: impl FnOnce() -> T) -> Result<T, Violation> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Violation::new(Rule::NoPanic, format!("{} panicked: {}", what(), said.unwrap_or_default()))
    })
}

impl<'s> Guard<'s> {
    pub(super) fn new(system: &'s dyn AnySystem) -> Result<Self, Violation> {
        let description = caught(&|| "describe".into(), || system.describe())?;
        Ok(Self { system, description })
    }

    pub(super) fn examples(&self) -> Result<Vec<Event>, Violation> {
        caught(&|| "examples".into(), || self.system.examples())
    }

    pub(super) fn empty_state(&self) -> Result<State, Violation> {
        caught(&|| "the empty state".into(), || self.system.empty_state())
    }

    pub(super) fn configuration(&self) -> Result<serde_json::Value, Violation> {
        caught(&|| "configuration".into(), || self.system.configuration())
    }

    pub(super) fn copy(&self, state: &State) -> Result<State, Violation> {
        caught(&|| "copying a state".into(), || self.system.copy_state(state))
    }

    pub(super) fn write(&self, state: &State) -> Result<Vec<u8>, Violation> {
        caught(&|| "write_state".into(), || self.system.write_state(state))?.map_err(|problem| Violation::new(Rule::StateRoundTrip, problem))
    }

    pub(super) fn read(&self, bytes: &[u8]) -> Result<State, Violation> {
        caught(&|| "read_state".into(), || self.system.read_state(bytes))?
            .map_err(|problem| Violation::new(Rule::StateRoundTrip, format!("{problem}: {}", String::from_utf8_lossy(bytes))))
    }

    pub(super) fn observe(&self, state: &State) -> Result<serde_json::Value, Violation> {
        caught(&|| "observe".into(), || self.system.observe(state))
    }

    pub(super) fn queries(&self) -> Result<&'static [QuerySpec], Violation> {
        caught(&|| "queries".into(), || self.system.queries())
    }

    pub(super) fn query(&self, state: &State, query: &str, parameters: &Parameters) -> Result<Result<serde_json::Value, QueryError>, Violation> {
        caught(&|| format!("query {query} with {parameters:?}"), || self.system.query(state, query, parameters))
    }

    /// Decides once. The outer error is a violation, the inner one the system's own answer.
    fn decide_once(&self, state: &State, input: Input<'_>, cause: &Cause<'_>) -> Result<Result<Vec<Draft>, Error>, Violation> {
        let mut decision = Decision::new(self.description.name, cause.source, cause.id);
        let answer = caught(&|| format!("decide of {}", named(&input, cause)), || self.system.decide(state, input, &mut decision))?;
        Ok(answer.and_then(|()| decision.finish()))
    }

    /// Decides twice from copies of the state, compares, and makes events of the drafts. What a failing decision emitted is not kept.
    pub(super) fn decide(&self, state: &State, input: Input<'_>, cause: &Cause<'_>) -> Result<Result<Vec<Event>, Error>, Violation> {
        let before = self.write(state)?;
        let first = self.decide_once(state, input, cause)?;
        let second = self.decide_once(&self.read(&before)?, input, cause)?;
        if first != second {
            let detail = format!("{} decided twice from the same state: {} and then {}", named(&input, cause), shown(&first), shown(&second));
            return Err(Violation::new(Rule::Determinism, detail));
        }
        if self.write(state)? != before {
            return Err(Violation::new(Rule::DecideIsPure, format!("deciding {} changed the state", named(&input, cause))));
        }
        let drafts = match first {
            Ok(drafts) => drafts,
            Err(error) => return Ok(Err(error)),
        };
        self.check_drafts(&drafts, &input, cause)?;
        Ok(Ok(self.events(drafts, &input, cause)))
    }

    fn check_drafts(&self, drafts: &[Draft], input: &Input<'_>, cause: &Cause<'_>) -> Result<(), Violation> {
        if drafts.len() > MAX_GROUP {
            return Err(Violation::new(Rule::Emits, format!("{} led to {} events; at most {MAX_GROUP} make a group", named(input, cause), drafts.len())));
        }
        for draft in drafts {
            if !self.description.emits.contains(&draft.event_type) {
                return Err(Violation::new(Rule::Emits, format!("{} led to {}, which the description does not list", named(input, cause), draft.event_type)));
            }
            if let Err(problem) = serde_json::from_slice::<serde::de::IgnoredAny>(&draft.data) {
                return Err(Violation::new(Rule::Emits, format!("{} led to {} whose data is not JSON: {problem}", named(input, cause), draft.event_type)));
            }
            if draft.target.as_deref().is_some_and(|target| !target.contains('/')) {
                return Err(Violation::new(Rule::Emits, format!("{} led to {} with a target that is not kind/id", named(input, cause), draft.event_type)));
            }
        }
        Ok(())
    }

    fn events(&self, drafts: Vec<Draft>, input: &Input<'_>, cause: &Cause<'_>) -> Vec<Event> {
        let count = drafts.len();
        let name = self.description.name;
        let to_event = |(index, draft): (usize, Draft)| {
            let own_id = id::derived(name, cause.source, cause.id, index as u32).to_string();
            let mut event = Event::new(own_id, format!("/systems/{name}"), draft.event_type, input.subject()).at(draft.time.unwrap_or(input.time()));
            event.set(Attribute::CausationId, cause.id).set(Attribute::InputIndex, format!("{}/{count}", index + 1));
            if let Some(target) = draft.target {
                event.set(Attribute::Target, target);
            }
            event.data = draft.data;
            event
        };
        drafts.into_iter().enumerate().map(to_event).collect()
    }

    /// Folds one own event; the inner error is the system's own answer.
    pub(super) fn evolve_raw(&self, state: &mut State, event: &Event) -> Result<Result<Evolution, Error>, Violation> {
        let encoded = event.encode();
        let mut evolution = Evolution::default();
        let what = || format!("evolve of {} with {}", event.get(Attribute::Type), String::from_utf8_lossy(&event.data));
        let answer = caught(&what, || self.system.evolve(state, encoded.view(), &mut evolution))?;
        Ok(answer.map(|()| evolution))
    }

    /// Folds an event that the system emitted itself, which has to work.
    pub(super) fn evolve(&self, state: &mut State, event: &Event) -> Result<Evolution, Violation> {
        self.evolve_raw(state, event)?.map_err(|problem| {
            let detail = format!("{} {}: {problem}", event.get(Attribute::Type), String::from_utf8_lossy(&event.data));
            Violation::new(Rule::EvolveFoldsOwnEvents, detail)
        })
    }
}

/// An input as a person would look for it.
pub(super) fn named(input: &Input<'_>, cause: &Cause<'_>) -> String {
    match input {
        Input::Event(event) => format!("{} {} of {} with {}", event.event_type(), event.id(), event.subject(), String::from_utf8_lossy(event.data())),
        Input::Timer { id, subject, due } => format!("timer {id} of {subject} due {due}"),
        Input::Effect { subject, outcome, .. } => format!("effect {} of {subject} ended {outcome:?}", cause.id),
    }
}

fn shown(answer: &Result<Vec<Draft>, Error>) -> String {
    match answer {
        Err(error) => format!("the error \"{error}\""),
        Ok(drafts) => {
            let texts: Vec<String> = drafts.iter().map(|draft| format!("{} {}", draft.event_type, String::from_utf8_lossy(&draft.data))).collect();
            format!("[{}]", texts.join(", "))
        }
    }
}
