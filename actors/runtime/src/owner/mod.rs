//! [`Owner`]: one partition of one system as a state machine without I/O (rules E1 to E11).
//!
//! It takes records, acknowledgements, results and the time, and returns [`Action`]s, which a shell ([`crate::driver`]) carries out.
//!
//! * `cache` — the states of subjects, and the overlay of what is not committed
//! * `commit` — claims the partition, cuts batches, takes the log's answers
//! * `covering` — finds the own position that covers an input, for read-your-writes
//! * `decide` — turns inputs into groups of own events
//! * `digest` — hashes all states of a system
//! * `follow` — follows its own topic while it is not active
//! * `inputs` — inputs that wait to be decided
//! * `fold` — folds own events that are read back into the cache
//! * `options` — limits, and why an owner ends
//! * `parking` — parks inputs that failed
//! * `redrive` — redrives and discards parked inputs
//! * `shared` — takes inputs from shared readers
//! * `letters` — reads parked inputs without an owner

mod cache;
mod commit;
mod covering;
mod decide;
mod digest;
mod fold;
mod follow;
mod inputs;
mod letters;
mod mutation;
mod options;
mod parking;
mod redrive;
mod shared;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tol_events::EventTime;
use tol_events::personal::KeyStore;
use tol_kafka::{Append, Batch, Cursor, Position, Reader, Record, TopicPartition};
use tol_system::{AnySystem, Description, EffectOutcome, Parameters, QueryError};

pub(crate) use cache::rows_prefix;
pub use cache::{Cache, DueTimer, Meta, PendingEffect, Positions};
pub use covering::Uncovered;
pub use digest::{DigestError, StateDigest, digest_states};
pub(crate) use fold::panic_text;
pub use letters::{count_parked, read_parked};
#[cfg(test)]
pub(crate) use mutation::without;
pub(crate) use mutation::{Mutation, breaks};
pub use options::{Error, Options, inputs_under_other};
pub use parking::{Parked, Recorded};
pub use redrive::{Answered, Redrive, Redriven, Stayed};
pub(crate) use shared::{is_shared, recipient};

use crate::control::{ControlGate, DecisionSlot};
use crate::store::Store;
use crate::writer::{Identity, Phase, Writer};

/// Time and permission at one step.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic milliseconds.
    pub now_ms: u64,
    /// Wall clock, for `recordedtime` only.
    pub wall: EventTime,
    /// The emergency stop is engaged: nothing is decided.
    pub stopped: bool,
}

/// Identifies a request that waits for an answer.
pub type Ticket = u64;

/// What the shell is to do.
#[derive(Debug)]
pub enum Action {
    /// Hand this to the log; answer with [`Owner::appended`] and this number.
    Append(u64, Append),
    /// Hand this claim to the log; answer with [`Owner::claimed`] and this number.
    Claim(u64, Append),
    /// Run this effect (again, if it ran before), and offer its result to [`Owner::effect_ended`] until it is settled.
    StartEffect(String, PendingEffect),
    /// The result of this effect is committed, or the effect is no longer pending: its result need not be offered any more.
    EffectSettled(String),
    /// Copy a parked input to the dead-letter topic, for people.
    DeadLetter(Box<Parked>),
    /// What was asked is committed, or refused.
    Answer(Ticket, Result<Answered, String>),
    /// The own position below which everything lies that was decided from the input asked about; or why that cannot be said.
    Covered(Ticket, Result<Position, Uncovered>),
}

/// One accepted input, waiting to be decided.
#[derive(Debug)]
enum Waiting {
    /// Event `index` of a batch; `after` is where its partition goes on.
    Event { batch: Arc<Batch>, index: usize, after: Cursor, shared: bool },
    /// `count` records that count for nothing moved the position.
    Moved { partition: TopicPartition, after: Cursor, count: u64, shared: bool },
    /// An effect ended.
    Effect { request_id: String, outcome: EffectOutcome, at: EventTime },
}

