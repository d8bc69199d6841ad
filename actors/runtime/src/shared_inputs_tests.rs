//! Owners of one system with shared inputs.

use std::sync::atomic::{AtomicU32, Ordering};

use tol_events::reserved::{CLOCK_TICKED, OWNER_CLAIMED, OwnerClaimed};
use tol_events::{Attribute, Event, EventTime, EventView, id};
use tol_kafka::{Append, Record};
use tol_system::{Decision, Description, Evolution, Input, InputSpec, System, erase};

use super::*;
use crate::driver::Driver;
use crate::owner::Options;
use crate::store::MemoryStore;
use crate::test_log::TestLog;

const PARTITIONS: u32 = 4;

/// Emits one event a fact, and fails as long as it is told to.
struct Echo {
    fails: AtomicU32,
}

struct Shared(Arc<Echo>);

impl System for Shared {
    type State = u64;

    fn describe(&self) -> Description {
        Description {
            name: "echo",
            tier: 7,
            code_version: "1",
            state_version: 1,
            about: "",
            inputs: vec![InputSpec { topic: "other.events", types: &["test."] }],
            emits: &["echo.heard.v1"],
            depends_on: &[],
            uptime_target: 0.9,
        }
    }

    fn decide(&self, _: &u64, input: Input<'_>, decision: &mut Decision) -> Result<(), tol_system::Error> {
        if let Input::Event(event) = input
            && event.id().starts_with("poison")
            && self.0.fails.load(Ordering::Relaxed) > 0
        {
            return Err(tol_system::Error::Refused("as asked".into()));
        }
        decision.emit("echo.heard.v1", &serde_json::json!({}));
        Ok(())
    }

    fn evolve(&self, state: &mut u64, _: EventView<'_>, evolution: &mut Evolution) -> Result<(), tol_system::Error> {
        *state += 1;
        if *state == 1 {
            evolution.set_timer("once", EventTime::from_secs(100));
        }
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        Vec::new()
    }
}

struct Stage {
    log: Arc<TestLog>,
    echo: Arc<Echo>,
    store: Arc<MemoryStore>,
    drivers: Vec<Driver>,
    inputs: SharedInputs,
    written: BTreeMap<TopicPartition, u64>,
    now_ms: u64,
    options: Options,
}

impl Stage {
    fn new(options: Options) -> Self {
        let log = TestLog::new(&[("other.events", PARTITIONS), ("echo.events", PARTITIONS), ("clock", 1)]);
        let mut stage = Self {
            log,
            echo: Arc::new(Echo { fails: AtomicU32::new(0) }),
            store: Arc::new(MemoryStore::new(3)),
            drivers: Vec::new(),
            inputs: SharedInputs::default(),
            written: BTreeMap::new(),
            now_ms: 1,
            options: Options { partitions: PARTITIONS, ..options },
        };
        stage.open(1);
        stage
    }

    /// Opens all owners anew.
    fn open(&mut self, seed: u64) {
        self.inputs = SharedInputs::default();
        self.drivers.clear();
        for partition in 0..PARTITIONS {
            let system = erase(Shared(self.echo.clone()));
            let (log, store) = (self.log.clone(), self.store.clone());
            let mut driver = Driver::open(system, partition, "node", log, store, self.options.clone(), seed + u64::from(partition), Arc::new(|| {})).unwrap();
            driver.owner_mut().assign(true);
            self.drivers.push(driver);
        }
    }

    fn write(&mut self, to: &TopicPartition, mut event: Event) {
        let sequence = self.written.entry(to.clone()).or_default();
        *sequence += 1;
        let mut records = Vec::new();
        if *sequence == 1 {
            let claim = OwnerClaimed { epoch: 1, nonce: "n".into(), node: String::new(), code_version: String::new(), config_hash: String::new() };
            let mut claim = Event::new("claim", "/test", OWNER_CLAIMED, "partition/0").with_data(&claim).unwrap();
            claim.set(Attribute::Epoch, "1");
            records.push(Record::from_event(&claim));
        }
        event.set(Attribute::Epoch, "1").set(Attribute::Sequence, sequence.to_string());
        records.push(Record::from_event(&event));
        self.log.append(vec![Append { to: to.clone(), expected: None, records }], Box::new(|result| drop(result.unwrap())));
        self.inputs.grew(to.clone());
    }

