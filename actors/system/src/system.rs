//! [`System`]: the rules of a system, as two pure functions and a description.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tol_events::{EventTime, EventView};

/// Why an input could not be decided, or an own event not be folded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input's data does not have the shape that its type promises.
    #[error("{event_type} {id}: {problem}; mend the sender or add an upcaster, then redrive")]
    Malformed {
        /// The input's type.
        event_type: String,
        /// The input's id.
        id: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A rule of the business forbids the input.
    #[error("{0}")]
    Refused(String),
    /// `evolve` met an own event of a type or version that it does not know. The partition stops; nothing is skipped.
    #[error("own event of unknown type {0}; run a version that knows it")]
    UnknownOwnEvent(String),
}

impl Error {
    /// Makes an [`Error::Malformed`] of an event whose data serde refused.
    pub fn malformed(event: &EventView<'_>, problem: impl std::fmt::Display) -> Self {
        Error::Malformed { event_type: event.event_type().to_owned(), id: event.id().to_owned(), problem: problem.to_string() }
    }
}

/// One topic that a system reads, and the event types that it decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputSpec {
    /// The topic. Each of its partitions is read by the owner of the same number.
    pub topic: &'static str,
    /// Prefixes of the event types that are decided; of others only the position is recorded. Empty means all types.
    pub types: &'static [&'static str],
}

impl InputSpec {
    /// Tells whether events of this type are decided.
    pub fn wants(&self, event_type: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|prefix| event_type.starts_with(prefix))
    }
}

/// Describes a system to supervision, routing and people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// The folder's name, e.g. `revenue-agent-system`; its topic is `<name>.events`.
    pub name: &'static str,
    /// The tier, from 1 (hub) to 7 (research).
    pub tier: u8,
    /// Version of the code that decides; every claim of a partition carries it.
    pub code_version: &'static str,
    /// Version of `evolve` and of the state. A node with another version folds a new cache beside the old one.
    pub state_version: u32,
    /// What it really does, in one sentence.
    pub about: &'static str,
    /// The topics that it reads.
    pub inputs: Vec<InputSpec>,
    /// The event types that it emits, with version.
    pub emits: &'static [&'static str],
    /// Systems that must run for this one to run.
    pub depends_on: &'static [&'static str],
    /// The share of time that it is meant to be up, e.g. 0.9999.
    pub uptime_target: f64,
}

/// An input to decide.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// An event of a topic that the system reads, upcast to the newest version that the platform knows.
    Event(EventView<'a>),
    /// A timer that `evolve` set is due.
    Timer {
        /// The timer's name, unique in its subject.
        id: &'a str,
        /// The subject for which it was set.
        subject: &'a str,
        /// When it was due, which is the time of the events that it leads to.
        due: EventTime,
    },
    /// An effect ended.
    Effect {
        /// The id of the event that requested the effect.
        request_id: &'a str,
        /// The subject for which it was requested.
        subject: &'a str,
        /// How it ended.
        outcome: &'a EffectOutcome,
        /// When it ended.
        at: EventTime,
    },
}

impl<'a> Input<'a> {
    /// Gives the subject whose state is read: the event's `target` if it has one, else its subject.
    pub fn subject(&self) -> &'a str {
        match self {
            Input::Event(event) => event.target().unwrap_or_else(|| event.subject()),
            Input::Timer { subject, .. } | Input::Effect { subject, .. } => subject,
        }
    }

    /// Gives the input's own time, which is "now" for `decide`.
    pub fn time(&self) -> EventTime {
        match self {
            Input::Event(event) => event.time().or_else(|| event.recorded_time()).unwrap_or_default(),
            Input::Timer { due, .. } => *due,
            Input::Effect { at, .. } => *at,
        }
    }
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectOutcome {
    /// The effect succeeded, with the runner's result.
    Completed(serde_json::Value),
    /// The effect failed for good, with the reason.
    Failed(String),
}

/// An event that `decide` emits. The runtime adds id, source, correlation, causation and numbering, and seals its personal fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The type with its version, which [`Description::emits`] must list.
    pub event_type: &'static str,
    /// The data, as JSON.
    pub data: Vec<u8>,
    /// When it happened; `None` is the input's time.
    pub time: Option<EventTime>,
    /// Another subject for which the event is meant: it becomes an input of systems at that subject's owner.
    pub target: Option<String>,
    /// The person whose key seals its personal fields, where that is not the event's subject: `kind/id`.
    pub person: Option<String>,
}

/// Collects the events that `decide` emits, and gives it seeded randomness.
#[derive(Debug, Default)]
pub struct Decision {
    drafts: Vec<Draft>,
    /// The bytes whose hash is the seed. Few decisions draw a number, so only those hash it.
    seeded_by: Vec<u8>,
    error: Option<Error>,
}

impl Decision {
    /// Begins the decision of one input of one system. The seed is hash(system, cause).
    pub fn new(system: &str, cause_source: &str, cause_id: &str) -> Self {
        let parts = [system, cause_source, cause_id];
        let mut seeded_by = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
        for part in parts {
            seeded_by.extend_from_slice(&(part.len() as u64).to_le_bytes());
            seeded_by.extend_from_slice(part.as_bytes());
        }
        Self { drafts: Vec::new(), seeded_by, error: None }
    }

