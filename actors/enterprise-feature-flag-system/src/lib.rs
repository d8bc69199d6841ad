//! Feature flags: one definition for every SDK, rollouts that advance or roll themselves back, experiments with honest statistics.
//!
//! * [`definition`] — the one definition of a flag behind the three formats; import and export
//! * [`evaluation`] — compiled flags and their evaluation with Unleash's, GrowthBook's and flagd's semantics; no I/O, no allocation on the hot path
//! * [`attribution`] — the second system: customers' payments and usage joined with the arms they met
//! * [`counts`] — what SDKs and analytics count, added up, and as a rollout reads it
//! * [`experiments`] — what an experiment asks, its results, and what a bandit serves next
//! * [`objections`] — what speaks against a definition among the others: circles, unknown segments
//! * [`rollout`] — the state machine of a guarded rollout: advance, hold or roll back from counts alone
//! * [`statistics`] — sequential and Bayesian tests, sample-ratio checks, variance reduction; pure functions of counts and sums
//! * [`served`] — all flags at one moment
//! * [`serving`] — what is compiled of them, and the answers from memory
//! * [`projections`] — the read model `flags`
//! * `service` — [`FlagService`], the serving side that handlers hold
//! * `http` — the interface for people; `compat` — protocols of others; `problems` — what they may answer
//! * `questions` — what other systems may ask
//! * `plug` — [`Flags`], how all of it is mounted on a node; `settings`, `metric_definitions`
//! * [`state`] — what the system remembers about a flag
//! * `decide` — the business rules, from `flags.*` requests and observations
//! * `evolve` — the fold of its own `flags.*` events

pub mod attribution;
mod compat;
pub mod counts;
mod decide;
pub mod definition;
pub mod evaluation;
mod evolve;
mod examples;
pub mod experiments;
mod http;
mod metric_definitions;
pub mod objections;
mod plug;
mod problems;
pub mod projections;
mod questions;
pub mod rollout;
pub mod served;
mod service;
pub mod serving;
mod settings;
pub mod state;
pub mod statistics;

use tol_events::flags::{
    BanditAllocated, DeploymentNoted, ExperimentConcluded, ExperimentObserved, ExperimentStarted, FlagChanged, FlagKilled, FlagStale, OutcomeCounted,
    RequestRefused, RolloutAdvanced, RolloutHeld, RolloutObserved, RolloutRolledBack, SampleRatioMismatchDetected, ServiceNamed, SharedChanged,
};
use tol_events::{DomainEvent, Event, EventView};
use tol_system::{Decision, Description, Error, Evolution, Input, InputSpec, Parameters, QueryError, QueryParameter, QuerySpec, System};

pub use attribution::FlagAttribution;
pub use plug::Flags;
pub use projections::FlagsProjection;
pub use service::FlagService;
pub use settings::Settings;
pub use state::Flag;

/// The short name: tag of the routes, prefix of the scopes.
pub(crate) const SHORT: &str = "flags";
/// The environment where none is named.
pub(crate) const DEFAULT_ENVIRONMENT: &str = "production";
/// A request as the handlers see it.
pub(crate) type Request = tol_plug::Request<FlagService>;

pub(crate) const FLAG_CHANGED: &str = FlagChanged::<'static>::TYPE;
pub(crate) const FLAG_KILLED: &str = FlagKilled::<'static>::TYPE;
pub(crate) const FLAG_STALE: &str = FlagStale::<'static>::TYPE;
pub(crate) const REQUEST_REFUSED: &str = RequestRefused::<'static>::TYPE;
pub(crate) const ROLLOUT_ADVANCED: &str = RolloutAdvanced::<'static>::TYPE;
pub(crate) const ROLLOUT_HELD: &str = RolloutHeld::<'static>::TYPE;
pub(crate) const ROLLOUT_OBSERVED: &str = RolloutObserved::<'static>::TYPE;
pub(crate) const ROLLOUT_ROLLED_BACK: &str = RolloutRolledBack::<'static>::TYPE;
pub(crate) const MISMATCH: &str = SampleRatioMismatchDetected::<'static>::TYPE;
pub(crate) const SHARED_CHANGED: &str = SharedChanged::<'static>::TYPE;
pub(crate) const EXPERIMENT_STARTED: &str = ExperimentStarted::<'static>::TYPE;
pub(crate) const EXPERIMENT_OBSERVED: &str = ExperimentObserved::<'static>::TYPE;
pub(crate) const DEPLOYMENT_NOTED: &str = DeploymentNoted::<'static>::TYPE;
pub(crate) const BANDIT_ALLOCATED: &str = BanditAllocated::<'static>::TYPE;
pub(crate) const OUTCOME_COUNTED: &str = OutcomeCounted::<'static>::TYPE;
pub(crate) const SERVICE_NAMED: &str = ServiceNamed::<'static>::TYPE;
pub(crate) const EXPERIMENT_CONCLUDED: &str = ExperimentConcluded::<'static>::TYPE;

