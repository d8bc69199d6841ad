//! The thread of the single-partition topics: it writes `clock` while this node owns partition 0, and reads `control` to its end,
//! which renews the lease that effects need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tol_kafka::EventLog;
use tol_runtime::clock::Ticker;
use tol_runtime::control::{ControlGate, Done};
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
    pub(crate) fn engage(&self, reason: &str, by: &str, done: Done) {
        self.line.engage(uuid::Uuid::new_v4().to_string(), reason, by, chrono::Utc::now().into(), done);
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
