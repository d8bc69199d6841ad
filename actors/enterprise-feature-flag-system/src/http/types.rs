//! Flags, as people see and change them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tol_events::EventTime;
use tol_kafka::{Position, TopicPartition};
use utoipa::ToSchema;

/// A flag in short.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FlagInShort {
    /// Its name.
    #[schema(example = "new-checkout")]
    pub key: String,
    /// The number of its last change.
    pub version: u64,
    /// When that was.
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: EventTime,
    /// The format it was born in, whose hash decides who is in a percentage.
    #[schema(example = "unleash")]
    pub family: &'static str,
    /// Whether it has outlived its purpose.
    pub stale: bool,
    /// Who answers for it.
    #[schema(required = true)]
    pub owner: Option<String>,
    /// By environment: `on`, `off` or `killed`.
    #[schema(example = json!({"production": "on"}))]
    pub environments: BTreeMap<String, &'static str>,
}

/// A page of flags.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FlagPage {
    /// The flags.
    pub items: Vec<FlagInShort>,
    /// Where the next page begins; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    /// Why these may not be the flags that the log holds (it is away); null if all is well.
    #[schema(required = true)]
    pub degraded: Option<String>,
}

/// A change of a flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FlagHistoryEntry {
    /// The number of the definition after it.
    pub version: u64,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What happened: `flag_changed`, `flag_killed`, `rollout_advanced`, `rollout_rolled_back`.
    pub what: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The event that says so: `GET /events/{id}`.
    pub event: String,
}

/// A flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Flag {
    /// Its name.
    #[schema(example = "new-checkout")]
    pub key: String,
    /// The number of its last change: what `base_version` of the next one names.
    pub version: u64,
    /// How it behaves; its environments are empty if it is archived.
    #[schema(value_type = Object)]
    pub definition: Value,
    /// Whether it has outlived its purpose.
    pub stale: bool,
    /// When it is to be asked about.
    #[schema(required = true, format = DateTime)]
    pub stale_at: Option<String>,
    /// Since when it has outlived its purpose.
    #[schema(required = true, format = DateTime)]
    pub stale_since: Option<String>,
    /// When it was changed last.
    #[schema(required = true, format = DateTime)]
    pub changed_at: Option<String>,
    /// Who changed it last.
    #[schema(required = true)]
    pub by: Option<String>,
    /// Why.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// The rollout that runs, or the last one.
    #[schema(value_type = Option<Object>, required = true)]
    pub rollout: Value,
    /// Its experiments by id.
    #[schema(value_type = Object)]
    pub experiments: Value,
    /// Its last 50 changes, oldest first.
    pub changes: Vec<FlagHistoryEntry>,
}

/// A flag as it is to be.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeFlag {
    /// The whole definition; its key is the path's, and may be left out.
    #[schema(value_type = Object, example = json!({"type": "boolean", "family": "unleash", "environments": {"production": {"enabled": true}}}))]
    pub definition: Map<String, Value>,
    /// The version that was changed; 409 if the flag has moved on. Without it the last change wins.
    #[serde(default)]
    pub base_version: Option<u64>,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    pub reason: String,
    /// From when on nobody should need the flag any more.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub stale_at: Option<EventTime>,
}

/// Where, and why.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InEnvironment {
    /// In this environment; everywhere without it.
    #[serde(default)]
    #[schema(min_length = 1)]
    pub environment: Option<String>,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    pub reason: String,
}

/// What is to happen to a flag later.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleFlag {
    /// Where.
    #[schema(min_length = 1)]
    pub environment: String,
    /// What, in the order of time; none clears the schedule.
    pub schedule: Vec<ScheduledChange>,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    pub reason: String,
}

/// A change that is due later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduledChange {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: EventTime,
    /// Whether the flag is on from then.
    pub enabled: bool,
}

/// A rollout that is to begin.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRollout {
    /// Its id, unique in its flag; one is made where it is absent.
    #[serde(default)]
    #[schema(min_length = 1)]
    pub rollout_id: Option<String>,
    /// Where.
    #[schema(min_length = 1)]
    pub environment: String,
    /// The rule whose percentage grows, from 0.
    #[serde(default)]
    pub rule: u32,
    /// Steps and guard metrics.
    #[schema(value_type = Object)]
    pub plan: Map<String, Value>,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    pub reason: String,
}

/// An experiment that is to begin.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartExperiment {
    /// Its id, unique in its flag; one is made where it is absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    pub experiment_id: Option<String>,
    /// What is asked; it is recorded.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S", example = "people buy more with one page")]
    pub statement: String,
    /// Variations with their weights (the first is compared with) and metrics, of which one decides; `alpha`, `difference`, `correction`, `prior`,
    /// `minimum_subjects`, and a `bandit`.
    #[schema(value_type = Object, example = json!({"variations": ["disabled", "enabled"], "metrics": [{"name": "purchases", "goal": "increase"}]}))]
    pub details: Map<String, Value>,
}

