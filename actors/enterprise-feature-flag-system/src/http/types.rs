//! Flags, as people see and change them: bodies and answers, which are components of the OpenAPI document by the same names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tol_events::{EventTime, Position, TopicPartition};
use utoipa::{OpenApi, ToSchema};

/// A flag in short.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct FlagInShort {
    /// Its name.
    #[schema(example = "new-checkout")]
    pub(crate) key: String,
    /// The number of its last change.
    pub(crate) version: u64,
    /// When that was.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) changed_at: EventTime,
    /// The format it was born in, whose hash decides who is in a percentage.
    #[schema(example = "unleash")]
    pub(crate) family: &'static str,
    /// Whether it has outlived its purpose.
    pub(crate) stale: bool,
    /// Who answers for it.
    #[schema(required = true)]
    pub(crate) owner: Option<String>,
    /// By environment: `on`, `off` or `killed`.
    #[schema(example = json!({"production": "on"}))]
    pub(crate) environments: BTreeMap<String, &'static str>,
}

/// A page of flags.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct FlagPage {
    /// The flags.
    pub(crate) items: Vec<FlagInShort>,
    /// Where the next page begins; null at the end.
    #[schema(required = true)]
    pub(crate) next_cursor: Option<String>,
    /// Why these may not be the flags that the log holds (it is away); null if all is well.
    #[schema(required = true)]
    pub(crate) degraded: Option<String>,
}

/// A change of a flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct FlagHistoryEntry {
    /// The number of the definition after it.
    pub(crate) version: u64,
    /// When.
    #[schema(format = DateTime)]
    pub(crate) at: String,
    /// What happened: `flag_changed`, `flag_killed`, `rollout_advanced`, `rollout_rolled_back`.
    pub(crate) what: String,
    /// Who.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
    /// The event that says so: `GET /events/{id}`.
    pub(crate) event: String,
}

/// A flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Flag)]
pub(crate) struct FlagView {
    /// Its name.
    #[schema(example = "new-checkout")]
    pub(crate) key: String,
    /// The number of its last change: what `base_version` of the next one names.
    pub(crate) version: u64,
    /// How it behaves; its environments are empty if it is archived.
    #[schema(value_type = Object)]
    pub(crate) definition: Value,
    /// Whether it has outlived its purpose.
    pub(crate) stale: bool,
    /// When it is to be asked about.
    #[schema(required = true, format = DateTime)]
    pub(crate) stale_at: Option<String>,
    /// Since when it has outlived its purpose.
    #[schema(required = true, format = DateTime)]
    pub(crate) stale_since: Option<String>,
    /// When it was changed last.
    #[schema(required = true, format = DateTime)]
    pub(crate) changed_at: Option<String>,
    /// Who changed it last.
    #[schema(required = true)]
    pub(crate) by: Option<String>,
    /// Why.
    #[schema(required = true)]
    pub(crate) reason: Option<String>,
    /// The rollout that runs, or the last one.
    #[schema(value_type = Option<Object>, required = true)]
    pub(crate) rollout: Value,
    /// Its experiments by id.
    #[schema(value_type = Object)]
    pub(crate) experiments: Value,
    /// Its last 50 changes, oldest first.
    pub(crate) changes: Vec<FlagHistoryEntry>,
}

/// A flag as it is to be.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeFlag {
    /// The whole definition; its key is the path's, and may be left out.
    #[schema(value_type = Object, example = json!({"type": "boolean", "family": "unleash", "environments": {"production": {"enabled": true}}}))]
    pub(crate) definition: Map<String, Value>,
    /// The version that was changed; 409 if the flag has moved on. Without it the last change wins.
    #[serde(default)]
    pub(crate) base_version: Option<u64>,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    pub(crate) reason: String,
    /// From when on nobody should need the flag any more.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) stale_at: Option<EventTime>,
}

/// Where, and why.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InEnvironment {
    /// In this environment; everywhere without it.
    #[serde(default)]
    #[schema(min_length = 1)]
    pub(crate) environment: Option<String>,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    pub(crate) reason: String,
}

