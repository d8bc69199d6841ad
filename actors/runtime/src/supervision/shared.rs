//! What others see of a running system without asking it, and how they wake it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actix::Recipient;
use serde::Serialize;
use tol_kafka::Position;

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
    pub inputs: BTreeMap<String, Position>,
    /// What it gave up last, if anything.
    pub last_problem: Option<String>,
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
    pub partitions: Mutex<Vec<PartitionSnapshot>>,
    /// Why it ended, if it did.
    pub failed: Mutex<Option<String>>,
}

/// Which partitions the next turn steps.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub all: bool,
    pub some: BTreeSet<u32>,
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

    pub(super) fn send_wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            let sent = lock(&self.recipient).as_ref().is_some_and(|recipient| recipient.try_send(Wake).is_ok());
            if !sent {
                self.woken.store(false, Ordering::Release);
            }
        }
    }

    /// The last snapshot.
    pub fn snapshot(&self) -> Vec<PartitionSnapshot> {
        lock(&self.partitions).clone()
    }
}
