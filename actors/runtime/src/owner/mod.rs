//! [`Owner`]: one partition of one system as a state machine without I/O (rules E1 to E11).
//!
//! It is told of records, acknowledgements, results and time, and answers with [`Action`]s. A shell ([`crate::driver`]) does them.
//!
//! * `cache` — what it remembers, and the overlay of what is not committed
//! * `decide` — inputs to groups of own events
//! * `fold` — own events read back into the cache
//! * `parking` — inputs that failed, and what operators do about them

mod cache;
mod decide;
mod fold;
mod mutation;
mod parking;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tol_events::{EventTime, id};
use tol_kafka::{Append, Appended, Batch, Cursor, Delivery, Position, Reader, Record, TopicPartition};
use tol_system::{AnySystem, Description, EffectOutcome};

pub use cache::{Cache, DueTimer, Meta, PendingEffect, Positions};
pub(crate) use fold::panic_text;
pub(crate) use mutation::Mutation;
pub use parking::{Parked, Recorded};

use crate::store::Store;
use crate::writer::{Identity, Outcome, Phase, Writer};

/// Why an owner ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store failed, or another owner took the cache (E10).
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// A topic cannot be read on.
    #[error(transparent)]
    Stopped(#[from] tol_kafka::Stop),
    /// The system refused its own state.
    #[error("{0}")]
    System(#[from] tol_system::Error),
    /// An own event cannot be folded: the partition stops, nothing is skipped.
    #[error("{partition} position {position}: {problem}; run a version of the system that can fold it")]
    Fold {
        /// The own partition.
        partition: TopicPartition,
        /// The event's position.
        position: Position,
        /// What the system said.
        problem: String,
    },
    /// A mistake in this program.
    #[error("internal: {0}; please report it")]
    Internal(&'static str),
}

/// Limits of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many partitions every subject-keyed topic has.
    pub partitions: u32,
    /// Tries of an input before it is parked.
    pub attempts: u32,
    /// Wait before the second try, doubled for each further one, in milliseconds.
    pub retry_ms: u64,
    /// Most events one input may lead to (E4: groups are bounded).
    pub group_events: usize,
    /// Most events in one append.
    pub batch_events: usize,
    /// Inputs that led to nothing before their positions are recorded in a checkpoint (E8).
    pub checkpoint_inputs: u64,
    /// Bytes asked for at one read of an input.
    pub read_bytes: usize,
    /// A rule to leave out, so that tests see the simulation notice it.
    #[cfg(test)]
    pub(crate) mutation: Option<Mutation>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partitions: 8,
            attempts: 3,
            retry_ms: 50,
            group_events: 1_000,
            batch_events: 2_000,
            checkpoint_inputs: 20_000,
            read_bytes: 256 * 1024,
            #[cfg(test)]
            mutation: None,
        }
    }
}

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

/// Names whoever waits for an answer.
pub type Ticket = u64;

/// What the shell is to do.
#[derive(Debug)]
pub enum Action {
    /// Hand this to the log; answer with [`Owner::appended`] and this number.
    Append(u64, Append),
    /// Hand this claim to the log; answer with [`Owner::claimed`] and this number.
    Claim(u64, Append),
    /// Run this effect (again, if it ran before), and answer with [`Owner::effect_ended`].
    StartEffect(String, PendingEffect),
    /// Copy a parked input to the dead-letter topic, for people.
    DeadLetter(Box<Parked>),
    /// What was asked is committed, or refused.
    Answer(Ticket, Result<u64, String>),
}

/// One accepted input, waiting to be decided.
#[derive(Debug)]
enum Waiting {
    /// Event `index` of a batch; `after` is where its partition goes on.
    Event { batch: Arc<Batch>, index: usize, after: Cursor },
    /// Records that count for nothing moved the position.
    Moved { partition: TopicPartition, after: Cursor },
    /// An effect ended.
    Effect { request_id: String, outcome: EffectOutcome, at: EventTime },
}

