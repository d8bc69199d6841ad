//! How a node stands: who owns what, what may act, whether it is well.

use std::any::Any;

use serde::Serialize;
use utoipa::ToSchema;

/// Who decides about a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This node.
    Here,
    /// The node at this URL.
    There(String),
    /// Nobody at the moment: the partition moves.
    Moving,
}

/// Permission to act. While it is held, an emergency stop waits for what is under way.
pub struct Permit(#[allow(dead_code)] Box<dyn Any + Send>);

impl Permit {
    /// Keeps `held` until it is dropped.
    pub fn holding(held: impl Any + Send) -> Self {
        Self(Box::new(held))
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Permit")
    }
}

/// Whether what is served from memory is what the log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Why it may not be; `None` if all is well.
    pub degraded: Option<String>,
}

/// One thing that must be well for a node to be ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    /// What.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// In a sentence.
    pub detail: String,
}
