//! `flags.*`: what people and SDKs tell the flag system, and what it decides. Subject: `flag/{key}`; of what an environment's flags share,
//! `flag-set/{environment}`; of who met a flag, `customer/{customer_id}`; of what a flag's service went through, `service/{service}`.
//!
//! A definition, a plan and evidence are objects whose shape is the flag system's own (its folder says which); they are kept whole.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::{FieldError, domain_event, filled, filled_if_present};
use crate::registry::known_types;
use crate::time::EventTime;

mod attribution;
mod counts;
mod impact;
mod requests;

pub use attribution::{
    DeploymentAttributed, Exclusion, ExposureFollowed, ExposureForgotten, ExposureObserved, LONGEST_WINDOW_MILLIS, Outcome, OutcomeAttributed, OutcomeCounted,
    OutcomeNoted, ServiceFollowed, ServiceNamed,
};
pub use counts::{
    ArmCount, ArmMeasure, BanditAllocated, CountsReported, DeploymentEvent, DeploymentNoted, DeploymentObserved, ExperimentObserved, Propensity, Unit,
};
pub use impact::{MetricBucket, MetricKind, MetricReported};
pub use requests::{
    ChangeRequested, ExperimentAction, ExperimentRequested, KillRequested, MetricsObserved, RollbackRequested, RolloutRequested, SharedChangeRequested,
};

/// An object whose shape is the flag system's own.
pub type Object = Map<String, Value>;

/// `flags.flag_changed.v1`: a flag is so from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlagChanged<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The definition's number, from 1, counted up by every event that changes it.
    pub version: u64,
    /// The whole definition.
    pub definition: Object,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// When it is to be asked about, if it is not changed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_at: Option<EventTime>,
}

domain_event!(FlagChanged, "flags.flag_changed.v1", "flag" / key, |this| {
    numbered(this.version)?;
});

/// `flags.shared_changed.v1`: what an environment's flags of a format share is so from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SharedChanged<'a> {
    /// The environment.
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// Counted up by every change in this environment, from 1.
    pub version: u64,
    /// `unleash`, `growthbook` or `flagd`.
    #[serde(borrow)]
    pub format: Cow<'a, str>,
    /// All of it.
    pub shared: Object,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

domain_event!(SharedChanged, "flags.shared_changed.v1", "flag-set" / environment, |this| {
    format(&this.format)?;
    numbered(this.version)?;
});

/// `flags.flag_killed.v1`: a flag is off at once, whatever its rules say, until a change releases it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlagKilled<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The definition's number.
    pub version: u64,
    /// The whole definition.
    pub definition: Object,
    /// Where it is off.
    pub environments: Vec<String>,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

domain_event!(FlagKilled, "flags.flag_killed.v1", "flag" / key, |this| {
    numbered(this.version)?;
});

/// `flags.rollout_observed.v1`: counts of a rollout as they were taken in; what is decided of it follows from these alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutObserved<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The rollout.
    #[serde(borrow)]
    pub rollout_id: Cow<'a, str>,
    /// Cumulated since it began.
    pub observation: Object,
    /// The reports behind it, added up, where it was told by reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Object>,
}

domain_event!(RolloutObserved, "flags.rollout_observed.v1", "flag" / key, |this| {
    filled("rollout_id", &this.rollout_id)?;
});

/// `flags.rollout_advanced.v1`: a rollout began, went a step further, or is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutAdvanced<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The rollout.
    #[serde(borrow)]
    pub rollout_id: Cow<'a, str>,
    /// Where.
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// Which rule, counted from 0.
    pub rule: u32,
    /// The step that begins, counted from 0; when it is done, the number of steps.
    pub step: u32,
    /// How many have it now, in ten-thousandths.
    pub treatment: u32,
    /// When the step begins.
    pub began_at: EventTime,
    /// Whether everybody has it, and the rollout is over.
    pub completed: bool,
    /// The plan, when it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Object>,
    /// The definition's number.
    pub version: u64,
    /// The whole definition.
    pub definition: Object,
    /// Who; the flag system itself after the first step.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

domain_event!(RolloutAdvanced, "flags.rollout_advanced.v1", "flag" / key, |this| {
    filled("rollout_id", &this.rollout_id)?;
    filled("environment", &this.environment)?;
    numbered(this.version)?;
});

/// `flags.rollout_held.v1`: a rollout that might have gone further waits, for another reason than before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutHeld<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The rollout.
    #[serde(borrow)]
    pub rollout_id: Cow<'a, str>,
    /// The step it stands at.
    pub step: u32,
    /// Why, with the numbers.
    pub reason: Object,
    /// When it is looked at again at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_at: Option<EventTime>,
}

domain_event!(RolloutHeld, "flags.rollout_held.v1", "flag" / key, |this| {
    filled("rollout_id", &this.rollout_id)?;
});

