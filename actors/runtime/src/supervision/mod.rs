//! Supervision: what actix's own supervisor lacks. A panic or an owner's end is a failure; failures are answered with backoff and
//! jitter, too many in a window with `degraded` and a circuit that opens for a probe; a hung thread is abandoned and replaced.
//!
//! * [`machine`] — the rules for one system, without I/O
//! * [`actor`] — one system on a thread of its own
//! * [`root`] — starts, watches and restarts all of them
//! * `command`, `shared` — what a running system is asked, and what is seen of it without asking
//! * `handle` — what the rest of the node may ask of the root
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
