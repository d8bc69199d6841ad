//! The state of a [`MemoryLog`](super::MemoryLog): partitions, appends in flight, clients and their group.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::faults::{Answer, Fate, Faults};
use crate::log::{Append, AppendDone, Appended, Assignment, Error, Health, Position, TopicPartition, TopicSpec};
use crate::record::{Batch, Record};

type Watcher = Arc<dyn Fn(&TopicPartition) + Send + Sync>;
type Changed = Arc<dyn Fn(Assignment) + Send + Sync>;

/// Functions to call once the state is not locked any more.
#[derive(Default)]
pub(super) struct Calls(Vec<Box<dyn FnOnce()>>);

impl Calls {
    pub(super) fn make(self) {
        self.0.into_iter().for_each(|call| call());
    }

    fn add(&mut self, call: impl FnOnce() + 'static) {
        self.0.push(Box::new(call));
    }
}

#[derive(Default)]
struct Partition {
    records: Vec<Record>,
    appended_at_ms: Vec<i64>,
}

/// A part of an append in flight.
struct Part {
    to: TopicPartition,
    expected: Option<Position>,
    records: Vec<Record>,
    positions: Option<Vec<Position>>,
}

struct InFlight {
    client: usize,
    fate: Fate,
    parts: Vec<Part>,
    /// Set when all parts are applied, or the append was refused.
    result: Option<Result<(), Error>>,
    /// Gone when the client crashed.
    done: Option<AppendDone>,
}

#[derive(Default)]
struct Client {
    gone: bool,
    closed: bool,
    watchers: Vec<Watcher>,
    joined: Option<(u32, Changed)>,
    assigned: BTreeSet<u32>,
}

pub(super) struct State {
    random: ChaCha8Rng,
    faults: Faults,
    identity: String,
    now_ms: i64,
    reachable: bool,
    topics: BTreeMap<String, u32>,
    partitions: BTreeMap<TopicPartition, Partition>,
    in_flight: VecDeque<InFlight>,
    clients: Vec<Client>,
    group_changed: bool,
}

/// One thing that can happen next.
#[derive(Clone, Copy)]
enum Step {
    /// Apply a part (`None`: all) of an append in flight.
    Apply(usize, Option<usize>),
    Acknowledge(usize),
    Rebalance,
}

