//! [`Gate`]: the one writer of one partition of one facts topic.

use std::collections::HashMap;
use std::sync::Arc;

use tol_events::{Attribute, EventView, id, reserved};
use tol_kafka::{Append, Appended, Batch, Cursor, Delivery, Position, TopicPartition};

use super::candidate::SeenMap;
use super::known::Known;
use super::late::Lateness;
use super::memory::{Memory, Seen, seen_change};
use super::{Candidate, SeenKey, candidate};
use crate::metric_definitions;
use crate::owner::{Error, Moment, Mutation, breaks};
use crate::store::{Change, Store, Table};
use crate::writer::{Identity, Outcome, Phase, Writer};

/// What a gate is to have done.
#[derive(Debug)]
pub enum GateAction {
    /// Hand to the log, answer with [`Gate::appended`].
    Append(u64, Append),
    /// Hand to the log, answer with [`Gate::claimed`].
    Claim(u64, Append),
    /// Candidates of this ticket lie durably in the log. `fresh` tells them from duplicates.
    Admitted {
        /// Whose.
        ticket: u64,
        /// Where the last of them is.
        position: Position,
        /// How many.
        count: u64,
        /// Whether it was stored now.
        fresh: bool,
    },
}

/// Who asked for a fact that is on its way.
pub struct Follower {
    /// The fact.
    pub key: SeenKey,
    /// What was asked for.
    pub content: u64,
    /// Whose answer waits.
    pub ticket: u64,
}

/// The one writer of one partition of facts.
pub struct Gate {
    writer: Writer,
    /// What was committed.
    known: Known,
    token_key: Vec<u8>,
    token: Vec<u8>,
    cursor_key: Vec<u8>,
    log: String,
    committed: Cursor,
    assigned: bool,
    claim_position: Option<Position>,
    claim_at_ms: u64,
    claims: u64,
    lost: u32,
    nonce_seed: u64,
    /// Numbered and not committed: by key, where it will lie.
    recent: SeenMap<Seen>,
    building: Vec<Candidate>,
    in_flight: Option<(u64, Vec<Candidate>)>,
    /// Requests that wait for a candidate in `recent` (E7).
    followers: Vec<Follower>,
    /// Last position taken from each inbox partition.
    inbox: HashMap<u32, Position>,
    batch_events: usize,
    lateness: Lateness,
}

impl Gate {
    /// Opens the memory of `partition` and follows it from where the memory ends.
    ///
    /// # Errors
    /// The store failed.
    pub(super) fn open(partition: TopicPartition, node: &str, log: &str, known: Known, nonce_seed: u64, batch_events: usize) -> Result<Self, Error> {
        let (store, prefix) = (known.store(), known.prefix());
        let token_key = [b"token\0admission\0", prefix].concat();
        let cursor_key = [b"admission\0", prefix].concat();
        let token = token(node, nonce_seed);
        store.write(vec![Change::Put(Table::Meta, token_key.clone(), token.clone())], None)?;
        let stored = store.get(Table::Meta, &cursor_key)?;
        let (known_log, committed, inbox): (String, Cursor, Vec<(u32, u64)>) = stored.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let identity = Identity {
            source: "/systems/tree-of-life-system".to_owned(),
            node: node.to_owned(),
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            config_hash: "admission".to_owned(),
        };
        let mut gate = Self {
            writer: Writer::new(partition, committed, identity),
            known,
            token_key,
            token,
            cursor_key,
            log: log.to_owned(),
            committed,
            assigned: false,
            claim_position: None,
            claim_at_ms: 0,
            claims: 0,
            lost: 0,
            nonce_seed,
            recent: SeenMap::default(),
            building: Vec::new(),
            in_flight: None,
            followers: Vec::new(),
            inbox: inbox.into_iter().collect(),
            batch_events,
            lateness: Lateness::default(),
        };
        if known_log != log {
            gate.forget()?;
        }
        Ok(gate)
    }

    /// Checks that this gate holds the memory, or `successor` does, which is the same gate opened anew (E10).
    ///
    /// # Errors
    /// The store failed, or another process took the memory over.
    pub(super) fn check_held(&self, store: &dyn Store, successor: &[u8]) -> Result<(), Error> {
        match store.get(Table::Meta, &self.token_key)? {
            Some(token) if token != self.token && token != successor => {
                Err(crate::store::Error::TokenLost(String::from_utf8_lossy(&self.token_key).into_owned()).into())
            }
            _ => Ok(()),
        }
    }

