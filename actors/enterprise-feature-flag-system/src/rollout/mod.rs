//! A guarded rollout as a pure state machine: a fold of its own events, and a decision from the fold and the time.
//!
//! * [`Plan`] — steps of a ramp, guard metrics
//! * [`Rollout::evolve`] — folds [`Event`]s: counts as they were observed, and what was decided
//! * [`Rollout::decide`] — advance, hold, roll back or complete; from folded sums alone, so a replay decides alike
//!
//! The share of treated only grows, but by a rollback. Nothing advances without data in every arm and metric of the current step, nor while the
//! split between the arms is not as planned. A rollback is final.

mod guard;
mod observation;
mod plan;
mod state;

pub use guard::Evidence;
pub use observation::{Counts, Metric, Observation};
pub use plan::{Direction, Guard, Kind, Plan, Step, WHOLE};
pub(crate) use plan::{a_day, is_a_day, window_problem};
pub use state::{Decision, Event, HoldReason, Phase, Rollout};

/// Why an event cannot be folded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The plan cannot be carried out.
    #[error("the rollout's plan cannot be carried out: {0}")]
    Plan(String),
    /// Counts that cannot be.
    #[error("the observation of {what} is refused: {why}; send counts cumulated since the rollout began, of subjects whose outcome is known")]
    Observation {
        /// Which count.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// An event out of its place.
    #[error("a rollout that is {phase:?} at step {step} cannot take this event: {why}")]
    Order {
        /// Where the rollout is.
        phase: Phase,
        /// Its step.
        step: usize,
        /// What is wrong with the event.
        why: &'static str,
    },
    /// A number the statistics refuse.
    #[error(transparent)]
    Statistics(#[from] crate::statistics::Error),
}
