//! Watches the admission thread: one that panics or fails is started again, with a new claim, after a wait that grows; one that hangs is left behind and
//! replaced. That is safe: the claims of the new run end what the old one may still append (E3), and its tokens what it may still write (E10).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::service::{Parts, Shared, lock};
use crate::metric_definitions;
use crate::owner::{Error, panic_text};
use crate::supervision::{Limits, Machine, Verdict};

/// How often the thread is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long the thread of a run may take to end when admission is stopped. One that hangs is left behind.
const END_WITHIN: Duration = Duration::from_secs(10);

/// The watcher.
pub(super) struct Watch {
    machine: Machine,
    hung_after_ms: u64,
    parts: Parts,
    shared: Arc<Shared>,
    /// The thread of the current run.
    thread: Option<JoinHandle<Result<(), Error>>>,
    /// The last beat seen, and when it was seen first.
    beat: (u64, u64),
}

impl Watch {
    pub fn new(limits: Limits, parts: Parts, shared: Arc<Shared>, thread: JoinHandle<Result<(), Error>>) -> Self {
        let hung_after_ms = limits.hung_after_ms;
        let mut machine = Machine::new(limits, 0x0ad1_5510);
        machine.started(shared.now_ms());
        Self { machine, hung_after_ms, parts, shared, thread: Some(thread), beat: (0, 0) }
    }

    /// Watches until admission is stopped and its thread has ended.
    pub fn run(&mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            std::thread::park_timeout(LOOK);
            self.look();
        }
        self.shared.run().wake();
        let until = Instant::now() + END_WITHIN;
        while let Some(thread) = self.thread.take_if(|thread| !thread.is_finished()) {
            if Instant::now() >= until {
                tracing::warn!("the admission thread did not end; it is left behind");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
            self.thread = Some(thread);
        }
    }

    fn look(&mut self) {
        let now_ms = self.shared.now_ms();
        if let Some(thread) = self.thread.take_if(|thread| thread.is_finished()) {
            match thread.join() {
                // It was stopped.
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.failed(format!("admission ended: {error}"), now_ms),
                Err(panic) => self.failed(format!("admission panicked: {}", panic_text(&*panic)), now_ms),
            }
            return;
        }
        let beat = self.shared.run().beat.load(Ordering::Relaxed);
        if beat != self.beat.0 {
            self.beat = (beat, now_ms);
        }
        let silent_ms = now_ms.saturating_sub(self.beat.1);
        metric_definitions::admission_silent_seconds().set(silent_ms as f64 / 1e3);
        match self.machine.tick(beat, true, now_ms) {
            Some(Verdict::Start) => self.start(now_ms),
            Some(Verdict::Abandon | Verdict::AbandonStart) => {
                let silent = self.hung_after_ms;
                self.thread = None;
                self.failed(format!("admission gave no sign of life for {silent} ms; its thread was left behind"), now_ms);
            }
            Some(Verdict::Recovered | Verdict::Degraded) | None => {}
        }
    }

    fn failed(&mut self, problem: String, now_ms: u64) {
        tracing::error!(problem, "admission failed");
        self.shared.abandon(&format!("{problem}; it is started again, and a retry with the same ids is safe"));
        if self.machine.failed(problem, now_ms) == Some(Verdict::Degraded) {
            tracing::error!("admission failed too often; it is tried again from time to time, and GET /readyz tells why");
        }
    }

    fn start(&mut self, now_ms: u64) {
        match self.parts.begin(&self.shared) {
            Ok(thread) => {
                self.machine.started(now_ms);
                metric_definitions::admission_restarts().increment(1);
                self.thread = Some(thread);
                self.beat = (0, now_ms);
                *lock(&self.shared.failed) = None;
            }
            Err(error) => self.failed(format!("admission did not start: {error}"), now_ms),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "watch_tests.rs"]
mod tests;
