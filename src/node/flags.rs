//! The flags that are served: filled from the store before the log is there, then by the projection's fold; and how that stands.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tol_projections::flags::Flags;
use tol_projections::{ProjectionEngine, RocksStore};

use super::Node;
use crate::http::api::Check;

/// How often it is looked whether what is served is what the log holds.
const LOOK: Duration = Duration::from_millis(250);
/// The system that decides about flags.
pub(crate) const SYSTEM: &str = "enterprise-feature-flag-system";

/// Serves what the store knew when the node last ran: the log may be away.
pub(super) fn preload(node: &Node, store: &RocksStore) {
    match ProjectionEngine::last_known::<Flags>(store) {
        Ok(rows) => node.flags.preload(rows),
        Err(problem) => tracing::warn!(%problem, "the flags last known could not be read; they are served when the log has been"),
    }
}

/// Has the flags follow the projection. Before the engine starts.
pub(super) fn follow(node: &Node, engine: &ProjectionEngine) -> Result<(), tol_projections::Error> {
    let flags = node.flags.clone();
    engine.follow::<Flags>(move |followed| flags.take(followed))
}

/// Looks after how it stands until the node closes.
pub(super) fn look_after(node: &Arc<Node>) {
    while !node.closing.load(Ordering::Acquire) {
        node.flags.set_standing(degraded(node), chrono::Utc::now().into());
        std::thread::sleep(LOOK);
    }
}

/// Why what is served may not be what the log holds.
fn degraded(node: &Node) -> Option<String> {
    let Some(open) = node.open.get() else { return Some(format!("the node is not open: {}", node.phase())) };
    let health = open.log.health();
    if !health.ready {
        return Some(format!("the log is away: {}", health.detail));
    }
    if let Ok(Some(problem)) = open.engine.status_of("flags").map(|status| status.failed) {
        return Some(format!("the projection stopped: {problem}"));
    }
    (!node.flags.has_caught_up()).then(|| "the log has not been read to its end".to_owned())
}

/// What readiness says of it. Flags last known are served whatever it says.
pub(super) fn check(node: &Node) -> Check {
    node.flags.set_standing(degraded(node), chrono::Utc::now().into());
    let (standing, count) = (node.flags.standing(), node.flags.current().len());
    // Without the system there is nothing to wait for.
    let ok = node.flags.has_caught_up() || !node.config.system(SYSTEM).enabled;
    let detail = match &standing.degraded {
        None => format!("{count} flags"),
        Some(why) => {
            let since = standing.current_at.map_or("before this start".to_owned(), |at| at.to_string());
            format!("{count} flags, last known to be current {since}: {why}")
        }
    };
    Check { name: "flags".to_owned(), ok, detail }
}
