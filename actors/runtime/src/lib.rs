//! The runtime: the protocol E1 to E11 as state machines without I/O, and the shells that run them.
//!
//! * [`writer`] — the one writer of a partition: claims, numbering, what an acknowledgement means
//! * [`owner`] — one partition of one system
//! * [`admission`] — the one door for facts
//! * [`background`] — which threads yield to which
//! * [`clock`] — ticks that drive timers
//! * [`control`] — stops and releases, pauses and resumptions, from and to every node, and the gate that follows them
//! * [`effects`] — the only way out
//! * [`metric_definitions`] — the names of metrics
//! * [`driver`] — runs an owner against a log
//! * [`simulation`] — a whole cluster under a seed, with everything going wrong
//! * [`shared_inputs`] — the inputs that every owner of a system reads, read once
//! * [`supervision`] — systems as actors, restarted, degraded, replaced
//! * [`store`] — the [`Store`](store::Store) trait and its in-memory twin

pub mod admission;
pub mod background;
pub mod clock;
pub mod control;
pub mod driver;
pub mod effects;
pub mod metric_definitions;
pub mod owner;
pub mod shared_inputs;
pub mod simulation;
pub mod store;
pub mod supervision;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod test_log;
pub mod writer;
