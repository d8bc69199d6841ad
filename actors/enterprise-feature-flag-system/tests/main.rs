//! The tests of the flag system that need nothing but its public interface, in one binary.
//!
//! * `system` — the rules, event by event; `rollout` — what a guarded rollout may never do; `counts` — decisions from SDKs' reports
//! * `contract` — the suite that every plug passes; `interface` — routes and protocols on a node in memory
//! * `attribution` — facts about customers and services that reach the flags they concern
//! * `reference_values`, `statistics_table` — the statistics against other implementations and against exact bounds
//!
//! `allocation.rs` is a binary of its own: it replaces the allocator of its process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attribution;
mod contract;
mod counts;
mod interface;
mod play;
mod reference_values;
mod rollout;
mod statistics_table;
mod system;
