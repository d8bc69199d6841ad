//! What a system costs that has nothing to do, and that it is woken when it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::System as Actix;
use tol_events::personal::MemoryKeyStore;
use tol_events::reserved::{OWNER_CLAIMED, OwnerClaimed};
use tol_events::{Attribute, Event, EventTime, EventView};
use tol_kafka::{Append, EventLog, Record, TopicPartition};
use tol_system::{Decision, Description, Evolution, Input, InputSpec, System, erase};

use super::actor::{Environment, Outlet};
use super::*;
use crate::control::ControlGate;
use crate::owner::{Options, Parked, PendingEffect, Uncovered};
use crate::store::MemoryStore;
use crate::test_log::TestLog;

const PARTITIONS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(20);

/// Emits an event a fact.
struct Quiet;

impl System for Quiet {
    type State = u64;

    fn describe(&self) -> Description {
        Description {
            name: "quiet",
            tier: 7,
            code_version: "1",
            state_version: 1,
            about: "",
            inputs: vec![InputSpec { topic: "facts.customer", types: &[] }, InputSpec { topic: "other.events", types: &["test."] }],
            emits: &["quiet.heard.v1"],
            depends_on: &[],
            uptime_target: 0.9,
        }
    }

    fn decide(&self, _: &u64, _: Input<'_>, decision: &mut Decision) -> Result<(), tol_system::Error> {
        decision.emit("quiet.heard.v1", &serde_json::json!({}));
        Ok(())
    }

    fn evolve(&self, state: &mut u64, _: EventView<'_>, _: &mut Evolution) -> Result<(), tol_system::Error> {
        *state += 1;
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        Vec::new()
    }
}

struct Nowhere;

impl Outlet for Nowhere {
    fn start_effect(&self, _: &str, _: u32, _: String, _: PendingEffect) {}
    fn effect_settled(&self, _: &str) {}
    fn dead_letter(&self, _: &Parked) {}
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes a claim and a fact to the first partition.
fn tell(log: &TestLog) {
    let claim = OwnerClaimed { epoch: 1, nonce: "n".into(), node: String::new(), code_version: String::new(), config_hash: String::new() };
    let mut claim = Event::new("claim", "/test", OWNER_CLAIMED, "partition/0").with_data(&claim).unwrap();
    claim.set(Attribute::Epoch, "1");
    let mut fact = Event::new("f1", "/test", "test.told.v1", "customer/1").at(EventTime::from_micros(1));
    fact.set(Attribute::Epoch, "1").set(Attribute::Sequence, "1");
    let records = vec![Record::from_event(&claim), Record::from_event(&fact)];
    log.append(vec![Append { to: TopicPartition::new("facts.customer", 0), expected: None, records }], Box::new(|result| drop(result.unwrap())));
}

#[test]
fn a_system_with_nothing_to_do_reads_nothing_and_is_woken_by_what_comes() {
    let log = TestLog::new(&[("facts.customer", PARTITIONS), ("other.events", PARTITIONS), ("quiet.events", PARTITIONS), ("clock", 1)]);
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let (sender, started) = std::sync::mpsc::channel();
    let of_root = log.clone();
    let thread = std::thread::spawn(move || {
        Actix::new().block_on(async move {
            let environment = Environment {
                log: of_root,
                store: Arc::new(MemoryStore::new(1)),
                node: "http://a".into(),
                keys: Arc::new(MemoryKeyStore::new()),
                gate: ControlGate::default(),
                outlet: Arc::new(Nowhere),
                options: Options { partitions: PARTITIONS, ..Options::default() },
                retries: BTreeMap::new(),
                started: Instant::now(),
            };
            environment.gate.renew(u64::MAX);
            let registered = Registered { description: Quiet.describe(), factory: Arc::new(|| Ok(erase(Quiet))) };
            let options = RootOptions { limits: Limits::default(), observer: Arc::new(|_, _| {}) };
            let (root, _arbiter) = Root::start(vec![registered], environment, options);
            root.assign((0..PARTITIONS).collect());
            sender.send(root).unwrap();
            while ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                actix::clock::sleep(Duration::from_millis(10)).await;
            }
            Actix::current().stop();
        });
    });
    let root = started.recv().unwrap();
    let waking = root.clone();
    log.watch(Arc::new(move |partition| waking.wake_readers_of(partition)));
    let partitions = |root: &RootHandle| root.statuses()[0].partitions.clone();
    until("all partitions are active", || {
        let partitions = partitions(&root);
        partitions.len() == PARTITIONS as usize && partitions.iter().all(|partition| partition.phase == "active")
    });
    std::thread::sleep(Duration::from_millis(300));
    let before = log.reads.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(log.reads.load(Ordering::Relaxed) - before, 0, "reads while nothing happened");
    tell(&log);
    let (sender, answer) = std::sync::mpsc::channel();
    let question = Command::Covering(TopicPartition::new("facts.customer", 0), 1, PATIENCE, Box::new(move |covered| drop(sender.send(covered))));
    let began = Instant::now();
    assert!(root.command("quiet", question));
    // The claim and the event lie below.
    assert_eq!(answer.recv_timeout(PATIENCE).unwrap(), Ok((TopicPartition::new("quiet.events", 0), 2)));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let (sender, answer) = std::sync::mpsc::channel();
    let question = Command::Covering(TopicPartition::new("facts.service", 0), 1, PATIENCE, Box::new(move |covered| drop(sender.send(covered))));
    assert!(root.command("quiet", question));
    assert_eq!(answer.recv_timeout(PATIENCE).unwrap(), Err(Uncovered::NotRead));
    end.send(()).unwrap();
    thread.join().unwrap();
}
