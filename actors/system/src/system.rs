//! The [`System`] trait: two pure functions and a description.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tol_events::{EventTime, EventView};

/// Why an input could not be decided, or an event not be folded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input's data does not have the shape its type promises.
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
    /// `evolve` met a type or version that it does not know: the partition stops, nothing is skipped.
    #[error("own event of unknown type {0}; run a version that knows it")]
    UnknownOwnEvent(String),
}

impl Error {
    /// [`Error::Malformed`] of an event whose data serde refused.
    pub fn malformed(event: &EventView<'_>, problem: impl std::fmt::Display) -> Self {
        Error::Malformed { event_type: event.event_type().to_owned(), id: event.id().to_owned(), problem: problem.to_string() }
    }
}

/// One topic that a system reads, and the types in it that it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputSpec {
    /// The topic; all its partitions, each with the owner of the same number.
    pub topic: &'static str,
    /// Prefixes of the event types that are decided; others only move the position. Empty means all.
    pub types: &'static [&'static str],
}

impl InputSpec {
    /// Whether an event of this type is wanted.
    pub fn wants(&self, event_type: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|prefix| event_type.starts_with(prefix))
    }
}

/// What a system is, for supervision, routing and people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// The folder's name, e.g. `revenue-agent-system`; its topic is `<name>.events`.
    pub name: &'static str,
    /// 1 (hub) to 7 (research).
    pub tier: u8,
    /// Version of the code that decides; part of every claim.
    pub code_version: &'static str,
    /// Version of `evolve`: another one refolds into a new cache beside the old.
    pub state_version: u32,
    /// One sentence on what it really does.
    pub about: &'static str,
    /// What it reads.
    pub inputs: Vec<InputSpec>,
    /// The event types it emits, with version.
    pub emits: &'static [&'static str],
    /// Systems that must run for this one to run.
    pub depends_on: &'static [&'static str],
    /// Share of the time it is meant to be up, e.g. 0.9999.
    pub uptime_target: f64,
}

/// What `decide` is asked to decide.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// An event of a topic the system reads, upcast to the newest version the platform knows.
    Event(EventView<'a>),
    /// A timer that `evolve` set is due.
    Timer {
        /// The name it was set under, unique in its subject.
        id: &'a str,
        /// The subject it was set for.
        subject: &'a str,
        /// When it was due; this is the time of what it leads to.
        due: EventTime,
    },
    /// An effect ended.
    Effect {
        /// The id of the event that requested it.
        request_id: &'a str,
        /// The subject it was requested for.
        subject: &'a str,
        /// How it ended.
        outcome: &'a EffectOutcome,
        /// When.
        at: EventTime,
    },
}

impl<'a> Input<'a> {
    /// The subject whose state is read: the event's `target` if it has one, else its subject.
    pub fn subject(&self) -> &'a str {
        match self {
            Input::Event(event) => event.target().unwrap_or_else(|| event.subject()),
            Input::Timer { subject, .. } | Input::Effect { subject, .. } => subject,
        }
    }

    /// The input's own time; "now" for `decide`.
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
    /// Done, with what came back.
    Completed(serde_json::Value),
    /// Given up, and why.
    Failed(String),
}

/// An event that `decide` wants written. The runtime adds id, source, correlation, causation and numbering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Type with version; must be listed in [`Description::emits`].
    pub event_type: &'static str,
    /// JSON.
    pub data: Vec<u8>,
    /// When it happened; the input's time unless set.
    pub time: Option<EventTime>,
    /// The subject it is meant for, when that is another one: it becomes an input of that subject's owner.
    pub target: Option<String>,
    /// The person whose key seals its personal fields, when that is not its subject.
    pub person: Option<String>,
}

/// Collects what `decide` decided, and gives it seeded randomness.
#[derive(Debug, Default)]
pub struct Decision {
    drafts: Vec<Draft>,
    /// What the seed is the hash of. Few decisions draw anything, so it is hashed where one does.
    seeded_by: Vec<u8>,
    error: Option<Error>,
}

impl Decision {
    /// For one input of one system; the seed is hash(system, cause).
    pub fn new(system: &str, cause_source: &str, cause_id: &str) -> Self {
        let parts = [system, cause_source, cause_id];
        let mut seeded_by = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
        for part in parts {
            seeded_by.extend_from_slice(&(part.len() as u64).to_le_bytes());
            seeded_by.extend_from_slice(part.as_bytes());
        }
        Self { drafts: Vec::new(), seeded_by, error: None }
    }

    /// Emits an event about the input's subject.
    pub fn emit<T: Serialize>(&mut self, event_type: &'static str, data: &T) -> &mut Draft {
        let data = serde_json::to_vec(data).unwrap_or_else(|problem| {
            self.error = Some(Error::Refused(format!("{event_type} does not serialise: {problem}")));
            Vec::new()
        });
        self.drafts.push(Draft { event_type, data, time: None, target: None, person: None });
        let last = self.drafts.len() - 1;
        &mut self.drafts[last]
    }

