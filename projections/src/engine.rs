//! The engine: registered projections, their threads, and what others ask of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tol_kafka::{EventLog, Position, TopicPartition};

use crate::asof::AsOfJobs;
use crate::error::Error;
use crate::folder::{Folder, Limits, Step};
use crate::generation::{self, GenerationRecord, Purpose};
use crate::projection::{AnyProjection, Projection, erase};
use crate::rebuild::{NEARLY, RebuildJob};
use crate::shared::{ProjectionStatus, RebuildStatus, Shared};
use crate::store::parking::Mutex;
use crate::store::{RocksStore, Session};

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
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { read_bytes: 1 << 20, rebuild_bytes: 192 << 20, rebuild_threads: 2, keep_bytes: 256 << 10, poll: Duration::from_secs(1) }
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
    stopping: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) as_of: Mutex<AsOfJobs>,
    started: AtomicBool,
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
        Ok(Self {
            log,
            store,
            options,
            projections: Vec::new(),
            folders: Mutex::default(),
            stopping: Arc::default(),
            threads: Mutex::default(),
            as_of: Mutex::default(),
            started: AtomicBool::new(false),
        })
    }

    /// Adds a projection; before [`ProjectionEngine::start`].
    pub fn register<P: Projection>(&mut self, projection: P) {
        let shared = Shared::new(erase(projection));
        let limits =
            Limits { read_bytes: self.options.read_bytes, keep_bytes: self.options.keep_bytes, hold_bytes: 8 << 20, hold_time: Duration::from_millis(250) };
        self.folders.lock().push(Folder::new(self.log.clone(), self.store.clone(), shared.clone(), limits));
        self.projections.push(shared);
    }

    /// Starts one thread a projection, and goes on with rebuilds that a crash cut off.
    pub fn start(&self) {
        if self.started.swap(true, Ordering::SeqCst) {
            return;
        }
        self.watch_log();
        for (folder, shared) in std::mem::take(&mut *self.folders.lock()).into_iter().zip(&self.projections) {
            let name = format!("proj-{}", shared.projection.name());
            let (shared, stopping, poll) = (shared.clone(), self.stopping.clone(), self.options.poll);
            self.spawn(name, move || live(folder, &shared, &stopping, poll));
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

    pub(crate) fn spawn(&self, name: String, run: impl FnOnce() + Send + 'static) {
        match std::thread::Builder::new().name(name.clone()).spawn(run) {
            Ok(thread) => self.threads.lock().push(thread),
            Err(problem) => tracing::error!(thread = name, %problem, "a thread could not be started"),
        }
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
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
        self.stopping.store(true, Ordering::SeqCst);
        for shared in &self.projections {
            // Not cancelled: it goes on at the next start.
            if let Some(job) = &shared.rebuild.lock().job {
                job.pause();
            }
            shared.wake.call();
        }
        self.stop_as_of();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            let _ = thread.join();
        }
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
        let mut slot = shared.rebuild.lock();
        if slot.job.is_some() {
            return Err(Error::Busy(format!("projection {name} is being rebuilt; cancel that rebuild first")));
        }
        let record = GenerationRecord::expected(&*shared.projection, self.log.identity(), serving.partitions, Purpose::Rebuild);
        let number = generation::create(&*serving.session.get()?, &record)?;
        let job = self.rebuild_job(&serving.session, &*shared.projection, number, &record)?;
        slot.job = Some(job.clone());
        drop(slot);
        self.run_job(&shared, &job);
        Ok(job.status())
    }

    fn rebuild_job(&self, session: &Session, projection: &dyn AnyProjection, number: u32, record: &GenerationRecord) -> Result<Arc<RebuildJob>, Error> {
        let share = self.options.rebuild_bytes / self.options.rebuild_threads.max(1);
        Ok(Arc::new(RebuildJob::new(self.log.clone(), session.clone(), projection, number, record.partitions, None, share, NEARLY)?))
    }

    fn run_job(&self, shared: &Arc<Shared>, job: &Arc<RebuildJob>) {
        if !self.is_started() {
            return;
        }
        for number in 0..self.options.rebuild_threads.max(1) {
            let (job, shared) = (job.clone(), shared.clone());
            self.spawn(format!("rebuild-{number}-{}", shared.projection.name()), move || {
                job.run();
                shared.wake.call();
            });
        }
    }

    /// Rebuilds that a stop or crash cut off go on from their stored cursors; those that no longer fit are dropped.
    /// [`ProjectionEngine::start`] does it; simulations call it themselves.
    pub fn resume_rebuilds(&self) {
        let Ok(session) = self.store.current() else { return };
        let found = session.get().and_then(|store| generation::all(&store)).unwrap_or_default();
        for (number, record) in found.into_iter().filter(|(_, record)| record.purpose == Purpose::Rebuild) {
            if let Err(problem) = self.resume_rebuild(&session, number, &record) {
                tracing::warn!(projection = record.projection, %problem, "a rebuild could not be resumed; ask for it again");
            }
        }
    }

    fn resume_rebuild(&self, session: &Session, number: u32, record: &GenerationRecord) -> Result<(), Error> {
        let store = session.get()?;
        let partitions = self.log.topics()?.into_iter().find(|(name, _)| *name == record.topic).map(|(_, partitions)| partitions);
        let fits = match (self.find(&record.projection), partitions) {
            (Ok(shared), Some(partitions)) => {
                let expected = GenerationRecord::expected(&*shared.projection, self.log.identity(), partitions, Purpose::Rebuild);
                *record == expected && shared.rebuild.lock().job.is_none() && generation::fits_log(&store, &*self.log, number, record)?
            }
            _ => false,
        };
        if !fits {
            return generation::drop_generation(&store, number);
        }
        let shared = self.find(&record.projection)?.clone();
        let job = self.rebuild_job(session, &*shared.projection, number, record)?;
        shared.rebuild.lock().job = Some(job.clone());
        self.run_job(&shared, &job);
        Ok(())
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
        let job = shared.rebuild.lock().job.clone();
        let Some(job) = job else { return Ok(false) };
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
fn live(mut folder: Folder, shared: &Shared, stopping: &AtomicBool, poll: Duration) {
    let mut backoff = Duration::from_millis(50);
    let mut wait = Duration::ZERO;
    let mut quiet = std::time::Instant::now();
    while !stopping.load(Ordering::SeqCst) {
        let woken = shared.wake.take(wait);
        folder.mark(woken);
        if quiet.elapsed() >= poll {
            quiet = std::time::Instant::now();
            folder.mark_all();
            shared.publish_metrics();
        }
        match folder.step() {
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
