//! The tests of the system that need nothing but its public interface, in one binary.
//!
//! * `contract` — the suite that every plug passes
//! * `rules` — the business rules, on a node in memory
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contract;
mod rules;
