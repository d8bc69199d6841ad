//! Feature flags: one definition for every SDK, rollouts that advance or roll themselves back, experiments with honest statistics.
//!
//! * [`definition`] — the one definition of a flag behind the three formats; import and export
//! * [`evaluation`] — compiled flags and their evaluation with Unleash's, GrowthBook's and flagd's semantics; no I/O, no allocation on the hot path
//! * [`rollout`] — the state machine of a guarded rollout: advance, hold or roll back from counts alone
//! * [`statistics`] — sequential and Bayesian tests, sample-ratio checks, variance reduction; pure functions of counts and sums

pub mod definition;
pub mod evaluation;
pub mod rollout;
pub mod statistics;
