//! The hub as a system: from what supervision observes it says what happened to each system, and keeps its uptime ledger.
//!
//! * [`state`] — the ledger: time up, down and stopped as planned; restarts, incidents, error budget
//! * [`config`] — the uptime targets
//! * `plug` — how it is mounted
//! * `decide`, `evolve` — from observations to `tree.*` events, and their fold
//!
//! Admission and the supervisors themselves are the runtime's.

pub mod config;
mod decide;
mod error;
mod evolve;
mod examples;
mod plug;
pub mod state;

use tol_events::tree::{SystemDegraded, SystemFailed, SystemRecovered, SystemRestarted, SystemStarted, SystemStopped};
use tol_events::{DomainEvent, Event, EventView};
use tol_system::{Decision, Description, Input, InputSpec, System};

pub use config::Configuration;
pub use error::Error;
pub use plug::{Hub, Settings};
pub use state::{Ledger, Report};

pub(crate) const STARTED: &str = SystemStarted::<'static>::TYPE;
pub(crate) const FAILED: &str = SystemFailed::<'static>::TYPE;
pub(crate) const RESTARTED: &str = SystemRestarted::<'static>::TYPE;
pub(crate) const DEGRADED: &str = SystemDegraded::<'static>::TYPE;
pub(crate) const RECOVERED: &str = SystemRecovered::<'static>::TYPE;
pub(crate) const STOPPED: &str = SystemStopped::<'static>::TYPE;

/// The system, with the uptime targets it shows ledgers against.
#[derive(Clone, Debug, Default)]
pub struct TreeOfLifeSystem {
    configuration: Configuration,
}

impl TreeOfLifeSystem {
    /// With these targets.
    pub fn new(configuration: Configuration) -> Self {
        Self { configuration }
    }
}

impl System for TreeOfLifeSystem {
    type State = Ledger;

    fn describe(&self) -> Description {
        Description {
            name: "tree-of-life-system",
            tier: 1,
            code_version: env!("CARGO_PKG_VERSION"),
            state_version: 1,
            about: "Records starts, failures and stops of every system and keeps its uptime ledger against its target",
            inputs: vec![InputSpec { topic: "facts.system", types: &["supervision."] }],
            emits: &[STARTED, FAILED, RESTARTED, DEGRADED, RECOVERED, STOPPED],
            depends_on: &[],
            uptime_target: 0.9999,
        }
    }

    fn configuration(&self) -> serde_json::Value {
        serde_json::to_value(&self.configuration).unwrap_or_default()
    }

    fn decide(&self, state: &Ledger, input: Input<'_>, decision: &mut Decision) -> Result<(), tol_system::Error> {
        match input {
            Input::Event(event) => decide::decide(state, &event, decision),
            Input::Timer { .. } | Input::Effect { .. } => Ok(()), // it asks for neither
        }
    }

    fn evolve(&self, state: &mut Ledger, event: EventView<'_>, _: &mut tol_system::Evolution) -> Result<(), tol_system::Error> {
        evolve::evolve(state, &event)
    }

    /// The ledger as of its last observation; [`Ledger::report`] gives it as of any later moment.
    fn observe(&self, state: &Ledger) -> serde_json::Value {
        let report = state.report(self.configuration.target(&state.system), state.booked_until);
        serde_json::to_value(report).unwrap_or_default()
    }

    fn examples(&self) -> Vec<Event> {
        examples::examples()
    }
}
