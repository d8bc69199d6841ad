//! Admission on the nodes: the doors, what they remember, who comes through `inbox`, and the clock.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rand::Rng;
use tol_events::EventTime;
use tol_kafka::{Append, EventLog, Position, Record, TopicPartition};

use super::super::rules;
use super::{Cluster, Outcome};
use crate::admission::driver::{AdmissionDriver, Output};
use crate::admission::request::Opener;
use crate::admission::{AdmissionOptions, Memory, Published, Refusal};
use crate::clock::Ticker;
use crate::owner::Error;
use crate::store::{self, Change, Store, Table};

/// Admission of one node, or of a node that hung and wakes up.
pub(super) struct Door {
    driver: AdmissionDriver<u64>,
    /// Tells it from every other door there ever is.
    pub instance: u64,
    /// Handed over to be written, in order.
    memories: VecDeque<(u64, Memory)>,
}

/// Who takes records of one inbox partition to their doors, one by one.
pub(super) struct Pump {
    next: Position,
    /// The request under way.
    waits: Option<u64>,
}

/// A store that a full disk makes fail.
pub(in super::super) struct Disk {
    pub inner: store::MemoryStore,
    pub full: std::sync::atomic::AtomicBool,
}

impl Disk {
    fn check(&self) -> Result<(), store::Error> {
        if self.full.load(std::sync::atomic::Ordering::Relaxed) { Err(store::Error::Failed("the simulated disk is full".into())) } else { Ok(()) }
    }
}

impl Store for Disk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, store::Error> {
        self.inner.get(table, key)
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<store::Row>, store::Error> {
        self.inner.scan(table, prefix, after, limit)
    }

    fn write(&self, changes: Vec<Change>, token: Option<(&[u8], &[u8])>) -> Result<(), store::Error> {
        self.check()?;
        self.inner.write(changes, token)
    }
}

/// Limits of all doors of a run.
pub(super) fn options(random: &mut rand_chacha::ChaCha8Rng, partitions: u32, kafka: bool) -> AdmissionOptions {
    AdmissionOptions {
        topics: rules::FACTS_TOPICS.map(Into::into).to_vec(),
        partitions,
        queue: 1_000,
        queue_events: random.random_range(4..200),
        batch_events: random.random_range(1..=8),
        timeout_ms: random.random_range(300..3_000),
        joint_appends: !kafka,
        gather_ms: if kafka { random.random_range(0..20) } else { 0 },
    }
}

fn inbox_key(partition: u32) -> Vec<u8> {
    format!("inbox\u{0}{partition}").into_bytes()
}

impl Cluster {
    /// Opens a node's door and clock; what was open there hangs from now on.
    pub(super) fn open_door(&mut self, node: usize) -> Outcome {
        if self.plain {
            return Ok(());
        }
        self.instances += 1;
        let nonce_seed = self.random.random();
        let tick_ms = self.random.random_range(10..200);
        let place = &mut self.nodes[node];
        let opener = Opener { identity: place.log.identity(), node: place.name.clone(), store: place.store.clone(), nonce_seed };
        let log = place.log.clone();
        let driver = match AdmissionDriver::open(log.clone(), opener, self.door_options.clone(), Arc::new(|| {})) {
            Ok(driver) => driver,
            Err(Error::Store(store::Error::Failed(_))) => return Ok(()),
            Err(error) => return Err(format!("n{node}: the door does not open: {error}")),
        };
        let mut door = Door { driver, instance: self.instances, memories: VecDeque::new() };
        door.driver.machine_mut().assign(place.told.clone());
        if let Some(old) = place.door.replace(door) {
            place.hung_doors.push(old);
        }
        place.pumps.clear();
        place.ticker = Ticker::open(log, place.store.clone(), &place.name, format!("{nonce_seed:x}"), tick_ms).ok();
        Ok(())
    }

    /// A node dies: with it all its doors, and what they had not written, but for what was being written.
    pub(super) fn crash_door(&mut self, node: usize) {
        let written = self.random.random_bool(0.5);
        let place = &mut self.nodes[node];
        let doors = place.door.take().into_iter().chain(place.hung_doors.drain(..));
        for mut door in doors {
            self.clients.forget_door(door.instance);
            if let Some((_, memory)) = door.memories.pop_front().filter(|_| written) {
                let _ = memory.write(place.store.as_ref());
            }
        }
        place.pumps.clear();
        place.ticker = None;
    }

