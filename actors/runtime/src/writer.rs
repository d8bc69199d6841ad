//! [`Writer`]: the one writer of one partition (rules E2, E3, E6 and E11), without I/O. Owners and admission are built on it.
//!
//! It claims, reads its own topic up to its claim, numbers what it appends, and says of each acknowledgement whether the batch
//! is committed or everything since has to be dropped and claimed anew.

use std::sync::Arc;

use tol_events::reserved::{OWNER_CLAIMED, OwnerClaimed};
use tol_events::{Attribute, Event, EventTime};
use tol_kafka::{Append, Appended, Batch, Cursor, Delivery, Position, Reader, Record, Stop, TopicPartition};

/// What a claim says about its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `/systems/<name>`.
    pub source: String,
    /// The node's URL.
    pub node: String,
    /// Version of the code that decides.
    pub code_version: String,
    /// Hash of the configuration that decides.
    pub config_hash: String,
}

/// Where a writer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reads its topic, writes nothing: another node owns the partition, or nobody yet.
    Following,
    /// Its claim was handed to the log; reads until it comes to it.
    Claiming {
        /// Tells its claim from all others.
        nonce: String,
    },
    /// Its claim is valid and read: it may append.
    Active,
}

/// What was handed to the log, so that its answer is not taken for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The claim of that number.
    Claim(u64),
    /// The batch of that number.
    Batch(u64),
}

/// What an acknowledgement means (E6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exactly where it was expected: committed. The cursor after it.
    Committed(Cursor),
    /// Elsewhere, failed, or unknown: drop what is not committed and claim anew.
    Lost(String),
    /// An answer to something given up before; ignore it.
    Outdated,
}

/// The one writer of a partition.
#[derive(Debug)]
pub struct Writer {
    identity: Identity,
    reader: Reader,
    phase: Phase,
    /// The next sequence to give, while active.
    next_sequence: u64,
    /// Where the next record must come to lie, while active.
    next_position: Position,
    /// The batch handed to the log and not answered: its number, first position, count.
    in_flight: Option<(u64, Position, usize)>,
    /// Numbers batches, so that late answers are recognised.
    batches: u64,
}

impl Writer {
    /// A writer of `partition` whose cache was folded up to `cursor`.
    pub fn new(partition: TopicPartition, cursor: Cursor, identity: Identity) -> Self {
        Self { identity, reader: Reader::resume(partition, cursor), phase: Phase::Following, next_sequence: 0, next_position: 0, in_flight: None, batches: 0 }
    }

    /// The partition.
    pub fn partition(&self) -> &TopicPartition {
        self.reader.topic_partition()
    }

    /// Where it stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether it may append.
    pub fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// The epoch under which it writes.
    pub fn epoch(&self) -> u64 {
        self.reader.epoch()
    }

    /// Where the next record would lie, counting those in flight.
    pub fn next_position(&self) -> Position {
        self.next_position
    }

    /// The next position of its own topic that it has not read.
    pub fn read_from(&self) -> Position {
        self.reader.next()
    }

    /// The acceptance filter, for its counts.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Whether a batch waits for its acknowledgement.
    pub fn has_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// E2: begins to claim. Everything not committed must have been dropped; the reader goes on at `committed`.
    /// The append has no expected position: the claimant need not know the end.
    pub fn claim(&mut self, committed: Cursor, nonce: String, now: EventTime) -> Append {
        self.in_flight = None;
        if self.phase == Phase::Active {
            self.reader = Reader::resume(self.partition().clone(), committed);
        }
        let epoch = self.reader.epoch() + 1;
        self.phase = Phase::Claiming { nonce: nonce.clone() };
        Append { to: self.partition().clone(), expected: None, records: vec![self.claim_record(epoch, nonce, now)] }
    }

    fn claim_record(&self, epoch: u64, nonce: String, now: EventTime) -> Record {
        let claim = OwnerClaimed {
            epoch,
            nonce: nonce.clone(),
            node: self.identity.node.clone(),
            code_version: self.identity.code_version.clone(),
            config_hash: self.identity.config_hash.clone(),
        };
        let mut event = Event::new(nonce, &self.identity.source, OWNER_CLAIMED, format!("partition/{}", self.partition().partition));
        event.set(Attribute::Epoch, epoch.to_string()).set(Attribute::RecordedTime, now.to_string()).set(Attribute::Time, now.to_string());
        // Five strings and a number always serialise.
        event.data = serde_json::to_vec(&claim).unwrap_or_default();
        Record::from_event(&event)
    }

    /// Stops writing: the partition went to another node. It follows from what is committed.
    pub fn release(&mut self, committed: Cursor) {
        if self.phase == Phase::Active {
            self.reader = Reader::resume(self.partition().clone(), committed);
        }
        self.in_flight = None;
        self.phase = Phase::Following;
    }

