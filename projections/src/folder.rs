//! Live folding: one state machine a projection that keeps the serving generation at the log's tip; [`swap`] swaps in a rebuilt one.

mod swap;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rocksdb::WriteBatch;
use tol_kafka::EventLog;
use tol_system::{ChangedRows, Followed};

use crate::error::Error;
use crate::fold::{PartitionFold, Taken};
use crate::generation::{self, GenerationRecord, Purpose};
use crate::query::View;
use crate::rebuilds::Rebuilds;
use crate::shared::{CutOff, Place, RebuildState, RebuildStatus, Serving, Shared};
use crate::store::{RocksStore, Session};

/// What one step of folding came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was folded; there may be more.
    Progress,
    /// Nothing to do until the log has more.
    Idle,
    /// The log cannot be read now; try again later.
    Unavailable,
    /// Stopped for good; see [`crate::ProjectionStatus::failed`].
    Failed,
}

/// How much is read and held.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes read from a partition at a time.
    pub(crate) read_bytes: usize,
    /// Rows of one partition kept in memory between flushes.
    pub(crate) keep_bytes: usize,
    /// Rows of one partition held before a flush, while behind.
    pub(crate) hold_bytes: usize,
    /// Longest time between flushes, while behind.
    pub(crate) hold_time: Duration,
}

/// The live side of one projection.
pub(crate) struct Folder {
    log: Arc<dyn EventLog>,
    store: Arc<RocksStore>,
    /// What all below was read from: when the store is opened anew, everything begins again from what is stored.
    session: Session,
    shared: Arc<Shared>,
    rebuilds: Arc<Rebuilds>,
    limits: Limits,
    record: Option<GenerationRecord>,
    folds: Vec<PartitionFold>,
    /// The serving rows are an older version's: they are shown as they are until the new fold has caught up, and nothing is folded into them.
    frozen: bool,
    /// Partitions that may have more to read.
    pending: BTreeSet<u32>,
    last_flush: Instant,
    /// Generations that no longer serve, until the last query on them ends.
    retired: Vec<Arc<Serving>>,
}

impl Folder {
    pub(crate) fn new(log: Arc<dyn EventLog>, store: Arc<RocksStore>, shared: Arc<Shared>, rebuilds: Arc<Rebuilds>, limits: Limits) -> Self {
        Self {
            log,
            store,
            session: Session::default(),
            shared,
            rebuilds,
            limits,
            record: None,
            folds: Vec::new(),
            frozen: false,
            pending: BTreeSet::new(),
            last_flush: Instant::now(),
            retired: Vec::new(),
        }
    }

    /// Partitions that the log says have more.
    pub(crate) fn mark(&mut self, partitions: impl IntoIterator<Item = u32>) {
        self.pending.extend(partitions);
    }

    /// Looks at every partition again, whether the log called or not.
    pub(crate) fn mark_all(&mut self) {
        self.pending.extend(0..self.folds.len() as u32);
    }

    /// Stops for good; what was visible stays so.
    pub(crate) fn fail(&self, problem: String) -> Step {
        tracing::error!(projection = self.shared.projection.name(), problem, "the projection stopped; queries answer its last state");
        *self.shared.failed.lock() = Some(problem);
        if let Err(problem) = self.refresh_ends() {
            tracing::debug!(%problem, "the lag of a stopped projection is not known");
        }
        Step::Failed
    }

    /// Keeps the lag of a stopped projection true, though nobody reads its partitions.
    fn stay_failed(&mut self) -> Step {
        if self.last_flush.elapsed() > self.limits.hold_time {
            self.last_flush = Instant::now();
            if let Err(problem) = self.refresh_ends() {
                tracing::debug!(%problem, "the lag of a stopped projection is not known");
            }
        }
        Step::Failed
    }

