//! What waits for the writer thread, bounded in bytes.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::log::{AppendDone, Error, Position, TopicPartition, TopicSpec};

/// One batch, encoded and compressed by the thread that appends; only the positions are missing.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub to: TopicPartition,
    /// Place of the partition in the index.
    pub slot: usize,
    pub topic: u32,
    pub expected: Option<Position>,
    pub count: u32,
    pub raw: Bytes,
    pub packed: Option<Vec<u8>>,
}

impl Prepared {
    pub(crate) fn stored(&self) -> &[u8] {
        self.packed.as_deref().unwrap_or(&self.raw)
    }
}

/// One call of `append`.
pub(crate) struct AppendJob {
    pub batches: Vec<Prepared>,
    pub bytes: usize,
    pub done: AppendDone,
}

/// What the writer thread does, in order.
pub(crate) enum Job {
    Append(AppendJob),
    Topics(Vec<TopicSpec>, SyncSender<Result<(), Error>>),
    /// An append refused before it was queued: told from the writer thread, as `done` may take locks its caller holds.
    Refused(AppendDone, Error),
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
    closed: bool,
}

/// The queue in front of the writer thread.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    limit: usize,
}

impl Queue {
    pub(crate) fn new(limit: usize) -> Self {
        Self { waiting: Mutex::default(), changed: Condvar::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job; gives it back if the queue is closed.
    pub(crate) fn push(&self, mut job: Job) -> Option<Job> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Some(job);
        }
        if let Job::Append(append) = job {
            // A call larger than the limit goes alone rather than never.
            if waiting.bytes > 0 && waiting.bytes + append.bytes > self.limit {
                let full = format!("its append queue is full ({} of {} bytes wait for the disk)", waiting.bytes, self.limit);
                job = Job::Refused(append.done, Error::Unavailable(full));
            } else {
                waiting.bytes += append.bytes;
                job = Job::Append(append);
            }
        }
        waiting.jobs.push_back(job);
        self.changed.notify_one();
        None
    }

    /// Waits for jobs and takes those that fit one write of about `group_bytes`. Empty when closed and drained.
    pub(crate) fn take(&self, group_bytes: usize) -> Vec<Job> {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() && !waiting.closed {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(job) = waiting.jobs.front() {
            if let Job::Append(append) = job {
                bytes += append.bytes;
                if bytes > group_bytes && !taken.is_empty() {
                    break;
                }
            }
            taken.extend(waiting.jobs.pop_front());
        }
        taken
    }

    /// Bytes that were taken are dealt with.
    pub(crate) fn release(&self, bytes: usize) {
        let mut waiting = self.lock();
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}
