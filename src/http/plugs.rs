//! The tables of systems, and what serves them.

use std::sync::Arc;

use tol_plug::mounted::{Description, Mounted};
use tol_plug::{Kind, Problem};

/// A system's declarations, and what serves them.
pub struct PlugEntry {
    /// What it declares.
    pub description: Description,
    /// What serves it; `None` where it is disabled on this node.
    pub mounted: Option<Arc<dyn Mounted>>,
}

/// Makes the problem of a system that is disabled on this node.
pub(super) fn disabled(system: &str) -> Problem {
    let detail = format!("{system} is disabled on this node (systems.{system}.enabled); ask a node on which it runs, or enable it on all of them");
    Problem::new(Kind::SYSTEM_DISABLED, detail).with("system", system)
}
