//! The logs, each against the conformance suite and its own faults.
//!
//! * `embedded`, `memory`, `rdkafka` (with a real broker)
//! * `migrate` — an embedded log moved to another
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod broker;
mod embedded;
mod memory;
mod migrate;
mod rdkafka;
