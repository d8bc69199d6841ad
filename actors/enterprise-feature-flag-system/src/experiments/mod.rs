//! Experiments: what is asked, what was counted, and what follows from it.
//!
//! * [`Spec`] — variations, metrics and how sure one wants to be; `details` of `flags.experiment_requested.v1`
//! * [`results()`] — frequentist, sequential and Bayesian results from the counts alone
//! * [`allocation`] — what a bandit serves next, with its propensities

pub mod allocation;
mod results;
mod spec;

pub use results::{Decided, MetricResult, Results, VariationResult, results, sample_ratio, subjects};
pub use spec::{Bandit, Goal, MetricSpec, Spec, Variation};