impl State {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let identity = format!("memory-{:016x}", random.random::<u64>());
        Self {
            random,
            faults,
            identity,
            now_ms: 0,
            reachable: true,
            topics: BTreeMap::new(),
            partitions: BTreeMap::new(),
            in_flight: VecDeque::new(),
            clients: Vec::new(),
            group_changed: false,
        }
    }

    pub(super) fn add_client(&mut self) -> usize {
        self.clients.push(Client::default());
        self.clients.len() - 1
    }

    pub(super) fn pending(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    pub(super) fn set_time(&mut self, now_ms: i64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    pub(super) fn set_reachable(&mut self, reachable: bool) {
        self.reachable = reachable;
    }

    pub(super) fn identity(&self) -> String {
        self.identity.clone()
    }

    pub(super) fn health(&self) -> Health {
        Health { ready: self.reachable, detail: if self.reachable { "ok" } else { "unreachable" }.into() }
    }

    fn reach(&self) -> Result<(), Error> {
        if self.reachable { Ok(()) } else { Err(Error::Unavailable("the simulated network is down".into())) }
    }

    fn check(&self, client: usize, appends: &[Append]) -> Result<(), Error> {
        if self.clients[client].closed {
            return Err(Error::Closed);
        }
        self.reach()?;
        if appends.is_empty() || appends.iter().any(|append| append.records.is_empty()) {
            return Err(Error::Invalid("an append has no records".into()));
        }
        match appends.iter().find(|append| !self.partitions.contains_key(&append.to)) {
            Some(append) => Err(Error::Unknown(append.to.to_string())),
            None => Ok(()),
        }
    }

    pub(super) fn append(&mut self, client: usize, appends: Vec<Append>, done: AppendDone, calls: &mut Calls) {
        if self.clients[client].gone {
            return calls.add(move || drop(done));
        }
        let result = self.check(client, &appends).err().map(Err);
        let parts = appends.into_iter().map(|Append { to, expected, records }| Part { to, expected, records, positions: None }).collect();
        let fate = self.faults.fate(&mut self.random);
        self.in_flight.push_back(InFlight { client, fate, parts, result, done: Some(done) });
        if self.faults.auto {
            self.now_ms += 1;
            while self.run_one(calls) {}
        }
    }

    pub(super) fn run_one(&mut self, calls: &mut Calls) -> bool {
        let steps = self.steps();
        if steps.is_empty() {
            return false;
        }
        match steps[self.random.random_range(0..steps.len())] {
            Step::Apply(at, part) => self.apply(at, part, calls),
            Step::Acknowledge(at) => self.acknowledge(at, calls),
            Step::Rebalance => self.rebalance(calls),
        }
        true
    }

    /// What may happen next. One client's appends to one partition are applied, and acknowledged, in their order.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut blocked: BTreeSet<(usize, &TopicPartition)> = BTreeSet::new();
        let mut unanswered: BTreeSet<(usize, &TopicPartition)> = BTreeSet::new();
        for (at, flight) in self.in_flight.iter().enumerate() {
            let key = |part: &'_ Part| (flight.client, part.to.clone());
            let waits = |set: &BTreeSet<(usize, &TopicPartition)>, part: &Part| set.iter().any(|(client, to)| (*client, (*to).clone()) == key(part));
            if flight.result.is_some() {
                if !flight.parts.iter().any(|part| waits(&unanswered, part)) {
                    steps.push(Step::Acknowledge(at));
                }
            } else if flight.fate.split {
                // Parts of one call to one partition keep their order too.
                for (number, part) in flight.parts.iter().enumerate().filter(|(_, part)| part.positions.is_none()) {
                    if !waits(&blocked, part) {
                        steps.push(Step::Apply(at, Some(number)));
                    }
                    blocked.insert((flight.client, &part.to));
                }
            } else {
                if !flight.parts.iter().any(|part| waits(&blocked, part)) {
                    steps.push(Step::Apply(at, None));
                }
                blocked.extend(flight.parts.iter().map(|part| (flight.client, &part.to)));
            }
            unanswered.extend(flight.parts.iter().map(|part| (flight.client, &part.to)));
        }
        if self.group_changed {
            steps.push(Step::Rebalance);
        }
        steps
    }

    fn apply(&mut self, at: usize, only: Option<usize>, calls: &mut Calls) {
        let Some(mut flight) = self.in_flight.remove(at) else { return };
        let chosen: Vec<usize> = only.map_or_else(|| (0..flight.parts.len()).collect(), |part| vec![part]);
        if let (Some(part), Answer::Failed) = (only, flight.fate.answer) {
            return self.lose_or_apply(at, flight, part, calls);
        }
        let result =
            if flight.fate.answer == Answer::Failed { Err(Error::Unavailable("injected: the append failed".into())) } else { self.expect(&flight, &chosen) };
        match result {
            Err(error) => flight.result = Some(Err(error)),
            Ok(()) => {
                for number in chosen {
                    self.store(&mut flight.parts[number], calls);
                }
                if flight.parts.iter().all(|part| part.positions.is_some()) {
                    flight.result = Some(if flight.fate.answer == Answer::Lost {
                        Err(Error::Unavailable("injected: the acknowledgement was lost".into()))
                    } else {
                        Ok(())
                    });
                }
            }
        }
        let at_once = flight.result.is_some() && !flight.fate.delayed;
        let blocked = self
            .in_flight
            .iter()
            .take(at)
            .any(|earlier| earlier.client == flight.client && earlier.parts.iter().any(|part| flight.parts.iter().any(|own| own.to == part.to)));
        self.in_flight.insert(at, flight);
        if at_once && !blocked {
            self.acknowledge(at, calls);
        }
    }

    /// A call that fails on Kafka may have written some of its parts.
    fn lose_or_apply(&mut self, at: usize, mut flight: InFlight, part: usize, calls: &mut Calls) {
        if self.random.random_bool(0.5) {
            flight.parts[part].positions = Some(Vec::new());
        } else if self.expect(&flight, &[part]).is_ok() {
            self.store(&mut flight.parts[part], calls);
        } else {
            flight.parts[part].positions = Some(Vec::new());
        }
        if flight.parts.iter().all(|part| part.positions.is_some()) {
            flight.result = Some(Err(Error::Unavailable("injected: the append failed, perhaps not all of it".into())));
        }
        self.in_flight.insert(at, flight);
    }

    fn store(&mut self, part: &mut Part, calls: &mut Calls) {
        let partition = self.partitions.entry(part.to.clone()).or_default();
        let base = partition.records.len() as u64;
        part.positions = Some((base..base + part.records.len() as u64).collect());
        partition.appended_at_ms.extend(part.records.iter().map(|_| self.now_ms));
        partition.records.append(&mut part.records);
        for watcher in self.clients.iter().filter(|client| !client.gone).flat_map(|client| client.watchers.iter().cloned()) {
            let to = part.to.clone();
            calls.add(move || watcher(&to));
        }
    }

    fn expect(&self, flight: &InFlight, chosen: &[usize]) -> Result<(), Error> {
        if self.faults.kafka_like {
            return Ok(());
        }
        let mut added: BTreeMap<&TopicPartition, u64> = BTreeMap::new();
        for part in chosen.iter().map(|number| &flight.parts[*number]) {
            let end = self.end_of(&part.to) + added.get(&part.to).copied().unwrap_or(0);
            if let Some(expected) = part.expected.filter(|expected| *expected != end) {
                return Err(Error::Conflict { to: part.to.clone(), expected, end });
            }
            *added.entry(&part.to).or_default() += part.records.len() as u64;
        }
        Ok(())
    }

    fn acknowledge(&mut self, at: usize, calls: &mut Calls) {
        let Some(flight) = self.in_flight.remove(at) else { return };
        let (Some(done), Some(result)) = (flight.done, flight.result) else { return };
        let parts = flight.parts;
        let result = result.map(|()| parts.into_iter().map(|part| Appended { to: part.to, positions: part.positions.unwrap_or_default() }).collect());
        calls.add(move || done(result));
    }

    pub(super) fn crash(&mut self, client: usize, calls: &mut Calls) {
        self.clients[client].gone = true;
        self.clients[client].watchers.clear();
        self.leave(client, calls);
        self.settle(client, calls, drop);
    }

    pub(super) fn close(&mut self, client: usize, calls: &mut Calls) {
        self.clients[client].closed = true;
        self.clients[client].watchers.clear();
        self.leave(client, calls);
        self.settle(client, calls, |done| done(Err(Error::Closed)));
    }

    /// Decides what becomes of a client's appends in flight: in each partition a first few still reach the log, at any later step.
    fn settle(&mut self, client: usize, calls: &mut Calls, answer: fn(AppendDone)) {
        let mut lost: BTreeSet<TopicPartition> = BTreeSet::new();
        // Now all, now none, now some of it.
        let loss = [0.0, 0.1, 0.5, 1.0][self.random.random_range(0..4)];
        for flight in self.in_flight.iter_mut().filter(|flight| flight.client == client) {
            if let Some(done) = flight.done.take() {
                calls.add(move || answer(done));
            }
            let atomic = !flight.fate.split;
            let drops = |random: &mut ChaCha8Rng, lost: &BTreeSet<TopicPartition>, to: &TopicPartition| lost.contains(to) || random.random_bool(loss);
            if atomic && flight.result.is_none() {
                let any_lost = flight.parts.iter().any(|part| lost.contains(&part.to));
                if any_lost || self.random.random_bool(loss) {
                    lost.extend(flight.parts.iter().map(|part| part.to.clone()));
                    flight.result = Some(Err(Error::Closed));
                }
            } else if !atomic && flight.result.is_none() {
                let random = &mut self.random;
                flight.parts.retain(|part| {
                    let dropped = part.positions.is_none() && drops(random, &lost, &part.to);
                    if dropped {
                        lost.insert(part.to.clone());
                    }
                    !dropped
                });
                if flight.parts.iter().all(|part| part.positions.is_some()) {
                    flight.result = Some(Err(Error::Closed));
                }
            }
        }
        self.in_flight.retain(|flight| flight.client != client || flight.result.is_none());
    }

    pub(super) fn watch(&mut self, client: usize, woken: Watcher) {
        self.clients[client].watchers.push(woken);
    }

    pub(super) fn join(&mut self, client: usize, partitions: u32, changed: Changed, calls: &mut Calls) {
        self.clients[client].joined = Some((partitions, changed));
        self.regroup(calls);
    }

    pub(super) fn leave(&mut self, client: usize, calls: &mut Calls) {
        if self.clients[client].joined.take().is_some() {
            self.clients[client].assigned.clear();
            self.regroup(calls);
        }
    }

    fn regroup(&mut self, calls: &mut Calls) {
        self.group_changed = true;
        if self.faults.auto {
            self.rebalance(calls);
        }
    }

    fn rebalance(&mut self, calls: &mut Calls) {
        self.group_changed = false;
        let members = self.clients.iter().filter(|client| client.joined.is_some()).count() as u32;
        let joined = self.clients.iter_mut().filter_map(|client| Some((client.joined.clone()?, &mut client.assigned)));
        for (place, ((partitions, changed), assigned)) in joined.enumerate() {
            let owned: BTreeSet<u32> = (0..partitions).filter(|partition| partition % members == place as u32).collect();
            if *assigned != owned {
                *assigned = owned.clone();
                calls.add(move || changed(Assignment { partitions: owned }));
            }
        }
    }

    fn end_of(&self, of: &TopicPartition) -> Position {
        self.partitions.get(of).map_or(0, |partition| partition.records.len() as u64)
    }

    pub(super) fn end(&self, of: &TopicPartition) -> Result<Position, Error> {
        self.reach()?;
        if self.partitions.contains_key(of) { Ok(self.end_of(of)) } else { Err(Error::Unknown(of.to_string())) }
    }

    pub(super) fn read(&mut self, from: &TopicPartition, position: Position, max_bytes: usize) -> Result<Vec<Arc<Batch>>, Error> {
        let end = self.end(from)?;
        if position > end {
            return Err(Error::OutOfRange { of: from.clone(), position, earliest: 0, end });
        }
        let Some(partition) = self.partitions.get(from) else { return Ok(Vec::new()) };
        let mut batches: Vec<Arc<Batch>> = Vec::new();
        let mut bytes = 0;
        // Readers must not rely on where batches begin: sometimes below the position asked for.
        let mut at = if position < end { position.saturating_sub(u64::from(self.random.random_range(0..3u32))) as usize } else { end as usize };
        while at < end as usize && (batches.is_empty() || bytes < max_bytes) {
            let time = partition.appended_at_ms[at];
            let first = at.max(position as usize);
            let mut until = first + 1;
            let longest = if self.random.random_bool(0.5) { 4 } else { 1000 };
            let wanted = self.random.random_range(1..=longest);
            let mut size = partition.records[first].size();
            while until < end as usize && until - first < wanted && bytes + size < max_bytes && partition.appended_at_ms[until] == time {
                size += partition.records[until].size();
                until += 1;
            }
            if partition.appended_at_ms[first] != time {
                at = first;
                continue;
            }
            let batch = Batch::of_records(from.clone(), at as u64, time, &partition.records[at..until]);
            bytes += batch.body().len();
            batches.push(Arc::new(batch));
            at = until;
        }
        Ok(batches)
    }

    pub(super) fn position_at(&self, of: &TopicPartition, time_us: i64) -> Result<Position, Error> {
        self.end(of)?;
        let position = self.partitions.get(of).map_or(0, |partition| partition.appended_at_ms.partition_point(|at| at.saturating_mul(1000) < time_us));
        Ok(position as u64)
    }

    pub(super) fn topics(&self) -> Result<Vec<(String, u32)>, Error> {
        self.reach()?;
        Ok(self.topics.iter().map(|(name, partitions)| (name.clone(), *partitions)).collect())
    }

    pub(super) fn ensure_topics(&mut self, topics: &[TopicSpec]) -> Result<(), Error> {
        self.reach()?;
        for spec in topics {
            crate::log_topics::check(spec)?;
            let found = self.topics.get(&spec.name).copied();
            if let Some(found) = found.filter(|found| *found != spec.partitions) {
                return Err(Error::PartitionMismatch { topic: spec.name.clone(), configured: spec.partitions, found });
            }
        }
        for spec in topics {
            self.topics.insert(spec.name.clone(), spec.partitions);
            let name: Arc<str> = spec.name.as_str().into();
            for partition in 0..spec.partitions {
                self.partitions.entry(TopicPartition::new(name.clone(), partition)).or_default();
            }
        }
        Ok(())
    }
}
