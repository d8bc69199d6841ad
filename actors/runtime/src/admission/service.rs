//! The admission thread: takes requests from a bounded queue, checks them against what is known, hands whole rounds to the log
//! at once (one sync for all partitions), and answers when everything is durable.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use serde::Serialize;
use tol_kafka::{Append, Appended, EventLog, Position, TopicPartition};

use super::{Action, Candidate, Gate, Memory, Seen, SeenKey};
use crate::owner::{Error, Moment};
use crate::store::Store;
use crate::writer::Sent;

/// What was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Stored now.
    pub accepted: u64,
    /// Known already, with the same content.
    pub duplicates: u64,
    /// The highest position of this request's facts in each partition, inclusive.
    pub positions: BTreeMap<TopicPartition, Position>,
}

/// Why nothing of a request was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The same source and id with other content.
    #[error("event {index} (id {id}): this source and id were already used for other content at {at}; give the new fact an id of its own")]
    Conflict {
        /// Place in the request, from 0.
        index: usize,
        /// The id.
        id: String,
        /// Where the first lies.
        at: String,
    },
    /// Too much waits already.
    #[error("{0} requests wait to be stored; send the same events again in a moment, the same ids are safe")]
    Busy(usize),
    /// It was not durable in time; it may still become so.
    #[error("the log did not confirm in time ({0}); send the same events again, the same ids are safe")]
    Unavailable(String),
}

/// Called once with the outcome, from the admission thread; must not block.
pub type Respond = Box<dyn FnOnce(Result<Published, Refusal>) + Send>;

/// Limits of admission.
#[derive(Clone, Debug)]
pub struct AdmissionOptions {
    /// Partitions of each facts topic.
    pub partitions: u32,
    /// Requests that may wait.
    pub queue: usize,
    /// Events that may wait.
    pub queue_events: usize,
    /// Most events of one append to one partition.
    pub batch_events: usize,
    /// How long a request may wait before it is answered as unavailable, in milliseconds.
    pub timeout_ms: u64,
    /// One append call for all partitions: the embedded log syncs once for them.
    pub joint_appends: bool,
}

struct Request {
    candidates: Vec<Candidate>,
    ids: Vec<String>,
    respond: Respond,
    since: Instant,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<VecDeque<Request>>,
    waiting_events: Mutex<usize>,
    answers: Mutex<VecDeque<Answer>>,
    assigned: Mutex<Option<BTreeSet<u32>>>,
    stop: AtomicBool,
    beat: std::sync::atomic::AtomicU64,
    /// Gates this node is to own, once it was told; and those whose claim is valid.
    gates: Mutex<(Option<usize>, usize)>,
    failed: Mutex<Option<String>>,
    thread: Mutex<Option<Thread>>,
    /// What became of what was handed to the thread that writes the memory.
    remembered: Mutex<Vec<Remembered>>,
}

