//! What the rest of the node sees of supervision, and may ask of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use actix::{Addr, Message};
use serde::Serialize;
use tol_kafka::TopicPartition;
use tol_system::Description;

use super::actor::{Command, PartitionSnapshot, SystemActor, SystemShared};
use super::machine::State;
use super::root::{Root, lock};
use crate::owner::is_shared;

/// What supervision saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It was started for the first time, or by an operator.
    Started,
    /// It was started again after a failure.
    Restarted {
        /// Which start after a failure within the window.
        attempt: u64,
        /// How long it waited before, in milliseconds.
        backoff_ms: u64,
    },
    /// It failed.
    Failed {
        /// Why.
        error: String,
    },
    /// It failed too often.
    Degraded {
        /// Why, the last time.
        reason: String,
    },
    /// A degraded system held its probe.
    Recovered,
    /// It was stopped; planned by an operator or the end of the node.
    Stopped,
}

/// Told of everything supervision sees; must not block.
pub type Observer = Arc<dyn Fn(&str, Observation) + Send + Sync>;

/// One system, for people.
#[derive(Clone, Debug, Serialize)]
pub struct SystemStatus {
    /// What it is.
    #[serde(flatten)]
    pub description: Description,
    /// Where it stands.
    pub state: State,
    /// Paused by an operator.
    pub paused: bool,
    /// Starts after the first.
    pub restarts: u64,
    /// Threads that hung and were abandoned.
    pub abandoned: usize,
    /// Why it failed last.
    pub last_error: Option<String>,
    /// Its partitions.
    #[serde(serialize_with = "each")]
    pub partitions: Arc<Vec<PartitionSnapshot>>,
}

fn each<S: serde::Serializer>(partitions: &Arc<Vec<PartitionSnapshot>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(partitions.iter())
}

/// A running generation and the topics that wake it.
pub(super) struct Reading {
    pub shared: Arc<SystemShared>,
    /// Its own topic.
    pub own: String,
    /// Those that it decides on, and the clock.
    pub inputs: BTreeSet<String>,
}

#[derive(Default)]
pub(super) struct Board {
    pub statuses: Mutex<BTreeMap<String, SystemStatus>>,
    pub addresses: Mutex<BTreeMap<String, Addr<SystemActor>>>,
    pub shared: Mutex<BTreeMap<String, Reading>>,
}

impl Board {
    /// Nobody asks a generation that has ended: a hung one would take the question and never answer.
    pub fn forget(&self, name: &str) {
        lock(&self.addresses).remove(name);
        lock(&self.shared).remove(name);
    }
}

/// What the rest of the node may ask of the root, from any thread.
#[derive(Clone)]
pub struct RootHandle {
    pub(super) board: Arc<Board>,
    pub(super) address: Addr<Root>,
}

impl RootHandle {
    /// All systems.
    pub fn statuses(&self) -> Vec<SystemStatus> {
        lock(&self.board.statuses).values().cloned().collect()
    }

    /// Sends a command to a running system. `false`: it is not running or its mailbox is full.
    pub fn command(&self, system: &str, command: Command) -> bool {
        let address = lock(&self.board.addresses).get(system).cloned();
        address.is_some_and(|address| address.try_send(command).is_ok())
    }

    /// Wakes the systems that read this partition. A fact is read by the owner of its own partition number only; what systems and the clock
    /// write is read once for all (targets, timers).
    pub fn wake_readers_of(&self, partition: &TopicPartition) {
        for Reading { shared, own, inputs } in lock(&self.board.shared).values() {
            if *own == *partition.topic {
                shared.wake_follower(partition.partition);
            }
            if inputs.contains(&*partition.topic) {
                if is_shared(&partition.topic) {
                    shared.wake_input(partition);
                } else if partition.topic.starts_with("facts.") {
                    shared.wake_partition(partition.partition);
                } else {
                    shared.wake();
                }
            }
        }
    }

    /// Wakes all systems.
    pub fn wake_all(&self) {
        lock(&self.board.shared).values().for_each(|reading| reading.shared.wake());
    }

    /// Asks for a system to be stopped, started or restarted. `false`: the root's mailbox is full.
    pub fn order(&self, system: &str, order: Order) -> bool {
        self.address.try_send(Ordered { system: system.to_owned(), order }).is_ok()
    }

    /// These partition numbers are this node's now.
    pub fn assign(&self, partitions: BTreeSet<u32>) -> bool {
        self.address.try_send(Assign(partitions)).is_ok()
    }
}

/// What an operator wants of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// End it and start it anew, forgiving its failures.
    Restart,
    /// End it; planned.
    Stop,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ordered {
    pub system: String,
    pub order: Order,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Assign(pub BTreeSet<u32>);
