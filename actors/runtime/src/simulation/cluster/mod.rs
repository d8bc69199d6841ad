//! Nodes with their drivers, and the seeded schedule that steps, crashes, moves and stops them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tol_events::{Event, EventTime, id};
use tol_kafka::{EventLog, Faults, MemoryClient, MemoryLog, TopicPartition, TopicSpec};
use tol_system::AnySystem;

mod door;
pub(super) mod operators;
mod pauses;
mod schedule;
mod stops;

use super::client::Clients;
use super::feed::{Feed, Splitting};
use super::guest::{Companion, Guest, hosted};
use super::oracle;
use super::projection::Counting;
use super::rules::{self, Kind};
use super::systems::{World, system};
use crate::admission::{AdmissionOptions, Published, Refusal};
use crate::clock::Ticker;
use crate::control::ControlLine;
use crate::control::{ControlGate, Permit};
use crate::driver::{Driver, Output};
use crate::effects::{EffectQueue, Job};
use crate::owner::{Error, Moment, Options};
use crate::store::MemoryStore;
use door::{Disk, Door, Pump};
use operators::Promised;
use pauses::Pauses;
use stops::{Stand, Stops};

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
    pub store: Arc<Disk>,
    up: bool,
    /// Partition numbers that it takes for its own.
    told: BTreeSet<u32>,
    door: Option<Door>,
    /// Doors that hung and wake up, with their memory taken over.
    hung_doors: Vec<Door>,
    pumps: BTreeMap<u32, Pump>,
    ticker: Option<Ticker>,
    /// How much its wall clock is ahead.
    skew_ms: i64,
    gate: ControlGate,
    line: Option<Arc<ControlLine>>,
    queue: EffectQueue,
    /// A job between two tries has no permit.
    running: Vec<(Job, Option<Permit>)>,
    stand: Stand,
    pub projections: Vec<Counting>,
    companion: Option<Box<dyn Companion>>,
    drivers: BTreeMap<Key, Running>,
    /// Owners that hung and wake up on the same node, with their cache taken over.
    hung: Vec<(Key, Running)>,
}

pub(super) struct Cluster {
    guest: Option<Arc<dyn Guest>>,
    pub log: MemoryLog,
    pub random: ChaCha8Rng,
    pub world: Arc<World>,
    pub partitions: u32,
    options: Options,
    pub nodes: Vec<Node>,
    /// Facts and ticks come from plain writers, which repeat themselves and write as zombies more than admission ever would.
    plain: bool,
    feeds: Vec<Feed>,
    clock: Feed,
    pub clients: Clients,
    door_options: AdmissionOptions,
    /// Whether there is an `inbox`, and what was not written to it yet.
    inbox: bool,
    unwritten: Vec<usize>,
    written_again: Arc<std::sync::Mutex<Vec<usize>>>,
    answers: BTreeMap<u64, Result<Published, Refusal>>,
    healing: bool,
    now_ms: u64,
    /// Which node owns a partition number.
    assignment: Vec<usize>,
    /// Nodes that were not told yet that a partition number is theirs no more.
    untold: Vec<(usize, u32)>,
    stops: Stops,
    pub pauses: Pauses,
    /// Every start: request, driver, epoch.
    starts: BTreeSet<(String, u64, u64)>,
    pub runs: BTreeMap<String, u32>,
    instances: u64,
    tickets: u64,
    open_tickets: BTreeMap<u64, (u64, Option<String>)>,
    /// Dead letters whose discard was answered with 1.
    pub promised: Promised,
    faults: Faults,
    verbose: bool,
    storm_of_crashes: bool,
    /// Partitions change hands all the time, and who lost one learns of it late.
    rivals: bool,
}

type Outcome = Result<(), String>;