/// A batch being built or in flight.
#[derive(Debug, Default)]
struct Building {
    records: Vec<Record>,
    effects: Vec<(String, PendingEffect)>,
    dead_letters: Vec<Parked>,
    answers: Vec<(Ticket, u64)>,
    last_id: String,
    consumed: u64,
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

/// One partition of one system.
pub struct Owner {
    system: Arc<dyn AnySystem>,
    description: Description,
    partition: u32,
    options: Options,
    cache: Cache,
    /// As committed.
    meta: Meta,
    writer: Writer,
    /// Whether this node is to own the partition.
    assigned: bool,
    paused: bool,
    claim_position: Option<Position>,
    readers: BTreeMap<TopicPartition, Reader>,
    waiting: VecDeque<Waiting>,
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
    redriving: VecDeque<(String, Option<Ticket>, u64)>,
    actions: Vec<Action>,
    counts: Counts,
    /// Claims that were lost in a row, for backoff.
    lost: u32,
    claim_at_ms: u64,
    nonce_seed: u64,
    last_problem: Option<String>,
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
        let description = system.describe();
        let token = format!("{node} {nonce_seed:016x}").into_bytes();
        let (mut cache, mut meta) = Cache::open(system.clone(), partition, store, token)?;
        if meta.log != log {
            // Also where the row did not read: what lies beside it must not be folded into.
            cache.clear()?;
            meta = Meta { log: log.to_owned(), ..Meta::default() };
        }
        let config_hash = blake3::hash(system.configuration().to_string().as_bytes()).to_hex()[..16].to_owned();
        let identity = Identity {
            source: format!("/systems/{}", description.name),
            node: node.to_owned(),
            code_version: description.code_version.to_owned(),
            config_hash,
        };
        let own = TopicPartition::new(format!("{}.events", description.name), partition);
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
            assigned: false,
            paused: false,
            claim_position: None,
            readers: BTreeMap::new(),
            waiting: VecDeque::new(),
            moved: BTreeSet::new(),
            moved_inputs: 0,
            building: Building::default(),
            in_flight: None,
            retry: (0, 0),
            redriving: VecDeque::new(),
            actions: Vec::new(),
            counts: Counts::default(),
            lost: 0,
            claim_at_ms: 0,
            nonce_seed,
            last_problem: None,
        })
    }

    /// Starts over with an empty cache: what it names is not in the log (E10). Call before reading, when the log ends below
    /// [`Owner::read_own_from`] or does not hold [`Owner::last_event`].
    ///
    /// # Errors
    /// The store failed.
    pub fn forget(&mut self) -> Result<(), Error> {
        self.cache.clear()?;
        self.meta = Meta { log: self.meta.log.clone(), ..Meta::default() };
        self.positions.clear();
        self.recorded.clear();
        self.writer.reset(Cursor::default());
        Ok(())
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

    /// Stops deciding until resumed; what is in flight ends.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Where to read its own topic, if it wants to: not while it is active.
    pub fn read_own_from(&self) -> Option<Position> {
        (!self.writer.is_active()).then(|| self.writer.read_from())
    }

    /// Takes a batch of its own topic.
    ///
    /// # Errors
    /// The owner ends: its topic cannot be read or folded.
    pub fn take_own(&mut self, batch: &Arc<Batch>) -> Result<(), Error> {
        if self.writer.is_active() {
            return Ok(());
        }
        let mut failed: Option<Error> = None;
        {
            let Self { writer, cache, meta, system, .. } = self;
            let own = writer.partition().clone();
            let stopped = writer.take_own(batch, &mut |delivery| {
                let Delivery::Group { events, first_sequence, .. } = delivery else { return Ok(()) };
                for (offset, (position, event)) in events.iter().enumerate() {
                    if let Err(problem) = fold::fold(cache, meta, system.as_ref(), *event, *position, first_sequence + offset as u64) {
                        let text = problem.to_string();
                        failed = Some(match problem {
                            Error::System(_) => Error::Fold { partition: own.clone(), position: *position, problem: text.clone() },
                            other => other,
                        });
                        return Err(text);
                    }
                }
                Ok(())
            });
            if let Err(stop) = stopped {
                // Rows of an owner that took the cache over are no reason to say that the log cannot be folded.
                cache.check_token()?;
                return Err(failed.unwrap_or(Error::Stopped(stop)));
            }
        }
        self.meta.own = self.stored(self.writer.reader());
        let cut = self.cache.cut()?;
        self.write(cut)?;
        self.positions = self.meta.inputs.clone();
        self.recorded = self.meta.inputs.clone();
        if self.writer.is_active() {
            self.begin()?;
        }
        Ok(())
    }

    /// What a reader has done with (E5).
    fn stored(&self, reader: &Reader) -> Cursor {
        let cursor = reader.cursor();
        if self.options.breaks(Mutation::HeldSkipped) { Cursor { position: reader.next(), ..cursor } } else { cursor }
    }

    /// It just became active: inputs go on where the log says (E5), pending effects run again.
    fn begin(&mut self) -> Result<(), Error> {
        self.lost = 0;
        self.claim_position = None;
        self.readers.clear();
        for (topic, partition) in self.input_partitions() {
            let partition = TopicPartition::new(topic, partition);
            let mut cursor = self.meta.inputs.get(&partition).copied().unwrap_or_default();
            if self.options.breaks(Mutation::FilterForgotten) {
                cursor = Cursor { position: cursor.position, ..Cursor::default() };
            }
            self.readers.insert(partition.clone(), Reader::resume(partition, cursor));
        }
        for (request_id, effect) in self.cache.effects()? {
            self.actions.push(Action::StartEffect(request_id, effect));
        }
        Ok(())
    }

    fn input_partitions(&self) -> Vec<(&'static str, u32)> {
        let mut partitions = Vec::new();
        for spec in &self.description.inputs {
            if spec.topic.ends_with(".events") {
                // An event there may be meant for a subject of ours from whichever partition it was written to.
                partitions.extend((0..self.options.partitions).map(|partition| (spec.topic, partition)));
            } else {
                let single = matches!(spec.topic, "clock" | "control");
                partitions.push((spec.topic, if single { 0 } else { self.partition }));
            }
        }
        if !self.description.inputs.iter().any(|spec| spec.topic == "clock") {
            partitions.push(("clock", 0));
        }
        partitions
    }

    /// The inputs it wants to read now, and from where. None while it has enough waiting (bounded), or is not active.
    pub fn read_inputs_from(&self) -> Vec<(TopicPartition, Position)> {
        if !self.writer.is_active() || !self.waiting.is_empty() || self.paused {
            return Vec::new();
        }
        self.readers.values().map(|reader| (reader.topic_partition().clone(), reader.next())).collect()
    }

    /// Takes a batch of an input.
    ///
    /// # Errors
    /// The owner ends: the input cannot be read on.
    pub fn take_input(&mut self, batch: &Arc<Batch>) -> Result<(), Error> {
        let Some(reader) = self.readers.get_mut(batch.topic_partition()) else { return Ok(()) };
        let (waiting, mut last) = (&mut self.waiting, reader.cursor());
        let kept = self.kept.entry(batch.topic_partition().clone()).or_default();
        kept.push(batch.clone());
        reader.read(batch, &mut |delivery| {
            if let Delivery::Group { events, epoch, first_sequence } = delivery {
                for (offset, (position, _)) in events.iter().enumerate() {
                    let sequence = if epoch == 0 { 0 } else { first_sequence + offset as u64 };
                    last = Cursor { position: position + 1, epoch, sequence };
                    let home = kept.iter().rev().find(|batch| batch.base() <= *position && *position < batch.end()).unwrap_or(batch);
                    waiting.push_back(Waiting::Event { batch: home.clone(), index: position.saturating_sub(home.base()) as usize, after: last });
                }
            }
            Ok(())
        })?;
        let after = reader.cursor();
        // While a group is held, what lies before it is still needed.
        kept.retain(|batch| batch.end() > after.position);
        if after != last {
            waiting.push_back(Waiting::Moved { partition: batch.topic_partition().clone(), after });
        }
        Ok(())
    }

    /// Takes an effect's result. One that is no longer pending is dropped.
    pub fn effect_ended(&mut self, request_id: String, outcome: EffectOutcome, at: EventTime) {
        if self.writer.is_active() {
            self.waiting.push_back(Waiting::Effect { request_id, outcome, at });
        }
    }

    /// The log's answer to claim `number`: where it lies, or the failure.
    pub fn claimed(&mut self, number: u64, answer: Result<Vec<Appended>, tol_kafka::Error>) {
        // The answer to an earlier claim says nothing about this one.
        if number != self.counts.claims || !matches!(self.writer.phase(), Phase::Claiming { .. }) {
            return;
        }
        match answer {
            Ok(appended) => self.claim_position = appended.first().and_then(|appended| appended.positions.first().copied()),
            Err(error) => self.lose(&error.to_string()),
        }
    }

    /// The log's answer to batch `number` (E6).
    ///
    /// # Errors
    /// The store failed, or the token was lost.
    pub fn appended(&mut self, number: u64, answer: Result<Vec<Appended>, tol_kafka::Error>) -> Result<(), Error> {
        let single = match &answer {
            Ok(appended) => appended.first().ok_or(&tol_kafka::Error::Closed),
            Err(error) => Err(error),
        };
        let believed;
        let single = match single {
            Ok(appended) if self.options.breaks(Mutation::AcknowledgedAnywhere) => {
                believed = self.writer.as_expected(appended);
                Ok(&believed)
            }
            other => other,
        };
        match self.writer.acknowledged(number, single) {
            Outcome::Outdated => Ok(()),
            Outcome::Lost(problem) => {
                self.lose(&problem);
                Ok(())
            }
            Outcome::Committed(cursor) => self.commit(cursor),
        }
    }

    fn commit(&mut self, cursor: Cursor) -> Result<(), Error> {
        let Some((_, built, cut, inputs)) = self.in_flight.take() else { return Ok(()) };
        self.meta.own = cursor;
        self.meta.inputs = if self.options.breaks(Mutation::PositionsOfLater) { self.positions.clone() } else { inputs };
        self.meta.last_id = built.last_id;
        self.meta.last_position = cursor.position - 1;
        self.write(cut)?;
        // E7: everything below rests on the commit.
        self.counts.emitted += built.records.len() as u64;
        self.actions.extend(built.effects.into_iter().map(|(id, effect)| Action::StartEffect(id, effect)));
        self.actions.extend(built.dead_letters.into_iter().map(|parked| Action::DeadLetter(Box::new(parked))));
        self.actions.extend(built.answers.into_iter().map(|(ticket, count)| Action::Answer(ticket, Ok(count))));
        Ok(())
    }

    fn write(&mut self, cut: cache::Cut) -> Result<(), Error> {
        if self.options.breaks(Mutation::TokenIgnored) {
            self.cache.take_token()?;
        }
        self.cache.commit(cut, &self.meta)
    }

    /// E6: everything not committed is dropped, and the partition claimed anew.
    fn lose(&mut self, problem: &str) {
        self.give_up(problem);
        self.lost += 1;
        self.writer.release(self.meta.own);
    }

    fn give_up(&mut self, problem: &str) {
        self.last_problem = Some(problem.to_owned());
        if !self.options.breaks(Mutation::OverlayKept) {
            self.cache.drop_overlay();
        }
        let dropped = [std::mem::take(&mut self.building), self.in_flight.take().map(|(_, built, ..)| built).unwrap_or_default()];
        let tickets = dropped.into_iter().flat_map(|built| built.answers).map(|(ticket, _)| ticket);
        let redriving = self.redriving.drain(..).filter_map(|(_, ticket, _)| ticket);
        for ticket in tickets.chain(redriving).collect::<Vec<_>>() {
            self.actions.push(Action::Answer(ticket, Err(format!("{problem}; it is not known whether it was done, look and ask again"))));
        }
        self.waiting.clear();
        self.readers.clear();
        self.positions = self.meta.inputs.clone();
        self.recorded = self.meta.inputs.clone();
        self.kept.clear();
        self.moved.clear();
        self.moved_inputs = 0;
        self.retry = (0, 0);
        self.claim_position = None;
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
            self.claim(moment);
        }
        if self.writer.is_active() {
            if !moment.stopped && !self.paused {
                self.redrive(moment)?;
                self.decide_waiting(moment)?;
            }
            self.cut_batch()?;
        }
        Ok(std::mem::take(&mut self.actions))
    }

    fn claim(&mut self, moment: Moment) {
        self.counts.claims += 1;
        // A partition that is lost again and again waits longer each time, so that two nodes cannot chase each other at full speed.
        self.claim_at_ms = moment.now_ms + (10u64 << self.lost.min(8));
        let nonce = id::derived("nonce", &format!("{:016x}", self.nonce_seed), &self.own().to_string(), self.counts.claims as u32).to_string();
        let claim = self.writer.claim(self.meta.own, nonce, moment.wall);
        self.actions.push(Action::Claim(self.counts.claims, claim));
    }

    fn cut_batch(&mut self) -> Result<(), Error> {
        if self.in_flight.is_some() || self.building.records.is_empty() {
            return Ok(());
        }
        let mut built = std::mem::take(&mut self.building);
        let records = std::mem::take(&mut built.records);
        let mut cut = self.cache.cut()?;
        let inputs = self.recorded.clone();
        built.consumed = records.len() as u64;
        if self.options.breaks(Mutation::CacheFirst) {
            self.write(cut)?;
            cut = cache::Cut::default();
        }
        if self.options.breaks(Mutation::EffectsFirst) {
            self.actions.extend(std::mem::take(&mut built.effects).into_iter().map(|(id, effect)| Action::StartEffect(id, effect)));
        }
        let (number, append) = self.writer.append(records);
        self.in_flight = Some((number, built, cut, inputs));
        self.actions.push(Action::Append(number, append));
        Ok(())
    }

    /// Whether nothing waits, is being built or in flight.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.building.records.is_empty() && self.in_flight.is_none() && self.redriving.is_empty()
    }

    /// The own position that covers input `position` of `partition` (inclusive): everything decided from it lies below. `None` while it does not.
    pub fn covering(&self, partition: &TopicPartition, position: Position) -> Option<Position> {
        let done = self.positions.get(partition).is_some_and(|cursor| cursor.position > position);
        (done && self.writer.is_active() && self.building.records.is_empty() && self.in_flight.is_none()).then(|| self.writer.next_position())
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

    /// Subjects it knows, at most `limit`.
    ///
    /// # Errors
    /// The store failed.
    pub fn subjects(&self, limit: usize) -> Result<Vec<String>, Error> {
        self.cache.subjects(limit)
    }
}