    /// One round: what is new in each partition, in one write.
    pub(crate) fn step(&mut self) -> Step {
        self.drop_retired();
        let outcome = self.begin_anew().and_then(|()| self.open()).and_then(|open| if open { self.take_over_rebuild() } else { Ok(()) });
        if let Err(problem) = outcome {
            return self.after(problem);
        }
        if self.shared.failed.lock().is_some() {
            return self.stay_failed();
        }
        if self.record.is_none() {
            return Step::Idle;
        }
        if self.frozen {
            return self.await_new_version();
        }
        match self.round() {
            Ok(true) => Step::Progress,
            Ok(false) => Step::Idle,
            Err(problem) => self.after(problem),
        }
    }

    fn after(&mut self, problem: Error) -> Step {
        match problem {
            Error::Log(tol_kafka::Error::Unavailable(_) | tol_kafka::Error::Closed | tol_kafka::Error::Unknown(_)) | Error::Reopened => Step::Unavailable,
            Error::Store(problem) => {
                // What is held in memory may or may not have been written: the keeper mends the store, then all is read from it again.
                tracing::warn!(projection = self.shared.projection.name(), problem, "the projection waits for the store");
                self.session = Session::default();
                Step::Unavailable
            }
            problem => self.fail(problem.to_string()),
        }
    }

    /// Takes up the store as it is now, when it was opened anew or failed: what was folded and not stored is folded again.
    fn begin_anew(&mut self) -> Result<(), Error> {
        if self.session.is_current() {
            return Ok(());
        }
        let session = self.store.current()?;
        (self.record, self.folds, self.frozen) = (None, Vec::new(), false);
        self.retired.clear();
        *self.shared.failed.lock() = None;
        let mut slot = self.shared.rebuild.lock();
        if let Some(job) = slot.job.take_if(|job| !job.session.same(&session)) {
            // Whatever it said at the end, it may have been the store's.
            let cancelled = job.cancelled.load(Ordering::SeqCst);
            slot.cut_off = Some(if cancelled { CutOff::Dropped } else { CutOff::GoesOn });
            let state = if cancelled { RebuildState::Cancelled } else { RebuildState::Running };
            slot.status = RebuildStatus { state, ..job.status() };
            job.cancel();
        }
        drop(slot);
        self.session = session;
        Ok(())
    }

    /// Finds or begins the serving generation; `false` while the topic does not exist.
    fn open(&mut self) -> Result<bool, Error> {
        if self.record.is_some() {
            return Ok(true);
        }
        let projection = self.shared.projection.clone();
        let Some((_, partitions)) = self.log.topics()?.into_iter().find(|(name, _)| name == projection.topic()) else { return Ok(false) };
        let expected = GenerationRecord::expected(&*projection, self.log.identity(), partitions, Purpose::Serving);
        let store = self.session.get()?;
        let stored = generation::serving(&store, projection.name())?;
        let kept = match stored {
            Some(number) => {
                let record = generation::record(&store, number)?;
                let fits = match &record {
                    Some(record) => {
                        // Another version's rows are shown where this code reads them, until its own are folded.
                        let of_its_version = GenerationRecord { version: record.version, ..expected.clone() };
                        record.same_source(&of_its_version)
                            && projection.reads_rows_of(record.version)
                            && generation::fits_log(&store, &*self.log, number, record)?
                    }
                    None => false,
                };
                record.filter(|_| fits).map(|record| (number, record.version))
            }
            None => None,
        };
        let (number, version) = match kept {
            Some(kept) => kept,
            None => {
                let number = generation::create(&store, &expected)?;
                let mut batch = WriteBatch::default();
                generation::serve(&store, &mut batch, number, &expected)?;
                store.write_batch(batch, true)?;
                if let Some(old) = stored {
                    generation::drop_generation(&store, old)?;
                }
                (number, expected.version)
            }
        };
        drop(store);
        self.folds = self.resume(number, partitions)?;
        self.frozen = version != expected.version;
        self.record = Some(expected);
        self.start_serving(number, partitions, version)?;
        self.mark_all();
        Ok(true)
    }

    fn resume(&self, generation: u32, partitions: u32) -> Result<Vec<PartitionFold>, Error> {
        (0..partitions).map(|partition| PartitionFold::resume(&self.session, &*self.shared.projection, generation, partition, None)).collect()
    }