impl Waiting {
    /// Whether it came from a shared reader.
    fn is_shared(&self) -> bool {
        matches!(self, Waiting::Event { shared: true, .. } | Waiting::Moved { shared: true, .. })
    }
}

/// A batch being built or in flight.
#[derive(Debug, Default)]
struct Building {
    records: Vec<Record>,
    effects: Vec<(String, PendingEffect)>,
    /// Requests of effects whose results it holds.
    settled: Vec<String>,
    dead_letters: Vec<Parked>,
    answers: Vec<(Ticket, Answered)>,
    /// Questions which own position covers an input, answered with the batch's end.
    covers: Vec<Ticket>,
    last_id: String,
    /// How many records it had when it was cut.
    events: u64,
}

/// What an owner did so far, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Inputs decided or passed over.
    pub consumed: u64,
    /// Own events committed.
    pub emitted: u64,
    /// Inputs parked.
    pub parked: u64,
    /// Tries that failed.
    pub failures: u64,
    /// Claims made.
    pub claims: u64,
    /// Microseconds spent in `decide`.
    pub decide_micros: u64,
}

/// Hash of a system's configuration, part of every claim.
pub fn configuration_hash(system: &dyn AnySystem) -> String {
    blake3::hash(system.configuration().to_string().as_bytes()).to_hex()[..16].to_owned()
}

/// One partition of one system.
pub struct Owner {
    system: Arc<dyn AnySystem>,
    description: Description,
    partition: u32,
    options: Options,
    cache: Cache,
    /// As committed; while following, as folded, which may be ahead of what is written.
    meta: Meta,
    /// Records of its own topic were read since the last write.
    unwritten: bool,
    writer: Writer,
    /// Whether this node is to own the partition.
    assigned: bool,
    claim_position: Option<Position>,
    /// Readers of its own.
    readers: BTreeMap<TopicPartition, Reader>,
    /// Inputs for which it is a member of a shared reader, and how far it was told that one is.
    joined: BTreeMap<TopicPartition, Cursor>,
    waiting: VecDeque<Waiting>,
    /// How many of those came from shared readers.
    shared_waiting: usize,
    /// Requests of effects whose results are among `waiting`: results are offered more than once.
    results: BTreeSet<String>,
    /// Positions as decided so far; what is ahead of `meta.inputs` has not been recorded.
    positions: Positions,
    /// Positions as the groups decided so far record them: what a batch that is cut now commits (E8).
    recorded: Positions,
    /// Batches in which a group begins that is not whole yet.
    kept: BTreeMap<TopicPartition, Vec<Arc<Batch>>>,
    moved: BTreeSet<TopicPartition>,
    moved_inputs: u64,
    building: Building,
    in_flight: Option<(u64, Building, cache::Cut, Positions)>,
    /// Tries of the input at the front so far, and when the next may be.
    retry: (u32, u64),
    redriving: VecDeque<redrive::Redriving>,
    /// Questions about inputs that are not decided yet; at most [`Options::questions`].
    questions: Vec<covering::Question>,
    actions: Vec<Action>,
    counts: Counts,
    /// Takes the time of each decision; the same for all partitions of the system.
    decision_seconds: metrics::Histogram,
    /// Claims that were lost in a row, for backoff.
    lost: u32,
    claim_at_ms: u64,
    nonce_seed: u64,
    last_problem: Option<String>,
    /// Asked before each decision, so that a stop or a pause does not wait for the end of a batch.
    slot: Option<DecisionSlot>,
    /// Seals the personal fields of own events.
    keys: Option<Arc<dyn KeyStore>>,
}

