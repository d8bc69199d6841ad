//! A system that decides and folds in memory, without log, clock or threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use tol_events::{Attribute, Event, EventTime, id};
use tol_system::system::Description;
use tol_system::{AnySystem, Decision, Draft, EffectOutcome, EffectRequest, Error, Evolution, Input, State};

/// A system with the states of its subjects, and the timers that they set.
pub(super) struct Deciding {
    pub(super) system: Arc<dyn AnySystem>,
    pub(super) description: Description,
    states: BTreeMap<String, State>,
    /// By subject and id.
    timers: BTreeMap<(String, String), (EventTime, String)>,
}

/// What is decided.
#[derive(Clone, Debug)]
pub(super) enum Cause {
    Event(Event),
    Timer { id: String, subject: String, due: EventTime, correlation: String },
    Effect { request_id: String, subject: String, outcome: EffectOutcome, at: EventTime, correlation: String },
}

/// An effect that an own event requests.
#[derive(Clone, Debug)]
pub(super) struct Requested {
    pub(super) system: usize,
    pub(super) request_id: String,
    pub(super) subject: String,
    pub(super) at: EventTime,
    pub(super) correlation: String,
    pub(super) request: EffectRequest,
}

impl Cause {
    /// The source and id that events name as their cause.
    pub(super) fn name(&self) -> (String, String) {
        match self {
            Cause::Event(event) => (event.get(Attribute::Source).to_owned(), event.get(Attribute::Id).to_owned()),
            Cause::Timer { id, subject, due, .. } => (format!("timer/{subject}"), format!("{id}@{due}")),
            Cause::Effect { request_id, .. } => ("effect".to_owned(), request_id.clone()),
        }
    }

    fn correlation(&self) -> &str {
        match self {
            Cause::Event(event) => match event.get(Attribute::CorrelationId) {
                "" => event.get(Attribute::Id),
                correlation => correlation,
            },
            Cause::Timer { correlation, .. } | Cause::Effect { correlation, .. } => correlation,
        }
    }

    fn with<T>(&self, call: impl FnOnce(Input<'_>) -> T) -> T {
        match self {
            Cause::Event(event) => call(Input::Event(event.encode().view())),
            Cause::Timer { id, subject, due, .. } => call(Input::Timer { id, subject, due: *due }),
            Cause::Effect { request_id, subject, outcome, at, .. } => call(Input::Effect { request_id, subject, outcome, at: *at }),
        }
    }
}

impl Deciding {
    pub(super) fn new(system: Arc<dyn AnySystem>) -> Self {
        Self { description: system.describe(), system, states: BTreeMap::new(), timers: BTreeMap::new() }
    }

    /// Whether it decides events of that type in that topic.
    pub(super) fn wants(&self, topic: &str, event_type: &str) -> bool {
        self.description.inputs.iter().any(|input| input.topic == topic && input.wants(event_type))
    }

    /// A subject's state; the empty one where nothing is known of it.
    pub(super) fn with_state<T>(&self, subject: &str, look: impl FnOnce(&State) -> T) -> T {
        match self.states.get(subject) {
            Some(state) => look(state),
            None => look(&self.system.empty_state()),
        }
    }

    /// Decides and folds: the own events it led to, and the effects that they request.
    pub(super) fn decide(&mut self, number: usize, cause: &Cause) -> Result<(Vec<Event>, Vec<Requested>), Error> {
        let (source, cause_id) = cause.name();
        let mut decision = Decision::new(self.description.name, &source, &cause_id);
        let (subject, time) = cause.with(|input| {
            let subject = input.subject().to_owned();
            self.with_state(&subject, |state| self.system.decide(state, input, &mut decision))?;
            Ok::<_, Error>((subject, input.time()))
        })?;
        let drafts = decision.finish()?;
        let events = self.events(drafts, cause, &subject, time);
        let mut requested = Vec::new();
        for event in &events {
            let evolution = self.evolve(&subject, event)?;
            let correlation = cause.correlation();
            for timer in evolution.timers {
                let key = (subject.clone(), timer.id);
                match timer.due {
                    Some(due) => self.timers.insert(key, (due, correlation.to_owned())),
                    None => self.timers.remove(&key),
                };
            }
            requested.extend(evolution.effect.map(|request| Requested {
                system: number,
                request_id: event.get(Attribute::Id).to_owned(),
                subject: subject.clone(),
                at: EventTime::parse(event.get(Attribute::Time)).unwrap_or(time),
                correlation: correlation.to_owned(),
                request,
            }));
        }
        Ok((events, requested))
    }

    fn evolve(&mut self, subject: &str, event: &Event) -> Result<Evolution, Error> {
        let mut evolution = Evolution::default();
        let state = self.states.entry(subject.to_owned()).or_insert_with(|| self.system.empty_state());
        self.system.evolve(state, event.encode().view(), &mut evolution)?;
        Ok(evolution)
    }

    fn events(&self, drafts: Vec<Draft>, cause: &Cause, subject: &str, time: EventTime) -> Vec<Event> {
        let (name, count) = (self.description.name, drafts.len());
        let (source, cause_id) = cause.name();
        let numbered = drafts.into_iter().enumerate();
        let to_event = |(index, draft): (usize, Draft)| {
            let own_id = id::derived(name, &source, &cause_id, index as u32).to_string();
            let mut event = Event::new(own_id, format!("/systems/{name}"), draft.event_type, subject).at(draft.time.unwrap_or(time));
            event.set(Attribute::CausationId, &*cause_id).set(Attribute::CorrelationId, cause.correlation());
            event.set(Attribute::InputIndex, format!("{}/{count}", index + 1));
            if let Some(target) = draft.target {
                event.set(Attribute::Target, target);
            }
            event.data = draft.data;
            event
        };
        numbered.map(to_event).collect()
    }

    /// The first timer that is due by then; it is gone.
    pub(super) fn next_timer(&mut self, by: EventTime) -> Option<Cause> {
        let first = self.timers.iter().filter(|(_, (due, _))| *due <= by).min_by_key(|(_, (due, _))| *due);
        let ((subject, id), (due, correlation)) = first.map(|(key, value)| (key.clone(), value.clone()))?;
        self.timers.remove(&(subject.clone(), id.clone()));
        Some(Cause::Timer { id, subject, due, correlation })
    }

    /// Forgets a subject.
    pub(super) fn forget(&mut self, subject: &str) {
        self.states.remove(subject);
        self.timers.retain(|(of, _), _| of != subject);
    }
}
