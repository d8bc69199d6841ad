//! The tests of the revenue agent that need nothing but its public interface, in one binary.
//!
//! * `contract` — the suite that every plug passes
//! * `rules` — histories made by hand, ChartMogul's published one
//! * `properties` — random histories
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;
mod properties;
mod rules;
