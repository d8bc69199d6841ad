//! What people and programs ask of the flag system.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Object, format};
use crate::domain::{domain_event, filled, filled_if_present};
use crate::time::EventTime;

/// `flags.change_requested.v1`: somebody wants a flag to be so from now on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeRequested<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The whole new definition.
    pub definition: Object,
    /// The version that was changed; a change of another one is refused. Without it the last change wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_version: Option<u64>,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// From when on nobody should need the flag any more; it is stale then, unless it was changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_at: Option<EventTime>,
    /// Whether the flag may become one of another format: people change sides then, as each format has its own hash. Refused without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anew: bool,
}

domain_event!(ChangeRequested, "flags.change_requested.v1", "flag" / key, |this| {
    filled("by", &this.by)?;
    filled("reason", &this.reason)?;
});

/// `flags.shared_change_requested.v1`: somebody wants what an environment's flags of a format share (segments, saved groups, evaluators) to be so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SharedChangeRequested<'a> {
    /// The environment.
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// `unleash`, `growthbook` or `flagd`.
    #[serde(borrow)]
    pub format: Cow<'a, str>,
    /// All of it, as the format's file has it beside its flags.
    pub shared: Object,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

domain_event!(SharedChangeRequested, "flags.shared_change_requested.v1", "flag-set" / environment, |this| {
    format(&this.format)?;
    filled("by", &this.by)?;
    filled("reason", &this.reason)?;
});

/// `flags.kill_requested.v1`: somebody wants a flag off at once, whatever its rules say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KillRequested<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Where; everywhere if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Cow<'a, str>>,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

domain_event!(KillRequested, "flags.kill_requested.v1", "flag" / key, |this| {
    filled_if_present("environment", this.environment.as_deref())?;
    filled("by", &this.by)?;
    filled("reason", &this.reason)?;
});

/// `flags.rollout_requested.v1`: somebody wants a rule of a flag rolled out step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutRequested<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The rollout, unique in its flag.
    #[serde(borrow)]
    pub rollout_id: Cow<'a, str>,
    /// Where.
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// Which rule, counted from 0; its percentage is what grows.
    pub rule: u32,
    /// Steps and guard metrics.
    pub plan: Object,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

domain_event!(RolloutRequested, "flags.rollout_requested.v1", "flag" / key, |this| {
    filled("rollout_id", &this.rollout_id)?;
    filled("environment", &this.environment)?;
    filled("by", &this.by)?;
    filled("reason", &this.reason)?;
});

/// `flags.rollback_requested.v1`: somebody wants the running rollout taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RollbackRequested<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The rollout.
    #[serde(borrow)]
    pub rollout_id: Cow<'a, str>,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

domain_event!(RollbackRequested, "flags.rollback_requested.v1", "flag" / key, |this| {
    filled("rollout_id", &this.rollout_id)?;
    filled("by", &this.by)?;
    filled("reason", &this.reason)?;
});

/// `flags.metrics_observed.v1`: exposures and outcomes of a running rollout or experiment, cumulated since it began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsObserved<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The rollout they belong to.
    #[serde(borrow)]
    pub rollout_id: Cow<'a, str>,
    /// `control_subjects`, `treatment_subjects`, and `metrics` by name.
    pub observation: Object,
}

domain_event!(MetricsObserved, "flags.metrics_observed.v1", "flag" / key, |this| {
    filled("rollout_id", &this.rollout_id)?;
});

/// `flags.experiment_requested.v1`: somebody wants an experiment to begin or to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExperimentRequested<'a> {
    /// The flag.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// The experiment, unique in its flag.
    #[serde(borrow)]
    pub experiment_id: Cow<'a, str>,
    /// Begin or end.
    pub action: ExperimentAction,
    /// What is asked, or what was learned.
    #[serde(borrow)]
    pub statement: Cow<'a, str>,
    /// Variations with their weights, and metrics, when it begins; the results when it ends.
    #[serde(default)]
    pub details: Object,
    /// Who.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

/// What is to be done with an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExperimentAction {
    /// It begins.
    Start,
    /// It ends.
    Conclude,
}

domain_event!(ExperimentRequested, "flags.experiment_requested.v1", "flag" / key, |this| {
    filled("experiment_id", &this.experiment_id)?;
    filled("statement", &this.statement)?;
    filled("by", &this.by)?;
});