    /// Tells a node's door which partition numbers are its own.
    pub(super) fn tell_door(&mut self, node: usize) {
        let place = &mut self.nodes[node];
        if let Some(door) = &mut place.door {
            door.driver.machine_mut().assign(place.told.clone());
        }
        place.pumps.retain(|partition, _| place.told.contains(partition));
    }

    fn wall_of(&self, node: usize) -> EventTime {
        EventTime::from_micros(self.epoch_micros + (self.now_ms as i64 + self.nodes[node].skew_ms) * 1000)
    }

    /// Steps a node's door, or one that hung; whether it moved.
    pub(super) fn step_door(&mut self, node: usize, hung: Option<usize>) -> Result<bool, String> {
        let mut moment = self.moment(node);
        moment.wall = self.wall_of(node);
        let place = &mut self.nodes[node];
        let door = match hung {
            Some(at) => place.hung_doors.get_mut(at),
            None => place.door.as_mut(),
        };
        let Some(door) = door else { return Ok(false) };
        let mut outputs = Vec::new();
        let result = door.driver.step(moment, &mut outputs);
        let instance = door.instance;
        for output in outputs {
            match output {
                Output::Remember(generation, memory) => door.memories.push_back((generation, memory)),
                Output::Answer(ticket, answer) => {
                    if self.verbose {
                        println!("{:>6} door {instance} answers {ticket}: {answer:?}", self.now_ms);
                    }
                    self.clients.answered(ticket, &answer, &self.log)?;
                    self.answers.insert(ticket, answer);
                }
            }
        }
        let moved = match result {
            Ok(moved) => moved,
            Err(error) => return self.end_door(node, hung, &error).map(|()| true),
        };
        if moved {
            self.say(|| format!("n{node} door {instance} stepped"));
        }
        Ok(moved)
    }

    /// Writes what a door wants remembered; whether there was something.
    pub(super) fn write_memory(&mut self, node: usize, hung: Option<usize>) -> Result<bool, String> {
        let moment = self.moment(node);
        let place = &mut self.nodes[node];
        let door = match hung {
            Some(at) => place.hung_doors.get_mut(at),
            None => place.door.as_mut(),
        };
        let Some(door) = door else { return Ok(false) };
        let Some((generation, memory)) = door.memories.pop_front() else { return Ok(false) };
        let partition = memory.partition.clone();
        let outcome = memory.write(place.store.as_ref());
        match door.driver.remembered(generation, &partition, outcome, moment) {
            Ok(()) => Ok(true),
            Err(error) => self.end_door(node, hung, &error).map(|()| true),
        }
    }

    /// E10: the door of a node that hung finds its memory taken over.
    fn end_door(&mut self, node: usize, hung: Option<usize>, error: &Error) -> Outcome {
        match (hung, error) {
            (Some(at), Error::Store(store::Error::TokenLost(_))) => {
                let door = self.nodes[node].hung_doors.remove(at);
                self.say(|| format!("n{node} door {} lost its token", door.instance));
                self.clients.forget_door(door.instance);
                Ok(())
            }
            _ => Err(format!("n{node}: admission ended: {error}")),
        }
    }

    /// A client sends something to a node that it takes for the owner.
    pub(super) fn publish(&mut self) {
        let (assignment, nodes, now, healing) = (&self.assignment, &self.nodes, self.wall(), self.healing);
        let door_of = |partition: u32, random: &mut rand_chacha::ChaCha8Rng| {
            let astray = !healing && random.random_bool(0.1);
            let node = if astray { random.random_range(0..nodes.len()) } else { assignment[partition as usize] };
            nodes[node].door.as_ref().map(|door| door.instance)
        };
        let Some((instance, request)) = self.clients.next(&mut self.random, now, self.now_ms, healing, door_of) else { return };
        self.hand_over(instance, request);
    }