impl Cluster {
    pub(super) fn new(seed: u64, verbose: bool, guest: Option<Arc<dyn Guest>>) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let kafka = random.random_bool(0.6);
        let mut faults = if kafka { Faults::kafka_storm() } else { Faults::embedded_storm() };
        if random.random_bool(0.3) {
            faults = Faults { lost_ack: 0.0, failed: 0.0, ..faults };
        }
        let log = MemoryLog::new(random.random(), faults.clone());
        let partitions = random.random_range(1..=3);
        let plain = random.random_bool(0.2);
        let inbox = kafka && !plain;
        let guest = guest.filter(|_| !plain);
        let own = Kind::all(guest.is_some()).iter().map(|kind| format!("{}.events", kind.name()));
        let spec = |name: &str, partitions| TopicSpec { name: name.to_owned(), partitions, retention: None };
        let mut specs: Vec<TopicSpec> = id::FACTS_TOPICS.into_iter().chain(["inbox"]).map(|name| spec(name, partitions)).collect();
        specs.extend(own.map(|name| spec(&name, partitions)));
        // Of systems that are not here nothing comes, but their topics are there.
        let read = guest.iter().flat_map(|guest| guest.system().describe().inputs).map(|input| input.topic);
        for topic in read {
            if !specs.iter().any(|known| known.name == topic) {
                specs.push(spec(topic, partitions));
            }
        }
        specs.extend([spec("clock", 1), spec("control", 1)]);
        // A log that was just made is reachable.
        let _ = log.ensure_topics(&specs);
        let subjects = random.random_range(2..=8);
        let options = Options {
            partitions,
            attempts: random.random_range(1..=3),
            retry_ms: 10,
            group_events: 100,
            batch_events: random.random_range(1..=8),
            checkpoint_inputs: random.random_range(3..=30),
            redrives: random.random_range(1..=3),
            read_bytes: random.random_range(1..=4000),
            // Of its own, so that the seeds stay what they were: sometimes each batch is written, sometimes all waits for the end.
            unwritten_bytes: ChaCha8Rng::seed_from_u64(!seed).random_range(0..3_000),
        };
        let feed_log: Arc<dyn EventLog> = log.client("feed");
        let feeds = (0..partitions).map(|partition| Feed::new(TopicPartition::new(rules::FACTS, partition), feed_log.clone())).collect();
        let clock = Feed::new(TopicPartition::new("clock", 0), feed_log);
        let world = Arc::new(World::new(subjects));
        let count = random.random_range(1..=3);
        let mut clients = Clients::new(partitions);
        let door_options = door::options(&mut random, partitions, kafka);
        if !plain {
            let facts = random.random_range(10..50);
            clients.fill(&mut random, facts, subjects, inbox, EPOCH_MICROS);
        }
        if let Some(guest) = &guest {
            // Drawn beside, so that the rest of a seed stays what it is.
            let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x9e37_79b9_7f4a_7c15);
            let facts = guest.facts(&mut random, EventTime::from_micros(EPOCH_MICROS));
            clients.tell_of_guest(&mut random, facts, inbox);
        }
        let mut cluster = Self {
            guest,
            plain,
            unwritten: (0..clients.wishes.len()).filter(|at| clients.wishes[*at].by_inbox).collect(),
            clients,
            door_options,
            inbox,
            written_again: Arc::default(),
            answers: BTreeMap::new(),
            healing: false,
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
            stops: Stops::default(),
            pauses: Pauses::default(),
            starts: BTreeSet::new(),
            runs: BTreeMap::new(),
            instances: 0,
            tickets: 0,
            open_tickets: BTreeMap::new(),
            promised: Promised::default(),
            faults,
            verbose,
            storm_of_crashes: random.random_bool(0.3),
            rivals: random.random_bool(0.3),
            random,
        };
        for number in 0..count {
            let client = cluster.log.client(format!("n{number}"));
            let log = cluster.wrap(client.clone());
            let node = Node {
                name: format!("n{number}"),
                client,
                log,
                store: Arc::new(Disk { inner: MemoryStore::new(200), full: false.into() }),
                up: true,
                told: BTreeSet::new(),
                door: None,
                hung_doors: Vec::new(),
                pumps: BTreeMap::new(),
                ticker: None,
                skew_ms: cluster.random.random_range(-5_000..5_000),
                gate: ControlGate::default(),
                line: None,
                queue: EffectQueue::default(),
                running: Vec::new(),
                stand: Stand::default(),
                projections: Vec::new(),
                companion: None,
                drivers: BTreeMap::new(),
                hung: Vec::new(),
            };
            cluster.nodes.push(node);
        }
        cluster
    }

    /// The systems of this run.
    pub(super) fn kinds(&self) -> &'static [Kind] {
        Kind::all(self.guest.is_some())
    }

    pub(super) fn guest(&self) -> Option<&dyn Guest> {
        self.guest.as_deref()
    }

    fn system(&self, kind: Kind) -> Arc<dyn AnySystem> {
        match &self.guest {
            Some(guest) if kind == Kind::Guest => hosted(guest.as_ref(), &self.world),
            _ => system(kind, &self.world),
        }
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
        if !self.plain {
            return;
        }
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
        let opened =
            Driver::open(self.system(key.0), key.1, &target.name, target.log.clone(), target.store.clone(), self.options.clone(), seed, Arc::new(|| {}));
        let driver = match opened {
            Ok(driver) => driver,
            // The disk is full: somebody opens it again later.
            Err(Error::Store(crate::store::Error::Failed(_))) => return Ok(()),
            Err(error) => return Err(format!("open: {error}")),
        };
        let mut running = Running { driver, instance: self.instances };
        running.driver.owner_mut().heed(&self.nodes[node].gate);
        running.driver.owner_mut().assign(self.nodes[node].told.contains(&key.1));
        if let Some(old) = self.nodes[node].drivers.insert(key, running) {
            self.nodes[node].hung.push((key, old));
        }
        Ok(())
    }

    fn open_all(&mut self, node: usize) -> Outcome {
        self.nodes[node].told = (0..self.partitions).filter(|partition| self.assignment[*partition as usize] == node).collect();
        self.open_line(node);
        self.open_door(node)?;
        self.open_projections(node)?;
        self.open_companion(node)?;
        for kind in self.kinds() {
            for partition in 0..self.partitions {
                // Those that only follow are not always there.
                if self.assignment[partition as usize] == node || self.random.random_bool(0.3) {
                    self.open(node, (*kind, partition))?;
                }
            }
        }
        Ok(())
    }

    fn moment(&self, node: usize) -> Moment {
        Moment { now_ms: self.now_ms, wall: self.wall(), stopped: self.nodes[node].gate.is_closed() }
    }

    fn wall(&self) -> EventTime {
        EventTime::from_micros(EPOCH_MICROS + self.now_ms as i64 * 1000)
    }

    /// Steps one driver; whether it moved.
    fn step_driver(&mut self, node: usize, key: Key, hung: Option<usize>) -> Result<bool, String> {
        let moment = self.moment(node);
        let stopped = moment.stopped || self.must_not_decide(node) || self.nodes[node].stand.paused.contains(&key.0);
        self.world.stopped.store(stopped, Ordering::Relaxed);
        self.world.hung.store(hung.is_some(), Ordering::Relaxed);
        let stops = if stopped { None } else { self.stop_in_mid_step(node) };
        let is_stop = stops.is_some();
        let closing = if stopped || is_stop { stops } else { self.pause_in_mid_step(node, key.0) };
        self.world.close_after(closing);
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
        match self.world.closed() {
            true if is_stop => self.stop(node),
            true => self.paused_in_mid_step(node),
            false => {}
        }
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
            Err(Error::Store(crate::store::Error::Failed(_))) => {
                self.say(|| format!("n{node} {key:?} driver {instance} ends: its disk is full"));
                match hung {
                    Some(at) => drop(self.nodes[node].hung.remove(at)),
                    None => drop(self.nodes[node].drivers.remove(&key)),
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
                Output::StartEffect(request, effect) => {
                    if !self.starts.insert((request.clone(), instance, epoch)) {
                        return Err(format!("{key:?}: effect {request} started twice by one owner"));
                    }
                    // E7, against the model's reading of the log as it is now.
                    let own = TopicPartition::new(format!("{}.events", key.0.name()), key.1);
                    let counts = oracle::accepted(&self.log, &own).is_ok_and(|groups| groups.iter().flatten().any(|event| event.id == request));
                    if !counts && self.log.health().ready {
                        return Err(format!("{key:?}: effect {request} started before its request was committed"));
                    }
                    self.nodes[node].queue.submit((key.0.name().to_owned(), key.1, request, effect));
                }
                Output::DeadLetter(_) => {}
                Output::Answer(ticket, answer) => {
                    let Some((_, asked)) = self.open_tickets.remove(&ticket) else {
                        return Err(format!("ticket {ticket} was answered twice or never asked for"));
                    };
                    if let Ok(answer) = answer {
                        self.promised.note(asked, answer);
                    }
                }
            }
        }
        Ok(progress.moved)
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
        let mut driver =
            Driver::open(self.system(key.0), key.1, "replay", log, store, self.options.clone(), 1, Arc::new(|| {})).map_err(|error| error.to_string())?;
        let moment = Moment { now_ms: self.now_ms, wall: self.wall(), stopped: false };
        while driver.step(moment).map_err(|error| format!("replay of {key:?}: {error}"))?.moved {}
        Ok(driver)
    }

    fn open_projections(&mut self, node: usize) -> Outcome {
        let topics = [rules::FACTS, "sim-counter.events", "sim-worker.events"];
        let of = topics.into_iter().flat_map(|topic| (0..self.partitions).map(move |partition| TopicPartition::new(topic, partition)));
        let opened: Result<Vec<Counting>, String> = of.map(|of| Counting::open(of, &self.nodes[node].store.inner)).collect();
        self.nodes[node].projections = opened?;
        Ok(())
    }

    /// The projections of a node are folded anew, while everything else goes on.
    fn rebuild(&mut self, node: usize) -> Outcome {
        self.say(|| format!("n{node} rebuilds its projections"));
        if let Some(companion) = &mut self.nodes[node].companion {
            companion.rebuild();
        }
        if self.nodes[node].up && Counting::forget(self.nodes[node].store.as_ref()).is_ok() {
            return self.open_projections(node);
        }
        Ok(())
    }

    /// A projection of a node folds on; one that cannot write begins again from what is stored.
    fn step_projection(&mut self, node: usize, at: usize, bytes: usize) -> Result<bool, String> {
        let place = &mut self.nodes[node];
        let Some(projection) = place.projections.get_mut(at) else { return Ok(false) };
        match projection.step(place.log.as_ref(), place.store.as_ref(), bytes) {
            Err(_) if place.store.full.load(Ordering::Relaxed) => self.open_projections(node).map(|()| false),
            other => other.map_err(|problem| format!("n{node}: a projection ended: {problem}")),
        }
    }

    fn open_companion(&mut self, node: usize) -> Outcome {
        // What crashed is closed before it is opened again.
        self.nodes[node].companion = None;
        let place = &self.nodes[node];
        let opened = match &self.guest {
            Some(guest) => guest.companion(&place.name, place.log.clone())?,
            None => None,
        };
        self.nodes[node].companion = opened;
        Ok(())
    }

    /// What a node runs beside its systems does a round; whether there may be more to do.
    fn step_companion(&mut self, node: usize) -> Result<bool, String> {
        match &mut self.nodes[node].companion {
            Some(companion) => companion.step().map_err(|problem| format!("n{node}: {problem}")),
            None => Ok(false),
        }
    }

    /// What runs beside the systems holds what the log says.
    pub(super) fn check_companions(&mut self) -> Outcome {
        let mut events = Vec::new();
        for partition in 0..self.partitions {
            let own = TopicPartition::new(format!("{}.events", Kind::Guest.name()), partition);
            if self.guest.is_some() {
                events.extend(oracle::accepted(&self.log, &own)?.into_iter().flatten());
            }
        }
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if let Some(companion) = &mut node.companion {
                companion.check(&events).map_err(|problem| format!("n{number}: {problem}"))?;
            }
        }
        Ok(())
    }

    /// Whether facts come from plain writers instead of clients.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Requests of effects that were started.
    pub(super) fn started(&self) -> BTreeSet<&str> {
        self.starts.iter().map(|(request, ..)| request.as_str()).collect()
    }
}
