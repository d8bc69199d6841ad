//! The threads of admission: one runs the [machine](super::machine), fed from a bounded queue; one writes its memory.

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
use super::{Candidate, Memory};
use crate::background::{self, Background};
use crate::owner::{Error, Moment};
use crate::store::Store;

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
    /// Why nobody takes requests any more.
    ended: Option<String>,
}

struct Shared {
    queue: Mutex<Queue>,
    assigned: Mutex<Option<BTreeSet<u32>>>,
    /// Topics of facts that have come.
    topics: Mutex<Vec<Arc<str>>>,
    stop: AtomicBool,
    beat: AtomicU64,
    /// Gates this node is to own, once it was told; and those whose claim is valid.
    gates: Mutex<(Option<usize>, usize)>,
    failed: Mutex<Option<String>>,
    thread: Mutex<Option<Thread>>,
    /// What became of what was handed to the thread that writes the memory.
    remembered: Mutex<Vec<Remembered>>,
    /// Zero of the machine's clock.
    started: Instant,
}

impl Shared {
    fn wake(&self) {
        if let Some(thread) = &*lock(&self.thread) {
            thread.unpark();
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
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
        *lock(&self.shared.gates)
    }

    /// Counts the thread's rounds, so that a watcher sees whether it hangs.
    pub fn heartbeat(&self) -> u64 {
        self.shared.beat.load(Ordering::Relaxed)
    }

    /// Why admission takes nothing now, if it does not.
    pub fn failed(&self) -> Option<String> {
        lock(&self.shared.failed).clone()
    }

    /// Ends the thread; what waits is answered as unavailable.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
    }
}

/// Starts admission on threads of its own.
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
    let opener = Opener { identity: log.identity(), node: node.to_owned(), store: store.clone(), nonce_seed };
    let shared = Arc::new(Shared {
        queue: Mutex::default(),
        assigned: Mutex::default(),
        topics: Mutex::default(),
        stop: AtomicBool::default(),
        beat: AtomicU64::default(),
        gates: Mutex::default(),
        failed: Mutex::default(),
        thread: Mutex::default(),
        remembered: Mutex::default(),
        started: Instant::now(),
    });
    let waking = shared.clone();
    let driver = AdmissionDriver::open(log, opener, options.clone(), Arc::new(move || waking.wake()))?;
    let handle = AdmissionHandle { shared: shared.clone(), options };
    let memories = start_remembering(store, shared.clone())?;
    let mut service = Service { driver, shared: shared.clone(), memories, outputs: Vec::new() };
    let thread = std::thread::Builder::new()
        .name("admission".to_owned())
        .spawn(move || service.run())
        .map_err(|_| Error::Internal("the admission thread did not start"))?;
    *lock(&shared.thread) = Some(thread.thread().clone());
    Ok((handle, thread))
}

/// Starts the thread that writes the memory of the gates. It ends with the admission thread, which holds the other end.
fn start_remembering(store: Arc<dyn Store>, shared: Arc<Shared>) -> Result<Sender<(u64, Memory)>, Error> {
    let (sender, memories) = std::sync::mpsc::channel::<(u64, Memory)>();
    let remember = move || {
        background::yield_to_others(Background::Housekeeping);
        for (generation, memory) in memories {
            let partition = memory.partition.clone();
            let outcome = memory.write(store.as_ref());
            lock(&shared.remembered).push(Remembered { generation, partition, outcome });
            shared.wake();
        }
    };
    let thread = std::thread::Builder::new().name("admission-mem".to_owned()).spawn(remember);
    thread.map(|_| sender).map_err(|_| Error::Internal("the thread that writes admission's memory did not start"))
}

struct Service {
    driver: AdmissionDriver<Respond>,
    shared: Arc<Shared>,
    /// To the thread that writes the memory, with the generation; at most one a gate is under way.
    memories: Sender<(u64, Memory)>,
    outputs: Vec<Output<Respond>>,
}

impl Service {
    fn run(&mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            self.shared.beat.fetch_add(1, Ordering::Relaxed);
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
                    tracing::error!(%error, "admission ended");
                    self.end(&error.to_string());
                    *lock(&self.shared.failed) = Some(error.to_string());
                    break;
                }
            }
        }
        self.end("the node is stopping");
    }

    /// Refuses all that wait and all that come.
    fn end(&mut self, why: &str) {
        lock(&self.shared.queue).ended.get_or_insert_with(|| why.to_owned());
        let arrived = self.take_arrived();
        self.hand_in(arrived);
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

    fn take_arrived(&self) -> VecDeque<Request<Respond>> {
        std::mem::take(&mut lock(&self.shared.queue).arrived)
    }

    /// One round; whether anything moved.
    fn round(&mut self, moment: Moment) -> Result<bool, Error> {
        let mut moved = false;
        if let Some(assigned) = lock(&self.shared.assigned).take() {
            self.driver.machine_mut().assign(assigned);
            moved = true;
        }
        // The topics after the requests: one that came before a request is open when the request is looked at.
        let arrived = self.take_arrived();
        for topic in std::mem::take(&mut *lock(&self.shared.topics)) {
            self.driver.open_topic(topic, moment)?;
            moved = true;
        }
        self.hand_in(arrived);
        let before = self.driver.machine().queued();
        for Remembered { generation, partition, outcome } in std::mem::take(&mut *lock(&self.shared.remembered)) {
            self.driver.remembered(generation, &partition, outcome, moment)?;
        }
        let stepped = self.driver.step(moment, &mut self.outputs);
        let (requests, events) = self.driver.machine().queued();
        {
            let mut queue = lock(&self.shared.queue);
            queue.requests -= before.0 - requests;
            queue.events -= before.1 - events;
        }
        for output in self.outputs.drain(..) {
            match output {
                Output::Answer(respond, answer) => respond(answer),
                Output::Remember(generation, memory) => {
                    self.memories.send((generation, memory)).map_err(|_| Error::Internal("the thread that writes admission's memory ended"))?;
                }
            }
        }
        *lock(&self.shared.gates) = self.driver.machine().gates();
        *lock(&self.shared.failed) = self.driver.machine().failed().map(str::to_owned);
        Ok(stepped? || moved)
    }
}
