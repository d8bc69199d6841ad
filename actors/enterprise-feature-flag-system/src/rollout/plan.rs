//! What a guarded rollout was asked to do.

use serde::{Deserialize, Serialize};

use tol_events::flags::LONGEST_WINDOW_MILLIS;

use super::Error;
use crate::counts::Arms;
use crate::statistics::harm::SmallestHarm;

/// Shares are counted in ten-thousandths of the flag's population, so that they compare exactly.
pub const WHOLE: u32 = 10_000;

/// Steps of a ramp, and what is watched meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Growing shares of treated.
    pub steps: Vec<Step>,
    /// What may not get worse; none is allowed, the ramp then goes by time and subjects alone.
    pub guards: Vec<Guard>,
    /// Bound on the probability that a harmless treatment is rolled back by any guard at any look; shared equally among the guards.
    #[serde(default = "default_alpha")]
    pub alpha: f64,
    /// p-value below which the split between the arms is taken for broken.
    #[serde(default = "default_split_threshold")]
    pub split_threshold: f64,
    /// Variants that are compared, as reports name them. Without it those the rule reaches are compared with all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arms: Option<Arms>,
    /// Of metrics made of facts about customers (`billing.…`, `usage.…`): for how long after an exposure they count, milliseconds; a day by default.
    #[serde(default = "a_day", skip_serializing_if = "is_a_day")]
    pub outcome_window_millis: u64,
}

pub(crate) fn a_day() -> u64 {
    86_400_000
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
pub(crate) fn is_a_day(millis: &u64) -> bool {
    *millis == a_day()
}

/// What is wrong with a time in which outcomes count.
pub(crate) fn window_problem(millis: u64) -> Option<String> {
    let fits = (1_000..=LONGEST_WINDOW_MILLIS).contains(&millis);
    (!fits).then(|| format!("outcome_window_millis is {millis}; it must be 1000 to {LONGEST_WINDOW_MILLIS}"))
}

fn default_alpha() -> f64 {
    crate::statistics::harm::Design::default().alpha
}

fn default_split_threshold() -> f64 {
    0.001
}

/// One step of the ramp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Treated, in ten-thousandths of the population.
    pub treatment: u32,
    /// Compared with, in ten-thousandths; with `treatment` at most the whole.
    pub control: u32,
    /// The step lasts at least this long.
    pub minimum_millis: u64,
    /// And until each arm has seen at least this many subjects in it, at least 1.
    pub minimum_subjects: u64,
}

impl Step {
    /// Share of treated among those in either arm.
    pub fn treated_share(&self) -> f64 {
        f64::from(self.treatment) / f64::from(self.treatment + self.control)
    }
}

/// A metric that may not get worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// As it is called in observations.
    pub metric: String,
    /// Which change is harm.
    pub harm: Direction,
    /// How it is measured, and what is tolerated.
    #[serde(flatten)]
    pub kind: Kind,
    /// Of a histogram, a bound of it: observations above it are the events (a share of slow requests, say).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
}

/// Which change of a metric is harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Errors, latency.
    Increase,
    /// Conversions, revenue.
    Decrease,
}

/// How a metric is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// Yes or no for each subject; tested exactly.
    Proportion {
        /// Odds ratio of the harmful outcome up to which nothing is said, at least 1.
        #[serde(default = "one")]
        tolerated_odds_ratio: f64,
        /// Difference of rates worth a rollback.
        #[serde(default)]
        smallest_harm: SmallestHarm,
    },
    /// How often it happens to each subject, any number of times; tested exactly for happenings that are independent.
    Rate {
        /// Ratio of rates up to which nothing is said, at least 1.
        #[serde(default = "one")]
        tolerated_ratio: f64,
        /// Difference of rates worth a rollback.
        #[serde(default)]
        smallest_harm: SmallestHarm,
    },
    /// A number for each subject; tested asymptotically.
    Mean {
        /// Absolute difference up to which nothing is said.
        #[serde(default)]
        tolerated: f64,
        /// Absolute difference worth a rollback, above 0.
        smallest_harm: f64,
    },
}

fn one() -> f64 {
    1.0
}

impl Plan {
    /// Whether the plan can be carried out at all.
    ///
    /// # Errors
    /// [`Error::Plan`] says what is wrong with it.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Plan(what));
        if self.steps.is_empty() {
            return wrong("it has no steps".into());
        }
        for (index, step) in self.steps.iter().enumerate() {
            // u64: two shares of u32 could overflow.
            if step.treatment == 0 || step.control == 0 || u64::from(step.treatment) + u64::from(step.control) > u64::from(WHOLE) {
                return wrong(format!(
                    "step {index} treats {} and compares with {} of {WHOLE}; both must be above 0, together at most {WHOLE}",
                    step.treatment, step.control
                ));
            }
            if step.minimum_subjects == 0 {
                return wrong(format!("step {index} asks for no subjects; a rollout never advances without data"));
            }
            if index > 0 && step.treatment <= self.steps[index - 1].treatment {
                return wrong(format!("step {index} does not treat more than the one before"));
            }
        }
        for (index, guard) in self.guards.iter().enumerate() {
            if self.guards[..index].iter().any(|other| other.metric == guard.metric) {
                return wrong(format!("metric {} is guarded twice", guard.metric));
            }
            if guard.above.is_some() && matches!(guard.kind, Kind::Mean { .. }) {
                return wrong(format!("metric {} is a mean; `above` makes a proportion of a histogram", guard.metric));
            }
        }
        if !(self.split_threshold > 0.0 && self.split_threshold < 1.0) {
            return wrong(format!("split_threshold is {}, expected between 0 and 1", self.split_threshold));
        }
        if let Some(problem) = window_problem(self.outcome_window_millis) {
            return wrong(problem);
        }
        if let Some(arms) = &self.arms
            && (arms.treatment.is_empty() || arms.control.is_empty() || arms.treatment.iter().any(|arm| arms.control.contains(arm)))
        {
            return wrong("arms must name at least one variant on each side, and none on both".into());
        }
        Ok(())
    }

    /// Each guard's part of the error.
    pub fn alpha_of_a_guard(&self) -> f64 {
        self.alpha / self.guards.len().max(1) as f64
    }
}