    /// Starts over with an empty memory (E10).
    ///
    /// # Errors
    /// The store failed.
    pub fn forget(&mut self) -> Result<(), Error> {
        let changes = vec![self.known.forget(), Change::Delete(Table::Meta, self.cursor_key.clone())];
        self.known.store().write(changes, Some((&self.token_key, &self.token)))?;
        self.committed = Cursor::default();
        self.inbox.clear();
        self.writer.reset(Cursor::default());
        Ok(())
    }

    /// The partition.
    pub fn partition(&self) -> &TopicPartition {
        self.writer.partition()
    }

    /// Whether it takes candidates now.
    pub fn is_active(&self) -> bool {
        self.writer.is_active()
    }

    /// Candidates not yet committed.
    pub fn pending(&self) -> usize {
        self.building.len() + self.in_flight.as_ref().map_or(0, |(_, candidates)| candidates.len())
    }

    /// Committed candidates that are not in the store yet.
    pub fn unstored(&self) -> usize {
        self.known.unstored()
    }

    /// This node is to own the partition (or no more).
    pub fn assign(&mut self, assigned: bool) {
        if self.assigned && !assigned {
            self.drop_uncommitted();
            self.writer.release(self.committed);
        }
        self.assigned = assigned;
    }

    /// Where to read its own topic, while it is not active.
    pub fn read_own_from(&self) -> Option<Position> {
        (!self.writer.is_active()).then(|| self.writer.read_from())
    }

    /// Takes a batch of its own topic: facts become known, its claim makes it active.
    ///
    /// # Errors
    /// The topic cannot be read on, or the store failed.
    pub fn take_own(&mut self, batch: &Arc<Batch>) -> Result<(), Error> {
        let mut changes = Vec::new();
        let Self { writer, known, inbox, .. } = self;
        writer.take_own(batch, &mut |delivery| {
            if let Delivery::Group { events, .. } = delivery {
                for (position, event) in events {
                    if event.event_type().starts_with(reserved::PREFIX) {
                        continue;
                    }
                    let seen = Seen { position: *position, content: candidate::content_hash_of_fact(*event) };
                    changes.push(known.read(SeenKey::of(event.source(), event.id()), seen));
                    if let Some((partition, at)) = inbox_position(*event) {
                        inbox.insert(partition, at);
                    }
                }
            }
            Ok(())
        })?;
        self.committed = self.writer.reader().cursor();
        self.write(changes)?;
        if self.writer.is_active() {
            self.lost = 0;
            self.claim_position = None;
        }
        Ok(())
    }

    fn write(&self, mut changes: Vec<Change>) -> Result<(), Error> {
        changes.push(self.cursor_change()?);
        let token = Some((self.token_key.as_slice(), self.token.as_slice())).filter(|_| !breaks(Mutation::GateTokenIgnored));
        Ok(self.known.store().write(changes, token)?)
    }

    fn cursor_change(&self) -> Result<Change, Error> {
        let mut inbox: Vec<(u32, u64)> = self.inbox.iter().map(|(partition, position)| (*partition, *position)).collect();
        inbox.sort_unstable();
        let row = serde_json::to_vec(&(&self.log, self.committed, inbox)).map_err(|_| Error::Internal("a cursor does not serialise"))?;
        Ok(Change::Put(Table::Meta, self.cursor_key.clone(), row))
    }

    /// What is known of these keys, committed or on its way. In the order asked for.
    ///
    /// # Errors
    /// The store failed.
    pub fn lookup(&mut self, keys: &[SeenKey]) -> Result<Vec<Option<Seen>>, Error> {
        if breaks(Mutation::DuplicatesTaken) {
            return Ok(vec![None; keys.len()]);
        }
        let mut known = self.known.lookup(keys)?;
        for (key, known) in keys.iter().zip(&mut known) {
            if let Some(seen) = self.recent.get(key) {
                *known = Some(*seen);
            }
        }
        Ok(known)
    }

