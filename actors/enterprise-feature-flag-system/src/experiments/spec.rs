//! What an experiment asks.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tol_events::flags::Object;

use crate::rollout::{a_day, is_a_day, window_problem};
use crate::statistics::bandit::Policy;
use crate::statistics::bayesian::Prior;
use crate::statistics::correction::Correction;
use crate::statistics::frequentist::Difference;

/// An experiment as it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// At least two; the first is the one that the others are compared with.
    pub variations: Vec<Variation>,
    /// What is compared; the one that is `primary` decides, the first if none is.
    #[serde(default)]
    pub metrics: Vec<MetricSpec>,
    /// Where it runs; everywhere if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The rule whose variants a bandit weighs, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// Probability of a false finding, over all metrics and variations.
    #[serde(default = "five_percent")]
    pub alpha: f64,
    /// What effects are measured in.
    #[serde(default = "relative")]
    pub difference: Difference,
    /// How several metrics are corrected for.
    #[serde(default = "holm")]
    pub correction: Correction,
    /// Subjects at which the sequential intervals are narrowest.
    #[serde(default = "tuning")]
    pub tuning_subjects: f64,
    /// What is believed beforehand; nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<Prior>,
    /// p-value below which the split is taken for broken.
    #[serde(default = "a_thousandth")]
    pub split_threshold: f64,
    /// Subjects a variation before anything is decided, and a segment before it is shown.
    #[serde(default = "hundred")]
    pub minimum_subjects: u64,
    /// Allocation by what was learnt; the weights stay as they are if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandit: Option<Bandit>,
    /// Of metrics made of facts about customers (`billing.…`, `usage.…`): for how long after an exposure they count, milliseconds; a day by default.
    #[serde(default = "a_day", skip_serializing_if = "is_a_day")]
    pub outcome_window_millis: u64,
}

/// A variation, as reports name it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenVariation")]
pub struct Variation {
    /// Its name: a variant of the flag, or `enabled` and `disabled`.
    pub name: String,
    /// Its weight, relative to the others.
    pub weight: f64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenVariation {
    Name(String),
    Weighed {
        name: String,
        #[serde(default = "one")]
        weight: f64,
    },
}

impl From<WrittenVariation> for Variation {
    fn from(written: WrittenVariation) -> Self {
        match written {
            WrittenVariation::Name(name) => Self { name, weight: 1.0 },
            WrittenVariation::Weighed { name, weight } => Self { name, weight },
        }
    }
}

/// A metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenMetric")]
pub struct MetricSpec {
    /// As reports name it.
    pub name: String,
    /// What is better.
    pub goal: Goal,
    /// Whether it decides.
    pub primary: bool,
    /// Of a histogram, a bound of it: the share above it is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenMetric {
    Name(String),
    Full {
        name: String,
        #[serde(default)]
        goal: Goal,
        #[serde(default)]
        primary: bool,
        #[serde(default)]
        above: Option<f64>,
    },
}

impl From<WrittenMetric> for MetricSpec {
    fn from(written: WrittenMetric) -> Self {
        match written {
            WrittenMetric::Name(name) => Self { name, goal: Goal::Increase, primary: false, above: None },
            WrittenMetric::Full { name, goal, primary, above } => Self { name, goal, primary, above },
        }
    }
}

/// What is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// More.
    #[default]
    Increase,
    /// Less.
    Decrease,
}

/// How a bandit allocates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bandit {
    /// `thompson` with a `floor`, or `epsilon_greedy` with its `epsilon`.
    #[serde(flatten)]
    pub policy: Policy,
    /// How often it is reckoned anew, in milliseconds.
    #[serde(default = "daily")]
    pub every_millis: u64,
}

fn five_percent() -> f64 {
    0.05
}
fn relative() -> Difference {
    Difference::Relative
}
fn holm() -> Correction {
    Correction::HolmBonferroni
}
fn tuning() -> f64 {
    5_000.0
}
fn a_thousandth() -> f64 {
    0.001
}
fn hundred() -> u64 {
    100
}
fn daily() -> u64 {
    86_400_000
}
fn one() -> f64 {
    1.0
}

impl Spec {
    /// What `details` ask. Without variations there is nothing to count, and the experiment is what its author says of it.
    ///
    /// # Errors
    /// What cannot be read of it.
    pub fn of(details: &Object) -> Result<Option<Self>, serde_json::Error> {
        if !details.contains_key("variations") {
            return Ok(None);
        }
        serde_json::from_value(Value::Object(details.clone())).map(Some)
    }

    /// What speaks against it: one sentence a problem.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut names: Vec<&str> = self.variations.iter().map(|variation| variation.name.as_str()).collect();
        names.sort_unstable();
        if names.len() < 2 || names.len() > 20 || names.windows(2).any(|pair| pair[0] == pair[1]) || names.contains(&"") {
            found.push("variations must be 2 to 20, each with a name of its own; the first is compared with".to_owned());
        }
        if self.variations.iter().any(|variation| !(variation.weight > 0.0 && variation.weight.is_finite())) {
            found.push("a variation's weight must be above 0".to_owned());
        }
        let mut metrics: Vec<&str> = self.metrics.iter().map(|metric| metric.name.as_str()).collect();
        metrics.sort_unstable();
        if metrics.len() > 50 || metrics.windows(2).any(|pair| pair[0] == pair[1]) || metrics.contains(&"") {
            found.push("metrics must be at most 50, each named once".to_owned());
        }
        if self.metrics.iter().filter(|metric| metric.primary).count() > 1 {
            found.push("one metric decides; more than one is primary".to_owned());
        }
        for (what, value) in [("alpha", self.alpha), ("split_threshold", self.split_threshold)] {
            if !(value > 0.0 && value < 1.0) {
                found.push(format!("{what} is {value}; it must be between 0 and 1"));
            }
        }
        if !(self.tuning_subjects >= 1.0 && self.tuning_subjects.is_finite()) {
            found.push(format!("tuning_subjects is {}; it must be 1 or more", self.tuning_subjects));
        }
        if self.prior.is_some_and(|prior| !(prior.standard_deviation > 0.0 && prior.mean.is_finite())) {
            found.push("the prior's standard_deviation must be above 0".to_owned());
        }
        found.extend(window_problem(self.outcome_window_millis));
        if let Some(bandit) = &self.bandit {
            let (Policy::Thompson { floor: explored } | Policy::EpsilonGreedy { epsilon: explored }) = bandit.policy;
            if !(0.0..=1.0).contains(&explored) {
                found.push("a bandit's floor or epsilon must be between 0 and 1".to_owned());
            }
            if bandit.every_millis < 60_000 {
                found.push("a bandit is reckoned anew once a minute at most: every_millis must be 60000 or more".to_owned());
            }
            if self.metrics.is_empty() {
                found.push("a bandit needs a metric to learn from".to_owned());
            }
        }
        found
    }

    /// The metric that decides.
    pub fn primary(&self) -> Option<&MetricSpec> {
        self.metrics.iter().find(|metric| metric.primary).or(self.metrics.first())
    }
}