    /// Emits an event about the input's subject. The returned draft takes another time, a target or a person.
    pub fn emit<T: Serialize>(&mut self, event_type: &'static str, data: &T) -> &mut Draft {
        let data = serde_json::to_vec(data).unwrap_or_else(|problem| {
            self.error = Some(Error::Refused(format!("{event_type} does not serialise: {problem}")));
            Vec::new()
        });
        self.drafts.push(Draft { event_type, data, time: None, target: None, person: None });
        let last = self.drafts.len() - 1;
        &mut self.drafts[last]
    }

    /// Makes a generator seeded by hash(system, cause, purpose), which draws the same numbers at every replay.
    pub fn random(&self, purpose: &str) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(*blake3::keyed_hash(blake3::hash(&self.seeded_by).as_bytes(), purpose.as_bytes()).as_bytes())
    }

    /// Gives the emitted events.
    ///
    /// # Errors
    /// An emitted event did not serialise.
    pub fn finish(self) -> Result<Vec<Draft>, Error> {
        self.error.map_or(Ok(self.drafts), Err)
    }
}

/// A timer that `evolve` sets, moves or cancels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerRequest {
    /// The timer's name, unique in the subject. Setting it again moves the timer.
    pub id: String,
    /// When it is due; `None` cancels it.
    pub due: Option<EventTime>,
}

/// An effect that an own event requests. The event's type ends in `requested`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct EffectRequest {
    /// The name of the runner, e.g. `http`.
    pub runner: String,
    /// What the runner needs.
    pub payload: serde_json::Value,
}

/// Collects the timers and the effect that `evolve` asks for while it folds one own event.
#[derive(Debug, Default)]
pub struct Evolution {
    /// Timers set and cancelled, in order.
    pub timers: Vec<TimerRequest>,
    /// The effect that this event requests. The event's id is its idempotency key.
    pub effect: Option<EffectRequest>,
}

impl Evolution {
    /// Sets or moves the timer `id` of this subject.
    pub fn set_timer(&mut self, id: impl Into<String>, due: EventTime) {
        self.timers.push(TimerRequest { id: id.into(), due: Some(due) });
    }

    /// Cancels the timer `id` of this subject.
    pub fn cancel_timer(&mut self, id: impl Into<String>) {
        self.timers.push(TimerRequest { id: id.into(), due: None });
    }

    /// Requests an effect. The runner gets `payload` once this event is read back as accepted.
    pub fn request_effect(&mut self, runner: impl Into<String>, payload: serde_json::Value) {
        self.effect = Some(EffectRequest { runner: runner.into(), payload });
    }
}

/// Describes a query that a system answers from one subject's state: `GET /systems/{name}/queries/{query}?subject=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QuerySpec {
    /// Its name in the path: lower-case letters, digits and hyphens.
    pub name: &'static str,
    /// What it answers, in one sentence.
    pub about: &'static str,
    /// An example of a subject.
    pub subject: &'static str,
    /// Its parameters; each may be left out.
    pub parameters: &'static [QueryParameter],
}

/// Describes a parameter of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QueryParameter {
    /// Its name.
    pub name: &'static str,
    /// What it does, and what holds where it is left out.
    pub about: &'static str,
    /// A valid value.
    pub example: &'static str,
    /// The form of its values: a regular expression of JSON Schema, anchored at both ends; empty where any text is valid.
    pub pattern: &'static str,
}

/// Given parameters by name; only those that the query declares.
pub type Parameters = std::collections::BTreeMap<String, String>;

/// Why a query was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The system has no query of that name.
    #[error("there is no query {0}")]
    Unknown(String),
    /// A parameter's value is not valid.
    #[error("{name} {problem}")]
    Parameter {
        /// The parameter.
        name: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// The rules of a supervised system. `decide` and `evolve` are pure: no clock, no I/O, no randomness but [`Decision::random`], no order of a `HashMap`.
pub trait System: Send + Sync + 'static {
    /// What the system remembers about one subject: the fold of its own events with that subject. `Default` is the state of an unknown subject.
    type State: Default + Clone + Serialize + DeserializeOwned + Send + 'static;

    /// Describes the system.
    fn describe(&self) -> Description;

    /// Gives the settings that `decide` depends on, as canonical JSON, whose hash every claim carries. Leave secrets out.
    fn configuration(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Decides one input from the state of the input's subject.
    ///
    /// # Errors
    /// The runtime tries the input again, then parks it with this error. Nothing that was emitted is kept.
    fn decide(&self, state: &Self::State, input: Input<'_>, decision: &mut Decision) -> Result<(), Error>;

    /// Folds one of the system's own events into the state of the event's subject. It must not depend on settings.
    ///
    /// # Errors
    /// The partition stops, because its log cannot be folded.
    fn evolve(&self, state: &mut Self::State, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error>;

    /// Shows people a subject's state, in `GET /systems/{name}?subject=`.
    fn observe(&self, state: &Self::State) -> serde_json::Value {
        serde_json::to_value(state).unwrap_or_default()
    }

    /// Lists the queries that it answers about a subject.
    fn queries(&self) -> &'static [QuerySpec] {
        &[]
    }

    /// Answers one of [`System::queries`] from a subject's state. It is pure.
    ///
    /// # Errors
    /// The query is unknown, or a parameter is not valid.
    fn query(&self, _state: &Self::State, query: &str, _parameters: &Parameters) -> Result<serde_json::Value, QueryError> {
        Err(QueryError::Unknown(query.to_owned()))
    }

    /// Makes valid example inputs, from which the contract suite builds its runs. At least one must lead to an event.
    fn examples(&self) -> Vec<tol_events::Event>;
}
