//! The runtime: the protocol E1 to E11 as state machines without I/O, and the shells that run them.
//!
//! * [`writer`] — the one writer of a partition: claims, numbers records, interprets acknowledgements
//! * [`owner`] — one partition of one system
//! * [`admission`] — the one way of facts into the log
//! * [`background`] — lowers the priority of threads that may wait
//! * [`clock`] — ticks that drive timers
//! * [`control`] — stops and releases, pauses and resumptions, between all nodes, and the gate that enforces them
//! * [`effects`] — lanes in which effects run, the only way to the world outside
//! * [`metric_definitions`] — the names of metrics
//! * [`driver`] — runs an owner against a log
//! * [`simulation`] — a whole cluster under a seed, with faults of every kind
//! * [`shared_inputs`] — reads once what every owner of a system would read
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
