//! Statistics of rollouts and experiments: pure functions of counts and sums. No I/O, no clock, no randomness but what is passed in.
//!
//! | module | question it answers |
//! |---|---|
//! | [`harm`] | has the treatment done harm? the exact sequential test that rolls back (proven error at every look) |
//! | [`betting`] | the same as an e-process (Ville's inequality), and the confidence sequence that people are shown |
//! | [`drift`] | harm in a mean (revenue, seconds), asymptotically |
//! | [`frequentist`] | two-sided t and GrowthBook's sequential intervals, by the delta method |
//! | [`bayesian`] | chance to win, expected loss, credible interval |
//! | [`summary`] | the sufficient statistics all of these read: proportion, mean, ratio, regression adjusted (CUPED) |
//! | [`sample_ratio`] | did the arms get the traffic they were meant to get? |
//! | [`correction`] | several metrics at once: Holm–Bonferroni, Benjamini–Hochberg |
//! | [`segments`] | effects by segment, exploratory by construction |
//! | [`bandit`] | Thompson and epsilon-greedy allocation with exact propensities |
//! | [`power`] | subjects needed, days needed |
//! | [`functions`] | the special functions beneath, on `libm` only, so that every machine decides alike |

pub mod bandit;
pub mod bayesian;
pub mod betting;
pub mod correction;
pub mod drift;
mod fisher;
pub mod frequentist;
pub mod functions;
pub mod harm;
mod packed;
pub mod power;
pub mod sample_ratio;
pub mod segments;
pub mod summary;

/// What is wrong with the numbers a statistic was asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// More successes than subjects, or counts that went back.
    #[error("{what}: {successes} events among {subjects} subjects; count a subject when its outcome is known, and never take one back")]
    Counts {
        /// which arm or segment
        what: &'static str,
        /// events counted
        successes: u64,
        /// subjects counted
        subjects: u64,
    },
    /// A number outside the range for which the statistic is defined.
    #[error("{what} is {value}, expected {expected}")]
    Range {
        /// which number
        what: &'static str,
        /// what it was
        value: f64,
        /// what it may be
        expected: &'static str,
    },
    /// Two lists that belong together differ in length.
    #[error("{what}: {left} and {right} entries, expected as many")]
    Lengths {
        /// which lists
        what: &'static str,
        /// length of the first
        left: usize,
        /// length of the second
        right: usize,
    },
    /// A proportion beside a mean: the arms must be measured alike.
    #[error("the two arms' statistics are of different kinds; measure both as proportions or both as means")]
    Kinds,
}