/// An experiment.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FlagExperiment {
    /// Its id.
    #[schema(example = "e-1")]
    pub experiment_id: String,
    /// The flag.
    #[schema(example = "new-checkout")]
    pub flag: String,
    /// `running` or `concluded`.
    #[schema(example = "running")]
    pub state: String,
    /// What is asked.
    pub statement: String,
    /// Where it runs; everywhere if null.
    #[schema(required = true)]
    pub environment: Option<String>,
    /// The number of the flag's definition that it began on.
    pub version: u64,
    /// When it began.
    #[schema(format = DateTime)]
    pub began_at: String,
    /// Who began it.
    pub by: String,
    /// What it was asked for with.
    #[schema(value_type = Object)]
    pub details: Value,
    /// How it ended: what was learned (`statement`), `at`, `by`, and `details`; null while it runs.
    #[schema(value_type = Option<Object>, required = true)]
    pub conclusion: Value,
    /// The probability with which a bandit serves each variation; null without one.
    #[schema(value_type = Option<Vec<Object>>, required = true)]
    pub propensities: Value,
    /// Subjects, sample ratio, each metric in each variation (fixed-horizon, sequential, Bayesian, by segment), and what follows. In lists, null; also of an
    /// experiment without variations.
    #[schema(value_type = Option<Object>, required = true)]
    pub results: Value,
}

/// A page of experiments.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FlagExperimentPage {
    /// The experiments, by flag and id, without their results.
    pub items: Vec<FlagExperiment>,
    /// Where the next page begins; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Who met which flags.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordExposures {
    /// Where; `production` without it.
    #[serde(default)]
    #[schema(min_length = 1)]
    pub environment: Option<String>,
    /// Who met what.
    #[schema(max_items = 1000)]
    pub exposures: Vec<ExposureSeen>,
}

/// A customer met a flag.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExposureSeen {
    /// The flag.
    #[schema(min_length = 1, max_length = 200, example = "new-checkout")]
    pub flag: String,
    /// The customer, as `billing.*` and `usage.*` facts name them.
    #[schema(min_length = 1, max_length = 200, example = "42")]
    pub customer_id: String,
    /// Whether it was on for them.
    pub enabled: bool,
    /// The variant they were served.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub variant: Option<String>,
    /// When; now without it. With it, the same exposure sent again is counted once.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<EventTime>,
}

/// What became of exposures.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ExposuresRecorded {
    /// Facts that were made of them, one a rollout or experiment; they are durable.
    pub recorded: u64,
    /// Exposures to flags on which nothing runs that measures customers there.
    pub ignored: u64,
    /// Highest position of the facts by topic partition.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({"facts.customer/3": 120}))]
    pub positions: BTreeMap<TopicPartition, Position>,
}

/// What was asked for is recorded, and is not served yet.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FlagsPending {
    /// `pending`
    #[schema(example = "pending")]
    pub state: &'static str,
    /// Why.
    pub detail: String,
    /// Flags that are not served as asked for; the first hundred of them.
    pub pending: Vec<String>,
    /// How many there are.
    pub pending_count: usize,
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FlagsImported {
    /// Where to.
    pub environment: String,
    /// How many flags it brought.
    pub flags: usize,
    /// How many of them are new or changed.
    pub changed: usize,
    /// How many are no longer in the environment.
    pub removed: usize,
    /// What has no counterpart in the common model, or could not be taken.
    pub problems: Vec<FlagProblem>,
}

/// Something that has no counterpart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FlagProblem {
    /// The flag; empty for what flags share.
    pub flag: String,
    /// What is wrong, and where.
    pub problem: String,
    /// What has become of it: `kept`, `omitted` or `left_out`.
    pub effect: String,
}

/// An environment.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct FlagEnvironment {
    /// Its name.
    #[schema(example = "production")]
    pub name: String,
    /// How many flags are in it.
    pub flags: usize,
    /// What its flags share, by format: Unleash's segments, GrowthBook's saved groups, flagd's evaluators.
    #[schema(value_type = Object)]
    pub shared: BTreeMap<String, Map<String, Value>>,
}

/// What an environment's flags of a format are to share.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeShared {
    /// All of it, as the format's file has it beside its flags; an empty object removes it.
    #[schema(value_type = Object, example = json!({"segments": [{"id": 1, "name": "pilots", "constraints": []}]}))]
    pub shared: Map<String, Value>,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    pub reason: String,
}

/// A question about flags.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateFlags {
    /// Whose semantics: `unleash`, `growthbook` or `flagd`.
    #[schema(example = "unleash", pattern = "^(unleash|growthbook|flagd)$")]
    pub format: String,
    /// Who asks, in that format's form.
    #[schema(value_type = Object, example = json!({"userId": "7"}))]
    pub context: Box<RawValue>,
    /// The flags; all of the environment without it.
    #[serde(default)]
    pub flags: Option<Vec<String>>,
    /// The environment; `production` without it.
    #[serde(default)]
    #[schema(min_length = 1)]
    pub environment: Option<String>,
}
