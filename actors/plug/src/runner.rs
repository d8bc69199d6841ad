//! Effects: the only way a system touches the world outside. `evolve` finds an effect requested by an own event; once that event is read back as
//! accepted, the runner of that name does it, and the result comes back to `decide` as an input.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tol_system::EffectOutcome;

use crate::platform::Platform;

/// What does one kind of effect for a system.
pub struct Runner<S: 'static> {
    /// Its name, as [`EffectRequest::runner`](tol_system::EffectRequest::runner) gives it; unique on the node, so it begins with the system's short name.
    pub name: &'static str,
    /// How many run at a time on a node.
    pub at_once: usize,
    /// How often one is tried before it is given up.
    pub tries: u32,
    /// How long one try may take; then it is cancelled and counts as failed.
    pub limit: Duration,
    /// What an emergency stop does to those under way.
    pub on_stop: OnStop,
    /// Payloads with how such an effect ends, for the contract suite.
    pub examples: fn() -> Vec<(Value, EffectOutcome)>,
    /// Does it. Called on a thread of its own that may block.
    pub run: fn(&Arc<S>, &Effect<'_>) -> Result<Value, Failure>,
}

/// What an emergency stop does to effects under way. None is started while it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// They end by themselves.
    Finish,
    /// They are cancelled, and run again under the same key once the stop is released.
    Cancel,
}

/// One try of an effect.
pub struct Effect<'a> {
    /// Idempotency key, the same at every try and on every node: whoever is asked must do it once for each key.
    pub key: &'a str,
    /// The subject it was requested for.
    pub subject: &'a str,
    /// The request it belongs to.
    pub correlation: &'a str,
    /// What is asked for.
    pub payload: &'a Value,
    /// Number of this try, from 1.
    pub attempt: u32,
    /// The node.
    pub platform: &'a Arc<dyn Platform>,
    /// Cancelling, progress, and a folder.
    pub control: &'a dyn Control,
}

/// What the node and a running effect tell each other.
pub trait Control: Send + Sync {
    /// Whether it is to end now: the emergency stop was engaged, its time is over, or the node closes.
    fn is_cancelled(&self) -> bool;
    /// Waits until it is to end; false where `timeout` passes first.
    fn wait_cancelled(&self, timeout: Duration) -> bool;
    /// Tells how far it is, 0 to 1, and what it does; shows that it is alive.
    fn progress(&self, share: f64, text: &str);
    /// A folder for this effect alone, made when it is first asked for and removed when the effect has ended.
    ///
    /// # Errors
    /// When it cannot be made.
    fn scratch(&self) -> std::io::Result<&Path>;
}

/// Why a try did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may succeed later.
    #[error("{0}")]
    Retry(String),
    /// Trying again changes nothing.
    #[error("{0}")]
    Permanent(String),
    /// It ended because it was cancelled.
    #[error("it was cancelled")]
    Cancelled,
}
