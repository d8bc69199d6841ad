//! The runtime: the protocol E1 to E11 as state machines without I/O, and the shells that run them.
//!
//! * [`writer`] — the one writer of a partition: claims, numbering, what an acknowledgement means
//! * [`owner`] — one partition of one system
//! * [`driver`] — runs an owner against a log
//! * [`store`] — the [`Store`](store::Store) trait and its in-memory twin

pub mod driver;
pub mod owner;
pub mod store;
pub mod writer;
