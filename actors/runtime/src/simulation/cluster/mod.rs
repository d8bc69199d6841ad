//! Nodes with their drivers, and the seeded schedule that steps, crashes, moves and stops them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tol_events::personal::{KeyStore, MemoryKeyStore};
use tol_events::{Event, EventTime, id};
use tol_kafka::{EventLog, Faults, MemoryClient, MemoryLog, TopicPartition, TopicSpec};
use tol_system::{AnySystem, EffectRequest};

mod beside;
mod covering;
mod door;
mod drivers;
mod effects;
mod guests;
pub(super) mod operators;
mod pauses;
mod schedule;
mod stops;
mod tellings;

use super::client::Clients;
use super::feed::{Feed, Splitting};
use super::guest::{Companion, Guest, hosted};
use super::guests::Cast;
use super::oracle::{Ended, Judged};
use super::projection::Counting;
use super::rules::{self, Kind};
use super::systems::{World, system};
use crate::admission::{AdmissionOptions, Published, Refusal};
use crate::clock::Ticker;
use crate::control::ControlLine;
use crate::control::{ControlGate, Permit};
use crate::driver::Driver;
use crate::effects::{EffectQueue, Run};
use crate::owner::{Moment, Options};
use crate::shared_inputs::SharedInputs;
use crate::store::MemoryStore;
use covering::Questions;
use door::{Disk, Door, Pump};
use operators::Promised;
use pauses::Pauses;
use stops::{Stand, Stops};

/// A system's partition.
pub(super) type Key = (Kind, u32);

/// Some day; simulated time begins here, but where real systems without a model have examples of another time.
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
    running: Vec<(Run, Permit)>,
    stand: Stand,
    pub projections: Vec<Counting>,
    companion: Option<Box<dyn Companion>>,
    drivers: BTreeMap<Key, Running>,
    /// What the partitions of a system share.
    inputs: BTreeMap<Kind, SharedInputs>,
    /// Owners that hung and wake up on the same node, with their cache taken over.
    hung: Vec<(Key, Running)>,
}

