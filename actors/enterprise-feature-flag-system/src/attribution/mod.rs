//! The second system of this folder, `flag-attribution`: which customer met which arm, and what happened to them after that.
//!
//! `billing.*` and `usage.*` are about customers, `delivery.*` about services: other subjects than flags, in other partitions. This system holds, for one
//! customer at a time, the arms that were met, adds up what is measured, and sends it to the flag once the time that counts is over (`target`). Of a
//! service it holds the flags that name it. It is a system of its own so that a flood of facts about customers never stands before the kill of a flag.
//!
//! * [`Attributed`] — what it remembers about a customer or a service
//! * `decide` — its rules
//! * `values` — what a fact says, by the names of metrics

mod decide;
mod examples;
mod state;
mod values;

use tol_events::flags::{
    DeploymentAttributed, ExposureFollowed, ExposureForgotten, ExposureObserved, OutcomeAttributed, OutcomeNoted, ServiceFollowed, ServiceNamed,
};
use tol_events::{DomainEvent, Event, EventView};
use tol_system::{Decision, Description, Error, Evolution, Input, InputSpec, System};

pub use state::{Attributed, Exposure};
pub use values::is_attributable;

pub(crate) const EXPOSURE_OBSERVED: &str = ExposureObserved::<'static>::TYPE;
pub(crate) const EXPOSURE_FOLLOWED: &str = ExposureFollowed::<'static>::TYPE;
pub(crate) const EXPOSURE_FORGOTTEN: &str = ExposureForgotten::<'static>::TYPE;
pub(crate) const OUTCOME_NOTED: &str = OutcomeNoted::<'static>::TYPE;
pub(crate) const OUTCOME_ATTRIBUTED: &str = OutcomeAttributed::<'static>::TYPE;
pub(crate) const SERVICE_NAMED: &str = ServiceNamed::<'static>::TYPE;
pub(crate) const SERVICE_FOLLOWED: &str = ServiceFollowed::<'static>::TYPE;
pub(crate) const DEPLOYMENT_ATTRIBUTED: &str = DeploymentAttributed::<'static>::TYPE;

/// Its name; `{NAME}.events` is what the flag system reads.
pub(crate) const NAME: &str = "flag-attribution";

/// The system. It has no configuration: what is measured, and for how long, stands in each exposure.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlagAttribution;

impl System for FlagAttribution {
    type State = Attributed;

    fn describe(&self) -> Description {
        Description {
            name: NAME,
            tier: 3,
            code_version: env!("CARGO_PKG_VERSION"),
            state_version: 1,
            about: "Joins each customer's payments and usage with the arms of flags they met, and deployments with the flags that name their service",
            inputs: vec![
                InputSpec { topic: "facts.customer", types: &[EXPOSURE_OBSERVED, "billing.", "usage."] },
                InputSpec { topic: "facts.service", types: &["delivery."] },
                InputSpec { topic: "enterprise-feature-flag-system.events", types: &[SERVICE_NAMED] },
            ],
            emits: &[EXPOSURE_FOLLOWED, OUTCOME_NOTED, OUTCOME_ATTRIBUTED, EXPOSURE_FORGOTTEN, SERVICE_FOLLOWED, DEPLOYMENT_ATTRIBUTED],
            depends_on: &["tree-of-life-system"],
            uptime_target: 0.999,
        }
    }

    fn decide(&self, state: &Attributed, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        decide::decide(state, &input, decision)
    }

    fn evolve(&self, state: &mut Attributed, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        state.evolve(&event, evolution)
    }

    fn examples(&self) -> Vec<Event> {
        examples::examples()
    }
}
