//! The engine: registered projections, their threads, and what others ask of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tol_events::EventTime;
use tol_kafka::{EventLog, Position, TopicPartition};
use tol_system::projection::{self, AnyProjection, Projection, erase};

use crate::asof::AsOfJobs;
use crate::error::Error;
use crate::folder::{Folder, Limits, Step};
use crate::generation::{self, Purpose};
use crate::rebuild::Pace;
use crate::rebuilds::Rebuilds;
use crate::shared::{CutOff, ProjectionStatus, RebuildState, RebuildStatus, Shared};
use crate::store::RocksStore;
use crate::store::parking::Mutex;

/// Memory and threads of the engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Bytes read from a partition at a time.
    pub read_bytes: usize,
    /// Memory for the rows held by all threads of a rebuild together, about.
    pub rebuild_bytes: usize,
    /// Threads of a rebuild.
    pub rebuild_threads: usize,
    /// Memory for rows kept between flushes while live, for each partition of each projection.
    pub keep_bytes: usize,
    /// How often partitions are looked at though the log did not call.
    pub poll: Duration,
    /// The clock: rows are shown as of the time of the question.
    pub now: fn() -> EventTime,
}

fn system_clock() -> EventTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EventTime::from_micros(i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX))
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { read_bytes: 1 << 20, rebuild_bytes: 192 << 20, rebuild_threads: 2, keep_bytes: 256 << 10, poll: Duration::from_secs(1), now: system_clock }
    }
}

/// All projections of a node. Querying is quick and never waits for folding.
pub struct ProjectionEngine {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) store: Arc<RocksStore>,
    pub(crate) options: EngineOptions,
    projections: Vec<Arc<Shared>>,
    /// The folding machines, until their threads take them.
    folders: Mutex<Vec<Folder>>,
    /// Also runs the threads of all.
    pub(crate) rebuilds: Arc<Rebuilds>,
    pub(crate) as_of: Mutex<AsOfJobs>,
}

impl ProjectionEngine {
    /// An engine without projections. Generations that only held the past are dropped.
    ///
    /// # Errors
    /// The store failed.
    pub fn new(log: Arc<dyn EventLog>, store: Arc<RocksStore>, options: EngineOptions) -> Result<Self, Error> {
        let database = store.database()?;
        for (number, record) in generation::all(&database)? {
            let serves = generation::serving(&database, &record.projection)? == Some(number);
            if !serves && record.purpose != Purpose::Rebuild {
                generation::drop_generation(&database, number)?;
            }
        }
        let share = options.rebuild_bytes / options.rebuild_threads.max(1);
        let pace = Pace { read_bytes: options.read_bytes, overlay_bytes: share, nearly: 0 };
        let rebuilds = Arc::new(Rebuilds::new(log.clone(), pace, options.rebuild_threads));
        Ok(Self { log, store, options, projections: Vec::new(), folders: Mutex::default(), rebuilds, as_of: Mutex::default() })
    }

    /// Adds a projection; before [`ProjectionEngine::start`].
    pub fn register<P: Projection>(&mut self, projection: P) {
        self.register_erased(erase(projection));
    }

    /// Adds a projection whose row's type is not known here; before [`ProjectionEngine::start`].
    pub fn register_erased(&mut self, projection: Arc<dyn AnyProjection>) {
        let shared = Shared::new(projection);
        let limits =
            Limits { read_bytes: self.options.read_bytes, keep_bytes: self.options.keep_bytes, hold_bytes: 8 << 20, hold_time: Duration::from_millis(250) };
        self.folders.lock().push(Folder::new(self.log.clone(), self.store.clone(), shared.clone(), self.rebuilds.clone(), limits));
        self.projections.push(shared);
    }

    /// Starts one thread a projection, and goes on with rebuilds that a crash cut off.
    pub fn start(&self) {
        if !self.rebuilds.start() {
            return;
        }
        self.watch_log();
        for (folder, shared) in std::mem::take(&mut *self.folders.lock()).into_iter().zip(&self.projections) {
            let name = format!("proj-{}", shared.projection.name());
            let (shared, rebuilds, poll) = (shared.clone(), self.rebuilds.clone(), self.options.poll);
            self.rebuilds.spawn(name, move || live(folder, &shared, &rebuilds, poll));
        }
        self.resume_rebuilds();
    }

    fn watch_log(&self) {
        let projections = self.projections.clone();
        self.log.watch(Arc::new(move |at: &TopicPartition| {
            for shared in projections.iter().filter(|shared| shared.projection.topic() == &*at.topic) {
                shared.wake.partition(at.partition);
            }
        }));
    }

