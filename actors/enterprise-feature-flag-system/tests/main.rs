//! The tests of the flag system that need nothing but its public interface, in one binary.
//!
//! * `system` — the rules, event by event; `rollout` — what a guarded rollout may never do; `counts` — decisions from SDKs' reports
//! * `attribution` — facts about customers and services that reach the flags they concern
//! * `reference_values`, `statistics_table` — the statistics against other implementations and against exact bounds
//!
//! `allocation.rs` is a binary of its own: it replaces the allocator of its process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attribution;
mod counts;
mod play;
mod reference_values;
mod rollout;
mod statistics_table;
mod system;
