//! Nodes with their drivers, and the seeded schedule that steps, crashes, moves and stops them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tol_events::{Attribute, Event, EventTime, id, reserved};
use tol_kafka::{EventLog, Faults, MemoryClient, MemoryLog, TopicPartition, TopicSpec};
use tol_system::EffectOutcome;

use super::feed::{Feed, Splitting};
use super::oracle;
use super::rules::{self, Kind};
use super::systems::{World, system};
use crate::driver::{Driver, Output};
use crate::owner::{Error, Moment, Options};
use crate::store::MemoryStore;

/// A system's partition.
pub(super) type Key = (Kind, u32);

/// Noon of some day; simulated time begins here.
const EPOCH_MICROS: i64 = 1_750_000_000_000_000;

struct Running {
    driver: Driver,
    /// Tells it from every other driver there ever is.
    instance: u64,
}

pub(super) struct Node {
    name: String,
    client: Arc<MemoryClient>,
    log: Arc<dyn EventLog>,
    pub store: Arc<MemoryStore>,
    up: bool,
    stopped: bool,
    drivers: BTreeMap<Key, Running>,
    /// Owners that hung and wake up on the same node, with their cache taken over.
    hung: Vec<(Key, Running)>,
}

/// An effect that was started.
struct Started {
    node: usize,
    key: Key,
    instance: u64,
    request: String,
}

pub(super) struct Cluster {
    pub log: MemoryLog,
    pub random: ChaCha8Rng,
    pub world: Arc<World>,
    pub partitions: u32,
    options: Options,
    pub nodes: Vec<Node>,
    feeds: Vec<Feed>,
    clock: Feed,
    now_ms: u64,
    /// Which node owns a partition number.
    assignment: Vec<usize>,
    /// Nodes that were not told yet that a partition number is theirs no more.
    untold: Vec<(usize, u32)>,
    effects: Vec<Started>,
    /// Every start: request, driver, epoch.
    starts: BTreeSet<(String, u64, u64)>,
    pub runs: BTreeMap<String, u32>,
    instances: u64,
    tickets: u64,
    open_tickets: BTreeMap<u64, (u64, Option<String>)>,
    /// Dead letters whose discard was answered with 1.
    pub discarded: Vec<String>,
    faults: Faults,
    verbose: bool,
    storm_of_crashes: bool,
}

type Outcome = Result<(), String>;

