//! Effects: the only way a system touches the world outside. `evolve` finds an effect requested by an own event; once that event is read back as
//! accepted, the runner of that name does it, and the result comes back to `decide` as an input.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tol_system::EffectOutcome;
pub use tol_system::{Failure, OnStop};

use crate::platform::Platform;

/// What does one kind of effect for a system.
pub struct Runner<S: 'static> {
    /// Its name, as [`EffectRequest::runner`](tol_system::EffectRequest::runner) gives it; unique within the system;
    /// it goes before a runner of the platform of that name.
    pub name: &'static str,
    /// How many run at a time on a node.
    pub at_once: usize,
    /// How often one is tried before it is given up.
    pub tries: u32,
    /// How long one try may take; then it is cancelled, and the effect fails.
    pub limit: Duration,
    /// What an emergency stop does to those under way.
    pub on_stop: OnStop,
    /// Payloads with how such an effect ends, for the contract suite.
    pub examples: fn() -> Vec<(Value, EffectOutcome)>,
    /// Does it. Called on a thread of its own that may block.
    pub run: fn(&Arc<S>, &Effect<'_>) -> Result<Value, Failure>,
}

/// One try of an effect: what [`tol_system::Effect`] has, with the node.
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
