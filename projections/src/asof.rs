//! The past of a whole projection: a temporary generation folded up to then, as a job; the last few are kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tol_kafka::Position;

use crate::engine::ProjectionEngine;
use crate::error::Error;
use crate::fold::AsOf;
use crate::generation::{self, GenerationRecord, Purpose};
use crate::query::{Digest, Page, View};
use crate::rebuild::{Pace, RebuildJob};
use crate::shared::Serving;

/// How many pasts are kept.
const KEPT: usize = 4;
/// How long a fold of the past is answered without looking whether events have come late.
const FRESH: Duration = Duration::from_secs(10);

/// How far the fold of a past is.
#[derive(Clone, Debug, PartialEq)]
pub enum AsOfState {
    /// Being folded, or waiting for another one; ask again.
    Running {
        /// 0 to 1.
        progress: f64,
    },
    /// Can be queried.
    Done {
        /// Next position of each topic partition: what the log held when it was folded.
        positions: BTreeMap<String, Position>,
    },
}

/// The pasts that are kept, the one used last at the end.
#[derive(Default)]
pub(crate) struct AsOfJobs {
    entries: Vec<Entry>,
}

struct Entry {
    name: &'static str,
    as_of: AsOf,
    serving: Arc<Serving>,
    job: Option<Arc<RebuildJob>>,
    finished: Option<Instant>,
}

impl ProjectionEngine {
    /// The whole of a projection as of then: begins the fold where it is not there yet. One is folded at a time. Poll it.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Busy`] before the projection has begun, or what stopped the fold.
    pub fn as_of_all(&self, name: &str, as_of: AsOf) -> Result<AsOfState, Error> {
        let shared = self.find(name)?.clone();
        let session = self.store.current()?;
        let store = session.get()?;
        let mut jobs = self.as_of.lock();
        // What lay in the store before it was opened anew is folded again.
        jobs.entries.retain(|entry| entry.serving.session.is_current());
        self.settle(&mut jobs)?;
        let busy = jobs.entries.iter().any(|entry| entry.job.is_some() && (entry.name, entry.as_of) != (shared.projection.name(), as_of));
        if let Some(place) = jobs.entries.iter().position(|entry| entry.name == name && entry.as_of == as_of) {
            let mut entry = jobs.entries.remove(place);
            let state = self.refresh(&mut entry, busy);
            jobs.entries.push(entry);
            return state;
        }
        if busy {
            return Ok(AsOfState::Running { progress: 0.0 });
        }
        while jobs.entries.len() >= KEPT {
            let Some(oldest) = jobs.entries.iter().position(|entry| Arc::strong_count(&entry.serving) == 1) else { break };
            let oldest = jobs.entries.remove(oldest);
            generation::drop_generation(&store, oldest.serving.generation)?;
        }
        let serving = shared.serving().ok_or_else(|| Error::Busy(format!("projection {name} has not begun; wait until its topic exists")))?;
        let record = GenerationRecord::expected(&*shared.projection, self.log.identity(), serving.partitions, Purpose::AsOf);
        let generation = generation::create(&store, &record)?;
        let mut entry = Entry {
            name: shared.projection.name(),
            as_of,
            serving: Arc::new(Serving { session, generation, partitions: serving.partitions, version: record.version }),
            job: None,
            finished: None,
        };
        let state = self.refresh(&mut entry, false);
        jobs.entries.push(entry);
        state
    }

    /// Takes note of the job that ended, if one did.
    fn settle(&self, jobs: &mut AsOfJobs) -> Result<(), Error> {
        let ended = |entry: &Entry| entry.job.as_ref().and_then(|job| job.ended());
        let Some((place, outcome)) = jobs.entries.iter().enumerate().find_map(|(place, entry)| Some((place, ended(entry)?))) else { return Ok(()) };
        match outcome {
            Ok(()) => {
                jobs.entries[place].job = None;
                jobs.entries[place].finished = Some(Instant::now());
                Ok(())
            }
            Err(problem) => {
                let entry = jobs.entries.remove(place);
                generation::drop_generation(&*entry.serving.session.get()?, entry.serving.generation)?;
                Err(problem)
            }
        }
    }

