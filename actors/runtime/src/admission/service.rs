//! The threads of admission: one runs the [machine](super::machine), fed from a bounded queue; one writes its memory; one watches the first and
//! starts it anew when it panics, fails or hangs.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use tol_kafka::{EventLog, TopicPartition};

use super::driver::{AdmissionDriver, Output};
use super::machine::Action;
use super::request::{AdmissionOptions, Opener, Published, Refusal, Request};
use super::watch::Watch;
use super::{Candidate, Memory};
use crate::background::{self, Background};
use crate::owner::{Error, Moment};
use crate::store::Store;
use crate::supervision::Limits;

/// Called once with the outcome, from the admission thread; must not block.
pub type Respond = Box<dyn FnOnce(Result<Published, Refusal>) + Send>;

/// What became of one write of a gate's memory.
struct Remembered {
    generation: u64,
    partition: TopicPartition,
    outcome: Result<(), crate::store::Error>,
}

/// Requests on their way to the machine.
#[derive(Default)]
struct Queue {
    /// Not handed to the machine yet.
    arrived: VecDeque<Request<Respond>>,
    /// Those and the machine's that no gate took.
    requests: usize,
    events: usize,
    /// Why admission takes no requests now.
    ended: Option<String>,
}

/// One start of admission: what its thread shows to its watch.
#[derive(Default)]
pub(super) struct Run {
    /// Rounds, so that a watcher sees whether the thread hangs.
    pub beat: AtomicU64,
    /// Set when this run was replaced, under the queue's lock: it takes no requests any more.
    abandoned: AtomicBool,
    /// Gates this node is to own, once it was told; and those whose claim is valid.
    gates: Mutex<(Option<usize>, usize)>,
    /// Why the machine takes nothing now, if it does not.
    broken: Mutex<Option<String>>,
    thread: Mutex<Option<Thread>>,
    /// What became of what was handed to the thread that writes the memory.
    remembered: Mutex<Vec<Remembered>>,
}

impl Run {
    pub fn wake(&self) {
        if let Some(thread) = &*lock(&self.thread) {
            thread.unpark();
        }
    }
}

pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// Topics of facts that have come, in order; each run opens all of them.
    topics: Mutex<Vec<Arc<str>>>,
    assigned: Mutex<Option<BTreeSet<u32>>>,
    pub stop: AtomicBool,
    run: Mutex<Arc<Run>>,
    /// Why there is no run, where there is none.
    pub failed: Mutex<Option<String>>,
    /// Zero of the machine's clock.
    started: Instant,
}

impl Shared {
    pub fn run(&self) -> Arc<Run> {
        lock(&self.run).clone()
    }

    fn wake(&self) {
        self.run().wake();
    }

