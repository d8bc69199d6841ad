//! Effects: the only way a system touches the world outside. `evolve` finds an effect requested by an own event; once that event is read back as
//! accepted, the runner of that name does it, and the result comes back to `decide` as an input.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tol_system::EffectOutcome;
pub use tol_system::{Failure, OnStop};

use crate::platform::Platform;

/// Runs one kind of effect of a system.
pub struct Runner<S: 'static> {
    /// Its name, which [`EffectRequest::runner`](tol_system::EffectRequest::runner) gives; unique within the system. It takes precedence over a
    /// runner of the platform that has the same name.
    pub name: &'static str,
    /// How many of its effects run at a time on a node.
    pub at_once: usize,
    /// How many tries an effect gets before it fails.
    pub tries: u32,
    /// How long one try may take; then the try is cancelled, and the effect fails.
    pub limit: Duration,
    /// What an emergency stop does to running effects.
    pub on_stop: OnStop,
    /// Makes example payloads, each with the outcome of such an effect, for the contract suite.
    pub examples: fn() -> Vec<(Value, EffectOutcome)>,
    /// Runs one try of an effect, on a thread that may block.
    pub run: fn(&Arc<S>, &Effect<'_>) -> Result<Value, Failure>,
}

/// One try of an effect: [`tol_system::Effect`], to which it dereferences, and the node.
pub struct Effect<'a> {
    /// The node.
    pub platform: &'a Arc<dyn Platform>,
    /// Key, subject, payload, cancellation, progress and scratch folder.
    pub effect: &'a tol_system::Effect,
}

impl Deref for Effect<'_> {
    type Target = tol_system::Effect;

    fn deref(&self) -> &tol_system::Effect {
        self.effect
    }
}
