//! Effects: the only way the outside world is touched. A runner does what an accepted request asks, with the request's id as
//! idempotency key; it starts nothing during an emergency stop or without a lease.
//!
//! * [`EffectQueue`] — what waits, runs and ended on one node, as a state machine without threads
//! * `running` — what becomes of tries that run
//! * `lane` — the effects of one runner for one system, and how many of them run at a time
//! * [`Effects`] — the threads that run them
//! * [`EffectStatus`] — what people see of an effect

mod lane;
mod queue;
mod running;
mod service;
mod status;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tol_system::{Effect, Failure, OnStop};

pub use lane::LaneName;
pub use queue::{EffectQueue, Fate, Offer, Run, RunOrder};
pub use service::{Effects, OfferTo};
pub use status::{EffectState, EffectStatus};

use crate::owner::PendingEffect;

/// How a runner's effects run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerLimits {
    /// Effects of one system that run at a time.
    pub at_once: usize,
    /// Tries of one effect before it fails.
    pub tries: u32,
    /// The longest one try may run; then it is cancelled and fails.
    pub limit: Duration,
    /// What an emergency stop does to one that runs.
    pub on_stop: OnStop,
}

/// Does one try of an effect, on a thread of its lane's. It may block; it should look at [`Effect::cancelled`] while it does.
pub type RunEffect = Arc<dyn Fn(&Effect) -> Result<Value, Failure> + Send + Sync>;

/// Does one kind of effect.
#[derive(Clone)]
pub struct EffectRunner {
    /// The system whose requests it serves; `None` for a runner of the platform, which serves all. A system's own goes before the platform's.
    pub system: Option<String>,
    /// The name that requests use.
    pub name: String,
    /// How its effects run.
    pub limits: RunnerLimits,
    /// Does one try.
    pub run: RunEffect,
}

/// An effect to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The system that requested it.
    pub system: String,
    /// The partition of its owner.
    pub partition: u32,
    /// The request's event id: the idempotency key.
    pub key: String,
    /// The request.
    pub effect: PendingEffect,
}

impl Job {
    fn lane(&self) -> LaneName {
        LaneName { system: self.system.clone(), runner: self.effect.request.runner.clone() }
    }
}
