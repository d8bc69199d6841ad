//! The threads that run effects: some a lane, started as work comes, and one that watches time, stops and results.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tol_system::{Effect, EffectInfo, Failure};

use super::lane::LaneName;
use super::queue::{EffectQueue, Fate, Offer, Run, RunOrder};
use super::{EffectRunner, EffectStatus, Job, RunEffect};
use crate::control::{ControlGate, Permit};
use crate::metric_definitions as metric;
use crate::owner::{Moment, panic_text};

/// How often the gate and limits are looked at while effects wait or run: a stop cancels within this.
const WATCH: Duration = Duration::from_millis(50);
/// How long a lane's thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(5);

/// Offers a result to its owner; whether the owner's mailbox took it. Must not block.
pub type OfferTo = Arc<dyn Fn(Offer) -> bool + Send + Sync>;

/// The effects of one node. Cheap to clone.
#[derive(Clone)]
pub struct Effects {
    shared: Arc<Shared>,
}

struct Shared {
    runners: BTreeMap<LaneName, RunEffect>,
    gate: ControlGate,
    /// Zero of the monotonic clock of the gate's lease.
    started: Instant,
    offer_to: OfferTo,
    scratch_root: PathBuf,
    state: Mutex<Threads>,
    /// Wakes the watcher.
    changed: Condvar,
    /// Told when a try has ended, for [`Effects::close`].
    ended: Condvar,
}

#[derive(Default)]
struct Threads {
    queue: EffectQueue,
    /// Tries that run, by number.
    running: BTreeMap<u64, Effect>,
    workers: BTreeMap<LaneName, Workers>,
    watched: bool,
    closed: bool,
}

/// The threads of one lane.
#[derive(Default)]
struct Workers {
    threads: usize,
    idle: usize,
    wake: Arc<Condvar>,
}

impl Effects {
    /// Effects that `runners` do, none yet, and no thread. Scratch folders are made below `scratch_root`, which is emptied: what lies there is
    /// of a node that was killed. `started` is the zero of the monotonic clock of the gate's lease.
    pub fn new(runners: Vec<EffectRunner>, gate: ControlGate, started: Instant, scratch_root: PathBuf, offer_to: OfferTo) -> Self {
        if let Err(error) = std::fs::remove_dir_all(&scratch_root)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %scratch_root.display(), %error, "scratch folders of effects that were killed could not be removed");
        }
        let queue = EffectQueue::new(runners.iter().map(|runner| (runner.system.clone(), runner.name.clone(), runner.limits)));
        let named = |runner: EffectRunner| (LaneName { system: runner.system.unwrap_or_default(), runner: runner.name }, runner.run);
        let runners = runners.into_iter().map(named).collect();
        let state = Mutex::new(Threads { queue, ..Threads::default() });
        let (changed, ended) = (Condvar::new(), Condvar::new());
        Self { shared: Arc::new(Shared { runners, gate, started, offer_to, scratch_root, state, changed, ended }) }
    }

    /// These partitions are this node's now. Call it before their owners learn of it: what an owner asks for is taken for these only.
    pub fn assign(&self, owned: std::collections::BTreeSet<u32>) {
        let mut state = self.shared.lock();
        let orders = state.queue.assign(owned, self.shared.moment());
        state.follow(orders);
        self.shared.changed.notify_one();
    }

    /// Queues an effect; one that waits or runs already is left alone, the result of one that ended is offered again.
    pub fn submit(&self, job: Job) {
        let mut state = self.shared.lock();
        if state.closed {
            return;
        }
        state.queue.submit(job, self.shared.moment());
        self.shared.watch(&mut state);
        self.shared.changed.notify_one();
    }

    /// The owner has committed the result of this request, or the effect is no longer pending.
    pub fn settled(&self, key: &str) {
        self.shared.lock().queue.settled(key);
    }

    /// At most `limit` effects of this node, those that run first.
    pub fn statuses(&self, limit: usize) -> Vec<EffectStatus> {
        let state = self.shared.lock();
        state.queue.statuses(&state.running, limit, self.shared.moment().now_ms)
    }

    /// Starts nothing any more, cancels what runs where its runner allows, and waits until nothing runs, at most for `patience`.
    pub fn close(&self, patience: Duration) {
        let mut state = self.shared.lock();
        state.closed = true;
        let orders = state.queue.close(self.shared.moment());
        state.follow(orders);
        self.shared.changed.notify_one();
        state.workers.values().for_each(|workers| workers.wake.notify_all());
        let waited = self.shared.ended.wait_timeout_while(state, patience, |state| !state.running.is_empty());
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        for effect in state.running.values() {
            tracing::warn!(effect = effect.key(), runner = effect.info().runner, "an effect still runs; it runs again with the same key");
        }
    }
}