/// What is to happen to a flag later.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduleFlag {
    /// Where.
    #[schema(min_length = 1)]
    pub(crate) environment: String,
    /// What, in the order of time; none clears the schedule.
    pub(crate) schedule: Vec<ScheduledChange>,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    pub(crate) reason: String,
}

/// A change that is due later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScheduledChange {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) at: EventTime,
    /// Whether the flag is on from then.
    pub(crate) enabled: bool,
}

/// A rollout that is to begin.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartRollout {
    /// Its id, unique in its flag; one is made where it is absent.
    #[serde(default)]
    #[schema(min_length = 1)]
    pub(crate) rollout_id: Option<String>,
    /// Where.
    #[schema(min_length = 1)]
    pub(crate) environment: String,
    /// The rule whose percentage grows, from 0.
    #[serde(default)]
    pub(crate) rule: u32,
    /// Steps and guard metrics.
    #[schema(value_type = Object)]
    pub(crate) plan: Map<String, Value>,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    pub(crate) reason: String,
}

/// An experiment that is to begin.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StartExperiment {
    /// Its id, unique in its flag; one is made where it is absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200)]
    pub(crate) experiment_id: Option<String>,
    /// What is asked; it is recorded.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S", example = "people buy more with one page")]
    pub(crate) statement: String,
    /// Variations with their weights (the first is compared with) and metrics, of which one decides; `alpha`, `difference`, `correction`, `prior`,
    /// `minimum_subjects`, and a `bandit`.
    #[schema(value_type = Object, example = json!({"variations": ["disabled", "enabled"], "metrics": [{"name": "purchases", "goal": "increase"}]}))]
    pub(crate) details: Map<String, Value>,
}

/// An experiment.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct FlagExperiment {
    /// Its id.
    #[schema(example = "e-1")]
    pub(crate) experiment_id: String,
    /// The flag.
    #[schema(example = "new-checkout")]
    pub(crate) flag: String,
    /// `running` or `concluded`.
    #[schema(example = "running")]
    pub(crate) state: String,
    /// What is asked.
    pub(crate) statement: String,
    /// Where it runs; everywhere if null.
    #[schema(required = true)]
    pub(crate) environment: Option<String>,
    /// The number of the flag's definition that it began on.
    pub(crate) version: u64,
    /// When it began.
    #[schema(format = DateTime)]
    pub(crate) began_at: String,
    /// Who began it.
    pub(crate) by: String,
    /// What it was asked for with.
    #[schema(value_type = Object)]
    pub(crate) details: Value,
    /// How it ended: what was learned (`statement`), `at`, `by`, and `details`; null while it runs.
    #[schema(value_type = Option<Object>, required = true)]
    pub(crate) conclusion: Value,
    /// The probability with which a bandit serves each variation; null without one.
    #[schema(value_type = Option<Vec<Object>>, required = true)]
    pub(crate) propensities: Value,
    /// Subjects, sample ratio, each metric in each variation (fixed-horizon, sequential, Bayesian, by segment), and what follows. In lists, null; also of an
    /// experiment without variations.
    #[schema(value_type = Option<Object>, required = true)]
    pub(crate) results: Value,
}

/// A page of experiments.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct FlagExperimentPage {
    /// The experiments, by flag and id, without their results.
    pub(crate) items: Vec<FlagExperiment>,
    /// Where the next page begins; null at the end.
    #[schema(required = true)]
    pub(crate) next_cursor: Option<String>,
}

/// Who met which flags.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordExposures {
    /// Where; `production` without it.
    #[serde(default)]
    #[schema(min_length = 1)]
    pub(crate) environment: Option<String>,
    /// Who met what.
    #[schema(max_items = 1000)]
    pub(crate) exposures: Vec<ExposureSeen>,
}

/// A customer met a flag.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExposureSeen {
    /// The flag.
    #[schema(min_length = 1, max_length = 200, example = "new-checkout")]
    pub(crate) flag: String,
    /// The customer, as `billing.*` and `usage.*` facts name them.
    #[schema(min_length = 1, max_length = 200, example = "42")]
    pub(crate) customer_id: String,
    /// Whether it was on for them.
    pub(crate) enabled: bool,
    /// The variant they were served.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub(crate) variant: Option<String>,
    /// When; now without it. With it, the same exposure sent again is counted once.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) at: Option<EventTime>,
}

