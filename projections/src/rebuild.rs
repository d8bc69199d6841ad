//! Rebuild: a new generation folded from the start beside the one that serves, until it has caught up.
//!
//! Each partition is folded whole by one thread, so that its rows stay in memory; rows and cursor are flushed in one batch without WAL when memory
//! is used up. Memtables go to disk atomically over the tables, so a crash leaves rows and cursors that fit, and the rebuild goes on from there.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use rocksdb::WriteBatch;
use tol_kafka::EventLog;
use tol_system::{AnyProjection, projection};

use crate::error::Error;
use crate::fold::{AsOf, PartitionFold, Taken};
use crate::shared::{RebuildState, RebuildStatus};
use crate::store::Session;
use crate::store::parking::Mutex;

/// What may be left to fold when the live thread takes over a rebuild.
pub(crate) const NEARLY: u64 = 10_000;

/// How much a thread of a rebuild takes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Bytes read from the log at a time.
    pub(crate) read_bytes: usize,
    /// Memory for the rows of one partition.
    pub(crate) overlay_bytes: usize,
    /// How many records may be left at the end.
    pub(crate) nearly: u64,
}

/// A generation being folded. Worked on by its threads, or by `step`.
pub(crate) struct RebuildJob {
    log: Arc<dyn EventLog>,
    /// Of the store that the generation lies in; when it ends, so does the rebuild.
    pub(crate) session: Session,
    pub(crate) generation: u32,
    pace: Pace,
    queue: Mutex<VecDeque<PartitionFold>>,
    finished: Mutex<Vec<PartitionFold>>,
    partitions: usize,
    working: AtomicUsize,
    total: AtomicU64,
    folded: AtomicU64,
    resumed_at: u64,
    started: Instant,
    pub(crate) cancelled: AtomicBool,
    paused: AtomicBool,
    ended: Mutex<Option<Result<(), Error>>>,
}

impl RebuildJob {
    /// A fold of `generation` from its stored cursors on.
    pub(crate) fn new(
        log: Arc<dyn EventLog>,
        session: Session,
        projection: &dyn AnyProjection,
        generation: u32,
        partitions: u32,
        as_of: Option<AsOf>,
        pace: Pace,
    ) -> Result<Self, Error> {
        let mut queue = VecDeque::new();
        let (mut total, mut done) = (0, 0);
        for partition in 0..partitions {
            let fold = PartitionFold::resume(&session, projection, generation, partition, as_of)?;
            total += log.bounds(fold.at())?.end;
            done += fold.next();
            queue.push_back(fold);
        }
        Ok(Self {
            log,
            session,
            generation,
            pace,
            queue: Mutex::new(queue),
            finished: Mutex::default(),
            partitions: partitions as usize,
            working: AtomicUsize::new(0),
            total: AtomicU64::new(total),
            folded: AtomicU64::new(done),
            resumed_at: done,
            started: Instant::now(),
            cancelled: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            ended: Mutex::default(),
        })
    }

    pub(crate) fn status(&self) -> RebuildStatus {
        let (folded, total) = (self.folded.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed));
        let seconds = self.started.elapsed().as_secs_f64().max(1e-3);
        RebuildStatus {
            state: RebuildState::Running,
            progress: if total == 0 { 1.0 } else { (folded as f64 / total as f64).min(1.0) },
            events_per_second: (folded.saturating_sub(self.resumed_at) as f64 / seconds) as u64,
            generation: self.generation,
            problem: None,
        }
    }

    /// Gives it up.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.ended.lock().get_or_insert(Err(Error::Busy("the rebuild was cancelled".to_owned())));
    }

    /// Lets its threads end; it goes on from its stored cursors at the next start.
    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    fn halted(&self) -> bool {
        self.paused.load(Ordering::Relaxed) || self.cancelled.load(Ordering::Relaxed)
    }

    /// How it ended, once it has and no thread works on it: caught up but for a little, or failed.
    pub(crate) fn ended(&self) -> Option<Result<(), Error>> {
        let ended = self.ended.lock().clone();
        ended.filter(|_| self.working.load(Ordering::SeqCst) == 0)
    }

    /// Works until nothing is left to do for this thread.
    pub(crate) fn run(&self) {
        while self.work(usize::MAX) {}
    }

    /// Folds up to `reads` pieces of some partition; `false` when there is nothing left to take.
    pub(crate) fn work(&self, reads: usize) -> bool {
        if self.halted() || self.ended.lock().is_some() {
            return false;
        }
        let Some(mut fold) = ({
            let mut queue = self.queue.lock();
            let fold = queue.pop_front();
            self.working.fetch_add(usize::from(fold.is_some()), Ordering::SeqCst);
            fold
        }) else {
            return false;
        };
        // Elsewhere than in a fold, where the event is set aside: without this the rebuild would never end.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.fold_partition(&mut fold, reads)));
        let outcome = outcome.unwrap_or_else(|carried| Err(Error::Stopped(projection::Error::of_panic(&*carried).to_string())));
        match outcome {
            Ok(true) => self.finished.lock().push(fold),
            Ok(false) => self.queue.lock().push_back(fold),
            Err(problem) => {
                self.ended.lock().get_or_insert(Err(problem));
            }
        }
        self.working.fetch_sub(1, Ordering::SeqCst);
        self.finish_round();
        true
    }

    /// `true` when the partition's end is reached and everything is written.
    fn fold_partition(&self, fold: &mut PartitionFold, reads: usize) -> Result<bool, Error> {
        for _ in 0..reads {
            if self.halted() {
                return Ok(false);
            }
            let batches = match self.log.read(fold.at(), fold.next(), self.pace.read_bytes) {
                Ok(batches) => batches,
                Err(tol_kafka::Error::Unavailable(problem)) => {
                    tracing::warn!(at = %fold.at(), problem, "a rebuild waits for the log");
                    std::thread::sleep(std::time::Duration::from_millis(200));
                    continue;
                }
                Err(problem) => return Err(problem.into()),
            };
            if batches.is_empty() {
                self.write(fold, 0)?;
                return Ok(true);
            }
            let before = fold.seen;
            for batch in &batches {
                if fold.take(batch)? == Taken::Again {
                    break;
                }
            }
            self.folded.fetch_add(fold.seen - before, Ordering::Relaxed);
            if fold.bytes() > self.pace.overlay_bytes {
                self.write(fold, 0)?;
            }
        }
        Ok(false)
    }

    fn write(&self, fold: &mut PartitionFold, keep: usize) -> Result<(), Error> {
        if fold.has_unstored() {
            let mut batch = WriteBatch::default();
            fold.flush(&mut batch, None)?;
            self.session.get()?.write_batch(batch, false)?;
        }
        fold.written(keep);
        Ok(())
    }

    /// When all partitions are at the end they had: once more if much has come since, else done.
    fn finish_round(&self) {
        let mut queue = self.queue.lock();
        let mut finished = self.finished.lock();
        if !queue.is_empty() || self.working.load(Ordering::SeqCst) > 0 || finished.len() < self.partitions {
            return;
        }
        let mut left = 0;
        let mut total = 0;
        for fold in finished.iter() {
            let Ok(bounds) = self.log.bounds(fold.at()) else { continue };
            left += bounds.end.saturating_sub(fold.next());
            total += bounds.end;
        }
        self.total.store(total, Ordering::Relaxed);
        if left > self.pace.nearly {
            queue.extend(finished.drain(..));
            return;
        }
        // Written to disk before anybody says that it is.
        let outcome = self.session.get().and_then(|store| store.flush());
        self.ended.lock().get_or_insert(outcome);
    }
}