    /// Starts over at `cursor`, because the cache did.
    pub fn reset(&mut self, cursor: Cursor) {
        self.reader = Reader::resume(self.partition().clone(), cursor);
        self.in_flight = None;
        self.phase = Phase::Following;
    }

    /// Reads records of its own topic while following or claiming, hands accepted ones to `fold`, and becomes active at its own claim.
    /// If that claim turned out void the caller claims again: see [`Writer::claim_was_void`].
    ///
    /// # Errors
    /// [`Stop`] when the topic cannot be read on or `fold` refused.
    pub fn take_own(&mut self, batch: &Arc<Batch>, fold: &mut dyn FnMut(Delivery<'_>) -> Result<(), String>) -> Result<(), Stop> {
        let nonce = match &self.phase {
            Phase::Following => return self.reader.read(batch, fold),
            Phase::Claiming { nonce } => nonce,
            // What others write now is found out by where its next batch comes to lie (E6). Reading on would take over their epoch.
            Phase::Active => return Ok(()),
        };
        let mut active = false;
        self.reader.read(batch, &mut |delivery| {
            if let Delivery::Claim { claim, .. } = &delivery {
                // A claim above ours ends it before it began.
                active = claim.nonce == *nonce;
            }
            fold(delivery)
        })?;
        if active {
            self.phase = Phase::Active;
            self.next_sequence = self.reader.sequence() + 1;
            // What lies between the claim and here was read and counts for nothing.
            self.next_position = self.reader.next();
        }
        Ok(())
    }

    /// Whether its claim was passed (at `claim_position`) without becoming valid, so that it must claim above the epoch read.
    pub fn claim_was_void(&self, claim_position: Position) -> bool {
        matches!(self.phase, Phase::Claiming { .. }) && self.reader.next() > claim_position
    }

    /// Epoch and sequence for the next record; call once a record, in order.
    pub fn number(&mut self) -> (u64, u64) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        (self.reader.epoch(), sequence)
    }

    /// The sequence that [`Writer::number`] gives next.
    pub fn peek_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Hands out a batch of numbered records; one at a time (E8). The number names it in [`Writer::acknowledged`].
    pub fn append(&mut self, records: Vec<Record>) -> (u64, Append) {
        self.batches += 1;
        let first = self.next_position;
        self.next_position += records.len() as u64;
        self.in_flight = Some((self.batches, first, records.len()));
        (self.batches, Append { to: self.partition().clone(), expected: Some(first), records })
    }

    /// An acknowledgement as it would have to be, whatever it is: the simulation leaves E6 out with it.
    pub(crate) fn as_expected(&self, appended: &Appended) -> Appended {
        let positions = self.in_flight.map(|(_, first, count)| (first..first + count as u64).collect()).unwrap_or_default();
        Appended { positions, ..appended.clone() }
    }

    /// Writes although its claim is void: the simulation leaves E2 out with it.
    pub(crate) fn activate(&mut self) {
        self.phase = Phase::Active;
        self.next_sequence = self.reader.sequence() + 1;
        self.next_position = self.reader.next();
    }

    /// How many events of a group of `count` an earlier owner may have written: the simulation leaves E4 out with it.
    pub(crate) fn begun(&self, count: usize) -> usize {
        let voided = self.reader.dropped().voided as usize;
        if voided < count { voided } else { 0 }
    }

    /// Takes an acknowledgement's positions for those that were expected: the simulation leaves E11 out with it.
    pub(crate) fn believe(&mut self, appended: &Appended) {
        if let (Some((_, first, _)), Some(position)) = (&mut self.in_flight, appended.positions.first()) {
            *first = *position;
            self.next_position = position + appended.positions.len() as u64;
        }
    }

    /// Uses the last `count` sequences again: the simulation leaves E11 out with it.
    pub(crate) fn rewind(&mut self, count: usize) {
        self.next_sequence -= count as u64;
        self.next_position -= count as u64;
    }

    /// E6: what the answer to batch `number` means.
    pub fn acknowledged(&mut self, number: u64, answer: Result<&Appended, &tol_kafka::Error>) -> Outcome {
        let Some((current, first, count)) = self.in_flight else { return Outcome::Outdated };
        if current != number || self.phase != Phase::Active {
            return Outcome::Outdated;
        }
        self.in_flight = None;
        let appended = match answer {
            Ok(appended) => appended,
            Err(error) => return Outcome::Lost(error.to_string()),
        };
        let expected = first..first + count as u64;
        if !appended.positions.iter().copied().eq(expected.clone()) {
            return Outcome::Lost(format!("appended at {:?} instead of {}..{}", appended.positions.first(), expected.start, expected.end));
        }
        // The batch holds whole groups only, so its last sequence is the reader's sequence plus its length.
        let cursor = Cursor { position: expected.end, epoch: self.reader.epoch(), sequence: self.reader.sequence() + count as u64 };
        self.reader = Reader::resume(self.partition().clone(), cursor);
        Outcome::Committed(cursor)
    }
}
