//! The delivery orchestrator: promotes releases that finished healthy, and asks for the rollback of those that did not.
//!
//! * [`state`] — what it remembers about a service: the last deployments and incidents of each environment
//! * `decide` — the business rules, from `delivery.*` facts
//! * `evolve` — the fold of its own events
//! * `plug` — how it is mounted
//! * [`facts`] — what a fact tells, whichever type it comes in
//! * [`noted`] — own events that only keep a fact in mind for later ones, and the withdrawal of a rollback

mod decide;
mod evolve;
mod examples;
pub mod facts;
pub mod noted;
mod plug;
pub mod state;

use tol_events::delivery::{ReleasePromoted, RollbackRequested};
use tol_events::{DomainEvent, Event, EventView};
use tol_system::{Decision, Description, Error, Evolution, Input, InputSpec, Parameters, QueryError, QueryParameter, QuerySpec, System};

pub use plug::Delivery;
pub use state::Service;

pub(crate) const RELEASE_PROMOTED: &str = ReleasePromoted::<'static>::TYPE;
pub(crate) const ROLLBACK_REQUESTED: &str = RollbackRequested::<'static>::TYPE;

/// An incident that opens no later than this after a deployment finished is laid to it: 30 minutes in microseconds, the end included.
pub const INCIDENT_WINDOW_MICROS: i64 = 30 * 60 * 1_000_000;

const OPEN_RELEASES: QuerySpec = QuerySpec {
    name: "open-releases",
    about: "By environment: the release that serves, and deployments whose rollback was requested and has not been seen.",
    subject: "service/web",
    parameters: &[QueryParameter { name: "environment", about: "Of this environment only; of all without it.", example: "production", pattern: "" }],
};

/// The system. It has no configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct IntelligentCiCdOrchestrator;

impl System for IntelligentCiCdOrchestrator {
    type State = Service;

    fn describe(&self) -> Description {
        Description {
            name: "intelligent-ci-cd-orchestrator",
            tier: 3,
            code_version: env!("CARGO_PKG_VERSION"),
            state_version: 2,
            about: "Promotes deployments that finished healthy and requests the rollback of those that failed or were followed by an incident",
            inputs: vec![InputSpec { topic: "facts.service", types: &["delivery."] }],
            emits: &[
                RELEASE_PROMOTED,
                ROLLBACK_REQUESTED,
                noted::ROLLBACK_WITHDRAWN,
                noted::DEPLOYMENT_NOTED,
                noted::INCIDENT_NOTED,
                noted::ROLLBACK_NOTED,
                noted::FACT_SCHEDULED,
                noted::FACT_DUE,
            ],
            depends_on: &["tree-of-life-system"],
            uptime_target: 0.995,
        }
    }

    fn decide(&self, state: &Service, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        decide::decide(state, input, decision)
    }

    fn evolve(&self, state: &mut Service, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        evolve::evolve(state, &event, evolution)
    }

    fn queries(&self) -> &'static [QuerySpec] {
        &[OPEN_RELEASES]
    }

    fn query(&self, state: &Service, query: &str, parameters: &Parameters) -> Result<serde_json::Value, QueryError> {
        if query != OPEN_RELEASES.name {
            return Err(QueryError::Unknown(query.to_owned()));
        }
        Ok(state.open_releases(parameters.get("environment").map(String::as_str)))
    }

    fn examples(&self) -> Vec<Event> {
        examples::examples()
    }
}
