//! The runtime as the node wires it, with the system under measurement alone: log, RocksDB caches, supervision, owners with their claims.
//! Without HTTP, projections and index, which the other contestants do not have.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::bail;
use tol_kafka::{EventLog, KafkaLog, KafkaOptions, TopicPartition, TopicSpec};
use tol_projections::{RocksStore, StoreOptions};
use tol_runtime::control::ControlGate;
use tol_runtime::owner::{Options, Parked, PendingEffect};
use tol_runtime::supervision::actor::{Covered, Environment, Outlet};
use tol_runtime::supervision::{Command, Limits, Registered, Root, RootHandle, RootOptions};
use tol_system::erase;

use crate::system::CountSum;

/// The log on these brokers, once they can be reached.
pub fn kafka(bootstrap: &str) -> anyhow::Result<Arc<dyn EventLog>> {
    let mut options = KafkaOptions::new(bootstrap);
    options.client_id = "compare".to_owned();
    let log = KafkaLog::connect(options)?;
    let until = Instant::now() + Duration::from_secs(30);
    while !log.health().ready {
        if Instant::now() > until {
            bail!("no broker at {bootstrap}: {}", log.health().detail);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(log)
}

/// The topics that owners and admission touch.
pub fn ensure_topics(log: &dyn EventLog, partitions: u32, systems: &[&'static str]) -> anyhow::Result<()> {
    let spec = |name: &str, partitions| TopicSpec { name: name.to_owned(), partitions, retention: None };
    let mut topics: Vec<TopicSpec> = tol_events::kinds::topics().map(|topic| spec(topic, partitions)).collect();
    topics.extend([spec("clock", 1), spec("control", 1), spec("ownership", partitions)]);
    topics.extend(systems.iter().map(|system| spec(&format!("{system}.events"), partitions)));
    Ok(log.ensure_topics(&topics)?)
}

/// Nothing leaves this system.
struct Nowhere;

impl Outlet for Nowhere {
    fn start_effect(&self, _: &str, _: u32, _: String, _: PendingEffect) {}
    fn effect_settled(&self, _: &str) {}
    fn dead_letter(&self, parked: &Parked) {
        eprintln!("parked: {} {}", parked.id, parked.error);
    }
}

/// A running runtime.
pub struct Running {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Supervision.
    pub root: RootHandle,
    partitions: u32,
}

impl Running {
    /// Starts the systems on the log, with caches in `data`. Call within an actix system.
    pub fn start(log: Arc<dyn EventLog>, data: &Path, partitions: u32, systems: &[&'static str]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)?;
        let store = Arc::new(RocksStore::open(&data.join("projections"), &StoreOptions::default())?);
        let gate = ControlGate::default();
        gate.renew(u64::MAX);
        let environment = Environment {
            log: log.clone(),
            store,
            node: "http://127.0.0.1:7700".to_owned(),
            keys: Arc::new(tol_events::personal::MemoryKeyStore::new()),
            gate,
            outlet: Arc::new(Nowhere),
            options: Options { partitions, ..Options::default() },
            retries: BTreeMap::new(),
            started: Instant::now(),
        };
        let registered = systems
            .iter()
            .map(|name| {
                let name = *name;
                Registered { description: erase(CountSum { name }).describe(), factory: Arc::new(move || Ok(erase(CountSum { name }))) }
            })
            .collect();
        let (root, _arbiter) = Root::start(registered, environment, RootOptions { limits: Limits::default(), observer: Arc::new(|_, _| {}) });
        std::mem::forget(_arbiter);
        let waker = root.clone();
        log.watch(Arc::new(move |partition| waker.wake_readers_of(partition)));
        let assigned = root.clone();
        log.join(
            partitions,
            Arc::new(move |assignment| {
                assigned.assign(assignment.partitions);
            }),
        );
        Ok(Self { log, root, partitions })
    }

    /// Records in all partitions of a system's topic, claims included.
    pub fn written(&self, system: &str) -> anyhow::Result<u64> {
        let topic: Arc<str> = format!("{system}.events").into();
        let mut sum = 0;
        for partition in 0..self.partitions {
            sum += self.log.bounds(&TopicPartition::new(topic.clone(), partition))?.end;
        }
        Ok(sum)
    }

    /// Asks a system for a subject's state, as HTTP would. `None`: no answer.
    pub fn observe(&self, system: &str, subject: &str) -> Option<serde_json::Value> {
        let (sender, answer) = sync_channel(1);
        let reply = Box::new(move |value| drop(sender.try_send(value)));
        if !self.root.command(system, Command::Observe(subject.to_owned(), reply)) {
            return None;
        }
        answer.recv_timeout(Duration::from_secs(2)).ok()
    }

    /// Whether the owner of this partition is active and has decided everything up to `last` of the facts.
    pub fn covers(&self, system: &str, facts: &TopicPartition, last: u64) -> bool {
        let (sender, answer) = sync_channel(1);
        let patience = Duration::from_secs(2);
        let reply = Box::new(move |covered: Covered| {
            let _ = sender.try_send(covered.is_ok());
        });
        self.root.command(system, Command::Covering(facts.clone(), last, patience, reply)) && answer.recv_timeout(patience).unwrap_or(false)
    }
}
