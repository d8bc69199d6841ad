//! The tests of the system that need nothing but its public interface, in one binary.
//!
//! * `contract` — the suite that every plug passes
//! * `graph` — properties of graphs: order, limits, undoing
//! * `world` — subjects that talk to each other, with messages in any order
//! * `matching` — records of the same person, found without an id
//! * `people` — calls, profiles, audiences and erasures, on a node in memory
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contract;
mod graph;
mod matching;
mod people;
mod world;
