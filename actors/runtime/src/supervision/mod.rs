//! Supervision, which actix's own supervisor lacks. A panic or an owner's end is a failure. A failed system restarts after a backoff with
//! jitter; after too many failures in a window it is `degraded`, and a circuit lets one probe through. A hung thread is abandoned and replaced.
//!
//! * [`machine`] — the rules for one system, without I/O
//! * [`actor`] — one system on a thread of its own
//! * [`root`] — starts, watches and restarts all systems
//! * `command` — requests to a running system; `shared` — what others read of it without a request
//! * `handle` — the root, as the rest of the node uses it
//! * `turn` — a turn of one system

pub mod actor;
mod command;
mod handle;
pub mod machine;
pub mod root;
mod shared;
mod turn;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod idle_tests;

pub use actor::{Command, SystemShared};
pub use machine::{Limits, Machine, State, Verdict};
pub use root::{Observation, Registered, Root, RootHandle, RootOptions};
