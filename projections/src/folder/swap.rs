//! Swaps a rebuilt generation in for the one that serves.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rocksdb::WriteBatch;

use super::{Folder, Step};
use crate::error::Error;
use crate::fold::Taken;
use crate::generation;
use crate::rebuild::RebuildJob;
use crate::set_aside;
use crate::shared::{CutOff, RebuildState, RebuildStatus};
use crate::store::Database;

impl Folder {
    /// Swaps a rebuilt generation in, or clears up after one that was given up.
    pub(super) fn take_over_rebuild(&mut self) -> Result<(), Error> {
        let (job, cut_off) = {
            let slot = self.shared.rebuild.lock();
            (slot.job.clone(), slot.cut_off)
        };
        let Some(job) = job else {
            return match (cut_off, &self.record) {
                (Some(CutOff::GoesOn), Some(record)) => self.rebuilds.go_on(&self.shared, &self.session, record.partitions, true),
                (Some(CutOff::Dropped), _) => self.rebuilds.clear(&self.shared, &self.session),
                _ => Ok(()),
            };
        };
        let Some(outcome) = job.ended() else { return Ok(()) };
        let outcome = outcome.and_then(|()| self.swap(&job));
        let mut status = job.status();
        match outcome {
            Ok(()) => status = RebuildStatus { state: RebuildState::Done, progress: 1.0, ..status },
            Err(Error::Log(problem @ tol_kafka::Error::Unavailable(_))) => return Err(problem.into()),
            // It goes on when the store has been opened anew.
            Err(problem) if self.session.in_trouble() => return Err(Error::Store(problem.to_string())),
            Err(problem) => {
                let cancelled = job.cancelled.load(Ordering::Relaxed);
                status.state = if cancelled { RebuildState::Cancelled } else { RebuildState::Failed };
                status.problem = (!cancelled).then(|| problem.to_string());
                generation::drop_generation(&*self.session.get()?, job.generation)?;
            }
        }
        let mut slot = self.shared.rebuild.lock();
        slot.status = status;
        slot.job = None;
        drop(slot);
        self.shared.announce();
        Ok(())
    }

    /// Sees to it that the new version is folded, while the old one's rows are shown as they are. It is swapped in like any rebuild.
    /// After one that failed an operator asks for the next.
    pub(super) fn await_new_version(&mut self) -> Step {
        let Some(partitions) = self.record.as_ref().map(|record| record.partitions) else { return Step::Idle };
        let (runs, status) = {
            let slot = self.shared.rebuild.lock();
            (slot.job.is_some(), slot.status.clone())
        };
        let outcome = match status.state {
            _ if runs => Ok(()),
            RebuildState::Failed | RebuildState::Cancelled => {
                let why = status.problem.unwrap_or_else(|| "it was cancelled".to_owned());
                Err(Error::Stopped(format!("the new version is not folded ({why}), and the old one's rows are shown as they are; ask for a rebuild")))
            }
            _ => {
                let (projection, version) = (self.shared.projection.name(), self.shared.projection.version());
                tracing::info!(projection, version, "a new version is folded; the old one's rows are shown meanwhile");
                self.rebuilds.go_on(&self.shared, &self.session, partitions, true)
            }
        };
        let looked = outcome.and_then(|()| {
            if self.last_flush.elapsed() > self.limits.hold_time {
                self.last_flush = Instant::now();
                return self.refresh_ends();
            }
            Ok(())
        });
        match looked {
            Ok(()) => Step::Idle,
            Err(problem) => self.after(problem),
        }
    }

    fn swap(&mut self, job: &RebuildJob) -> Result<(), Error> {
        let Some(record) = self.record.clone() else { return Ok(()) };
        let mut next = self.resume(job.generation, record.partitions)?;
        // What was visible stays visible: the new one is folded as far as the old one before it serves.
        for (fold, old) in next.iter_mut().zip(&self.folds) {
            while fold.next() < old.stored().position {
                let batches = self.log.read(fold.at(), fold.next(), self.limits.read_bytes)?;
                for batch in &batches {
                    if fold.take(batch)? == Taken::Again {
                        break;
                    }
                }
                if batches.is_empty() {
                    break;
                }
            }
        }
        let mut batch = WriteBatch::default();
        for fold in &mut next {
            fold.flush(&mut batch, None)?;
        }
        let store = self.session.get()?;
        store.write_batch(batch, true)?;
        for fold in &mut next {
            fold.written(self.limits.keep_bytes);
        }
        if self.frozen && !self.shared.rebuild.lock().is_asked_for {
            self.refuse_more_set_aside(&store, job.generation)?;
        }
        let mut batch = WriteBatch::default();
        generation::serve(&store, &mut batch, job.generation, &record)?;
        store.write_batch(batch, true)?;
        drop(store);
        let old = self.shared.serving();
        self.frozen = false;
        self.folds = next;
        self.start_serving(job.generation, record.partitions, record.version)?;
        *self.shared.failed.lock() = None;
        self.retired.extend(old);
        self.mark_all();
        Ok(())
    }

    /// Refuses a new version that cannot fold what the old one folded: nobody asked for it, and the old rows hold more.
    fn refuse_more_set_aside(&self, store: &Database, generation: u32) -> Result<(), Error> {
        let serving = self.shared.serving().map_or(0, |serving| serving.generation);
        let mut more = 0;
        let mut first = None;
        for fold in &self.folds {
            let (partition, end) = (fold.at().partition, fold.stored().position);
            let (of_old, _) = set_aside::count_below(store, serving, partition, end)?;
            let (of_new, found) = set_aside::count_below(store, generation, partition, end)?;
            more += of_new.saturating_sub(of_old);
            first = first.or(found.filter(|_| of_new > of_old).map(|(position, aside)| format!("{}@{position}: {}", fold.at(), aside.problem)));
        }
        match first {
            Some(first) => Err(Error::Stopped(format!("it cannot fold {more} events that the old version folded, {first}"))),
            None => Ok(()),
        }
    }

    pub(super) fn drop_retired(&mut self) {
        self.retired.retain(|old| {
            if Arc::strong_count(old) > 1 {
                return true;
            }
            if let Err(problem) = old.session.get().and_then(|store| generation::drop_generation(&store, old.generation)) {
                tracing::warn!(generation = old.generation, %problem, "an old generation could not be dropped; it is at the next start");
            }
            false
        });
    }
}
