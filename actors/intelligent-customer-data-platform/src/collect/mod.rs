//! Calls of SDKs as facts, whatever the protocol they came by.
//!
//! * `hashing` — identifiers as keyed hashes
//! * `facts` — one call as facts
//! * `admit` — many calls into the log

mod admit;
mod facts;
mod hashing;

use serde_json::{Map, Value};
use tol_events::EventTime;

pub(crate) use admit::{Taken, admit};
pub(crate) use facts::normal;
pub(crate) use hashing::Hasher;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    Identify,
    Track,
    Page,
    Screen,
    Group,
    Alias,
}

/// One call, as every protocol means it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) kind: CallKind,
    /// The sender's id of the call: a repeat is the same call.
    pub(crate) message_id: String,
    pub(crate) time: EventTime,
    /// Types and values of identifiers, as sent.
    pub(crate) identifiers: Vec<(String, String)>,
    /// The other names that an alias call gives: types and values.
    pub(crate) aliases: Vec<(String, String)>,
    /// The name of an event, page or screen.
    pub(crate) name: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) traits: Map<String, Value>,
    pub(crate) properties: Map<String, Value>,
    pub(crate) context: Map<String, Value>,
}

impl Call {
    pub(crate) fn new(kind: CallKind, message_id: String, time: EventTime) -> Self {
        Self {
            kind,
            message_id,
            time,
            identifiers: Vec::new(),
            aliases: Vec::new(),
            name: None,
            group: None,
            traits: Map::new(),
            properties: Map::new(),
            context: Map::new(),
        }
    }
}

/// Why a call is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0} is needed")]
    Missing(&'static str),
    #[error("{field} is {problem}")]
    Field { field: &'static str, problem: String },
    #[error("the call names nobody: each of its ids says nothing, such as null")]
    Nobody,
}
