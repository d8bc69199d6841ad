//! Who begins rebuilds, goes on with those that were cut off, and runs their threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tol_kafka::EventLog;

use crate::error::Error;
use crate::generation::{self, GenerationRecord, Purpose};
use crate::rebuild::{NEARLY, Pace, RebuildJob};
use crate::shared::{CutOff, RebuildSlot, Shared};
use crate::store::Session;
use crate::store::parking::Mutex;

/// Shared by the engine, which is asked for rebuilds, and the projections' threads, which begin some by themselves.
pub(crate) struct Rebuilds {
    log: Arc<dyn EventLog>,
    /// Of one thread.
    pub(crate) pace: Pace,
    /// Threads of a rebuild.
    threads: usize,
    running: Mutex<Vec<JoinHandle<()>>>,
    /// Without it the caller of `step` does the work.
    started: AtomicBool,
    stopping: AtomicBool,
}

impl Rebuilds {
    pub(crate) fn new(log: Arc<dyn EventLog>, pace: Pace, threads: usize) -> Self {
        Self { log, pace, threads: threads.max(1), running: Mutex::default(), started: AtomicBool::new(false), stopping: AtomicBool::new(false) }
    }

    /// `false` when that was done before.
    pub(crate) fn start(&self) -> bool {
        !self.started.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.load(Ordering::SeqCst)
    }

    /// From now on nothing is begun that would not end by itself.
    pub(crate) fn begin_to_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Joins all threads, also those that others begin meanwhile.
    pub(crate) fn join(&self) {
        loop {
            let thread = self.running.lock().pop();
            let Some(thread) = thread else { return };
            let _ = thread.join();
        }
    }

    pub(crate) fn spawn(&self, name: String, run: impl FnOnce() + Send + 'static) {
        match std::thread::Builder::new().name(name.clone()).spawn(run) {
            Ok(thread) => self.running.lock().push(thread),
            Err(problem) => tracing::error!(thread = name, %problem, "a thread could not be started"),
        }
    }

    /// Has as many threads as a rebuild has work on a job.
    pub(crate) fn run(&self, name: &str, job: &Arc<RebuildJob>, ended: impl Fn() + Clone + Send + 'static) {
        if !self.is_started() || self.is_stopping() {
            return;
        }
        for number in 0..self.threads {
            let (job, ended) = (job.clone(), ended.clone());
            self.spawn(format!("{name}-{number}"), move || {
                job.run();
                ended();
            });
        }
    }

    /// Begins one that an operator asked for.
    pub(crate) fn begin(&self, shared: &Arc<Shared>, session: &Session, partitions: u32) -> Result<Arc<RebuildJob>, Error> {
        let mut slot = shared.rebuild.lock();
        if slot.job.is_some() {
            return Err(Error::Busy(format!("projection {} is being rebuilt; cancel that rebuild first", shared.projection.name())));
        }
        // This one takes the place of one that is to go on.
        slot.cut_off = slot.cut_off.map(|_| CutOff::Dropped);
        let number = generation::create(&*session.get()?, &self.record(shared, partitions))?;
        slot.is_asked_for = true;
        self.work_on(shared, &mut slot, session, number, partitions)
    }

    /// Goes on with the rebuild that a stop, a crash or a store that was opened anew cut off. Where there is none that fits the log and
    /// this version, another is begun if `or_begin` says so. What does not fit is dropped.
    pub(crate) fn go_on(&self, shared: &Arc<Shared>, session: &Session, partitions: u32, or_begin: bool) -> Result<(), Error> {
        let record = self.record(shared, partitions);
        let store = session.get()?;
        let mut slot = shared.rebuild.lock();
        if slot.job.is_none() {
            let mut begun = None;
            for (number, found) in generation::all(&store)? {
                if !found.is_rebuild_of(&record.projection) {
                    continue;
                }
                if begun.is_none() && found == record && generation::fits_log(&store, &*self.log, number, &record)? {
                    begun = Some(number);
                } else {
                    generation::drop_generation(&store, number)?;
                }
            }
            let number = match begun {
                None if or_begin => Some(generation::create(&store, &record)?),
                begun => begun,
            };
            if let Some(number) = number {
                slot.is_asked_for = false;
                self.work_on(shared, &mut slot, session, number, partitions)?;
            }
        }
        slot.cut_off = None;
        Ok(())
    }

    /// Drops what is left of rebuilds that are not to go on.
    pub(crate) fn clear(&self, shared: &Shared, session: &Session) -> Result<(), Error> {
        let store = session.get()?;
        let mut slot = shared.rebuild.lock();
        if slot.job.is_none() {
            for (number, _) in generation::all(&store)?.into_iter().filter(|(_, found)| found.is_rebuild_of(shared.projection.name())) {
                generation::drop_generation(&store, number)?;
            }
            slot.cut_off = None;
        }
        Ok(())
    }

    fn record(&self, shared: &Shared, partitions: u32) -> GenerationRecord {
        GenerationRecord::expected(&*shared.projection, self.log.identity(), partitions, Purpose::Rebuild)
    }

    fn work_on(&self, shared: &Arc<Shared>, slot: &mut RebuildSlot, session: &Session, number: u32, partitions: u32) -> Result<Arc<RebuildJob>, Error> {
        let projection = &*shared.projection;
        let job = Arc::new(RebuildJob::new(self.log.clone(), session.clone(), projection, number, partitions, None, Pace { nearly: NEARLY, ..self.pace })?);
        slot.job = Some(job.clone());
        if self.is_stopping() {
            // Whoever stops has looked here already, or waits for this lock.
            job.pause();
        }
        let woken = shared.clone();
        self.run(&format!("rebuild-{}", projection.name()), &job, move || woken.wake.call());
        Ok(job)
    }
}
