//! What SDKs and analytics count about a flag, and what the flag system makes of it for experiments.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Object;
use crate::domain::{FieldError, domain_event, filled, filled_if_present};
use crate::time::EventTime;

/// Entries of one kind in one report; a report is one event, and events are bounded.
const MOST: usize = 1_000;

/// `flags.counts_reported.v1`: what one sender counted about a flag since its last report. Reports are added up, so their order does not matter;
/// each must come under an id of its own, and under the same one when it is sent again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CountsReported<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Where it was evaluated; if absent, in whichever environment a rollout or experiment runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Cow<'a, str>>,
    /// Who counted: an SDK with its application, a pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporter: Option<Cow<'a, str>>,
    /// What is counted as one.
    #[serde(default)]
    pub unit: Unit,
    /// How many were exposed, by arm: `enabled`, `disabled`.
    #[serde(default)]
    pub exposures: Vec<ArmCount>,
    /// How many were served each variant.
    #[serde(default)]
    pub variants: Vec<ArmCount>,
    /// Metrics this sender measures, also those of which nothing happened: zero errors are data, an unknown number is not.
    #[serde(default)]
    pub measuring: Vec<String>,
    /// What happened in the arms.
    #[serde(default)]
    pub measures: Vec<ArmMeasure>,
}

/// What is counted as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Each evaluation, as SDKs count: a person may be counted often.
    #[default]
    Evaluations,
    /// Each person once.
    Subjects,
}

/// A count in an arm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArmCount {
    /// `enabled`, `disabled`, or a variant.
    pub arm: String,
    /// How many.
    pub count: u64,
}

/// A metric in an arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ArmMeasure {
    /// `enabled`, `disabled`, or a variant.
    pub arm: String,
    /// The metric.
    pub metric: String,
    /// Of this part of the subjects only, e.g. `country=DE`; such a measure is not part of the whole's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// `kind` (`counter`, `gauge`, `histogram`, `proportion`, `mean`, `ratio`, `adjusted`) and its sums.
    pub measure: Object,
}

domain_event!(CountsReported, "flags.counts_reported.v1", "flag" / key, |this| {
    filled_if_present("environment", this.environment.as_deref())?;
    filled_if_present("reporter", this.reporter.as_deref())?;
    for (field, entries) in [("exposures", &this.exposures), ("variants", &this.variants)] {
        bounded(field, entries.len())?;
        entries.iter().try_for_each(|entry| filled(field, &entry.arm))?;
    }
    bounded("measures", this.measures.len())?;
    bounded("measuring", this.measuring.len())?;
    for measure in &this.measures {
        filled("measures", &measure.arm)?;
        filled("measures", &measure.metric)?;
        filled_if_present("measures", measure.segment.as_deref())?;
    }
});

fn bounded(field: &str, entries: usize) -> Result<(), FieldError> {
    if entries > MOST {
        return Err(FieldError::new(field, format!("has {entries} entries; send at most {MOST} in a report")));
    }
    Ok(())
}

/// `flags.experiment_observed.v1`: what an experiment has counted so far; its results follow from this alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExperimentObserved<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The experiment.
    #[serde(borrow)]
    pub experiment_id: Cow<'a, str>,
    /// Cumulated since it began.
    pub counted: Object,
    /// Subjects that each variation was meant to get since then, in the order of the experiment, where a bandit changed the weights meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<f64>,
}

domain_event!(ExperimentObserved, "flags.experiment_observed.v1", "flag" / key, |this| {
    filled("experiment_id", &this.experiment_id)?;
});

/// `flags.bandit_allocated.v1`: the probability with which each variation is served from now on, so that outcomes can be weighted by it later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BanditAllocated<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The experiment.
    #[serde(borrow)]
    pub experiment_id: Cow<'a, str>,
    /// Of each variation, as served: they add up to 1.
    pub propensities: Vec<Propensity>,
    /// From when on.
    pub from: EventTime,
    /// The definition's number that serves them; none if the experiment names no rule, and its caller allocates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// When it is reckoned again.
    pub again_at: EventTime,
}

/// The probability of a variation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Propensity {
    /// The variation.
    pub variation: String,
    /// Its probability, above 0 where the policy explores.
    pub probability: f64,
    /// Subjects with a known outcome it rests on.
    pub subjects: u64,
    /// Those with the wanted outcome.
    pub successes: u64,
}

domain_event!(BanditAllocated, "flags.bandit_allocated.v1", "flag" / key, |this| {
    filled("experiment_id", &this.experiment_id)?;
    if this.propensities.is_empty() {
        return Err(FieldError::new("propensities", "is empty; each variation has one"));
    }
});

/// `flags.deployment_observed.v1`: something happened to a service that a flag's people meet, so that its metrics may move without the flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentObserved<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// Where; everywhere if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Cow<'a, str>>,
    /// The deployment or incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<Cow<'a, str>>,
    /// What happened.
    pub what: DeploymentEvent,
}

/// What happened to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentEvent {
    /// A version is on its way.
    Started,
    /// It serves.
    Succeeded,
    /// It does not.
    Failed,
    /// It was taken back.
    RolledBack,
    /// Something is wrong with the service.
    IncidentOpened,
    /// It is well again.
    IncidentResolved,
}

domain_event!(DeploymentObserved, "flags.deployment_observed.v1", "flag" / key, |this| {
    filled("service", &this.service)?;
    filled_if_present("environment", this.environment.as_deref())?;
    filled_if_present("deployment_id", this.deployment_id.as_deref())?;
});

/// `flags.deployment_noted.v1`: how a service stands, as far as a running rollout has to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentNoted<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The rollout.
    #[serde(borrow)]
    pub rollout_id: Cow<'a, str>,
    /// The service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// Why the rollout waits for it; nothing if it need not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Cow<'a, str>>,
}

domain_event!(DeploymentNoted, "flags.deployment_noted.v1", "flag" / key, |this| {
    filled("rollout_id", &this.rollout_id)?;
    filled("service", &this.service)?;
});