impl Owner {
    /// Opens the cache of a partition and follows its topic from where the cache ends. `log` is the log's identity; `nonce_seed` must differ
    /// between any two owners that may ever exist (random, or drawn from the simulation's seed).
    ///
    /// # Errors
    /// The store failed.
    pub fn open(
        system: Arc<dyn AnySystem>,
        partition: u32,
        node: &str,
        log: &str,
        store: Arc<dyn Store>,
        options: Options,
        nonce_seed: u64,
    ) -> Result<Self, Error> {
        let mut description = system.describe();
        description.inputs.extend(inputs_under_other(&description.inputs, &options.split_topics));
        let token = format!("{node} {nonce_seed:016x}").into_bytes();
        let (mut cache, mut meta) = Cache::open(system.clone(), partition, store, token)?;
        if meta.log != log {
            // Also where the row did not read: what lies beside it must not be folded into.
            cache.clear()?;
            meta = Meta { log: log.to_owned(), ..Meta::default() };
        }
        let config_hash = configuration_hash(system.as_ref());
        let identity = Identity {
            source: format!("/systems/{}", description.name),
            node: node.to_owned(),
            code_version: description.code_version.to_owned(),
            config_hash,
        };
        let own = TopicPartition::new(format!("{}.events", description.name), partition);
        let decision_seconds = crate::metric_definitions::system_decision_seconds(description.name);
        Ok(Self {
            writer: Writer::new(own, meta.own, identity),
            system,
            description,
            partition,
            options,
            cache,
            positions: meta.inputs.clone(),
            recorded: meta.inputs.clone(),
            kept: BTreeMap::new(),
            meta,
            unwritten: false,
            assigned: false,
            claim_position: None,
            readers: BTreeMap::new(),
            joined: BTreeMap::new(),
            waiting: VecDeque::new(),
            shared_waiting: 0,
            results: BTreeSet::new(),
            moved: BTreeSet::new(),
            moved_inputs: 0,
            building: Building::default(),
            in_flight: None,
            retry: (0, 0),
            redriving: VecDeque::new(),
            questions: Vec::new(),
            actions: Vec::new(),
            counts: Counts::default(),
            decision_seconds,
            lost: 0,
            claim_at_ms: 0,
            nonce_seed,
            last_problem: None,
            slot: None,
            keys: None,
        })
    }

    /// The own topic partition.
    pub fn own(&self) -> &TopicPartition {
        self.writer.partition()
    }

    /// The partition's number.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Id and position of the last own event in the cache, if there is one.
    pub fn last_event(&self) -> Option<(&str, Position)> {
        (!self.meta.last_id.is_empty()).then_some((self.meta.last_id.as_str(), self.meta.last_position))
    }

    /// Where its stand is: following, claiming, active.
    pub fn phase(&self) -> &Phase {
        self.writer.phase()
    }

    /// Counts for metrics.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Why it last gave something up, if it did.
    pub fn last_problem(&self) -> Option<&str> {
        self.last_problem.as_deref()
    }

    /// The own reader's counts of what was not let through.
    pub fn reader(&self) -> &Reader {
        self.writer.reader()
    }

    /// This node is to own the partition (or no more).
    pub fn assign(&mut self, assigned: bool) {
        if self.assigned && !assigned {
            self.give_up("the partition went to another node");
            self.writer.release(self.meta.own);
        }
        self.assigned = assigned;
    }

    /// Makes the owner ask `gate` before each decision, not only between two steps, whether a stop or a pause forbids it.
    pub fn heed(&mut self, gate: &ControlGate) {
        self.slot = Some(gate.decision_slot(self.description.name));
    }

    /// Seals the personal fields of own events with these keys; without any, no event that has such fields is written.
    pub fn seal_with(&mut self, keys: Arc<dyn KeyStore>) {
        self.keys = Some(keys);
    }

    /// Tells whether the owner may decide nothing now.
    fn is_halted(&self) -> bool {
        self.slot.as_ref().is_some_and(DecisionSlot::is_closed)
    }

    /// [`Owner::is_halted`], asked between two decisions.
    fn is_halted_by_now(&self) -> bool {
        self.is_halted() && !self.options.breaks(Mutation::StopHeededLate)
    }

    /// Takes an effect's result, which may be offered more than once: until [`Action::EffectSettled`]. One that is no longer pending is dropped.
    pub fn effect_ended(&mut self, request_id: String, outcome: EffectOutcome, at: EventTime) {
        if self.writer.is_active() && self.results.insert(request_id.clone()) {
            self.waiting.push_back(Waiting::Effect { request_id, outcome, at });
        }
    }