/// What became of exposures.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ExposuresRecorded {
    /// Facts that were made of them, one a rollout or experiment; they are durable.
    pub(crate) recorded: u64,
    /// Exposures to flags on which nothing runs that measures customers there.
    pub(crate) ignored: u64,
    /// Highest position of the facts by topic partition.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({"facts.customer/3": 120}))]
    pub(crate) positions: BTreeMap<TopicPartition, Position>,
}

/// What was asked for is recorded, and is not served yet.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct FlagsPending {
    /// `pending`
    #[schema(example = "pending")]
    pub(crate) state: &'static str,
    /// Why.
    pub(crate) detail: String,
    /// Flags that are not served as asked for; the first hundred of them.
    pub(crate) pending: Vec<String>,
    /// How many there are.
    pub(crate) pending_count: usize,
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct FlagsImported {
    /// Where to.
    pub(crate) environment: String,
    /// How many flags it brought.
    pub(crate) flags: usize,
    /// How many of them are new or changed.
    pub(crate) changed: usize,
    /// How many are no longer in the environment.
    pub(crate) removed: usize,
    /// What has no counterpart in the common model, or could not be taken.
    pub(crate) problems: Vec<FlagProblem>,
}

/// Something that has no counterpart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct FlagProblem {
    /// The flag; empty for what flags share.
    pub(crate) flag: String,
    /// What is wrong, and where.
    pub(crate) problem: String,
    /// What has become of it: `kept`, `omitted` or `left_out`.
    pub(crate) effect: String,
}

/// An environment.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct FlagEnvironment {
    /// Its name.
    #[schema(example = "production")]
    pub(crate) name: String,
    /// How many flags are in it.
    pub(crate) flags: usize,
    /// What its flags share, by format: Unleash's segments, GrowthBook's saved groups, flagd's evaluators.
    #[schema(value_type = Object)]
    pub(crate) shared: BTreeMap<String, Map<String, Value>>,
}

/// What an environment's flags of a format are to share.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeShared {
    /// All of it, as the format's file has it beside its flags; an empty object removes it.
    #[schema(value_type = Object, example = json!({"segments": [{"id": 1, "name": "pilots", "constraints": []}]}))]
    pub(crate) shared: Map<String, Value>,
    /// Why; it is recorded.
    #[schema(min_length = 1, max_length = 4096, pattern = "\\S")]
    pub(crate) reason: String,
}

/// A question about flags.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvaluateFlags {
    /// Whose semantics: `unleash`, `growthbook` or `flagd`.
    #[schema(example = "unleash", pattern = "^(unleash|growthbook|flagd)$")]
    pub(crate) format: String,
    /// Who asks, in that format's form.
    #[schema(value_type = Object, example = json!({"userId": "7"}))]
    pub(crate) context: Box<RawValue>,
    /// The flags; all of the environment without it.
    #[serde(default)]
    pub(crate) flags: Option<Vec<String>>,
    /// The environment; `production` without it.
    #[serde(default)]
    #[schema(min_length = 1)]
    pub(crate) environment: Option<String>,
}

#[derive(OpenApi)]
#[openapi(components(schemas(
    FlagPage,
    FlagInShort,
    FlagView,
    FlagHistoryEntry,
    ChangeFlag,
    InEnvironment,
    ScheduleFlag,
    ScheduledChange,
    StartRollout,
    StartExperiment,
    FlagExperiment,
    FlagExperimentPage,
    RecordExposures,
    ExposureSeen,
    ExposuresRecorded,
    FlagsPending,
    FlagsImported,
    FlagProblem,
    EvaluateFlags,
    FlagEnvironment,
    ChangeShared,
)))]
struct Components;

/// The components of the OpenAPI document that the routes name.
pub(crate) fn components() -> Value {
    let document = serde_json::to_value(Components::openapi()).unwrap_or_default();
    document.pointer("/components/schemas").cloned().unwrap_or_default()
}