    /// A generator seeded by hash(system, cause, purpose): the same at every replay.
    pub fn random(&self, purpose: &str) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(*blake3::keyed_hash(blake3::hash(&self.seeded_by).as_bytes(), purpose.as_bytes()).as_bytes())
    }

    /// What was emitted.
    ///
    /// # Errors
    /// When an emitted event did not serialise.
    pub fn finish(self) -> Result<Vec<Draft>, Error> {
        self.error.map_or(Ok(self.drafts), Err)
    }
}

/// A timer that `evolve` asks for, or takes back (`due` is `None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerRequest {
    /// Unique in the subject; setting it again moves it.
    pub id: String,
    /// When, or `None` to cancel.
    pub due: Option<EventTime>,
}

/// An effect that `evolve` finds requested by an event (its type ends in `requested`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct EffectRequest {
    /// Which runner does it, e.g. `http`.
    pub runner: String,
    /// What the runner needs.
    pub payload: serde_json::Value,
}

/// Collects what `evolve` asks of the runtime while it folds one own event.
#[derive(Debug, Default)]
pub struct Evolution {
    /// Timers set and taken back, in order.
    pub timers: Vec<TimerRequest>,
    /// The effect this event requests, with the event's id as idempotency key.
    pub effect: Option<EffectRequest>,
}

impl Evolution {
    /// Sets (or moves) timer `id` of this subject.
    pub fn set_timer(&mut self, id: impl Into<String>, due: EventTime) {
        self.timers.push(TimerRequest { id: id.into(), due: Some(due) });
    }

    /// Takes timer `id` of this subject back.
    pub fn cancel_timer(&mut self, id: impl Into<String>) {
        self.timers.push(TimerRequest { id: id.into(), due: None });
    }

    /// Declares that this event requests an effect.
    pub fn request_effect(&mut self, runner: impl Into<String>, payload: serde_json::Value) {
        self.effect = Some(EffectRequest { runner: runner.into(), payload });
    }
}

/// A question that a system answers from one subject's state: `GET /systems/{name}/queries/{query}?subject=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QuerySpec {
    /// Its name, as it stands in the path: lower case, digits and hyphens.
    pub name: &'static str,
    /// One sentence on what is answered.
    pub about: &'static str,
    /// An example of a subject it is asked about.
    pub subject: &'static str,
    /// What may be given besides; all of it may be left out.
    pub parameters: &'static [QueryParameter],
}

/// A parameter of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QueryParameter {
    /// Its name.
    pub name: &'static str,
    /// What it does, and what holds without it.
    pub about: &'static str,
    /// A value that is valid.
    pub example: &'static str,
    /// What its values look like: a regular expression of JSON Schema, anchored at both ends; empty where any text will do.
    pub pattern: &'static str,
}

/// Parameters as they were given, by name; only those that the query declares.
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
        /// Which.
        name: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// A supervised system. Both functions are pure: no clock, no I/O, no randomness but [`Decision::random`], no HashMap order.
pub trait System: Send + Sync + 'static {
    /// What it remembers about one subject: the fold of its own events with that subject. `Default` is "nothing yet".
    type State: Default + Clone + Serialize + DeserializeOwned + Send + 'static;

    /// What it is.
    fn describe(&self) -> Description;

    /// Its configuration as canonical JSON; its hash is part of every claim. Secrets never belong here.
    fn configuration(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Decides one input from the state of the input's subject.
    ///
    /// # Errors
    /// Retried, then parked with this error; nothing it emitted is kept.
    fn decide(&self, state: &Self::State, input: Input<'_>, decision: &mut Decision) -> Result<(), Error>;

    /// Folds one of its own events into its subject's state. Never reads configuration.
    ///
    /// # Errors
    /// Stops the partition: the log cannot be folded.
    fn evolve(&self, state: &mut Self::State, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error>;

    /// What people may see of a subject's state; shown by `GET /systems/{name}?subject=`.
    fn observe(&self, state: &Self::State) -> serde_json::Value {
        serde_json::to_value(state).unwrap_or_default()
    }

    /// The questions it answers about a subject.
    fn queries(&self) -> &'static [QuerySpec] {
        &[]
    }

    /// Answers one of [`System::queries`] from a subject's state. Pure, and changes nothing.
    ///
    /// # Errors
    /// [`QueryError`].
    fn query(&self, _state: &Self::State, query: &str, _parameters: &Parameters) -> Result<serde_json::Value, QueryError> {
        Err(QueryError::Unknown(query.to_owned()))
    }

    /// Valid example inputs, from which the contract suite builds its runs. At least one must lead to an event.
    fn examples(&self) -> Vec<tol_events::Event>;
}
