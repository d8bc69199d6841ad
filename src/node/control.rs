//! The thread of the single-partition topics: it writes `clock` while this node owns partition 0, and reads `control` to its end,
//! which renews the lease that effects need.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tol_kafka::EventLog;
use tol_runtime::clock::Ticker;
use tol_runtime::control::{ControlGate, Done, Stop};
use tol_runtime::owner::Moment;

/// How often `control` is read at least.
const ROUND: Duration = Duration::from_millis(25);

/// What the rest of the node shares with the control thread.
pub(crate) struct ControlLine {
    line: tol_runtime::control::ControlLine,
    pub(crate) owns_clock: AtomicBool,
    pub(crate) stopping: AtomicBool,
    /// Rounds in which `control` could be read to its end.
    pub(crate) rounds: AtomicU64,
}

impl ControlLine {
    pub(crate) fn new(log: Arc<dyn EventLog>, gate: ControlGate, node: String) -> Self {
        let line = tol_runtime::control::ControlLine::new(log, gate, &node);
        Self { line, owns_clock: AtomicBool::new(false), stopping: AtomicBool::new(false), rounds: AtomicU64::new(0) }
    }

    /// Stops this node at once, and appends the stop to `control`. `done` says whether it was recorded.
    fn engage(&self, stop: &Stop, done: Done) {
        self.line.engage(stop, done);
    }

    /// Stops this node at once, and records the stop if the node that was asked for it does not.
    fn told(&self, stop: &Stop) {
        if let Err(error) = self.line.told(stop) {
            tracing::error!(%error, "a stop told by another node holds here and makes no record");
        }
    }

    /// Appends that a system is paused, or goes on; each node follows when it reads it.
    pub(crate) fn pause(&self, system: &str, paused: bool, by: &str, done: Done) {
        self.line.pause(uuid::Uuid::new_v4().to_string(), system, paused, by, chrono::Utc::now().into(), done);
    }

    /// Appends the release; the stop ends on each node when it reads it.
    pub(crate) fn release(&self, reason: &str, by: &str, done: Done) {
        self.line.release(uuid::Uuid::new_v4().to_string(), reason, by, chrono::Utc::now().into(), done);
    }
}

/// Where stops arrive, from the start of the node on. What arrives before there is a [`ControlLine`] is handed over to it.
#[derive(Default)]
pub(crate) struct Stops {
    stage: Mutex<Stage>,
}

enum Stage {
    /// Stops that this node was asked for, and such that it was told of.
    Opening { asked: Vec<Stop>, told: Vec<Stop> },
    /// Stops go to `control`.
    Open(Arc<ControlLine>),
}

impl Default for Stage {
    fn default() -> Self {
        Self::Opening { asked: Vec::new(), told: Vec::new() }
    }
}

impl Stops {
    /// Stops this node at once. `done` says whether that is recorded on `control`; where it is not, it will be.
    pub(crate) fn engage(&self, gate: &ControlGate, stop: Stop, done: Done) {
        let line = match &mut *self.stage() {
            Stage::Open(line) => line.clone(),
            Stage::Opening { asked, .. } => {
                gate.engage(&stop.reason, &stop.by, stop.time);
                asked.push(stop);
                return done(Err("the node is not open yet".to_owned()));
            }
        };
        line.engage(&stop, done);
    }

    /// Stops this node at once, because another one was asked to.
    pub(crate) fn told(&self, gate: &ControlGate, stop: Stop) {
        let line = match &mut *self.stage() {
            Stage::Open(line) => line.clone(),
            Stage::Opening { told, .. } => {
                gate.engage(&stop.reason, &stop.by, stop.time);
                return told.push(stop);
            }
        };
        line.told(&stop);
    }

    /// Hands over what arrived so far, and from now on whatever arrives. To be called before `control` is read, for a release that is
    /// there says nothing about these stops.
    pub(crate) fn open(&self, line: &Arc<ControlLine>) {
        let before = std::mem::replace(&mut *self.stage(), Stage::Open(line.clone()));
        if let Stage::Opening { asked, told } = before {
            asked.iter().for_each(|stop| line.engage(stop, Box::new(drop)));
            told.iter().for_each(|stop| line.told(stop));
        }
    }

    fn stage(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until [`ControlLine::stopping`].
pub(crate) fn run(line: &ControlLine, ticker: &mut Ticker, started: Instant, lease_ms: u64, upkeep: &dyn Fn()) {
    let mut last_upkeep = Instant::now();
    while !line.stopping.load(Ordering::Acquire) {
        // The lease counts from before the read: what is appended later is not covered by it.
        let before_ms = started.elapsed().as_millis() as u64;
        match line.line.read(before_ms, lease_ms) {
            Ok(()) => {
                line.rounds.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "control cannot be read; no effect starts until it can"),
        }
        let moment = Moment { now_ms: started.elapsed().as_millis() as u64, wall: chrono::Utc::now().into(), stopped: false };
        if let Err(error) = ticker.step(line.owns_clock.load(Ordering::Acquire), moment) {
            tracing::error!(%error, "the clock stands still");
            std::thread::sleep(Duration::from_secs(1));
        }
        if last_upkeep.elapsed() > Duration::from_secs(5) {
            upkeep();
            last_upkeep = Instant::now();
        }
        std::thread::sleep(ROUND);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tol_kafka::{Faults, MemoryLog, TopicSpec};

    fn stop(id: &str) -> Stop {
        Stop { id: id.to_owned(), node: "a".to_owned(), reason: "fire".to_owned(), by: "ann".to_owned(), time: chrono::Utc::now().into() }
    }

    #[test]
    fn a_stop_that_arrives_before_the_log_is_there_is_recorded_once_it_is() {
        let log = MemoryLog::new(1, Faults::default());
        log.ensure_topics(&[TopicSpec { name: "control".into(), partitions: 1, retention: None }]).unwrap();
        let line = |name: &str, gate: &ControlGate| Arc::new(ControlLine::new(log.client(name), gate.clone(), name.to_owned()));
        let (gate, other) = (ControlGate::default(), ControlGate::default());
        let others = line("b", &other);
        others.release("of an older stop", "bob", Box::new(|recorded| recorded.unwrap()));
        let stops = Stops::default();
        stops.engage(&gate, stop("asked"), Box::new(|recorded| assert!(recorded.is_err())));
        stops.told(&gate, stop("told"));
        let own = line("a", &gate);
        stops.open(&own);
        for now_ms in [0, 500, 2_000, 2_001] {
            own.line.read(now_ms, 500).unwrap();
            assert!(gate.is_closed());
        }
        others.line.read(0, 500).unwrap();
        assert!(other.is_closed(), "both nodes stop");
        others.release("over", "bob", Box::new(|recorded| recorded.unwrap()));
        others.line.read(0, 500).unwrap();
        own.line.read(3_000, 500).unwrap();
        assert!(!gate.is_closed() && !other.is_closed());
    }
}
