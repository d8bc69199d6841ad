//! Effects: the only way the outside world is touched. A runner does what an accepted request asks, with the request's id as
//! idempotency key; it starts nothing during an emergency stop or without a lease.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tol_system::EffectOutcome;

use crate::control::{ControlGate, Permit};
use crate::owner::PendingEffect;

/// Does one kind of effect. Blocking; called on threads of the pool.
pub trait Runner: Send + Sync + 'static {
    /// Does what `payload` asks. `key` is the same at every try: whoever is asked must do it once for each key.
    ///
    /// # Errors
    /// What failed. It is tried again, a few times.
    fn run(&self, key: &str, payload: &Value) -> Result<Value, String>;
}

/// `http`: POSTs `payload.body` to `payload.url` with the header `Idempotency-Key`.
pub struct HttpRunner;

impl Runner for HttpRunner {
    fn run(&self, key: &str, payload: &Value) -> Result<Value, String> {
        let url = payload.get("url").and_then(Value::as_str).ok_or("the payload has no url")?;
        let agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().new_agent();
        let mut response =
            agent.post(url).header("Idempotency-Key", key).send_json(payload.get("body").unwrap_or(&Value::Null)).map_err(|error| error.to_string())?;
        let text = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
        Ok(serde_json::json!({ "status": response.status().as_u16(), "body": text }))
    }
}

/// An effect to be run: the system, its partition, the request's id and the request.
pub type Job = (String, u32, String, PendingEffect);
/// Called with each result: system, partition, request id, outcome. Must not block.
pub type Ended = Arc<dyn Fn(&str, u32, String, EffectOutcome) + Send + Sync>;

/// Effects of one node, waiting and running; no threads.
#[derive(Default)]
pub struct EffectQueue {
    /// Waiting, in order. Bounded by the pending effects that owners hold in their state.
    waiting: VecDeque<Job>,
    /// Waiting or running: a request that a new owner starts again on this node runs once.
    known: BTreeSet<String>,
}

impl EffectQueue {
    /// Queues an effect; one that waits or runs already is left alone. Whether it was new.
    pub fn submit(&mut self, job: Job) -> bool {
        let new = self.known.insert(job.2.clone());
        if new {
            self.waiting.push_back(job);
        }
        new
    }

    /// The next effect to run, if one may start now. It is under way until its permit is dropped.
    pub fn next(&mut self, gate: &ControlGate, now_ms: u64) -> Option<(Job, Permit)> {
        if self.waiting.is_empty() {
            return None;
        }
        let permit = gate.permit(now_ms)?;
        self.waiting.pop_front().map(|job| (job, permit))
    }

    /// An effect ended: it may be submitted again.
    pub fn ended(&mut self, id: &str) {
        self.known.remove(id);
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[derive(Default)]
struct Queue {
    effects: EffectQueue,
    closed: bool,
}

/// Threads that run effects.
#[derive(Clone)]
pub struct Pool {
    queue: Arc<(Mutex<Queue>, Condvar)>,
}

/// Tries of one effect before it is given up.
const TRIES: u32 = 3;

impl Pool {
    /// Starts `threads` threads. `started` is the zero of the monotonic clock of the gate's lease.
    pub fn start(threads: usize, runners: BTreeMap<String, Arc<dyn Runner>>, gate: ControlGate, started: Instant, ended: Ended) -> Self {
        let pool = Self { queue: Arc::default() };
        let runners = Arc::new(runners);
        for number in 0..threads {
            let (pool, runners, gate, ended) = (pool.clone(), runners.clone(), gate.clone(), ended.clone());
            let spawned = std::thread::Builder::new().name(format!("effects-{number}")).spawn(move || {
                while let Some(((system, partition, id, effect), permit)) = pool.next(&gate, started) {
                    let outcome = run(&runners, &id, &effect, permit, &gate, started);
                    pool.lock().effects.ended(&id);
                    ended(&system, partition, id, outcome);
                }
            });
            if let Err(error) = spawned {
                tracing::error!(%error, "an effect thread did not start");
            }
        }
        pool
    }

    /// Queues an effect; one that waits or runs already is left alone.
    pub fn submit(&self, job: Job) {
        let mut queue = self.lock();
        if queue.effects.submit(job) {
            self.queue.1.notify_one();
        }
    }

    /// Ends the threads after what they are doing.
    pub fn close(&self) {
        self.lock().closed = true;
        self.queue.1.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, once the gate lets effects start. `None` when closed.
    fn next(&self, gate: &ControlGate, started: Instant) -> Option<(Job, Permit)> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(next) = queue.effects.next(gate, started.elapsed().as_millis() as u64) {
                return Some(next);
            }
            let wait = Duration::from_millis(if queue.effects.is_empty() { 1_000 } else { 20 });
            queue = self.queue.1.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn run(runners: &BTreeMap<String, Arc<dyn Runner>>, id: &str, effect: &PendingEffect, permit: Permit, gate: &ControlGate, started: Instant) -> EffectOutcome {
    let Some(runner) = runners.get(&effect.request.runner) else {
        return EffectOutcome::Failed(format!("there is no effect runner called {}", effect.request.runner));
    };
    let mut problem = String::new();
    let mut permit = Some(permit);
    for attempt in 0..TRIES {
        if attempt > 0 {
            std::thread::sleep(Duration::from_millis(200 << attempt));
            // A stop may have come meanwhile: the next try waits for its release.
            while permit.is_none() {
                permit = gate.permit(started.elapsed().as_millis() as u64);
                if permit.is_none() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runner.run(id, &effect.request.payload)));
        permit = None;
        match tried {
            Ok(Ok(value)) => return EffectOutcome::Completed(value),
            Ok(Err(error)) => problem = error,
            Err(panic) => problem = format!("the runner panicked: {}", crate::owner::panic_text(&*panic)),
        }
    }
    EffectOutcome::Failed(format!("{problem} (tried {TRIES} times)"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tol_events::EventTime;
    use tol_system::EffectRequest;

    struct Echo;
    impl Runner for Echo {
        fn run(&self, key: &str, _: &Value) -> Result<Value, String> {
            Ok(key.into())
        }
    }

    fn job(id: &str) -> Job {
        let request = EffectRequest { runner: "echo".into(), payload: Value::Null };
        ("s".into(), 0, id.into(), PendingEffect { subject: "customer/1".into(), request, correlation: String::new() })
    }

    #[test]
    fn nothing_starts_during_a_stop_and_each_request_runs_once() {
        let gate = ControlGate::default();
        gate.renew(u64::MAX);
        gate.engage("test", "me", EventTime::default());
        let (sender, results) = mpsc::channel();
        let ended: Ended = Arc::new(move |_, _, id, outcome| sender.send((id, outcome)).unwrap());
        let runners: BTreeMap<String, Arc<dyn Runner>> = BTreeMap::from([("echo".to_owned(), Arc::new(Echo) as Arc<dyn Runner>)]);
        let pool = Pool::start(2, runners, gate.clone(), Instant::now(), ended);
        pool.submit(job("a"));
        pool.submit(job("a"));
        assert!(results.recv_timeout(Duration::from_millis(60)).is_err());
        gate.release("done", "me", EventTime::default());
        assert_eq!(results.recv_timeout(Duration::from_secs(5)).unwrap(), ("a".to_owned(), EffectOutcome::Completed("a".into())));
        assert!(results.recv_timeout(Duration::from_millis(60)).is_err());
        pool.close();
    }
}