    fn hand_over(&mut self, instance: u64, request: crate::admission::request::Request<u64>) {
        let ticket = request.reply;
        let ids = request.ids.clone();
        self.say(|| format!("request {ticket} to door {instance}: {ids:?}"));
        let door = self.nodes.iter_mut().filter_map(|node| node.door.as_mut()).find(|door| door.instance == instance);
        match door {
            Some(door) => door.driver.machine_mut().push(request),
            None => self.clients.forget_door(instance),
        }
    }

    /// Somebody writes a fact to `inbox`, perhaps twice, wherever it likes.
    pub(super) fn write_inbox(&mut self) {
        let Some(wish) = self.unwritten.pop() else { return };
        let event = self.clients.wishes[wish].event();
        let to = TopicPartition::new("inbox", self.random.random_range(0..self.partitions));
        // Its producer writes until it is acknowledged; what it wrote without an acknowledgement may be there twice.
        let again = self.written_again.clone();
        let append = Append { to, expected: None, records: vec![Record::from_event(&event)] };
        self.log.append(
            vec![append],
            Box::new(move |answer| {
                if answer.is_err() {
                    again.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(wish);
                }
            }),
        );
        if self.random.random_bool(0.05) {
            self.unwritten.push(wish);
        }
    }

    /// One step of a node's inbox reader; whether anything is left to do.
    pub(super) fn pump(&mut self, node: usize) -> Result<bool, String> {
        let again = std::mem::take(&mut *self.written_again.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        self.unwritten.extend(again);
        let told: BTreeSet<u32> = self.nodes[node].told.clone();
        if self.nodes[node].door.is_none() || told.is_empty() || !self.inbox {
            return Ok(false);
        }
        let mut busy = false;
        for partition in told {
            busy |= self.pump_partition(node, partition)?;
        }
        Ok(busy)
    }

    fn pump_partition(&mut self, node: usize, partition: u32) -> Result<bool, String> {
        let place = &mut self.nodes[node];
        let stored = place.store.get(Table::Meta, &inbox_key(partition)).map_err(|error| error.to_string())?;
        let stored = stored.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes);
        let pump = place.pumps.entry(partition).or_insert(Pump { next: stored, waits: None });
        if let Some(ticket) = pump.waits {
            match self.answers.remove(&ticket) {
                Some(Ok(Published { .. }) | Err(Refusal::Conflict { .. })) => {
                    let change = Change::Put(Table::Meta, inbox_key(partition), (pump.next + 1).to_be_bytes().to_vec());
                    pump.waits = None;
                    if place.store.write(vec![change], None).is_ok() {
                        pump.next += 1;
                    }
                }
                Some(Err(_)) => pump.waits = None,
                None if self.clients.waits_for(ticket) => {}
                None => pump.waits = None,
            }
            return Ok(true);
        }
        let (from, next) = (TopicPartition::new("inbox", partition), pump.next);
        let Ok(batches) = self.nodes[node].log.read(&from, next, 1) else { return Ok(true) };
        let Some((position, wish)) = batches.first().and_then(|batch| batch.events_from(next).next()).map(|(at, event)| (at, self.clients.wish_of(event)))
        else {
            return Ok(false);
        };
        let wish = wish.ok_or_else(|| format!("{from}@{position} is nobody's"))?;
        let home = self.clients.wishes[wish].subject.clone();
        let owner = self.assignment[tol_events::id::partition_of(&home, self.partitions) as usize];
        let Some(door) = self.nodes[owner].door.as_ref().map(|door| door.instance) else { return Ok(true) };
        let request = self.clients.pass_on(wish, (partition, position), door, self.wall(), self.now_ms);
        if let Some(pump) = self.nodes[node].pumps.get_mut(&partition) {
            pump.next = position;
            pump.waits = Some(request.reply);
        }
        self.hand_over(door, request);
        Ok(true)
    }

    /// Steps a node's clock.
    pub(super) fn step_clock(&mut self, node: usize) -> Outcome {
        let mut moment = self.moment(node);
        moment.wall = self.wall_of(node);
        let place = &mut self.nodes[node];
        let Some(ticker) = &mut place.ticker else { return Ok(()) };
        match ticker.step(place.told.contains(&0), moment) {
            Ok(()) | Err(Error::Store(store::Error::Failed(_))) => Ok(()),
            Err(error) => Err(format!("n{node}: the clock ended: {error}")),
        }
    }
}