    /// Advances: claims if it should, decides what waits, cuts a batch. Returns what the shell is to do.
    ///
    /// # Errors
    /// The owner ends: the store failed or it lost its cache.
    pub fn step(&mut self, moment: Moment) -> Result<Vec<Action>, Error> {
        if self.assigned && *self.writer.phase() == Phase::Following && moment.now_ms >= self.claim_at_ms {
            self.claim(moment);
        }
        if let Some(position) = self.claim_position
            && self.writer.claim_was_void(position)
        {
            self.claim_position = None;
            if self.options.breaks(Mutation::ClaimNotExclusive) {
                self.writer.activate();
                self.begin()?;
            } else {
                self.claim(moment);
            }
        }
        if self.writer.is_active() {
            if !moment.stopped {
                let _deciding = self.slot.as_ref().map(DecisionSlot::begin);
                if !self.is_halted() {
                    self.redrive_waiting(moment)?;
                    self.decide_waiting(moment)?;
                }
            }
            if !self.questions.is_empty() {
                self.take_up_questions(moment);
            }
            self.cut_batch()?;
        }
        Ok(std::mem::take(&mut self.actions))
    }

    /// When it has something to do although nothing new comes: claim, try an input again, give up a question. On the clock of [`Moment::now_ms`].
    pub fn due_ms(&self) -> Option<u64> {
        if !self.writer.is_active() {
            let claims = self.assigned && *self.writer.phase() == Phase::Following;
            return claims.then_some(self.claim_at_ms);
        }
        let retry = (self.retry.1 > 0 && self.has_waiting()).then_some(self.retry.1);
        [retry, self.questions_due_ms()].into_iter().flatten().min()
    }

    /// Whether anything waits to be decided.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.redriving.is_empty()
    }

    /// Whether nothing waits, is being built or in flight.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.building.records.is_empty() && self.in_flight.is_none() && self.redriving.is_empty()
    }

    /// When the next timer of its partition is due.
    pub(crate) fn next_timer(&self) -> Option<EventTime> {
        self.cache.first_timer().ok().flatten().map(|timer| timer.due)
    }

    /// Input positions as decided so far.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Input positions as committed: those that the log says.
    pub fn recorded(&self) -> &Positions {
        &self.meta.inputs
    }

    /// What people may see of a subject's state, as committed or about to be.
    ///
    /// # Errors
    /// The store failed.
    pub fn observe(&mut self, subject: &str) -> Result<serde_json::Value, Error> {
        let system = self.system.clone();
        Ok(system.observe(self.cache.state(subject)?))
    }

    /// Answers one of the system's queries from a subject's state, as committed or about to be.
    ///
    /// # Errors
    /// The store failed.
    pub fn query(&mut self, subject: &str, query: &str, parameters: &Parameters) -> Result<Result<serde_json::Value, QueryError>, Error> {
        let system = self.system.clone();
        let Some(spec) = system.queries().iter().find(|spec| spec.name == query) else { return Ok(Err(QueryError::Unknown(query.to_owned()))) };
        if let Some(name) = parameters.keys().find(|name| !spec.parameters.iter().any(|parameter| parameter.name == name.as_str())) {
            let known: Vec<&str> = std::iter::once("subject").chain(spec.parameters.iter().map(|parameter| parameter.name)).collect();
            return Ok(Err(QueryError::Parameter { name: name.clone(), problem: format!("is not known; this query takes {}", known.join(", ")) }));
        }
        let state = self.cache.state(subject)?;
        let answered = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| system.query(state, query, parameters)));
        answered.map_err(|_| Error::Internal("a query panicked"))
    }

    /// Subjects it knows, at most `limit`.
    ///
    /// # Errors
    /// The store failed.
    pub fn subjects(&self, limit: usize) -> Result<Vec<String>, Error> {
        self.cache.subjects(limit)
    }
}