impl Shared {
    fn wake(&self) {
        if let Some(thread) = &*lock(&self.thread) {
            thread.unpark();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of one write of a gate's memory.
struct Remembered {
    generation: u64,
    partition: TopicPartition,
    outcome: Result<(), crate::store::Error>,
}

/// The log's answers to one call: which appends of which gates, and what became of them.
struct Answer {
    generation: u64,
    sent: Vec<(TopicPartition, Sent)>,
    answer: Result<Vec<Appended>, tol_kafka::Error>,
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
            let mut events = lock(&self.shared.waiting_events);
            if queue.len() >= self.options.queue || *events + count > self.options.queue_events.max(count) {
                let waiting = queue.len();
                drop((queue, events));
                return respond(Err(Refusal::Busy(waiting)));
            }
            *events += count;
            queue.push_back(Request { candidates, ids, respond, since: Instant::now() });
        }
        self.shared.wake();
    }

    /// Which partition numbers this node owns now.
    pub fn assign(&self, partitions: BTreeSet<u32>) {
        *lock(&self.shared.assigned) = Some(partitions);
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

struct Waiter {
    remaining: usize,
    published: Published,
    respond: Respond,
    deadline_ms: u64,
}

/// Starts admission on a thread of its own.
///
/// # Errors
/// The store failed or the thread did not start.
pub fn start(
    log: Arc<dyn EventLog>,
    store: Arc<dyn Store>,
    node: &str,
    nonce_seed: u64,
    options: AdmissionOptions,
) -> Result<(AdmissionHandle, JoinHandle<()>), Error> {
    let opener = Opener { identity: log.identity(), node: node.to_owned(), store, nonce_seed };
    let gates = opener.open(0, &options)?;
    let shared = Arc::new(Shared::default());
    let handle = AdmissionHandle { shared: shared.clone(), options: options.clone() };
    let mut service = Service {
        gates,
        log,
        shared: shared.clone(),
        options,
        waiters: HashMap::new(),
        next_ticket: 0,
        checked: BTreeSet::new(),
        unsettled: Vec::new(),
        generation: 0,
        assigned: BTreeSet::new(),
        memories: start_remembering(opener.store.clone(), shared.clone())?,
        opener,
    };
    let thread = std::thread::Builder::new()
        .name("admission".to_owned())
        .spawn(move || service.run())
        .map_err(|_| Error::Internal("the admission thread did not start"))?;
    *lock(&shared.thread) = Some(thread.thread().clone());
    Ok((handle, thread))
}

/// A partition's candidates and followers after a loss.
type Unsettled = (TopicPartition, Vec<Candidate>, Vec<(SeenKey, u64)>);

struct Service {
    gates: BTreeMap<TopicPartition, Gate>,
    log: Arc<dyn EventLog>,
    shared: Arc<Shared>,
    options: AdmissionOptions,
    waiters: HashMap<u64, Waiter>,
    next_ticket: u64,
    /// Gates whose memory was compared with the log.
    checked: BTreeSet<TopicPartition>,
    /// Dropped by a lost claim, to be offered again.
    unsettled: Vec<Unsettled>,
    opener: Opener,
    /// Times the gates were opened anew: answers to an earlier generation mean nothing to this one.
    generation: u64,
    assigned: BTreeSet<u32>,
    /// To the thread that writes the memory, with the generation; at most one a gate is under way.
    memories: Sender<(u64, Memory)>,
}

/// Starts the thread that writes the memory of the gates. It ends with the admission thread, which holds the other end.
fn start_remembering(store: Arc<dyn Store>, shared: Arc<Shared>) -> Result<Sender<(u64, Memory)>, Error> {
    let (sender, memories) = std::sync::mpsc::channel::<(u64, Memory)>();
    let remember = move || {
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

/// What gates are opened with.
struct Opener {
    identity: String,
    node: String,
    store: Arc<dyn Store>,
    nonce_seed: u64,
}

impl Opener {
    fn open(&self, generation: u64, options: &AdmissionOptions) -> Result<BTreeMap<TopicPartition, Gate>, Error> {
        let mut gates = BTreeMap::new();
        // No two claims share a nonce.
        let nonce_seed = self.nonce_seed.wrapping_add(generation.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for topic in tol_events::id::FACTS_TOPICS {
            for partition in 0..options.partitions {
                let partition = TopicPartition::new(topic, partition);
                let gate = Gate::open(partition.clone(), &self.node, &self.identity, self.store.clone(), nonce_seed, options.batch_events)?;
                gates.insert(partition, gate);
            }
        }
        Ok(gates)
    }
}

impl Service {
    fn run(&mut self) {
        let started = std::time::Instant::now();
        while !self.shared.stop.load(Ordering::Acquire) {
            self.shared.beat.fetch_add(1, Ordering::Relaxed);
            let moment = Moment { now_ms: started.elapsed().as_millis() as u64, wall: chrono::Utc::now().into(), stopped: false };
            match self.round(moment) {
                Ok(true) => {}
                Ok(false) => std::thread::park_timeout(Duration::from_millis(if self.waiters.is_empty() { 100 } else { 10 })),
                Err(error @ Error::Store(crate::store::Error::Failed(_))) => self.begin_anew(&error),
                Err(error) => {
                    tracing::error!(%error, "admission ended");
                    self.refuse_all(&error.to_string());
                    *lock(&self.shared.failed) = Some(error.to_string());
                    break;
                }
            }
        }
        self.refuse_all("the node is stopping");
    }

    fn refuse_all(&mut self, why: &str) {
        for (_, waiter) in self.waiters.drain() {
            (waiter.respond)(Err(Refusal::Unavailable(why.to_owned())));
        }
        let requests: Vec<Request> = lock(&self.shared.queue).drain(..).collect();
        for request in requests {
            *lock(&self.shared.waiting_events) -= request.candidates.len();
            (request.respond)(Err(Refusal::Unavailable(why.to_owned())));
        }
    }

    /// The store failed (a full disk, say): what the gates know may not be what is stored. They are opened and claimed anew, as soon as that
    /// goes; until then requests are refused, and repeats of those that were under way are told apart by what the log says.
    fn begin_anew(&mut self, error: &Error) {
        tracing::error!(%error, "admission begins anew");
        *lock(&self.shared.failed) = Some(error.to_string());
        self.generation += 1;
        self.checked.clear();
        self.unsettled.clear();
        let mut why = error.to_string();
        while !self.shared.stop.load(Ordering::Acquire) {
            self.shared.beat.fetch_add(1, Ordering::Relaxed);
            self.refuse_all(&why);
            match self.opener.open(self.generation, &self.options) {
                Ok(gates) => {
                    self.gates = gates;
                    for (partition, gate) in &mut self.gates {
                        gate.assign(self.assigned.contains(&partition.partition));
                    }
                    *lock(&self.shared.failed) = None;
                    return;
                }
                Err(again) => why = again.to_string(),
            }
            std::thread::park_timeout(Duration::from_millis(250));
        }
    }

    /// One round; whether anything moved.
    fn round(&mut self, moment: Moment) -> Result<bool, Error> {
        let mut moved = false;
        if let Some(assigned) = lock(&self.shared.assigned).take() {
            for (partition, gate) in &mut self.gates {
                gate.assign(assigned.contains(&partition.partition));
            }
            let count = self.gates.keys().filter(|partition| assigned.contains(&partition.partition)).count();
            lock(&self.shared.gates).0 = Some(count);
            self.assigned = assigned;
            moved = true;
        }
        moved |= self.take_answers()?;
        moved |= self.read_own()?;
        self.offer_again()?;
        moved |= self.take_requests(moment)?;
        moved |= self.step_gates(moment)?;
        self.remember()?;
        self.expire(moment);
        lock(&self.shared.gates).1 = self.gates.values().filter(|gate| gate.is_active()).count();
        Ok(moved)
    }

    /// Hands what was committed to the thread that writes the memory, and takes note of what it has written.
    fn remember(&mut self) -> Result<(), Error> {
        for Remembered { generation, partition, outcome } in std::mem::take(&mut *lock(&self.shared.remembered)) {
            // Gates that were opened anew have another token: what their predecessors wrote late was refused.
            if generation != self.generation {
                continue;
            }
            outcome?;
            if let Some(gate) = self.gates.get_mut(&partition) {
                gate.stored();
            }
        }
        for gate in self.gates.values_mut() {
            if let Some(memory) = gate.take_unstored()? {
                self.memories.send((self.generation, memory)).map_err(|_| Error::Internal("the thread that writes admission's memory ended"))?;
            }
        }
        Ok(())
    }

    fn take_answers(&mut self) -> Result<bool, Error> {
        let answers = std::mem::take(&mut *lock(&self.shared.answers));
        let moved = !answers.is_empty();
        for Answer { generation, sent, answer } in answers {
            if generation != self.generation {
                continue;
            }
            for (index, (partition, sent)) in sent.into_iter().enumerate() {
                let Some(gate) = self.gates.get_mut(&partition) else { continue };
                let single = match &answer {
                    Ok(appended) => appended.get(index).ok_or(&tol_kafka::Error::Closed),
                    Err(error) => Err(error),
                };
                let actions = match sent {
                    Sent::Claim(number) => {
                        gate.claimed(number, single);
                        Vec::new()
                    }
                    Sent::Batch(number) => gate.appended(number, single)?,
                };
                if !gate.is_active() {
                    let (candidates, followers) = gate.take_unsettled();
                    if !candidates.is_empty() || !followers.is_empty() {
                        self.unsettled.push((partition.clone(), candidates, followers));
                    }
                }
                self.answer(&partition, actions);
            }
        }
        Ok(moved)
    }

    fn read_own(&mut self) -> Result<bool, Error> {
        let mut moved = false;
        for (partition, gate) in &mut self.gates {
            // What is being written carries an older cursor; the log is read on after it.
            if gate.unstored() > 0 {
                continue;
            }
            let Some(position) = gate.read_own_from() else { continue };
            if !self.checked.contains(partition) {
                let Ok(bounds) = self.log.bounds(partition) else { continue };
                if position > bounds.end {
                    gate.forget()?;
                }
                self.checked.insert(partition.clone());
            }
            let Some(position) = gate.read_own_from() else { continue };
            for batch in self.log.read(partition, position, 4 << 20).unwrap_or_default() {
                gate.take_own(&batch)?;
                moved = true;
            }
        }
        Ok(moved)
    }

    /// What a lost claim dropped is offered again as soon as its gate is active: what landed after all is then known.
    fn offer_again(&mut self) -> Result<(), Error> {
        for (partition, candidates, followers) in std::mem::take(&mut self.unsettled) {
            let Some(gate) = self.gates.get_mut(&partition) else { continue };
            if !gate.is_active() {
                self.unsettled.push((partition, candidates, followers));
                continue;
            }
            let mut actions = Vec::new();
            for candidate in candidates {
                match gate.lookup(&[candidate.key])?.first().copied().flatten() {
                    Some(seen) => actions.push(Action::Admitted { ticket: candidate.ticket, position: seen.position, fresh: true }),
                    None => gate.admit(candidate),
                }
            }
            for (key, ticket) in followers {
                if let Some(seen) = gate.lookup(&[key])?.first().copied().flatten() {
                    actions.extend(gate.follow(key, seen, ticket));
                }
            }
            self.answer(&partition, actions);
        }
        Ok(())
    }

    fn take_requests(&mut self, moment: Moment) -> Result<bool, Error> {
        let mut moved = false;
        // A gate that builds much already lets requests wait: the queue is the bound.
        while self.gates.values().map(Gate::pending).sum::<usize>() < self.options.batch_events * 2
            && self.gates.values().map(Gate::unstored).sum::<usize>() < self.options.queue_events
        {
            let Some(request) = lock(&self.shared.queue).pop_front() else { break };
            let ready = request.candidates.iter().all(|candidate| self.gates.get(&candidate.to).is_some_and(Gate::is_active)) && self.unsettled.is_empty();
            if !ready {
                lock(&self.shared.queue).push_front(request);
                break;
            }
            moved = true;
            *lock(&self.shared.waiting_events) -= request.candidates.len();
            self.take_request(request, moment)?;
        }
        Ok(moved)
    }

    fn take_request(&mut self, request: Request, moment: Moment) -> Result<(), Error> {
        let Request { candidates, ids, respond, .. } = request;
        let known = self.lookup(&candidates)?;
        let mut within: HashMap<SeenKey, u64> = HashMap::with_capacity(candidates.len());
        for (index, (candidate, seen)) in candidates.iter().zip(&known).enumerate() {
            let earlier = seen.map(|seen| (seen.content, format!("{}@{}", candidate.to, seen.position)));
            let same_request = within.get(&candidate.key).map(|content| (*content, "this request".to_owned()));
            if let Some((content, at)) = earlier.or(same_request)
                && content != candidate.content
            {
                let id = ids.get(index).cloned().unwrap_or_default();
                respond(Err(Refusal::Conflict { index, id, at }));
                return Ok(());
            }
            within.insert(candidate.key, candidate.content);
        }
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let waiter = Waiter { remaining: candidates.len(), published: Published::default(), respond, deadline_ms: moment.now_ms + self.options.timeout_ms };
        self.waiters.insert(ticket, waiter);
        let mut actions = Vec::new();
        for (mut candidate, seen) in candidates.into_iter().zip(known) {
            let partition = candidate.to.clone();
            let Some(gate) = self.gates.get_mut(&partition) else { continue };
            let seen = match seen {
                Some(seen) => Some(seen),
                // Two equal events in one request.
                None => gate.recent_of(candidate.key),
            };
            let taken = candidate.inbox.is_some_and(|(inbox, at)| gate.inbox_position(inbox).is_some_and(|last| at <= last));
            match seen {
                Some(seen) => actions.extend(gate.follow(candidate.key, seen, ticket).map(|action| (partition, action))),
                None if taken => actions.push((partition, Action::Admitted { ticket, position: 0, fresh: false })),
                None => {
                    candidate.ticket = ticket;
                    gate.admit(candidate);
                }
            }
        }
        for (partition, action) in actions {
            self.answer(&partition, vec![action]);
        }
        Ok(())
    }

    /// What is known of each candidate, with one look-up a gate.
    fn lookup(&self, candidates: &[Candidate]) -> Result<Vec<Option<Seen>>, Error> {
        let mut by_gate: BTreeMap<&TopicPartition, Vec<usize>> = BTreeMap::new();
        for (index, candidate) in candidates.iter().enumerate() {
            by_gate.entry(&candidate.to).or_default().push(index);
        }
        let mut known = vec![None; candidates.len()];
        for (partition, indexes) in by_gate {
            let keys: Vec<SeenKey> = indexes.iter().map(|index| candidates[*index].key).collect();
            let Some(gate) = self.gates.get(partition) else { continue };
            for (index, seen) in indexes.into_iter().zip(gate.lookup(&keys)?) {
                known[index] = seen;
            }
        }
        Ok(known)
    }

    fn step_gates(&mut self, moment: Moment) -> Result<bool, Error> {
        let mut calls: Vec<(TopicPartition, Sent, Append)> = Vec::new();
        let mut answered = Vec::new();
        for (partition, gate) in &mut self.gates {
            for action in gate.step(moment) {
                match action {
                    Action::Append(number, append) => calls.push((partition.clone(), Sent::Batch(number), append)),
                    Action::Claim(number, append) => calls.push((partition.clone(), Sent::Claim(number), append)),
                    admitted @ Action::Admitted { .. } => answered.push((partition.clone(), admitted)),
                }
            }
        }
        let moved = !calls.is_empty() || !answered.is_empty();
        for (partition, action) in answered {
            self.answer(&partition, vec![action]);
        }
        let (claims, batches): (Vec<_>, Vec<_>) = calls.into_iter().partition(|(_, sent, _)| matches!(sent, Sent::Claim(_)));
        for claim in claims {
            self.send(vec![claim]);
        }
        if self.options.joint_appends && !batches.is_empty() {
            self.send(batches);
        } else {
            for batch in batches {
                self.send(vec![batch]);
            }
        }
        Ok(moved)
    }

    fn send(&self, calls: Vec<(TopicPartition, Sent, Append)>) {
        let (sent, appends): (Vec<_>, Vec<_>) = calls.into_iter().map(|(partition, sent, append)| ((partition, sent), append)).unzip();
        let (shared, generation) = (self.shared.clone(), self.generation);
        self.log.append(
            appends,
            Box::new(move |answer| {
                lock(&shared.answers).push_back(Answer { generation, sent, answer });
                shared.wake();
            }),
        );
    }

    fn answer(&mut self, partition: &TopicPartition, actions: Vec<Action>) {
        for action in actions {
            let Action::Admitted { ticket, position, fresh } = action else { continue };
            let Some(waiter) = self.waiters.get_mut(&ticket) else { continue };
            waiter.remaining -= 1;
            if fresh {
                waiter.published.accepted += 1;
            } else {
                waiter.published.duplicates += 1;
            }
            let highest = waiter.published.positions.entry(partition.clone()).or_insert(position);
            *highest = (*highest).max(position);
            if waiter.remaining == 0
                && let Some(waiter) = self.waiters.remove(&ticket)
            {
                (waiter.respond)(Ok(waiter.published));
            }
        }
    }

    fn expire(&mut self, moment: Moment) {
        // Requests that no gate takes (not claimed yet, log away) do not wait for ever either.
        let patience = Duration::from_millis(self.options.timeout_ms);
        loop {
            let mut queue = lock(&self.shared.queue);
            let Some(request) = queue.pop_front_if(|request| request.since.elapsed() > patience) else { break };
            drop(queue);
            *lock(&self.shared.waiting_events) -= request.candidates.len();
            (request.respond)(Err(Refusal::Unavailable(self.log.health().detail)));
        }
        let late: Vec<u64> = self.waiters.iter().filter(|(_, waiter)| moment.now_ms >= waiter.deadline_ms).map(|(ticket, _)| *ticket).collect();
        for ticket in late {
            if let Some(waiter) = self.waiters.remove(&ticket) {
                (waiter.respond)(Err(Refusal::Unavailable(self.log.health().detail)));
            }
        }
    }
}
