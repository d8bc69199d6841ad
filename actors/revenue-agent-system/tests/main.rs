//! The tests of the revenue agent that need nothing but its public interface, in one binary.
//!
//! * `rules` — histories made by hand, ChartMogul's published one, the contract suite
//! * `properties` — random histories
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod properties;
mod rules;
