//! Which node owns a subject, what may act, and whether the node is well.

use std::any::Any;

use serde::Serialize;
use utoipa::ToSchema;

/// The node that decides about a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This node.
    Here,
    /// The node at this URL.
    There(String),
    /// No node at the moment: the partition moves.
    Moving,
}

/// Permits one act outside. While a permit is held, an emergency stop waits for it.
pub struct Permit(#[allow(dead_code)] Box<dyn Any + Send>);

impl Permit {
    /// Makes a permit that keeps `held` until it is dropped.
    pub fn holding(held: impl Any + Send) -> Self {
        Self(Box::new(held))
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

/// Tells whether what is served from memory is up to date with the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why it may be out of date; `None` where all is well.
    pub degraded: Option<String>,
}

/// One check of a node's readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    /// What.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// In a sentence.
    pub detail: String,
}
