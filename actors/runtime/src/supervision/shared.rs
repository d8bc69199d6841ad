//! What others see of a running system without asking it, and how they wake it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use actix::Recipient;
use serde::Serialize;
use tol_kafka::{Position, TopicPartition};

use super::command::Wake;
use super::root::lock;
use crate::owner::Counts;

/// One partition, for people.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionSnapshot {
    /// Its number.
    pub partition: u32,
    /// `following`, `claiming` or `active`.
    pub phase: &'static str,
    /// Counts.
    pub counts: Counts,
    /// Where its inputs go on.
    #[serde(serialize_with = "by_name")]
    pub inputs: BTreeMap<TopicPartition, Position>,
    /// What it gave up last, if anything.
    pub last_problem: Option<String>,
}

fn by_name<S: serde::Serializer>(inputs: &BTreeMap<TopicPartition, Position>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(inputs.iter().map(|(partition, position)| (partition.to_string(), position)))
}

/// What others see of a running system without asking it.
#[derive(Debug, Default)]
pub struct SystemShared {
    /// Turns taken; a watcher sees whether it hangs.
    pub beat: AtomicU64,
    /// A wake-up is on its way.
    pub(super) woken: AtomicBool,
    /// Partitions that have something to do.
    pub(super) pending: Mutex<Pending>,
    /// Set when this generation was replaced: it does nothing more.
    pub abandoned: AtomicBool,
    /// Where to send wake-ups.
    pub(super) recipient: Mutex<Option<Recipient<Wake>>>,
    /// The last snapshot.
    pub partitions: Mutex<Arc<Vec<PartitionSnapshot>>>,
    /// When it wants a turn without a wake-up, on the clock of [`crate::owner::Moment::now_ms`]; `u64::MAX` for never.
    pub(super) due_ms: AtomicU64,
    /// Why it ended, if it did.
    pub failed: Mutex<Option<String>>,
}

/// Which partitions the next turn steps.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// All of them.
    pub all: bool,
    /// These.
    pub some: BTreeSet<u32>,
    /// Those of these that follow their own topic: it has new records.
    pub followers: BTreeSet<u32>,
    /// Those that are due by the clock.
    pub due: bool,
    /// Those that find work when they look, as after a lost wake-up.
    pub look: bool,
    /// Inputs that all owners read and that have new records.
    pub inputs: BTreeSet<TopicPartition>,
}

impl SystemShared {
    /// Makes the actor step all its partitions soon. Never blocks, never queues more than one wake-up.
    pub fn wake(&self) {
        lock(&self.pending).all = true;
        self.send_wake();
    }

    /// Makes the actor step this partition soon; as [`SystemShared::wake`] otherwise.
    pub fn wake_partition(&self, partition: u32) {
        lock(&self.pending).some.insert(partition);
        self.send_wake();
    }

    /// The own topic of this partition has new records, which its owner does not read while it is active.
    pub fn wake_follower(&self, partition: u32) {
        lock(&self.pending).followers.insert(partition);
        self.send_wake();
    }

    /// An input that all owners read has new records.
    pub fn wake_input(&self, partition: &TopicPartition) {
        lock(&self.pending).inputs.insert(partition.clone());
        self.send_wake();
    }

    /// Lets partitions that are due have their turn, if there are any by now.
    pub(super) fn wake_due(&self, now_ms: u64) {
        if self.due_ms.load(Ordering::Acquire) <= now_ms {
            self.due_ms.store(u64::MAX, Ordering::Release);
            lock(&self.pending).due = true;
            self.send_wake();
        }
    }

    /// Lets all partitions look whether they have something to do. Also a sign of life of a system that has nothing to do.
    pub(super) fn wake_to_look(&self) {
        lock(&self.pending).look = true;
        self.send_wake();
    }

    pub(super) fn send_wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            let sent = lock(&self.recipient).as_ref().is_some_and(|recipient| recipient.try_send(Wake).is_ok());
            if !sent {
                self.woken.store(false, Ordering::Release);
            }
        }
    }

    /// The last snapshot.
    pub fn snapshot(&self) -> Arc<Vec<PartitionSnapshot>> {
        lock(&self.partitions).clone()
    }
}
