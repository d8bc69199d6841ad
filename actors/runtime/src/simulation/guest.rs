//! A real system as a guest of the simulation: the runtime knows no business, so whoever brings one brings its facts and its model along.
//!
//! A [`Guest`] runs beside the test systems, with the same poison, through the same admission and under the same faults. What it decided is
//! judged twice: by a [`Judge`] that shares no code with it, and by deciding everything again from the log, which must give the same bytes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand_chacha::ChaCha8Rng;
use tol_events::{Attribute, Event, EventTime, EventView};
use tol_kafka::EventLog;
use tol_system::{AnySystem, Decision, Description, Error, Evolution, Input, Parameters, QueryError, QuerySpec, State};

use super::oracle::Recorded;
use super::rules::{Cause, Kind, Poison};
use super::systems::World;

/// What the model of a guest judges: a system, and the facts that it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestReads {
    /// The system's name.
    pub system: &'static str,
    /// The topic of its facts.
    pub topic: &'static str,
    /// What the types of its facts begin with.
    pub types: &'static str,
}

/// A system that takes part.
pub trait Guest: Send + Sync {
    /// The system, made anew as a node makes it.
    fn system(&self) -> Arc<dyn AnySystem>;

    /// Which facts of which topic it decides.
    fn reads(&self) -> GuestReads;

    /// What clients tell it, about subjects of its topic; from `start` on.
    fn facts(&self, random: &mut ChaCha8Rng, start: EventTime) -> Vec<Event>;

    /// A model of one partition that knows nothing yet.
    fn judge(&self) -> Box<dyn Judge>;

    /// What a node runs beside its systems, on its client of the log. It must not draw from the seed, nor have threads.
    ///
    /// # Errors
    /// It does not start.
    fn companion(&self, _node: &str, _log: Arc<dyn EventLog>) -> Result<Option<Box<dyn Companion>>, String> {
        Ok(None)
    }
}

/// What a node runs beside its systems; dropped where the node crashes, and opened again where it starts.
pub trait Companion {
    /// A round; whether there may be more to do.
    ///
    /// # Errors
    /// What must not happen.
    fn step(&mut self) -> Result<bool, String>;

    /// All it made is to be made anew, while everything else goes on.
    fn rebuild(&mut self);

    /// Whether it holds what these events say: of all partitions, those of each in order.
    ///
    /// # Errors
    /// What differs.
    fn check(&mut self, events: &[Recorded]) -> Result<(), String>;
}

/// What led to a group, as the model sees it.
#[derive(Clone, Copy, Debug)]
pub enum Why<'a> {
    /// A fact.
    Fact(&'a Recorded),
    /// A timer of that id, due then (microseconds).
    Timer(&'a str, i64),
}

impl std::fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Fact(fact) => write!(f, "{} {} of {} {}", fact.event_type, fact.id, fact.subject, fact.data),
            Why::Timer(id, due) => write!(f, "timer {id} due {}", EventTime::from_micros(*due)),
        }
    }
}

/// A timer as the events say it is to be: which event says so, its id, when it is due (microseconds), or that it is taken back.
pub type TimerSet = (usize, String, Option<i64>);

/// A plain model of one partition of the guest, folded over what it decided. It shares no code with the guest.
pub trait Judge {
    /// An input of this subject led to these events, and perhaps to none; which timers follow from them.
    ///
    /// # Errors
    /// What is wrong with them.
    fn decided(&mut self, subject: &str, why: Why<'_>, events: &[Recorded]) -> Result<Vec<TimerSet>, String>;

    /// A fact led to nothing, somewhen since the last [`Judge::mark`].
    ///
    /// # Errors
    /// It should have led to something in each state that its subject had since.
    fn passed(&mut self, fact: &Recorded) -> Result<(), String>;

    /// The next fact is decided.
    fn mark(&mut self);
}

/// A real system as nodes run it: poisoned, and watched like the test systems.
struct Hosted {
    kind: Kind,
    inner: Arc<dyn AnySystem>,
    world: Arc<World>,
}

/// A real system for a driver.
pub(super) fn hosted(kind: Kind, inner: Arc<dyn AnySystem>, world: &Arc<World>) -> Arc<dyn AnySystem> {
    Arc::new(Hosted { kind, inner, world: world.clone() })
}

impl AnySystem for Hosted {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    fn configuration(&self) -> serde_json::Value {
        self.inner.configuration()
    }

    fn empty_state(&self) -> State {
        self.inner.empty_state()
    }

    fn copy_state(&self, state: &State) -> State {
        self.inner.copy_state(state)
    }

    fn read_state(&self, bytes: &[u8]) -> Result<State, Error> {
        self.inner.read_state(bytes)
    }

    fn write_state(&self, state: &State) -> Result<Vec<u8>, Error> {
        self.inner.write_state(state)
    }

