//! The tests of the revenue agent that need nothing but its public interface, in one binary.
//!
//! * `contract` — the suite that every plug passes
//! * `life` — one customer, decided and folded
//! * `rules` — histories made by hand in order of time, ChartMogul's published one
//! * `order` — facts that come late, twice, from the future, or cannot be
//! * `properties` — every permutation of small histories
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;
mod life;
mod order;
mod properties;
mod rules;