/// `flags.rollout_rolled_back.v1`: nobody has it any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutRolledBack<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The rollout.
    #[serde(borrow)]
    pub rollout_id: Cow<'a, str>,
    /// Where.
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// The numbers that showed harm; none if a person wanted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Object>,
    /// The definition's number.
    pub version: u64,
    /// The whole definition.
    pub definition: Object,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

domain_event!(RolloutRolledBack, "flags.rollout_rolled_back.v1", "flag" / key, |this| {
    filled("rollout_id", &this.rollout_id)?;
    numbered(this.version)?;
});

/// `flags.sample_ratio_mismatch_detected.v1`: the arms did not get the traffic they were meant to get, so nothing can be said about them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SampleRatioMismatchDetected<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The rollout it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_id: Option<Cow<'a, str>>,
    /// Or the experiment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment_id: Option<Cow<'a, str>>,
    /// How likely such a split is if all is well.
    pub p_value: f64,
}

domain_event!(SampleRatioMismatchDetected, "flags.sample_ratio_mismatch_detected.v1", "flag" / key, |this| {
    filled_if_present("rollout_id", this.rollout_id.as_deref())?;
    filled_if_present("experiment_id", this.experiment_id.as_deref())?;
    if this.rollout_id.is_none() && this.experiment_id.is_none() {
        return Err(FieldError::new("rollout_id", "is missing; it must name the rollout, or experiment_id the experiment"));
    }
});

/// `flags.experiment_started.v1`: an experiment runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExperimentStarted<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The experiment.
    #[serde(borrow)]
    pub experiment_id: Cow<'a, str>,
    /// What is asked.
    #[serde(borrow)]
    pub statement: Cow<'a, str>,
    /// Variations with their weights, and metrics.
    pub details: Object,
    /// The definition's number it runs on.
    pub version: u64,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

domain_event!(ExperimentStarted, "flags.experiment_started.v1", "flag" / key, |this| {
    filled("experiment_id", &this.experiment_id)?;
});

/// `flags.experiment_concluded.v1`: an experiment is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExperimentConcluded<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The experiment.
    #[serde(borrow)]
    pub experiment_id: Cow<'a, str>,
    /// What was learned.
    #[serde(borrow)]
    pub statement: Cow<'a, str>,
    /// The results.
    pub details: Object,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

domain_event!(ExperimentConcluded, "flags.experiment_concluded.v1", "flag" / key, |this| {
    filled("experiment_id", &this.experiment_id)?;
});

/// `flags.flag_stale.v1`: a flag has outlived its purpose and nobody has changed it since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlagStale<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The definition's number that is stale.
    pub version: u64,
    /// Since when.
    pub since: EventTime,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Cow<'a, str>>,
}

domain_event!(FlagStale, "flags.flag_stale.v1", "flag" / key, |this| {
    numbered(this.version)?;
});

/// `flags.request_refused.v1`: a request broke a rule and changed nothing. Later requests about the flag, a kill above all, do not wait behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestRefused<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The request's type.
    #[serde(borrow)]
    pub request: Cow<'a, str>,
    /// The request's id.
    #[serde(borrow)]
    pub request_id: Cow<'a, str>,
    /// What is wrong with it, and what would be right.
    #[serde(borrow)]
    pub problem: Cow<'a, str>,
}

domain_event!(RequestRefused, "flags.request_refused.v1", "flag" / key, |this| {
    filled("request", &this.request)?;
    filled("problem", &this.problem)?;
});

fn format(name: &str) -> Result<(), FieldError> {
    if matches!(name, "unleash" | "growthbook" | "flagd") {
        return Ok(());
    }
    Err(FieldError::new("format", format!("is \"{name}\"; it must be unleash, growthbook or flagd")))
}

fn numbered(version: u64) -> Result<(), FieldError> {
    if version == 0 {
        return Err(FieldError::new("version", "is 0; versions count from 1"));
    }
    Ok(())
}

known_types![
    BanditAllocated,
    ChangeRequested,
    CountsReported,
    DeploymentAttributed,
    DeploymentNoted,
    DeploymentObserved,
    ExperimentConcluded,
    ExperimentObserved,
    ExperimentRequested,
    ExperimentStarted,
    ExposureFollowed,
    ExposureForgotten,
    ExposureObserved,
    FlagChanged,
    FlagKilled,
    FlagStale,
    KillRequested,
    MetricReported,
    MetricsObserved,
    OutcomeAttributed,
    OutcomeCounted,
    OutcomeNoted,
    RequestRefused,
    RollbackRequested,
    RolloutAdvanced,
    RolloutHeld,
    RolloutObserved,
    RolloutRequested,
    RolloutRolledBack,
    SampleRatioMismatchDetected,
    ServiceFollowed,
    ServiceNamed,
    SharedChangeRequested,
    SharedChanged,
];
