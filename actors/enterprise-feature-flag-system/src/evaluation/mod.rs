//! Evaluation of flags: compiled once, then evaluated against a borrowed context without I/O and without allocation.
//!
//! * [`unleash`] — Unleash's features, strategies, constraints, segments, variants and dependencies
//! * [`value`] — JSON as JavaScript sees it, which GrowthBook's and flagd's semantics need
//! * [`random`] — randomness that the caller seeds

pub mod random;
pub mod unleash;
pub mod value;