    pub fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Ends the current run for good, whatever its thread does: what waits, and what comes until the next run, is refused.
    pub fn abandon(&self, why: &str) {
        *lock(&self.failed) = Some(why.to_owned());
        let mut queue = lock(&self.queue);
        self.run().abandoned.store(true, Ordering::Release);
        queue.ended = Some(why.to_owned());
        let arrived = std::mem::take(&mut queue.arrived);
        (queue.requests, queue.events) = (0, 0);
        drop(queue);
        for request in arrived {
            (request.reply)(Err(Refusal::Unavailable(why.to_owned())));
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// To hand requests to admission; cheap to clone.
#[derive(Clone)]
pub struct AdmissionHandle {
    shared: Arc<Shared>,
    options: AdmissionOptions,
}

impl AdmissionHandle {
    /// Hands in events that passed validation. Nothing of them is stored unless all can be.
    pub fn publish(&self, candidates: Vec<Candidate>, ids: Vec<String>, respond: Respond) {
        let count = candidates.len();
        if count == 0 {
            return respond(Ok(Published::default()));
        }
        {
            let mut queue = lock(&self.shared.queue);
            if let Some(why) = queue.ended.clone() {
                drop(queue);
                return respond(Err(Refusal::Unavailable(why)));
            }
            if queue.requests >= self.options.queue || queue.events + count > self.options.queue_events.max(count) {
                let waiting = queue.requests;
                drop(queue);
                return respond(Err(Refusal::Busy(waiting)));
            }
            queue.requests += 1;
            queue.events += count;
            queue.arrived.push_back(Request { candidates, ids, reply: respond, since_ms: self.shared.now_ms() });
        }
        self.shared.wake();
    }

    /// Which partition numbers this node owns now.
    pub fn assign(&self, partitions: BTreeSet<u32>) {
        *lock(&self.shared.assigned) = Some(partitions);
        self.shared.wake();
    }

    /// Opens a topic of facts, before the first fact for it is [published](Self::publish).
    pub fn open_topic(&self, topic: Arc<str>) {
        lock(&self.shared.topics).push(topic);
        self.shared.wake();
    }

    /// How many gates this node is to own (once it was told), and how many of them take facts.
    pub fn gates(&self) -> (Option<usize>, usize) {
        *lock(&self.shared.run().gates)
    }

    /// Why admission takes nothing now, if it does not: its thread is gone or hangs, or its store failed.
    pub fn failed(&self) -> Option<String> {
        let failed = lock(&self.shared.failed).clone();
        failed.or_else(|| lock(&self.shared.run().broken).clone())
    }

    /// Ends the threads; what waits is answered as unavailable.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
    }
}

/// What a run is made of.
pub(super) struct Parts {
    log: Arc<dyn EventLog>,
    store: Arc<dyn Store>,
    node: String,
    nonce_seed: u64,
    options: AdmissionOptions,
    /// Runs begun.
    runs: u64,
}

impl Parts {
    /// Opens the gates and starts the threads of a run.
    ///
    /// # Errors
    /// The store failed or a thread did not start.
    pub fn begin(&mut self, shared: &Arc<Shared>) -> Result<JoinHandle<Result<(), Error>>, Error> {
        // No two runs share a nonce.
        let nonce_seed = self.nonce_seed.wrapping_add(self.runs.wrapping_mul(0x5851_f42d_4c95_7f2d));
        self.runs += 1;
        let opener = Opener { identity: self.log.identity(), node: self.node.clone(), store: self.store.clone(), nonce_seed };
        let run = Arc::new(Run::default());
        let waking = run.clone();
        let driver = AdmissionDriver::open(self.log.clone(), opener, self.options.clone(), Arc::new(move || waking.wake()))?;
        let memories = start_remembering(self.store.clone(), run.clone())?;
        *lock(&shared.run) = run.clone();
        lock(&shared.queue).ended = None;
        let mut service = Service { driver, shared: shared.clone(), run: run.clone(), assigned: None, opened: 0, memories, outputs: Vec::new() };
        let thread = std::thread::Builder::new().name("admission".to_owned()).spawn(move || service.run());
        let thread = thread.map_err(|_| Error::Internal("the admission thread did not start"))?;
        *lock(&run.thread) = Some(thread.thread().clone());
        Ok(thread)
    }
}

/// Starts admission on threads of its own, supervised within the default limits. The handle's thread ends when admission is stopped.
///
/// # Errors
/// The store failed or a thread did not start.
pub fn start(
    log: Arc<dyn EventLog>,
    store: Arc<dyn Store>,
    node: &str,
    nonce_seed: u64,
    options: AdmissionOptions,
) -> Result<(AdmissionHandle, JoinHandle<()>), Error> {
    start_within(Limits::default(), log, store, node, nonce_seed, options)
}

/// [`start`], supervised within `limits`.
///
/// # Errors
/// The store failed or a thread did not start.
pub fn start_within(
    limits: Limits,
    log: Arc<dyn EventLog>,
    store: Arc<dyn Store>,
    node: &str,
    nonce_seed: u64,
    options: AdmissionOptions,
) -> Result<(AdmissionHandle, JoinHandle<()>), Error> {
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        assigned: Mutex::default(),
        topics: Mutex::default(),
        stop: AtomicBool::default(),
        run: Mutex::default(),
        failed: Mutex::default(),
        started: Instant::now(),
    });
    let mut parts = Parts { log, store, node: node.to_owned(), nonce_seed, options: options.clone(), runs: 0 };
    let thread = parts.begin(&shared)?;
    let mut watch = Watch::new(limits, parts, shared.clone(), thread);
    let watching = std::thread::Builder::new().name("admission-watch".to_owned()).spawn(move || watch.run());
    let watching = watching.map_err(|_| Error::Internal("the thread that watches admission did not start"))?;
    Ok((AdmissionHandle { shared, options }, watching))
}

/// Starts the thread that writes the memory of the gates. It ends with the admission thread, which holds the other end.
fn start_remembering(store: Arc<dyn Store>, run: Arc<Run>) -> Result<Sender<(u64, Memory)>, Error> {
    let (sender, memories) = std::sync::mpsc::channel::<(u64, Memory)>();
    let remember = move || {
        background::yield_to_others(Background::Housekeeping);
        for (generation, memory) in memories {
            let partition = memory.partition.clone();
            let outcome = memory.write(store.as_ref());
            lock(&run.remembered).push(Remembered { generation, partition, outcome });
            run.wake();
        }
    };
    let thread = std::thread::Builder::new().name("admission-mem".to_owned()).spawn(remember);
    thread.map(|_| sender).map_err(|_| Error::Internal("the thread that writes admission's memory did not start"))
}