    /// The topic a projection is folded from.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn topic(&self, name: &str) -> Result<String, Error> {
        Ok(self.find(name)?.projection.topic().to_owned())
    }

    /// One round of every projection and rebuild on the caller's thread, for simulations; `true` if there may be more to do.
    pub fn step(&self) -> bool {
        let mut more = false;
        for folder in self.folders.lock().iter_mut() {
            folder.mark_all();
            more |= folder.step() == Step::Progress;
        }
        for shared in &self.projections {
            let job = shared.rebuild.lock().job.clone();
            if let Some(job) = job {
                job.work(4);
                more = true;
            }
        }
        more | self.step_as_of()
    }

    /// Stops and joins all threads.
    pub fn stop(&self) {
        self.rebuilds.begin_to_stop();
        for shared in &self.projections {
            // Not cancelled: it goes on at the next start.
            if let Some(job) = &shared.rebuild.lock().job {
                job.pause();
            }
            shared.wake.call();
        }
        self.stop_as_of();
        self.rebuilds.join();
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Arc<Shared>, Error> {
        self.projections.iter().find(|shared| shared.projection.name() == name).ok_or_else(|| Error::Unknown(name.to_owned()))
    }

    /// All projections, in the order they were registered.
    pub fn status(&self) -> Vec<ProjectionStatus> {
        self.projections
            .iter()
            .map(|shared| {
                shared.publish_metrics();
                shared.status()
            })
            .collect()
    }

    /// One projection.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn status_of(&self, name: &str) -> Result<ProjectionStatus, Error> {
        Ok(self.find(name)?.status())
    }

    /// The version of the fold that made the rows that answer now, where that is an older one: the new one is being folded.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn older_rows(&self, name: &str) -> Result<Option<u32>, Error> {
        let shared = self.find(name)?;
        Ok(shared.serving().map(|serving| serving.version).filter(|version| *version != shared.projection.version()))
    }

    /// Changes each time more of a projection is visible: await it, then ask [`ProjectionEngine::reached`] again.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn watch(&self, name: &str) -> Result<watch::Receiver<u64>, Error> {
        Ok(self.find(name)?.watch())
    }

    /// Whether all these (inclusive) positions are visible. Positions of topics that the projection does not read count as visible.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn reached(&self, name: &str, positions: &[(TopicPartition, Position)]) -> Result<bool, Error> {
        Ok(self.find(name)?.reached(positions))
    }

    /// Blocks until all these (inclusive) positions are visible, at most `timeout`. Not for async threads: see [`ProjectionEngine::watch`].
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn wait_for(&self, name: &str, positions: &[(TopicPartition, Position)], timeout: Duration) -> Result<bool, Error> {
        Ok(self.find(name)?.wait_for(positions, timeout))
    }

    /// Begins a rebuild and returns its state.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Busy`] if one runs or the projection has not begun, or the store failed.
    pub fn rebuild(&self, name: &str) -> Result<RebuildStatus, Error> {
        let shared = self.find(name)?.clone();
        let serving = shared.serving().ok_or_else(|| Error::Busy(format!("projection {name} has not begun; wait until its topic exists")))?;
        Ok(self.rebuilds.begin(&shared, &serving.session, serving.partitions)?.status())
    }

    /// Rebuilds that a stop or crash cut off go on from their stored cursors; those that no longer fit are dropped.
    /// [`ProjectionEngine::start`] does it; simulations call it themselves.
    pub fn resume_rebuilds(&self) {
        let found = self.store.database().and_then(|store| generation::all(&store)).unwrap_or_default();
        let names: std::collections::BTreeSet<String> =
            found.into_iter().filter(|(_, record)| record.purpose == Purpose::Rebuild).map(|(_, record)| record.projection).collect();
        for name in names {
            if let Err(problem) = self.resume_rebuild(&name) {
                tracing::warn!(projection = name, %problem, "a rebuild could not be resumed; ask for it again");
            }
        }
    }

    fn resume_rebuild(&self, name: &str) -> Result<(), Error> {
        let session = self.store.current()?;
        let Ok(shared) = self.find(name) else {
            let store = session.get()?;
            let unknown = generation::all(&store)?.into_iter().filter(|(_, record)| record.is_rebuild_of(name));
            return unknown.into_iter().try_for_each(|(number, _)| generation::drop_generation(&store, number));
        };
        let topic = shared.projection.topic();
        // Without its topic nothing of it fits: another log has been taken up.
        let partitions = self.log.topics()?.into_iter().find(|(found, _)| found == topic).map_or(0, |(_, partitions)| partitions);
        self.rebuilds.go_on(shared, &session, partitions, false)
    }

    /// State of the last rebuild.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn rebuild_status(&self, name: &str) -> Result<RebuildStatus, Error> {
        Ok(self.find(name)?.rebuild_status())
    }

    /// Cancels the rebuild that runs; `false` if none does. The serving generation is not touched.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn cancel_rebuild(&self, name: &str) -> Result<bool, Error> {
        let shared = self.find(name)?;
        let mut slot = shared.rebuild.lock();
        if slot.cut_off == Some(CutOff::GoesOn) {
            slot.cut_off = Some(CutOff::Dropped);
            slot.status.state = RebuildState::Cancelled;
            return Ok(true);
        }
        let Some(job) = slot.job.clone() else { return Ok(false) };
        drop(slot);
        job.cancel();
        shared.wake.call();
        Ok(true)
    }
}

impl Drop for ProjectionEngine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread of one projection.
fn live(mut folder: Folder, shared: &Shared, rebuilds: &Rebuilds, poll: Duration) {
    let mut backoff = Duration::from_millis(50);
    let mut wait = Duration::ZERO;
    let mut quiet = std::time::Instant::now();
    while !rebuilds.is_stopping() {
        let woken = shared.wake.take(wait);
        folder.mark(woken);
        if quiet.elapsed() >= poll {
            quiet = std::time::Instant::now();
            folder.mark_all();
            shared.publish_metrics();
        }
        // A panic in a fold sets the event aside; one elsewhere must not end the thread unseen.
        let step = catch_unwind(AssertUnwindSafe(|| folder.step()));
        match step.unwrap_or_else(|carried| folder.fail(projection::Error::of_panic(&*carried).to_string())) {
            Step::Progress => {
                wait = Duration::ZERO;
                backoff = Duration::from_millis(50);
            }
            Step::Idle | Step::Failed => wait = poll,
            Step::Unavailable => {
                wait = backoff;
                backoff = (backoff * 2).min(Duration::from_secs(5));
                let _ = folder.refresh_ends();
            }
        }
    }
}