pub(super) struct Cluster {
    guest: Option<Arc<dyn Guest>>,
    /// Real systems without a model, which then are all there are.
    cast: Option<Arc<Cast>>,
    kinds: Arc<[Kind]>,
    epoch_micros: i64,
    /// Topics of systems that are not here, which somebody else writes.
    absent: Vec<Feed>,
    /// How effects of real systems ended, and what they were asked to do.
    ended: Ended,
    asked: BTreeMap<String, EffectRequest>,
    pub log: MemoryLog,
    pub random: ChaCha8Rng,
    pub world: Arc<World>,
    /// The same keys in each run, so that runs with and without faults write the same.
    keys: Arc<dyn KeyStore>,
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
    pub questions: Questions,
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
    pub(super) fn new(seed: u64, verbose: bool, guest: Option<Arc<dyn Guest>>, cast: Option<Arc<Cast>>) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let kafka = random.random_bool(0.6);
        let mut faults = if kafka { Faults::kafka_storm() } else { Faults::embedded_storm() };
        if random.random_bool(0.3) {
            faults = Faults { lost_ack: 0.0, failed: 0.0, ..faults };
        }
        let log = MemoryLog::new(random.random(), faults.clone());
        let partitions = random.random_range(1..=3);
        let plain = random.random_bool(0.2) && cast.is_none();
        let inbox = kafka && !plain;
        let guest = guest.filter(|_| !plain);
        let kinds: Arc<[Kind]> = cast.as_ref().map_or_else(|| Kind::all(guest.as_ref().map(|guest| guest.reads())), |cast| cast.kinds());
        let own = kinds.iter().map(|kind| format!("{}.events", kind.name()));
        let spec = |name: &str, partitions| TopicSpec { name: name.to_owned(), partitions, retention: None };
        let mut specs: Vec<TopicSpec> = rules::FACTS_TOPICS.into_iter().chain(["inbox"]).map(|name| spec(name, partitions)).collect();
        specs.extend(own.map(|name| spec(&name, partitions)));
        // Of systems that are not here nothing comes, but their topics are there.
        let read = guest.iter().flat_map(|guest| guest.system().describe().inputs).map(|input| input.topic);
        for topic in read.chain(cast.iter().flat_map(|cast| cast.topics())) {
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
            questions: 2,
            read_bytes: random.random_range(1..=4000),
            // Of its own, so that the seeds stay what they were: sometimes each batch is written, sometimes all waits for the end.
            unwritten_bytes: ChaCha8Rng::seed_from_u64(!seed).random_range(0..3_000),
            split_topics: Vec::new(),
        };
        let feed_log: Arc<dyn EventLog> = log.client("feed");
        let feeds = (0..partitions).map(|partition| Feed::new(TopicPartition::new(rules::FACTS, partition), feed_log.clone())).collect();
        let clock = Feed::new(TopicPartition::new("clock", 0), feed_log);
        let world = Arc::new(World::new(subjects));
        let count = random.random_range(1..=3);
        let mut clients = Clients::new(partitions);
        let mut door_options = door::options(&mut random, partitions, kafka);
        for topic in cast.iter().flat_map(|cast| cast.further_facts()).chain(guest.iter().map(|guest| guest.reads().topic)) {
            door_options.topics.push(topic.into());
            clients.look_also_at(topic);
        }
        if !plain && cast.is_none() {
            let facts = random.random_range(10..50);
            clients.fill(&mut random, facts, subjects, inbox, EPOCH_MICROS);
        }
        if let Some(guest) = &guest {
            // Drawn beside, so that the rest of a seed stays what it is.
            let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x9e37_79b9_7f4a_7c15);
            let facts = guest.facts(&mut random, EventTime::from_micros(EPOCH_MICROS));
            clients.tell_of_guest(&mut random, facts, inbox, false);
        }
        let absent = cast.as_ref().map_or_else(Vec::new, |cast| guests::told(cast, &mut random, &mut clients, &log, (partitions, inbox)));
        let mut cluster = Self {
            guest,
            epoch_micros: cast.as_ref().map_or(EPOCH_MICROS, |cast| cast.begins().as_micros()),
            cast,
            kinds,
            absent,
            ended: Ended::default(),
            asked: BTreeMap::new(),
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
            keys: Arc::new(MemoryKeyStore::seeded([7; 32])),
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
            questions: Questions::new(seed),
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
                queue: effects::effects_of(number),
                running: Vec::new(),
                stand: Stand::default(),
                projections: Vec::new(),
                companion: None,
                drivers: BTreeMap::new(),
                inputs: BTreeMap::new(),
                hung: Vec::new(),
            };
            cluster.nodes.push(node);
        }
        if cluster.cast.is_some() {
            // The first is told first.
            cluster.unwritten.reverse();
        }
        cluster
    }

    /// The systems of this run.
    pub(super) fn kinds(&self) -> Arc<[Kind]> {
        self.kinds.clone()
    }

    /// The system of that name.
    fn kind_named(&self, name: &str) -> Option<Kind> {
        self.kinds.iter().copied().find(|kind| kind.name() == name)
    }

    /// What says what a system must have done.
    pub(super) fn judged(&self, kind: Kind) -> Judged<'_> {
        match (&self.guest, self.made(kind)) {
            (_, Some(system)) => Judged::PlainRun(system, &self.ended),
            (Some(guest), None) if matches!(kind, Kind::Guest(_)) => Judged::Model(guest.as_ref()),
            _ => Judged::Rules,
        }
    }

    /// A real system without a model, made anew.
    fn made(&self, kind: Kind) -> Option<Arc<dyn AnySystem>> {
        self.cast.as_ref().and_then(|cast| cast.make(kind))
    }

    fn system(&self, kind: Kind) -> Arc<dyn AnySystem> {
        match (&self.guest, self.made(kind)) {
            (_, Some(system)) => hosted(kind, system, &self.world),
            (Some(guest), None) if matches!(kind, Kind::Guest(_)) => hosted(kind, guest.system(), &self.world),
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

    fn open_all(&mut self, node: usize) -> Outcome {
        self.nodes[node].told = (0..self.partitions).filter(|partition| self.assignment[*partition as usize] == node).collect();
        self.assign_effects(node);
        self.open_line(node);
        self.open_door(node)?;
        self.open_projections(node)?;
        self.open_companion(node)?;
        for kind in self.kinds().iter() {
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
        EventTime::from_micros(self.epoch_micros + self.now_ms as i64 * 1000)
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