struct Service {
    driver: AdmissionDriver<Respond>,
    shared: Arc<Shared>,
    run: Arc<Run>,
    /// Partition numbers the machine was told.
    assigned: Option<BTreeSet<u32>>,
    /// How many of the topics that have come are open.
    opened: usize,
    /// To the thread that writes the memory, with the generation; at most one a gate is under way.
    memories: Sender<(u64, Memory)>,
    outputs: Vec<Output<Respond>>,
}

impl Service {
    /// Runs until admission is stopped, this run is replaced, or it fails.
    fn run(&mut self) -> Result<(), Error> {
        while !self.shared.stop.load(Ordering::Acquire) && !self.run.abandoned.load(Ordering::Acquire) {
            self.run.beat.fetch_add(1, Ordering::Relaxed);
            let moment = Moment { now_ms: self.shared.now_ms(), wall: chrono::Utc::now().into(), stopped: false };
            match self.round(moment) {
                Ok(true) => {}
                Ok(false) => {
                    let machine = self.driver.machine();
                    let most = if machine.is_waited_for() { 10 } else { 100 };
                    let due = machine.due_ms().map_or(most, |due| due.saturating_sub(self.shared.now_ms()).max(1));
                    std::thread::park_timeout(Duration::from_millis(due.min(most)));
                }
                Err(error) => {
                    self.end(&error.to_string());
                    return Err(error);
                }
            }
        }
        self.end("the node is stopping");
        Ok(())
    }

    /// Refuses all that wait, and all that come unless the run was replaced.
    fn end(&mut self, why: &str) {
        let arrived = self.take_arrived();
        self.hand_in(arrived);
        {
            let mut queue = lock(&self.shared.queue);
            if !self.run.abandoned.load(Ordering::Acquire) {
                queue.ended.get_or_insert_with(|| why.to_owned());
            }
        }
        self.driver.machine_mut().refuse_all(why);
        for action in self.driver.machine_mut().take_actions() {
            if let Action::Answer(respond, answer) = action {
                respond(answer);
            }
        }
    }

    fn hand_in(&mut self, arrived: VecDeque<Request<Respond>>) {
        for request in arrived {
            self.driver.machine_mut().push(request);
        }
    }

    /// Takes what arrived. Nothing, of a run that was replaced: its successor takes that.
    fn take_arrived(&self) -> VecDeque<Request<Respond>> {
        let mut queue = lock(&self.shared.queue);
        if self.run.abandoned.load(Ordering::Acquire) { VecDeque::new() } else { std::mem::take(&mut queue.arrived) }
    }

    /// One round; whether anything moved.
    fn round(&mut self, moment: Moment) -> Result<bool, Error> {
        let mut moved = false;
        let assigned = lock(&self.shared.assigned).clone();
        if assigned != self.assigned {
            self.assigned.clone_from(&assigned);
            self.driver.machine_mut().assign(assigned.unwrap_or_default());
            moved = true;
        }
        // The topics after the requests: one that came before a request is open when the request is looked at.
        let arrived = self.take_arrived();
        let come: Vec<Arc<str>> = lock(&self.shared.topics).iter().skip(self.opened).cloned().collect();
        for topic in come {
            self.driver.open_topic(topic, moment)?;
            self.opened += 1;
            moved = true;
        }
        self.hand_in(arrived);
        let before = self.driver.machine().queued();
        for Remembered { generation, partition, outcome } in std::mem::take(&mut *lock(&self.run.remembered)) {
            self.driver.remembered(generation, &partition, outcome, moment)?;
        }
        let stepped = self.driver.step(moment, &mut self.outputs);
        let (requests, events) = self.driver.machine().queued();
        {
            let mut queue = lock(&self.shared.queue);
            // What a run that was replaced took is not counted any more.
            if !self.run.abandoned.load(Ordering::Acquire) {
                queue.requests -= before.0 - requests;
                queue.events -= before.1 - events;
            }
        }
        for output in self.outputs.drain(..) {
            match output {
                Output::Answer(respond, answer) => respond(answer),
                Output::Remember(generation, memory) => {
                    self.memories.send((generation, memory)).map_err(|_| Error::Internal("the thread that writes admission's memory ended"))?;
                }
            }
        }
        *lock(&self.run.gates) = self.driver.machine().gates();
        *lock(&self.run.broken) = self.driver.machine().failed().map(str::to_owned);
        Ok(stepped? || moved)
    }
}
