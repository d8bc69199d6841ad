//! What the threads of one projection and those who query it share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;
use tol_kafka::{Position, TopicPartition};
use tol_system::AnyProjection;

use crate::follow::Follow;
use crate::rebuild::RebuildJob;
use crate::store::Session;
use crate::store::parking::{Mutex, RwLock};

/// State of a rebuild.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RebuildState {
    /// None was asked for since the start.
    #[default]
    Idle,
    /// Being folded; queries are answered from the old generation.
    Running,
    /// Swapped in.
    Done,
    /// Stopped with an error; the old generation goes on.
    Failed,
    /// Cancelled by an operator; the old generation goes on.
    Cancelled,
}

/// How far a rebuild is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RebuildStatus {
    /// What it does.
    pub state: RebuildState,
    /// 0 to 1.
    pub progress: f64,
    /// Records folded a second, since it started or was resumed.
    pub events_per_second: u64,
    /// The generation it makes.
    pub generation: u32,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What `GET /projections` shows of one.
#[derive(Clone, Debug, Serialize)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: &'static str,
    /// Version of its fold.
    pub version: u32,
    /// Version of the fold that made the rows that answer: an older one's answer while this one's are being folded.
    pub rows_version: u32,
    /// The generation that answers; 0 before the first.
    pub generation: u32,
    /// Records in the log that are not visible yet.
    pub lag: u64,
    /// Next position of each topic partition: everything below is visible.
    pub positions: BTreeMap<String, Position>,
    /// Events that could not be folded and are not in the rows.
    pub set_aside: u64,
    /// The rebuild.
    pub rebuild: RebuildStatus,
    /// Why it does not go on; queries show the last state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The generation that answers. Rows of a generation stay while somebody holds this.
#[derive(Debug)]
pub(crate) struct Serving {
    /// The store it lies in, as it was opened then.
    pub(crate) session: Session,
    pub(crate) generation: u32,
    pub(crate) partitions: u32,
    /// Version of the fold that made its rows.
    pub(crate) version: u32,
}

/// Which partitions have something new. Set from the log's threads, taken by one folding thread.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    pending: std::sync::Mutex<Pending>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    partitions: std::collections::BTreeSet<u32>,
    called: bool,
}

impl Wake {
    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Partition `partition` has new records.
    pub(crate) fn partition(&self, partition: u32) {
        self.lock().partitions.insert(partition);
        self.changed.notify_one();
    }

    /// Something else is to be looked at: a rebuild is ready, or the engine stops.
    pub(crate) fn call(&self) {
        self.lock().called = true;
        self.changed.notify_one();
    }

    /// Waits until woken, at most `timeout`, and takes what is pending.
    pub(crate) fn take(&self, timeout: Duration) -> Vec<u32> {
        let pending = self.lock();
        let idle = |pending: &mut Pending| pending.partitions.is_empty() && !pending.called;
        let (mut pending, _) = self.changed.wait_timeout_while(pending, timeout, idle).unwrap_or_else(std::sync::PoisonError::into_inner);
        pending.called = false;
        std::mem::take(&mut pending.partitions).into_iter().collect()
    }
}

/// One partition's place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// Next position; everything below is visible.
    pub(crate) next: Position,
    /// End of the partition as last seen.
    pub(crate) end: Position,
}

/// One projection, as seen from all sides.
pub(crate) struct Shared {
    pub(crate) projection: Arc<dyn AnyProjection>,
    pub(crate) serving: RwLock<Option<Arc<Serving>>>,
    pub(crate) places: Mutex<Vec<Place>>,
    pub(crate) failed: Mutex<Option<String>>,
    /// How many events the serving generation set aside.
    pub(crate) set_aside: AtomicU64,
    pub(crate) rebuild: Mutex<RebuildSlot>,
    pub(crate) wake: Wake,
    /// Who is told of each change.
    pub(crate) follow: Follow,
    flushes: watch::Sender<u64>,
    flushed: (std::sync::Mutex<()>, Condvar),
}