impl Threads {
    /// Does what the queue orders about tries that run.
    fn follow(&mut self, orders: Vec<RunOrder>) {
        for order in orders {
            match order {
                RunOrder::Cancel(number, reason) => {
                    if let Some(effect) = self.running.get(&number) {
                        tracing::info!(effect = effect.key(), runner = effect.info().runner, ?reason, "effect cancelled");
                        effect.cancel(reason);
                    }
                }
                RunOrder::Abandon(number, lane) => {
                    if let Some(effect) = self.running.remove(&number) {
                        tracing::error!(effect = effect.key(), runner = effect.info().runner, "an effect does not end; its thread was given up");
                        metric::effects_ended(&lane, metric::ABANDONED);
                    }
                    if let Some(workers) = self.workers.get_mut(&lane) {
                        workers.threads -= 1;
                    }
                }
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Threads> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moment(&self) -> Moment {
        Moment { now_ms: self.started.elapsed().as_millis() as u64, wall: chrono::Utc::now().into(), stopped: self.gate.is_closed() }
    }

    /// Starts the watcher with the first effect.
    fn watch(self: &Arc<Self>, state: &mut Threads) {
        if state.watched {
            return;
        }
        let shared = self.clone();
        match std::thread::Builder::new().name("effects".to_owned()).spawn(move || shared.run_watcher()) {
            Ok(_) => state.watched = true,
            Err(error) => tracing::error!(%error, "the thread that watches effects did not start; it is tried again with the next effect"),
        }
    }

    fn run_watcher(self: Arc<Self>) {
        let mut state = self.lock();
        while !state.closed {
            let moment = self.moment();
            let orders = state.queue.tick(moment);
            state.follow(orders);
            self.staff(&mut state, moment.now_ms);
            record_counts(&state);
            let offers = state.queue.take_offers(moment.now_ms);
            if !offers.is_empty() {
                drop(state);
                self.offer(offers);
                state = self.lock();
                continue;
            }
            let due = state.queue.due_ms().map(|due_ms| Duration::from_millis(due_ms.saturating_sub(moment.now_ms).max(1)));
            let busy = state.queue.is_busy().then_some(WATCH);
            state = match due.into_iter().chain(busy).min() {
                Some(wait) => self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Wakes or starts threads for effects that may start now.
    fn staff(self: &Arc<Self>, state: &mut Threads, now_ms: u64) {
        if !self.gate.may_act(now_ms) {
            return;
        }
        let startable: Vec<(LaneName, usize)> = state.queue.startable().map(|(name, count)| (name.clone(), count)).collect();
        for (name, count) in startable {
            let workers = state.workers.entry(name.clone()).or_default();
            for _ in 0..workers.idle.min(count) {
                workers.wake.notify_one();
            }
            let places = state.queue.lanes.get(&name).map_or(1, |lane| lane.limits.at_once.max(1));
            for _ in workers.idle..count.min(workers.idle + places.saturating_sub(workers.threads)) {
                let (shared, lane, wake) = (self.clone(), name.clone(), workers.wake.clone());
                match std::thread::Builder::new().name(format!("effect {}", name.runner)).spawn(move || shared.run_lane(&lane, &wake)) {
                    Ok(_) => workers.threads += 1,
                    Err(error) => {
                        tracing::error!(%error, runner = name.runner, "a thread for effects did not start; it is tried again");
                        break;
                    }
                }
            }
        }
    }

    /// Runs effects of one lane until none came for a while.
    fn run_lane(self: Arc<Self>, lane: &LaneName, wake: &Condvar) {
        let mut state = self.lock();
        while !state.closed {
            let moment = self.moment();
            if let Some((run, permit)) = state.queue.start_in(lane, &self.gate, moment.now_ms) {
                let effect = self.effect(&run);
                state.running.insert(run.number, effect.clone());
                record_counts(&state);
                drop(state);
                let result = self.run(&run, &effect, permit);
                state = self.lock();
                state.running.remove(&run.number);
                let fate = state.queue.ended(run.number, result, self.moment());
                self.ended.notify_all();
                if fate == Fate::Late {
                    return; // another thread has taken its place
                }
                record_end(lane, fate);
                // The result is offered, and the next try waited for, by the watcher.
                self.changed.notify_one();
                continue;
            }
            let Some(workers) = state.workers.get_mut(lane) else { return };
            workers.idle += 1;
            let (woken, waited) = wake.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            let may_start = self.gate.may_act(self.moment().now_ms) && state.queue.startable().any(|(name, _)| name == lane);
            let Some(workers) = state.workers.get_mut(lane) else { return };
            workers.idle -= 1;
            if waited.timed_out() && !may_start {
                break;
            }
        }
        if let Some(workers) = state.workers.get_mut(lane) {
            workers.threads -= 1;
        }
    }

    fn effect(&self, run: &Run) -> Effect {
        let pending = &run.job.effect;
        let info = EffectInfo {
            key: run.job.key.clone(),
            system: run.job.system.clone(),
            partition: run.job.partition,
            subject: pending.subject.clone(),
            correlation: pending.correlation.clone(),
            runner: run.lane.runner.clone(),
            payload: pending.request.payload.clone(),
            attempt: run.attempt,
        };
        Effect::new(info, &self.scratch_root)
    }

    /// One try. It is under way until its permit is dropped here.
    fn run(&self, run: &Run, effect: &Effect, permit: Permit) -> Result<Value, Failure> {
        let platform = || self.runners.get(&LaneName { system: String::new(), runner: run.lane.runner.clone() });
        let Some(runner) = self.runners.get(&run.lane).or_else(platform) else {
            return Err(Failure::permanent(format!("there is no effect runner called {}", run.lane.runner)));
        };
        let tried = std::panic::catch_unwind(AssertUnwindSafe(|| runner(effect)));
        if let Err(error) = effect.remove_scratch() {
            tracing::warn!(effect = effect.key(), %error, "the scratch folder of an effect could not be removed");
        }
        drop(permit);
        tried.unwrap_or_else(|panic| Err(Failure::retry(format!("runner {} panicked: {}", run.lane.runner, panic_text(&*panic)))))
    }

    fn offer(&self, offers: Vec<Offer>) {
        for offer in offers {
            let (system, partition, key) = (offer.system.clone(), offer.partition, offer.key.clone());
            if !(self.offer_to)(offer) {
                tracing::debug!(system, partition, key, "an effect's result was not taken; it is offered again");
            }
        }
    }
}

fn record_counts(state: &Threads) {
    for (name, lane) in &state.queue.lanes {
        metric::effects_now(name, lane.running, lane.ready.len());
    }
}

fn record_end(lane: &LaneName, fate: Fate) {
    match fate {
        Fate::Completed => metric::effects_ended(lane, metric::COMPLETED),
        Fate::Failed => metric::effects_ended(lane, metric::FAILED),
        Fate::Again => metric::effects_ended(lane, metric::CANCELLED),
        Fate::Dropped => metric::effects_ended(lane, metric::DROPPED),
        Fate::Retried => metric::effects_retried(lane),
        Fate::Late => {}
    }
}