    fn refresh(&self, entry: &mut Entry, busy: bool) -> Result<AsOfState, Error> {
        if let Some(job) = &entry.job {
            return Ok(AsOfState::Running { progress: job.status().progress });
        }
        let projection = self.find(entry.name)?.projection.clone();
        let store = entry.serving.session.get()?;
        let mut positions = BTreeMap::new();
        let mut behind = false;
        for partition in 0..entry.serving.partitions {
            let at = tol_kafka::TopicPartition::new(projection.topic(), partition);
            let next = generation::cursor(&store, entry.serving.generation, partition)?.cursor.position;
            behind |= next < self.log.bounds(&at)?.end;
            positions.insert(at.to_string(), next);
        }
        let fresh = entry.finished.is_some_and(|finished| finished.elapsed() < FRESH);
        if fresh || (entry.finished.is_some() && !behind) {
            return Ok(AsOfState::Done { positions });
        }
        if busy {
            return Ok(AsOfState::Running { progress: 0.0 });
        }
        let job = RebuildJob::new(
            self.log.clone(),
            entry.serving.session.clone(),
            &*projection,
            entry.serving.generation,
            entry.serving.partitions,
            Some(entry.as_of),
            Pace { nearly: u64::MAX, ..self.rebuilds.pace },
        )?;
        let job = Arc::new(job);
        self.rebuilds.run(&format!("as-of-{}", entry.name), &job, || {});
        entry.finished = None;
        entry.job = Some(job.clone());
        Ok(AsOfState::Running { progress: job.status().progress })
    }

    /// Works on the job, for simulations.
    pub(crate) fn step_as_of(&self) -> bool {
        let job = self.as_of.lock().entries.iter().find_map(|entry| entry.job.clone());
        job.is_some_and(|job| job.work(4))
    }

    pub(crate) fn stop_as_of(&self) {
        for job in self.as_of.lock().entries.iter().filter_map(|entry| entry.job.as_ref()) {
            job.cancel();
        }
    }

    fn past<T>(&self, name: &str, as_of: AsOf, read: impl FnOnce(&View<'_>) -> Result<T, Error>) -> Result<Option<T>, Error> {
        let shared = self.find(name)?;
        let serving =
            self.as_of.lock().entries.iter().find(|entry| entry.name == name && entry.as_of == as_of && entry.job.is_none()).map(|entry| entry.serving.clone());
        let Some(serving) = serving else { return Ok(None) };
        let store = serving.session.get()?;
        read(&View { store: &store, projection: &*shared.projection, generation: serving.generation, partitions: serving.partitions }).map(Some)
    }

    /// A page of the past; `None` until [`ProjectionEngine::as_of_all`] says that it is done.
    ///
    /// # Errors
    /// [`Error::Unknown`], or the store failed.
    pub fn as_of_list(&self, name: &str, as_of: AsOf, limit: usize, cursor: Option<&str>) -> Result<Option<Page>, Error> {
        self.past(name, as_of, |view| view.list(limit, cursor, as_of.time()))
    }

    /// One key of the past: the outer `None` until [`ProjectionEngine::as_of_all`] says that it is done.
    ///
    /// # Errors
    /// [`Error::Unknown`], or the store failed.
    pub fn as_of_get(&self, name: &str, as_of: AsOf, key: &str) -> Result<Option<Option<serde_json::Value>>, Error> {
        self.past(name, as_of, |view| view.get(key, as_of.time()))
    }

    /// The digest of the past; `None` until [`ProjectionEngine::as_of_all`] says that it is done.
    ///
    /// # Errors
    /// [`Error::Unknown`], or the store failed.
    pub fn as_of_digest(&self, name: &str, as_of: AsOf) -> Result<Option<Digest>, Error> {
        self.past(name, as_of, |view| view.digest())
    }
}