/// The last rebuild and the one that runs.
#[derive(Default)]
pub(crate) struct RebuildSlot {
    pub(crate) status: RebuildStatus,
    pub(crate) job: Option<Arc<RebuildJob>>,
    /// An operator began it: its rows are swapped in whatever it sets aside.
    pub(crate) is_asked_for: bool,
    /// The store was opened anew under the last one.
    pub(crate) cut_off: Option<CutOff>,
}

/// What becomes of a rebuild under which the store was opened anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutOff {
    /// It goes on from what is stored.
    GoesOn,
    /// It was cancelled: what is stored is dropped.
    Dropped,
}

impl Shared {
    pub(crate) fn new(projection: Arc<dyn AnyProjection>) -> Arc<Self> {
        Arc::new(Self {
            projection,
            serving: RwLock::default(),
            places: Mutex::default(),
            failed: Mutex::default(),
            set_aside: AtomicU64::new(0),
            rebuild: Mutex::default(),
            wake: Wake::default(),
            follow: Follow::default(),
            flushes: watch::Sender::new(0),
            flushed: Default::default(),
        })
    }

    /// Tells all who wait that more is visible.
    pub(crate) fn announce(&self) {
        self.flushes.send_modify(|count| *count += 1);
        let _guard = self.flushed.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.flushed.1.notify_all();
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.flushes.subscribe()
    }

    /// Whether all of these (inclusive) positions are visible; those of other topics are not this projection's business.
    pub(crate) fn reached(&self, positions: &[(TopicPartition, Position)]) -> bool {
        let places = self.places.lock();
        let own = positions.iter().filter(|(at, _)| *at.topic == *self.projection.topic());
        own.into_iter().all(|(at, position)| places.get(at.partition as usize).is_some_and(|place| place.next > *position))
    }

    /// Blocks until [`Shared::reached`], at most `timeout`.
    pub(crate) fn wait_for(&self, positions: &[(TopicPartition, Position)], timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut guard = self.flushed.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        loop {
            if self.reached(positions) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            guard = self.flushed.1.wait_timeout(guard, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    pub(crate) fn positions(&self) -> BTreeMap<String, Position> {
        let topic = self.projection.topic();
        self.places.lock().iter().enumerate().map(|(partition, place)| (format!("{topic}/{partition}"), place.next)).collect()
    }

    pub(crate) fn serving(&self) -> Option<Arc<Serving>> {
        self.serving.read().clone()
    }

    pub(crate) fn status(&self) -> ProjectionStatus {
        let lag = self.places.lock().iter().map(|place| place.end.saturating_sub(place.next)).sum();
        let serving = self.serving();
        ProjectionStatus {
            name: self.projection.name(),
            version: self.projection.version(),
            rows_version: serving.as_ref().map_or(self.projection.version(), |serving| serving.version),
            generation: serving.map_or(0, |serving| serving.generation),
            lag,
            positions: self.positions(),
            set_aside: self.set_aside.load(Ordering::Relaxed),
            rebuild: self.rebuild_status(),
            failed: self.failed.lock().clone(),
        }
    }

    pub(crate) fn rebuild_status(&self) -> RebuildStatus {
        let slot = self.rebuild.lock();
        match &slot.job {
            Some(job) => job.status(),
            None => slot.status.clone(),
        }
    }

    /// Sets the gauges that Prometheus scrapes.
    pub(crate) fn publish_metrics(&self) {
        let name = self.projection.name();
        let mut lag = 0;
        for (partition, place) in self.places.lock().iter().enumerate() {
            crate::metric_definitions::projection_position(name, partition).set(place.next as f64);
            lag += place.end.saturating_sub(place.next);
        }
        crate::metric_definitions::projection_lag_events(name).set(lag as f64);
        crate::metric_definitions::projection_rebuild_progress(name).set(self.rebuild_status().progress);
        crate::metric_definitions::projection_set_aside(name).set(self.set_aside.load(Ordering::Relaxed) as f64);
        crate::metric_definitions::projection_failed(name).set(f64::from(u8::from(self.failed.lock().is_some())));
    }
}