    fn start_serving(&self, generation: u32, partitions: u32, version: u32) -> Result<(), Error> {
        let mut places = Vec::with_capacity(self.folds.len());
        for fold in &self.folds {
            places.push(Place { next: fold.stored().position, end: self.log.bounds(fold.at())?.end });
        }
        self.count_set_aside();
        *self.shared.serving.write() = Some(Arc::new(Serving { session: self.session.clone(), generation, partitions, version }));
        if self.shared.follow.is_wanted() {
            let store = self.session.get()?;
            let view = View { store: &store, projection: &*self.shared.projection, generation, partitions };
            let caught_up = places.iter().all(|place| place.next >= place.end);
            self.shared.follow.tell(Followed { anew: true, rows: view.stored()?, caught_up, last_known: false });
        }
        *self.shared.places.lock() = places;
        self.shared.announce();
        Ok(())
    }

    fn count_set_aside(&self) {
        self.shared.set_aside.store(self.folds.iter().map(PartitionFold::set_aside).sum(), Ordering::Relaxed);
    }

    /// Reads each pending partition once; `true` if there may be more.
    fn round(&mut self) -> Result<bool, Error> {
        let mut behind = false;
        for partition in std::mem::take(&mut self.pending) {
            let Some(fold) = self.folds.get_mut(partition as usize) else { continue };
            let batches = match self.log.read(fold.at(), fold.next(), self.limits.read_bytes) {
                Ok(batches) => batches,
                Err(problem) => {
                    self.pending.insert(partition);
                    self.flush()?;
                    return Err(problem.into());
                }
            };
            if batches.is_empty() {
                continue;
            }
            self.pending.insert(partition);
            let bytes: usize = batches.iter().map(|batch| batch.body().len()).sum();
            behind |= bytes >= self.limits.read_bytes;
            for batch in &batches {
                match fold.take(batch) {
                    Ok(Taken::All) => {}
                    Ok(Taken::Again) => break,
                    Err(problem) => {
                        self.flush()?;
                        return Err(problem);
                    }
                }
            }
            if let (Some(place), Some(last)) = (self.shared.places.lock().get_mut(partition as usize), batches.last()) {
                place.end = place.end.max(last.end());
            }
        }
        // At the tip everything is shown at once; while behind, many events share a write.
        let full = self.folds.iter().any(|fold| fold.bytes() > self.limits.hold_bytes);
        if !behind || full || self.last_flush.elapsed() > self.limits.hold_time {
            self.flush()?;
            if behind {
                self.refresh_ends()?;
            }
        }
        Ok(!self.pending.is_empty())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.last_flush = Instant::now();
        if !self.folds.iter().any(PartitionFold::has_unstored) {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        let mut followed = self.shared.follow.is_wanted().then(ChangedRows::new);
        for fold in &mut self.folds {
            fold.flush(&mut batch, followed.as_mut())?;
        }
        self.session.get()?.write_batch(batch, true)?;
        for fold in &mut self.folds {
            fold.written(self.limits.keep_bytes);
        }
        self.count_set_aside();
        // Told first: whoever waits for a position finds the follower there.
        if let Some(rows) = followed {
            let caught_up = self.shared.places.lock().iter().zip(&self.folds).all(|(place, fold)| fold.stored().position >= place.end);
            self.shared.follow.tell(Followed { anew: false, rows, caught_up, last_known: false });
        }
        for (place, fold) in self.shared.places.lock().iter_mut().zip(&self.folds) {
            place.next = fold.stored().position;
        }
        self.shared.announce();
        Ok(())
    }

    /// Asks the log how far the partitions go.
    pub(crate) fn refresh_ends(&self) -> Result<(), Error> {
        for fold in &self.folds {
            let end = self.log.bounds(fold.at())?.end;
            if let Some(place) = self.shared.places.lock().get_mut(fold.at().partition as usize) {
                place.end = place.end.max(end);
            }
        }
        Ok(())
    }
}
