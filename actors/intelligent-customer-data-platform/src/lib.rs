//! One profile a person: from the SDKs people already have, with merges that can be undone and erasure that works.
//!
//! * [`graph`] — identifiers, the evidence between them, and the profiles that follow; pure functions that no order of arrival changes
//! * [`activity`] — what a person did, added up for audiences
//! * [`audiences`] — the condition language, and its evaluation
//! * [`matching`] — which of some records are about the same person
//! * [`state`] — what the system remembers about a subject
//! * `decide` — the business rules; `evolve` — the fold of its own events; `types` — names of events
//! * [`projections`] — read models
//! * `serving` — profiles put together from rows and opened; the evaluator of audiences
//! * `collect` — calls of SDKs as facts
//! * `http` — its own routes; `compat` — the protocols of Segment and PostHog
//! * `effects` — the runner that destroys keys
//! * `questions` — what other systems may ask
//! * `plug` — how it is mounted; `settings`, `metric_definitions`

pub mod activity;
pub mod audiences;
mod collect;
mod compat;
mod decide;
mod effects;
mod evolve;
mod examples;
pub mod graph;
mod http;
pub mod matching;
mod metric_definitions;
mod plug;
pub mod projections;
mod questions;
mod serving;
mod settings;
pub mod state;
mod types;

use serde_json::Value;
use tol_events::{Event, EventView};
use tol_system::{Decision, Description, Error, Evolution, Input, InputSpec, System};

pub use plug::Cdp;
pub use settings::Settings;
pub use state::State;

use crate::graph::Rules;
use crate::projections::{FACTS_TOPIC, OWN_TOPIC};

/// The system. It decides by the limits and strengths of identifiers that the settings give.
#[derive(Clone, Debug, Default)]
pub struct IntelligentCustomerDataPlatform {
    rules: Rules,
}

impl IntelligentCustomerDataPlatform {
    /// Makes the system with these rules of identifiers.
    pub fn new(rules: Rules) -> Self {
        Self { rules }
    }
}

impl System for IntelligentCustomerDataPlatform {
    type State = State;

    fn describe(&self) -> Description {
        Description {
            name: "intelligent-customer-data-platform",
            tier: 2,
            code_version: env!("CARGO_PKG_VERSION"),
            state_version: 1,
            about: "Unifies what SDKs say of people into profiles, undoes merges, keeps audiences and consent, and forgets people",
            inputs: vec![InputSpec { topic: FACTS_TOPIC, types: types::FACTS }, InputSpec { topic: OWN_TOPIC, types: types::TOLD }],
            emits: types::EMITTED,
            depends_on: &["tree-of-life-system"],
            uptime_target: 0.999,
        }
    }

    fn configuration(&self) -> Value {
        serde_json::to_value(&self.rules).unwrap_or_default()
    }

    fn decide(&self, state: &State, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        match input {
            Input::Event(event) => decide::decide(&self.rules, state, &event, decision),
            Input::Timer { id, subject, due } => {
                decide::due(state, id, subject, due, decision);
                Ok(())
            }
            Input::Effect { subject, outcome, .. } => {
                decide::effect(state, subject, outcome, decision);
                Ok(())
            }
        }
    }

    fn evolve(&self, state: &mut State, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        evolve::evolve(state, &event, evolution)
    }

    fn examples(&self) -> Vec<Event> {
        examples::inputs()
    }
}