    /// An event of the other system, written to its subject's partition.
    fn tell(&mut self, id: &str, subject: &str, target: Option<&str>) {
        let mut event = Event::new(id, "/test", "test.told.v1", subject).at(EventTime::from_micros(1));
        if let Some(target) = target {
            event.set(Attribute::Target, target);
        }
        self.write(&TopicPartition::new("other.events", id::partition_of(subject, PARTITIONS)), event);
    }

    fn tick(&mut self, secs: i64) {
        let tick = Event::new(format!("tick {secs}"), "/hub", CLOCK_TICKED, "clock").at(EventTime::from_secs(secs));
        self.write(&TopicPartition::new("clock", 0), tick);
    }

    fn moment(&self) -> Moment {
        Moment { now_ms: self.now_ms, wall: EventTime::from_micros(1), stopped: false }
    }

    fn hand_out(&mut self) -> Handed {
        let moment = self.moment();
        let mut owners: Vec<&mut Owner> = self.drivers.iter_mut().map(Driver::owner_mut).collect();
        self.inputs.step(self.log.as_ref(), &mut owners, moment, self.options.read_bytes).unwrap()
    }

    fn settle(&mut self) {
        loop {
            let moment = self.moment();
            let mut moved = false;
            for driver in &mut self.drivers {
                moved |= driver.step(moment).unwrap().moved;
            }
            let handed = self.hand_out();
            if !moved && !handed.read && handed.owners.is_empty() {
                return;
            }
        }
    }

    /// Causes of the own events of each partition, in order.
    fn heard(&self) -> Vec<Vec<String>> {
        let of = |partition| {
            let batches = self.log.inner.read(&TopicPartition::new("echo.events", partition), 0, usize::MAX).unwrap();
            let events = batches.iter().flat_map(|batch| batch.events_from(0)).filter(|(_, event)| event.event_type() == "echo.heard.v1");
            events.map(|(_, event)| event.attribute(Attribute::CausationId).unwrap_or_default().to_owned()).collect()
        };
        (0..PARTITIONS).map(of).collect()
    }

    fn readers(&self) -> usize {
        self.inputs.readers() + self.drivers.iter().map(|driver| driver.owner().readers()).sum::<usize>()
    }
}

/// A subject of each partition.
fn subjects() -> Vec<String> {
    let of = |partition| (0..).map(|number| format!("thing/{number}")).find(|subject| id::partition_of(subject, PARTITIONS) == partition);
    (0..PARTITIONS).filter_map(of).collect()
}

#[test]
fn each_event_goes_to_the_owner_of_its_target_once() {
    let mut stage = Stage::new(Options::default());
    stage.settle();
    let subjects = subjects();
    stage.tell("a", &subjects[0], None);
    stage.tell("b", &subjects[1], Some(&subjects[3]));
    stage.tell("c", &subjects[1], None);
    stage.settle();
    assert_eq!(stage.heard(), [vec!["a"], vec!["c"], vec![], vec!["b"]]);
    // Anew, from what the owners recorded: what was not for them is read again and changes nothing.
    stage.open(100);
    stage.tell("d", &subjects[2], Some(&subjects[0]));
    stage.settle();
    assert_eq!(stage.heard(), [vec!["a", "d"], vec!["c"], vec![], vec!["b"]]);
}

#[test]
fn readers_and_reads_do_not_grow_with_the_square_of_the_partitions() {
    let mut stage = Stage::new(Options::default());
    stage.settle();
    // One a partition of the topic, and the clock; not that for each owner.
    assert_eq!(stage.readers(), PARTITIONS as usize + 1);
    let subjects = subjects();
    let log = stage.log.clone();
    let reads = || log.reads.load(Ordering::Relaxed);
    let before = reads();
    stage.settle();
    assert_eq!(reads() - before, 0, "nothing is new");
    stage.tell("a", &subjects[0], None);
    let handed = stage.hand_out();
    assert_eq!((handed.owners, reads() - before), ([0].into(), 1), "one read, one owner");
}

