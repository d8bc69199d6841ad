//! The runtime: the protocol E1 to E11 as state machines without I/O, and the shells that run them.
//!
//! * [`writer`] — the one writer of a partition: claims, numbering, what an acknowledgement means
//! * [`owner`] — one partition of one system
//! * [`admission`] — the one door for facts
//! * [`driver`] — runs an owner against a log
//! * [`stop`] — the emergency stop
//! * [`supervision`] — systems as actors, restarted, degraded, replaced
//! * [`store`] — the [`Store`](store::Store) trait and its in-memory twin

pub mod admission;
pub mod driver;
pub mod owner;
pub mod stop;
pub mod store;
pub mod supervision;
pub mod writer;