    fn decide(&self, state: &State, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        let cause = match input {
            Input::Event(event) => Cause::Event { id: event.id().to_owned(), time: input.time().as_micros() },
            Input::Timer { id, subject, due } => Cause::Timer { subject: subject.to_owned(), id: id.to_owned(), due: due.as_micros() },
            Input::Effect { request_id, .. } => Cause::Effect { request: request_id.to_owned() },
        };
        match self.world.meet(self.kind, &cause) {
            Poison::Unfoldable => Err(Error::Refused(format!("{} cannot be folded", cause.name()))),
            Poison::None => self.inner.decide(state, input, decision),
            _ => Err(Error::Refused(format!("{} is poison", cause.name()))),
        }
    }

    fn evolve(&self, state: &mut State, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        let outcome = self.inner.evolve(state, event, evolution);
        // Only where the cache was taken over may an accepted event not fit the state.
        if let (Err(problem), false) = (&outcome, self.world.hung.load(Ordering::Relaxed)) {
            self.world.violation(format!("{} does not fold {} {}: {problem}", self.describe().name, event.event_type(), event.id()));
        }
        outcome
    }

    fn observe(&self, state: &State) -> serde_json::Value {
        self.inner.observe(state)
    }

    fn queries(&self) -> &'static [QuerySpec] {
        self.inner.queries()
    }

    fn query(&self, state: &State, query: &str, parameters: &Parameters) -> Result<serde_json::Value, QueryError> {
        self.inner.query(state, query, parameters)
    }

    fn examples(&self) -> Vec<Event> {
        self.inner.examples()
    }
}

/// Decides again what is in the log, from states folded from the log alone.
pub(super) struct Again {
    system: Arc<dyn AnySystem>,
    name: &'static str,
    states: std::collections::BTreeMap<String, State>,
}

impl Again {
    pub(super) fn new(guest: &dyn Guest) -> Self {
        let system = guest.system();
        Self { name: system.describe().name, system, states: std::collections::BTreeMap::new() }
    }

    /// Whether this input, with this derived cause, leads to these events; and whether folding them asks for these timers.
    pub(super) fn check(&mut self, subject: &str, why: Why<'_>, cause: (&str, &str), events: &[Recorded], timers: &[TimerSet]) -> Result<(), String> {
        let Self { system, name, states } = self;
        let state = states.entry(subject.to_owned()).or_insert_with(|| system.empty_state());
        let mut decision = Decision::new(name, cause.0, cause.1);
        let encoded = match why {
            Why::Fact(fact) => Some(encoded(fact)),
            Why::Timer(..) => None,
        };
        let input = match (why, &encoded) {
            (Why::Timer(id, due), _) => Input::Timer { id, subject, due: EventTime::from_micros(due) },
            (Why::Fact(_), Some(event)) => Input::Event(event.view()),
            (Why::Fact(fact), None) => return Err(format!("{} cannot be written", fact.id)),
        };
        system.decide(state, input, &mut decision).map_err(|problem| format!("{cause:?} was decided, and is refused in a replay: {problem}"))?;
        let drafts = decision.finish().map_err(|problem| problem.to_string())?;
        let told: Vec<(&str, &[u8])> = events.iter().map(|event| (event.event_type.as_str(), event.bytes.as_slice())).collect();
        let again: Vec<(&str, &[u8])> = drafts.iter().map(|draft| (draft.event_type, draft.data.as_slice())).collect();
        if told != again {
            let shown = |list: &[(&str, &[u8])]| list.iter().map(|(of, data)| format!("{of} {}", String::from_utf8_lossy(data))).collect::<Vec<_>>();
            return Err(format!("{cause:?} led to {:?}, and to {:?} in a replay", shown(&told), shown(&again)));
        }
        let mut asked: Vec<TimerSet> = Vec::new();
        for (place, event) in events.iter().enumerate() {
            let mut evolution = Evolution::default();
            system.evolve(state, self::encoded(event).view(), &mut evolution).map_err(|problem| format!("{} does not fold again: {problem}", event.id))?;
            asked.extend(evolution.timers.into_iter().map(|timer| (place, timer.id, timer.due.map(EventTime::as_micros))));
        }
        if asked != timers {
            return Err(format!("{cause:?} asks for the timers {asked:?}, and the model for {timers:?}"));
        }
        Ok(())
    }
}

/// An event of the log as systems read it.
fn encoded(event: &Recorded) -> tol_events::EncodedEvent {
    let mut rebuilt = Event::new(&event.id, &event.source, &event.event_type, &event.subject).at(EventTime::from_micros(event.time));
    if let Some(target) = &event.target {
        rebuilt.set(Attribute::Target, target.clone());
    }
    rebuilt.data.clone_from(&event.bytes);
    rebuilt.encode()
}
