//! Tells systems whether memory is up to date with the log and whether the emergency stop is engaged. They ask often, and from threads that must
//! not wait.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tol_plug::platform::Standing;
use tol_runtime::control::ControlGate;

use super::Node;

/// How often it is looked at anew.
const LOOK: Duration = Duration::from_millis(250);

/// The last look.
pub(crate) struct StandingCell {
    now: RwLock<Standing>,
    stopped: watch::Receiver<bool>,
}

impl StandingCell {
    /// Of a node that is starting; stops are followed from now on.
    pub(crate) fn new(gate: &ControlGate) -> Self {
        let (sender, stopped) = watch::channel(false);
        gate.on_change(move |engaged| {
            sender.send_replace(engaged);
        });
        Self { now: RwLock::new(Standing { degraded: Some("the node is starting".to_owned()) }), stopped }
    }

    /// As it was last seen.
    pub(crate) fn now(&self) -> Standing {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The emergency stop, and each change of it.
    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.clone()
    }

    fn set(&self, degraded: Option<String>) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        if now.degraded != degraded {
            *now = Standing { degraded };
        }
    }
}

/// Looks at it until the node closes.
pub(super) fn look_after(node: &Arc<Node>) {
    while !node.closing.load(Ordering::Acquire) {
        look(node);
        std::thread::sleep(LOOK);
    }
}

/// Looks at it now.
pub(super) fn look(node: &Node) {
    node.standing.set(degraded(node));
}

/// Why what is served may not be what the log holds.
fn degraded(node: &Node) -> Option<String> {
    let Some(open) = node.open.get() else { return Some(format!("the node is not open: {}", node.phase())) };
    let health = open.log.health();
    if !health.ready {
        return Some(format!("the log is away: {}", health.detail));
    }
    // What follows a stopped fold serves what it last knew.
    let mut followed = open.engine.status().into_iter().filter(|status| node.plugs.follows(status.name));
    followed.find_map(|status| status.failed.map(|problem| format!("the projection {} stopped: {problem}", status.name)))
}
