//! The systems' tables as this server holds them.

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

/// The system is switched off here.
pub(super) fn disabled(system: &str) -> Problem {
    let detail = format!("{system} is disabled on this node (systems.{system}.enabled); ask a node on which it runs, or enable it on all of them");
    Problem::new(Kind::SYSTEM_DISABLED, detail).with("system", system)
}