const DEFINITION: QuerySpec = QuerySpec {
    name: "definition",
    about: "The flag's definition and its number; of one environment only, if asked.",
    subject: "flag/new-checkout",
    parameters: &[QueryParameter { name: "environment", about: "Of this environment only; of all without it.", example: "production", pattern: "" }],
};

const HISTORY: QuerySpec =
    QuerySpec { name: "history", about: "The flag's last 50 changes: when, what, who and why.", subject: "flag/new-checkout", parameters: &[] };

const RESULTS: QuerySpec = QuerySpec {
    name: "results",
    about: "The rollout's counts and decision now, and each experiment's results: sequential, fixed-horizon and Bayesian, with sample ratio and correction.",
    subject: "flag/new-checkout",
    parameters: &[QueryParameter { name: "experiment", about: "Of this experiment only; of all without it.", example: "e-1", pattern: "" }],
};

/// The system. It has no configuration: what differs between businesses stands in the flags and their plans.
#[derive(Clone, Copy, Debug, Default)]
pub struct EnterpriseFeatureFlagSystem;

impl System for EnterpriseFeatureFlagSystem {
    type State = Flag;

    fn describe(&self) -> Description {
        Description {
            name: "enterprise-feature-flag-system",
            tier: 3,
            code_version: env!("CARGO_PKG_VERSION"),
            state_version: 4,
            about: "Keeps every flag's definition, kills flags at once, and advances, holds or rolls back rollouts from their metrics",
            inputs: vec![
                InputSpec { topic: "facts.flag", types: &["flags."] },
                InputSpec { topic: "flag-attribution.events", types: &[attribution::OUTCOME_ATTRIBUTED, attribution::DEPLOYMENT_ATTRIBUTED] },
            ],
            emits: &[
                FLAG_CHANGED,
                FLAG_KILLED,
                FLAG_STALE,
                REQUEST_REFUSED,
                ROLLOUT_ADVANCED,
                ROLLOUT_HELD,
                ROLLOUT_OBSERVED,
                ROLLOUT_ROLLED_BACK,
                MISMATCH,
                EXPERIMENT_STARTED,
                EXPERIMENT_OBSERVED,
                BANDIT_ALLOCATED,
                DEPLOYMENT_NOTED,
                EXPERIMENT_CONCLUDED,
                SHARED_CHANGED,
                OUTCOME_COUNTED,
                SERVICE_NAMED,
            ],
            depends_on: &["tree-of-life-system"],
            uptime_target: 0.9999,
        }
    }

    fn decide(&self, state: &Flag, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        decide::decide(state, &input, decision)
    }

    fn evolve(&self, state: &mut Flag, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        evolve::evolve(state, &event, evolution)
    }

    fn queries(&self) -> &'static [QuerySpec] {
        &[DEFINITION, HISTORY, RESULTS]
    }

    fn query(&self, state: &Flag, query: &str, parameters: &Parameters) -> Result<serde_json::Value, QueryError> {
        if query == HISTORY.name {
            return Ok(serde_json::json!({"history": state.history}));
        }
        if query == RESULTS.name {
            return Ok(state.results(parameters.get("experiment").map(String::as_str)));
        }
        if query != DEFINITION.name {
            return Err(QueryError::Unknown(query.to_owned()));
        }
        let mut definition = state.definition.clone();
        if let (Some(definition), Some(environment)) = (&mut definition, parameters.get("environment")) {
            definition.environments.retain(|name, _| name == environment);
        }
        Ok(serde_json::json!({"version": state.version, "stale": state.stale, "definition": definition}))
    }

    fn examples(&self) -> Vec<Event> {
        examples::examples()
    }
}