impl Cluster {
    pub(super) fn new(seed: u64, verbose: bool, options_of: impl FnOnce(Options) -> Options) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let kafka = random.random_bool(0.6);
        let mut faults = if kafka { Faults::kafka_storm() } else { Faults::embedded_storm() };
        if random.random_bool(0.3) {
            faults = Faults { lost_ack: 0.0, failed: 0.0, ..faults };
        }
        let log = MemoryLog::new(random.random(), faults.clone());
        let partitions = random.random_range(1..=3);
        let topics = [rules::FACTS, "sim-counter.events", "sim-chain.events", "sim-worker.events"];
        let spec = |name: &str, partitions| TopicSpec { name: name.to_owned(), partitions, retention: None };
        let mut specs: Vec<TopicSpec> = topics.iter().map(|name| spec(name, partitions)).collect();
        specs.push(spec("clock", 1));
        // A log that was just made is reachable.
        let _ = log.ensure_topics(&specs);
        let subjects = random.random_range(2..=8);
        let options = options_of(Options {
            partitions,
            attempts: random.random_range(1..=3),
            retry_ms: 10,
            group_events: 100,
            batch_events: random.random_range(1..=8),
            checkpoint_inputs: random.random_range(3..=30),
            read_bytes: random.random_range(1..=4000),
            #[cfg(test)]
            mutation: None,
        });
        let feed_log: Arc<dyn EventLog> = log.client("feed");
        let feeds = (0..partitions).map(|partition| Feed::new(TopicPartition::new(rules::FACTS, partition), feed_log.clone())).collect();
        let clock = Feed::new(TopicPartition::new("clock", 0), feed_log);
        let world = Arc::new(World::new(subjects));
        let count = random.random_range(1..=3);
        let mut cluster = Self {
            log,
            world,
            partitions,
            options,
            nodes: Vec::new(),
            feeds,
            clock,
            now_ms: 0,
            assignment: (0..partitions).map(|_| random.random_range(0..count)).collect(),
            untold: Vec::new(),
            effects: Vec::new(),
            starts: BTreeSet::new(),
            runs: BTreeMap::new(),
            instances: 0,
            tickets: 0,
            open_tickets: BTreeMap::new(),
            discarded: Vec::new(),
            faults,
            verbose,
            storm_of_crashes: random.random_bool(0.3),
            random,
        };
        for number in 0..count {
            let client = cluster.log.client(format!("n{number}"));
            let log = cluster.wrap(client.clone());
            let node = Node {
                name: format!("n{number}"),
                client,
                log,
                store: Arc::new(MemoryStore::new(200)),
                up: true,
                stopped: false,
                drivers: BTreeMap::new(),
                hung: Vec::new(),
            };
            cluster.nodes.push(node);
        }
        cluster
    }

    fn wrap(&mut self, client: Arc<MemoryClient>) -> Arc<dyn EventLog> {
        Arc::new(Splitting::new(client, self.random.random()))
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>6} {}", self.now_ms, text());
        }
    }

    /// Facts for the run.
    fn fill(&mut self) {
        let facts = self.random.random_range(10..50);
        for number in 0..facts {
            let subject = rules::subject(self.random.random_range(0..self.world.subjects));
            let event_type = if self.random.random_bool(0.5) { rules::COUNT_WANTED } else { rules::JOB_WANTED };
            let event_type = if self.random.random_bool(0.1) { "sim.nobody_wants.v1" } else { event_type };
            let id = format!("f{number}-{}", self.random.random::<u32>());
            let event = Event::new(id, "/shop", event_type, &subject).at(EventTime::from_micros(EPOCH_MICROS + i64::from(number) * 20_001));
            self.feeds[id::partition_of(&subject, self.partitions) as usize].push(event);
        }
    }

    fn open(&mut self, node: usize, key: Key) -> Outcome {
        self.instances += 1;
        let seed = self.random.random();
        let target = &self.nodes[node];
        let driver = Driver::open(
            system(key.0, &self.world),
            key.1,
            &target.name,
            target.log.clone(),
            target.store.clone(),
            self.options.clone(),
            seed,
            Arc::new(|| {}),
        )
        .map_err(|error| format!("open: {error}"))?;
        let mut running = Running { driver, instance: self.instances };
        running.driver.owner_mut().assign(self.assignment[key.1 as usize] == node);
        if let Some(old) = self.nodes[node].drivers.insert(key, running) {
            self.nodes[node].hung.push((key, old));
        }
        Ok(())
    }

    fn open_all(&mut self, node: usize) -> Outcome {
        for kind in Kind::ALL {
            for partition in 0..self.partitions {
                // Those that only follow are not always there.
                if self.assignment[partition as usize] == node || self.random.random_bool(0.3) {
                    self.open(node, (kind, partition))?;
                }
            }
        }
        Ok(())
    }

    fn moment(&self, node: usize) -> Moment {
        Moment { now_ms: self.now_ms, wall: self.wall(), stopped: self.nodes[node].stopped }
    }

    fn wall(&self) -> EventTime {
        EventTime::from_micros(EPOCH_MICROS + self.now_ms as i64 * 1000)
    }

    /// Steps one driver; whether it moved.
    fn step_driver(&mut self, node: usize, key: Key, hung: Option<usize>) -> Result<bool, String> {
        let moment = self.moment(node);
        self.world.stopped.store(moment.stopped, Ordering::Relaxed);
        self.world.hung.store(hung.is_some(), Ordering::Relaxed);
        let place = &mut self.nodes[node];
        let running = match hung {
            Some(at) => &mut place.hung[at].1,
            None => match place.drivers.get_mut(&key) {
                Some(running) => running,
                None => return Ok(false),
            },
        };
        let instance = running.instance;
        let result = running.driver.step(moment);
        let epoch = running.driver.owner().reader().epoch();
        self.world.stopped.store(false, Ordering::Relaxed);
        let progress = match result {
            Ok(progress) => progress,
            Err(Error::Store(crate::store::Error::TokenLost(_))) if hung.is_some() => {
                self.say(|| format!("n{node} {key:?} driver {instance} lost its token"));
                if let Some(at) = hung {
                    self.nodes[node].hung.remove(at);
                }
                self.open_tickets.retain(|_, (owner, _)| *owner != instance);
                return Ok(true);
            }
            Err(error) => return Err(format!("n{node} {key:?}: the owner ended: {error}")),
        };
        if progress.moved {
            self.say(|| format!("n{node} {key:?} driver {instance} stepped: {:?}", progress.outputs));
        }
        for output in progress.outputs {
            match output {
                Output::StartEffect(request, _) => {
                    if !self.starts.insert((request.clone(), instance, epoch)) {
                        return Err(format!("{key:?}: effect {request} started twice by one owner"));
                    }
                    // E7, against the model's reading of the log as it is now.
                    let own = TopicPartition::new(format!("{}.events", key.0.name()), key.1);
                    let counts = oracle::accepted(&self.log, &own).is_ok_and(|groups| groups.iter().flatten().any(|event| event.id == request));
                    if !counts && self.log.health().ready {
                        return Err(format!("{key:?}: effect {request} started before its request was committed"));
                    }
                    self.effects.push(Started { node, key, instance, request });
                }
                Output::DeadLetter(_) => {}
                Output::Answer(ticket, answer) => {
                    let Some((_, dead_letter)) = self.open_tickets.remove(&ticket) else {
                        return Err(format!("ticket {ticket} was answered twice or never asked for"));
                    };
                    if let (Some(dead_letter), Ok(1)) = (dead_letter, &answer) {
                        self.discarded.push(dead_letter);
                    }
                }
            }
        }
        Ok(progress.moved)
    }

    fn crash(&mut self, node: usize) {
        self.say(|| format!("n{node} crashes"));
        let lost = if self.random.random_bool(0.5) { self.random.random_range(0..60) } else { 0 };
        let forget = self.random.random_bool(0.1);
        let place = &mut self.nodes[node];
        place.client.crash();
        let gone: BTreeSet<u64> =
            place.drivers.values().map(|running| running.instance).chain(place.hung.iter().map(|(_, running)| running.instance)).collect();
        place.drivers.clear();
        place.hung.clear();
        place.up = false;
        place.store.lose_tail(lost);
        if forget {
            place.store.clear();
        }
        self.effects.retain(|started| !gone.contains(&started.instance));
        self.open_tickets.retain(|_, (instance, _)| !gone.contains(instance));
        self.untold.retain(|(untold, _)| *untold != node);
    }

    fn restart(&mut self, node: usize) -> Outcome {
        self.say(|| format!("n{node} starts"));
        let client = self.log.client(format!("n{node}"));
        self.nodes[node].log = self.wrap(client.clone());
        self.nodes[node].client = client;
        self.nodes[node].up = true;
        self.open_all(node)
    }

    /// Another node becomes the owner; the old one learns of it later.
    fn move_partition(&mut self) -> Outcome {
        let partition = self.random.random_range(0..self.partitions);
        let to = self.random.random_range(0..self.nodes.len());
        let from = std::mem::replace(&mut self.assignment[partition as usize], to);
        if from == to {
            return Ok(());
        }
        self.say(|| format!("partition {partition} goes from n{from} to n{to}"));
        self.untold.push((from, partition));
        self.untold.retain(|untold| *untold != (to, partition));
        self.tell(to, partition, true)
    }

    fn tell(&mut self, node: usize, partition: u32, assigned: bool) -> Outcome {
        if !self.nodes[node].up {
            return Ok(());
        }
        for kind in Kind::ALL {
            if let Some(running) = self.nodes[node].drivers.get_mut(&(kind, partition)) {
                running.driver.owner_mut().assign(assigned);
            } else if assigned {
                self.open(node, (kind, partition))?;
            }
        }
        Ok(())
    }

    fn finish_effect(&mut self) {
        if self.effects.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.effects.len());
        // The lease: nothing starts under the stop.
        if self.nodes[self.effects[at].node].stopped {
            return;
        }
        let Started { node, key, instance, request } = self.effects.swap_remove(at);
        *self.runs.entry(request.clone()).or_default() += 1;
        let outcome = if rules::outcome(&request) { EffectOutcome::Completed(serde_json::json!({})) } else { EffectOutcome::Failed("no".to_owned()) };
        let wall = self.wall();
        let twice = self.random.random_bool(0.1);
        let place = &mut self.nodes[node];
        let hung = place.hung.iter_mut().map(|(_, running)| running);
        if let Some(running) = place.drivers.get_mut(&key).into_iter().chain(hung).find(|running| running.instance == instance) {
            if twice {
                running.driver.effect_ended(request.clone(), outcome.clone(), wall);
            }
            running.driver.effect_ended(request, outcome, wall);
        }
    }

    fn operate(&mut self, discard: bool) -> Outcome {
        let (node, Some(key)) = self.pick() else { return Ok(()) };
        let moment = self.moment(node);
        let Some(running) = self.nodes[node].drivers.get_mut(&key) else { return Ok(()) };
        let parked = running.driver.owner().parked(100).map_err(|error| error.to_string())?;
        self.tickets += 1;
        let instance = running.instance;
        let Some(parked) = (!parked.is_empty()).then(|| parked[self.random.random_range(0..parked.len())].clone()) else {
            if self.random.random_bool(0.2) {
                running.driver.owner_mut().redrive_subject("customer/0", Some(self.tickets));
                self.open_tickets.insert(self.tickets, (instance, None));
            }
            return Ok(());
        };
        self.open_tickets.insert(self.tickets, (instance, discard.then(|| parked.id.clone())));
        if discard {
            running.driver.owner_mut().discard(&parked.id, "a test", self.tickets, moment).map_err(|error| format!("discard: {error}"))?;
        } else {
            running.driver.owner_mut().redrive_subject(&parked.subject, Some(self.tickets));
        }
        let what = if discard { "discard" } else { "redrive" };
        self.say(|| format!("n{node} {key:?} {what} {} of {}", parked.id, parked.subject));
        Ok(())
    }

    fn pick(&mut self) -> (usize, Option<Key>) {
        let node = self.random.random_range(0..self.nodes.len());
        let count = self.nodes[node].drivers.len();
        if count == 0 {
            return (node, None);
        }
        let at = self.random.random_range(0..count);
        (node, self.nodes[node].drivers.keys().nth(at).copied())
    }

    fn tick(&mut self) {
        let mut tick = Event::new(format!("tick {} {}", self.now_ms, self.random.random::<u32>()), "/hub", reserved::CLOCK_TICKED, "clock").at(self.wall());
        tick.set(Attribute::RecordedTime, self.wall().to_string());
        self.clock.push(tick);
    }

    /// One thing happens.
    fn step(&mut self) -> Outcome {
        let rare = if self.storm_of_crashes { 30 } else { 6 };
        match self.random.random_range(0..1000) {
            0..400 => {
                if let (node, Some(key)) = self.pick() {
                    self.step_driver(node, key, None)?;
                }
            }
            400..430 => {
                let node = self.random.random_range(0..self.nodes.len());
                if !self.nodes[node].hung.is_empty() {
                    let at = self.random.random_range(0..self.nodes[node].hung.len());
                    let key = self.nodes[node].hung[at].0;
                    self.step_driver(node, key, Some(at))?;
                }
            }
            430..700 => {
                self.log.run_one();
            }
            700..790 => {
                let at = self.random.random_range(0..self.feeds.len());
                self.feeds[at].step(&mut self.random);
            }
            790..810 => self.clock.step(&mut self.random),
            810..860 => self.now_ms += self.random.random_range(1..100),
            860..870 => self.tick(),
            870..910 => self.finish_effect(),
            910..920 => self.operate(false)?,
            920..924 => self.operate(true)?,
            924..930 => {
                let node = self.random.random_range(0..self.nodes.len());
                self.nodes[node].stopped ^= true;
                let stopped = self.nodes[node].stopped;
                self.say(|| format!("n{node} stopped: {stopped}"));
            }
            930..936 if self.random.random_bool(0.2) => {
                let reachable = self.random.random_bool(0.7);
                self.log.set_reachable(reachable);
            }
            930..942 => self.log.set_reachable(true),
            942..948 => {
                if let (node, Some(key)) = self.pick() {
                    self.say(|| format!("n{node} {key:?} is opened again"));
                    self.open(node, key)?;
                }
            }
            948..954 if !self.untold.is_empty() => {
                let at = self.random.random_range(0..self.untold.len());
                let (node, partition) = self.untold.swap_remove(at);
                self.say(|| format!("n{node} learns that partition {partition} is gone"));
                self.tell(node, partition, false)?;
            }
            954..958 => self.move_partition()?,
            958..964 => {
                if let (node, Some(key)) = self.pick()
                    && let Some(running) = self.nodes[node].drivers.get_mut(&key)
                {
                    running.driver.owner_mut().pause(self.random.random_bool(0.5));
                }
            }
            964.. if self.random.random_range(0..100) < rare => {
                let node = self.random.random_range(0..self.nodes.len());
                if self.nodes[node].up {
                    self.crash(node);
                } else {
                    self.restart(node)?;
                }
            }
            _ => {}
        }
        self.world.first_violation().map_or(Ok(()), Err)
    }

    /// Everything that may go wrong goes wrong.
    pub(super) fn storm(&mut self, steps: usize) -> Result<(), (usize, String)> {
        self.fill();
        for node in 0..self.nodes.len() {
            self.open_all(node).map_err(|problem| (0, problem))?;
        }
        for step in 0..steps {
            self.step().map_err(|problem| (step, problem))?;
        }
        Ok(())
    }

    /// Nothing goes wrong any more, and everything comes to its end.
    pub(super) fn heal(&mut self) -> Outcome {
        self.say(|| "healed".to_owned());
        self.world.healed.store(true, Ordering::Relaxed);
        self.log.set_reachable(true);
        self.log.set_faults(Faults { lost_ack: 0.0, failed: 0.0, delayed_ack: 0.0, ..self.faults.clone() });
        for node in 0..self.nodes.len() {
            self.nodes[node].stopped = false;
            let hung = std::mem::take(&mut self.nodes[node].hung);
            let gone: BTreeSet<u64> = hung.iter().map(|(_, running)| running.instance).collect();
            self.effects.retain(|started| !gone.contains(&started.instance));
            self.open_tickets.retain(|_, (instance, _)| !gone.contains(instance));
            if !self.nodes[node].up {
                self.restart(node)?;
            }
            self.nodes[node].drivers.values_mut().for_each(|running| running.driver.owner_mut().pause(false));
        }
        for (node, partition) in std::mem::take(&mut self.untold) {
            self.tell(node, partition, false)?;
        }
        for partition in 0..self.partitions {
            self.tell(self.assignment[partition as usize], partition, true)?;
        }
        self.settle()?;
        // Twice, because what is redriven may set timers and request effects.
        for _ in 0..2 {
            for node in 0..self.nodes.len() {
                for running in self.nodes[node].drivers.values_mut().filter(|running| running.driver.owner().phase() == &crate::writer::Phase::Active) {
                    let parked = running.driver.owner().parked(1000).map_err(|error| error.to_string())?;
                    for subject in parked.into_iter().map(|parked| parked.subject).collect::<BTreeSet<_>>() {
                        self.tickets += 1;
                        self.open_tickets.insert(self.tickets, (running.instance, None));
                        running.driver.owner_mut().redrive_subject(&subject, Some(self.tickets));
                    }
                }
            }
            self.settle()?;
            self.now_ms += 60_000;
            self.tick();
            self.settle()?;
        }
        match self.open_tickets.first_key_value() {
            Some((ticket, _)) => Err(format!("ticket {ticket} was never answered")),
            None => Ok(()),
        }
    }

    fn settle(&mut self) -> Outcome {
        for _ in 0..2_000 {
            let mut moved = false;
            for node in 0..self.nodes.len() {
                for key in self.nodes[node].drivers.keys().copied().collect::<Vec<_>>() {
                    moved |= self.step_driver(node, key, None)?;
                }
            }
            moved |= self.log.pending() > 0 || !self.effects.is_empty();
            self.log.run_all();
            for at in 0..self.feeds.len() {
                self.feeds[at].step(&mut self.random);
                moved |= !self.feeds[at].is_done();
            }
            self.clock.step(&mut self.random);
            moved |= !self.clock.is_done();
            self.finish_effect();
            self.now_ms += 100;
            let waiting = |running: &Running| !running.driver.owner().is_idle();
            moved |= self.nodes.iter().any(|node| node.drivers.values().any(waiting));
            let inactive = (0..self.partitions).flat_map(|partition| Kind::ALL.map(|kind| (kind, partition))).any(|key| self.owner(key).is_err());
            if let Some(violation) = self.world.first_violation() {
                return Err(violation);
            }
            if !moved && !inactive {
                return Ok(());
            }
        }
        Err("does not come to rest although nothing goes wrong any more".to_owned())
    }

    /// The active owner of a partition: its node and its driver.
    pub(super) fn owner(&self, key: Key) -> Result<(usize, &Driver), String> {
        let node = self.assignment[key.1 as usize];
        match self.nodes[node].drivers.get(&key) {
            Some(running) if running.driver.owner().phase() == &crate::writer::Phase::Active => Ok((node, &running.driver)),
            _ => Err(format!("{key:?} has no active owner")),
        }
    }

    /// A driver that only follows, on a store of its own.
    pub(super) fn replay(&self, key: Key, store: Arc<MemoryStore>) -> Result<Driver, String> {
        let log: Arc<dyn EventLog> = Arc::new(self.log.clone());
        let mut driver = Driver::open(system(key.0, &self.world), key.1, "replay", log, store, self.options.clone(), 1, Arc::new(|| {}))
            .map_err(|error| error.to_string())?;
        let moment = Moment { now_ms: self.now_ms, wall: self.wall(), stopped: false };
        while driver.step(moment).map_err(|error| format!("replay of {key:?}: {error}"))?.moved {}
        Ok(driver)
    }

    /// Requests of effects that were started.
    pub(super) fn started(&self) -> BTreeSet<&str> {
        self.starts.iter().map(|(request, ..)| request.as_str()).collect()
    }
}