    /// What is on its way under this key.
    pub fn recent_of(&self, key: SeenKey) -> Option<Seen> {
        self.recent.get(&key).copied()
    }

    /// The last position of inbox partition `partition` from which a fact of this partition came.
    pub fn inbox_position(&self, partition: u32) -> Option<Position> {
        self.inbox.get(&partition).copied()
    }

    /// Takes a candidate that [`Gate::lookup`] did not know. Its ticket is answered when it is durable.
    pub fn admit(&mut self, candidate: Candidate) {
        let position = self.writer.next_position() + self.building.len() as u64;
        self.recent.insert(candidate.key, Seen { position, content: candidate.content });
        self.building.push(candidate);
    }

    /// Answers `ticket` for a known key: now if it is committed, else with it (E7).
    pub fn follow(&mut self, key: SeenKey, seen: Seen, ticket: u64) -> Option<GateAction> {
        if self.recent.contains_key(&key) && !breaks(Mutation::DuplicateEarly) {
            self.followers.push(Follower { key, content: seen.content, ticket });
            return None;
        }
        Some(GateAction::Admitted { ticket, position: seen.position, count: 1, fresh: false })
    }

    /// The log's answer to claim `number`; one to an earlier claim says nothing about this one.
    pub fn claimed(&mut self, number: u64, answer: Result<&Appended, &tol_kafka::Error>) {
        if number == self.claims && matches!(self.writer.phase(), Phase::Claiming { .. }) {
            match answer {
                Ok(appended) => self.claim_position = appended.positions.first().copied(),
                Err(_) => self.lose(),
            }
        }
    }

    /// The log's answer to a batch (E6).
    ///
    /// # Errors
    /// The store failed or the token was lost.
    pub fn appended(&mut self, number: u64, answer: Result<&Appended, &tol_kafka::Error>) -> Result<Vec<GateAction>, Error> {
        if let (true, Ok(appended)) = (breaks(Mutation::ResentOtherwise), answer) {
            self.writer.believe(appended);
        }
        let believed;
        let answer = match answer {
            Ok(appended) if breaks(Mutation::GateAcknowledgedAnywhere) => {
                believed = self.writer.as_expected(appended);
                Ok(&believed)
            }
            other => other,
        };
        let cursor = match self.writer.acknowledged(number, answer) {
            Outcome::Lost(_) if breaks(Mutation::ResentOtherwise) => {
                let mut again = self.in_flight.take().map(|(_, candidates)| candidates).unwrap_or_default();
                self.writer.rewind(again.len());
                again.reverse();
                again.append(&mut self.building);
                self.building = again;
                return Ok(Vec::new());
            }
            Outcome::Outdated => return Ok(Vec::new()),
            Outcome::Lost(_) => {
                self.lose();
                return Ok(Vec::new());
            }
            Outcome::Committed(cursor) => cursor,
        };
        let Some((_, candidates)) = self.in_flight.take() else { return Ok(Vec::new()) };
        let first = cursor.position - candidates.len() as u64;
        self.committed = cursor;
        let mut actions = Vec::new();
        for (offset, candidate) in candidates.iter().enumerate() {
            let position = first + offset as u64;
            self.recent.remove(&candidate.key);
            if candidate.happened.is_some_and(|happened| self.lateness.note(candidate.subject, happened)) {
                metric_definitions::facts_late(candidate.source()).increment(1);
            }
            self.known.commit(candidate.key, Seen { position, content: candidate.content });
            if let Some((partition, at)) = candidate.inbox {
                self.inbox.insert(partition, at);
            }
            match actions.last_mut() {
                Some(GateAction::Admitted { ticket, position: last, count, .. }) if *ticket == candidate.ticket => (*last, *count) = (position, *count + 1),
                _ => actions.push(GateAction::Admitted { ticket: candidate.ticket, position, count: 1, fresh: true }),
            }
        }
        // E7: whoever asked for one of these is answered now.
        let recent = &self.recent;
        let (waiting, done): (Vec<_>, Vec<_>) = std::mem::take(&mut self.followers).into_iter().partition(|follower| recent.contains_key(&follower.key));
        self.followers = waiting;
        for Follower { key, ticket, .. } in done {
            if let Some(offset) = candidates.iter().position(|candidate| candidate.key == key) {
                actions.push(GateAction::Admitted { ticket, position: first + offset as u64, count: 1, fresh: false });
            }
        }
        Ok(actions)
    }