#[test]
fn a_tick_wakes_only_owners_with_a_timer_that_is_due() {
    let mut stage = Stage::new(Options::default());
    stage.settle();
    stage.tell("a", &subjects()[2], None);
    stage.settle();
    stage.tick(99);
    assert_eq!(stage.hand_out().owners, [].into());
    stage.tick(100);
    assert_eq!(stage.hand_out().owners, [2].into());
    stage.settle();
    assert_eq!(stage.heard()[2].len(), 2, "the timer fired");
    stage.tick(101);
    assert_eq!(stage.hand_out().owners, [].into(), "it is set no more");
}

#[test]
fn an_owner_that_tries_an_input_again_does_not_keep_the_others_waiting() {
    // Reads that are so small that it is full before all is read.
    let mut stage = Stage::new(Options { batch_events: 2, attempts: 100, retry_ms: 1_000, read_bytes: 1, ..Options::default() });
    stage.settle();
    stage.echo.fails.store(1, Ordering::Relaxed);
    let subjects = subjects();
    stage.tell("poison", &subjects[0], None);
    for number in 0..10 {
        stage.tell(&format!("a{number}"), &subjects[0], None);
        stage.tell(&format!("b{number}"), &subjects[0], Some(&subjects[1]));
    }
    stage.settle();
    assert_eq!((stage.heard()[0].len(), stage.heard()[1].len()), (0, 10));
    stage.echo.fails.store(0, Ordering::Relaxed);
    stage.now_ms += 2_000;
    stage.settle();
    let expected: Vec<String> = ["poison".to_owned()].into_iter().chain((0..10).map(|number| format!("a{number}"))).collect();
    assert_eq!(stage.heard()[0], expected);
    // It shares the reader again.
    assert_eq!(stage.readers(), PARTITIONS as usize + 1);
}

#[test]
fn positions_of_what_was_not_for_an_owner_travel_with_a_checkpoint() {
    let mut stage = Stage::new(Options { checkpoint_inputs: 8, ..Options::default() });
    stage.settle();
    let subjects = subjects();
    for number in 0..20 {
        stage.tell(&format!("a{number}"), &subjects[0], None);
    }
    stage.settle();
    let input = TopicPartition::new("other.events", 0);
    let recorded = |stage: &Stage, owner: usize| stage.drivers[owner].owner().recorded().get(&input).map_or(0, |cursor| cursor.position);
    assert_eq!(recorded(&stage, 0), 21, "the claim and its events");
    assert!(recorded(&stage, 3) >= 13, "{}", recorded(&stage, 3));
    // What is seen of it is where the shared reader is.
    assert_eq!(stage.inputs.positions(stage.drivers[3].owner()).get(&input).map(|cursor| cursor.position), Some(21));
}

#[test]
fn a_question_about_what_was_for_another_owner_is_answered() {
    let mut stage = Stage::new(Options::default());
    stage.settle();
    let subjects = subjects();
    let input = TopicPartition::new("other.events", 0);
    stage.drivers[0].owner_mut().cover(input.clone(), 1, 1, 1_000);
    stage.drivers[0].owner_mut().cover(input, 2, 2, 1_000);
    let answered = |stage: &mut Stage| {
        let mut answered = BTreeMap::new();
        for _ in 0..9 {
            stage.hand_out();
            let moment = stage.moment();
            for output in stage.drivers[0].step(moment).unwrap().outputs {
                if let crate::driver::Output::Covered(ticket, covered) = output {
                    answered.insert(ticket, covered.is_ok());
                }
            }
        }
        answered
    };
    assert_eq!(answered(&mut stage), [].into());
    stage.tell("a", &subjects[0], Some(&subjects[1]));
    assert_eq!(answered(&mut stage), [(1, true)].into());
    stage.tell("b", &subjects[0], Some(&subjects[1]));
    assert_eq!(answered(&mut stage), [(2, true)].into());
}