    /// What was committed since the last call, to be written by another thread. The log holds it already, and fills the memory up
    /// where this does not happen, so no answer waits for it. One write at a time: [`Gate::stored`] ends it.
    ///
    /// # Errors
    /// It does not serialise.
    pub fn take_unstored(&mut self) -> Result<Option<Memory>, Error> {
        let Some(mut changes) = self.known.take_unstored() else { return Ok(None) };
        changes.push(self.cursor_change()?);
        Ok(Some(Memory { partition: self.partition().clone(), changes, token_key: self.token_key.clone(), token: self.token.clone() }))
    }

    /// What [`Gate::take_unstored`] gave is in the store.
    pub fn stored(&mut self) {
        self.known.stored();
    }

    fn lose(&mut self) {
        self.lost += 1;
        // What was numbered may or may not have landed: the service offers it again after the next claim, and what landed is then known.
        self.recent.clear();
        self.writer.release(self.committed);
        self.claim_position = None;
    }

    fn drop_uncommitted(&mut self) {
        self.recent.clear();
        self.claim_position = None;
    }

    /// After a loss: the candidates and followers that were not committed, to be offered again in order. Empty otherwise.
    pub fn take_unsettled(&mut self) -> (Vec<Candidate>, Vec<Follower>) {
        if self.writer.is_active() && !self.recent.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let mut candidates = self.in_flight.take().map(|(_, candidates)| candidates).unwrap_or_default();
        candidates.append(&mut self.building);
        (candidates, std::mem::take(&mut self.followers))
    }

    /// Whether it has facts for a batch and no other is under way.
    pub fn can_cut(&self) -> bool {
        self.writer.is_active() && self.in_flight.is_none() && !self.building.is_empty()
    }

    /// Claims if it should, and cuts a batch if it may. Returns what is to be done.
    pub fn step(&mut self, moment: Moment, cut: bool) -> Vec<GateAction> {
        let mut actions = Vec::new();
        let void = self.claim_position.is_some_and(|position| self.writer.claim_was_void(position));
        if void || (self.assigned && *self.writer.phase() == Phase::Following && moment.now_ms >= self.claim_at_ms) {
            self.claims += 1;
            self.claim_position = None;
            self.claim_at_ms = moment.now_ms + (10u64 << self.lost.min(8));
            let nonce = id::derived("nonce", &format!("{:016x}", self.nonce_seed), &self.partition().to_string(), self.claims as u32).to_string();
            actions.push(GateAction::Claim(self.claims, self.writer.claim(self.committed, nonce, moment.wall)));
        }
        if cut && self.can_cut() {
            let rest = self.building.split_off(self.building.len().min(self.batch_events));
            let candidates = std::mem::replace(&mut self.building, rest);
            let recorded = moment.wall.to_string();
            let records = candidates.iter().map(|candidate| candidate.numbered(self.writer.number(), moment.wall, &recorded)).collect();
            if breaks(Mutation::MemoryFirst) {
                let changes =
                    candidates.iter().filter_map(|candidate| Some(seen_change(self.known.prefix(), candidate.key, *self.recent.get(&candidate.key)?)));
                // Where the store fails, the mutation does nothing.
                let _ = self.known.store().write(changes.collect(), Some((&self.token_key, &self.token)));
            }
            let (number, mut append) = self.writer.append(records);
            append.expected = append.expected.filter(|_| !breaks(Mutation::ResentOtherwise));
            self.in_flight = Some((number, candidates));
            actions.push(GateAction::Append(number, append));
        }
        actions
    }
}

/// What marks a memory as a door's (E10).
pub(super) fn token(node: &str, nonce_seed: u64) -> Vec<u8> {
    format!("{node} {nonce_seed:016x}").into_bytes()
}

fn inbox_position(event: EventView<'_>) -> Option<(u32, Position)> {
    let (partition, position) = event.attribute(Attribute::InboxPosition)?.split_once('@')?;
    Some((partition.parse().ok()?, position.parse().ok()?))
}
