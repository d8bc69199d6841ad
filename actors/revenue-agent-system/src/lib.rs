//! The revenue agent: recurring revenue and how it moves, and revenue recognised once for each order or payment.
//!
//! * [`state`] — what it remembers about a customer; [`subscriptions`] — the facts about subscriptions, and the movements that follow from them
//! * `facts` — reads `commerce.*` and `billing.*` facts
//! * `decide` — puts a fact where it belongs; `differences` — says how what follows differs from what was said
//! * `evolve` — the fold of its own `revenue.*` events
//! * `plug` — how it is mounted
//! * [`mrr`] — the monthly amount of a subscription and the class of a movement

mod decide;
mod differences;
mod evolve;
mod examples;
mod facts;
pub mod mrr;
mod plug;
pub mod state;
pub mod subscriptions;

use tol_events::revenue::{FactNoted, MrrMoved, MrrRestated, RecognitionRestated, Recognized, RefundRestated, Refunded, Scheduled};
use tol_events::{Currency, DomainEvent, Event, EventView};
use tol_system::{Decision, Description, Error, Evolution, Input, InputSpec, Parameters, QueryError, QueryParameter, QuerySpec, System};

pub use plug::Revenue;
pub use state::Customer;

pub(crate) const MRR_MOVED: &str = MrrMoved::<'static>::TYPE;
pub(crate) const RECOGNIZED: &str = Recognized::<'static>::TYPE;
pub(crate) const REFUNDED: &str = Refunded::<'static>::TYPE;
pub(crate) const MRR_RESTATED: &str = MrrRestated::<'static>::TYPE;
pub(crate) const RECOGNITION_RESTATED: &str = RecognitionRestated::<'static>::TYPE;
pub(crate) const REFUND_RESTATED: &str = RefundRestated::<'static>::TYPE;
pub(crate) const SCHEDULED: &str = Scheduled::<'static>::TYPE;
pub(crate) const FACT_NOTED: &str = FactNoted::<'static>::TYPE;

/// The timer by which restating goes on that was too much for one group of events.
pub(crate) const RESTATE_TIMER: &str = "restate";

const MRR: QuerySpec = QuerySpec {
    name: "mrr",
    about: "Monthly recurring revenue of a customer by currency and subscription, its last 24 movements, and the next 24 that are scheduled.",
    subject: "customer/42",
    parameters: &[QueryParameter { name: "currency", about: "Of this currency only (ISO 4217); of all without it.", example: "USD", pattern: "^[A-Z]{3}$" }],
};

/// The system. It has no configuration: every rule is the same for every business.
#[derive(Clone, Copy, Debug, Default)]
pub struct RevenueAgentSystem;

impl System for RevenueAgentSystem {
    type State = Customer;

    fn describe(&self) -> Description {
        Description {
            name: "revenue-agent-system",
            tier: 2,
            code_version: env!("CARGO_PKG_VERSION"),
            state_version: 3,
            about: "Classifies every movement of monthly recurring revenue and recognises each order or payment once, in whatever order facts arrive",
            inputs: vec![InputSpec { topic: "facts.customer", types: &["commerce.", "billing."] }],
            emits: &[MRR_MOVED, MRR_RESTATED, RECOGNIZED, RECOGNITION_RESTATED, REFUNDED, REFUND_RESTATED, SCHEDULED, FACT_NOTED],
            depends_on: &["tree-of-life-system"],
            uptime_target: 0.999,
        }
    }

    fn decide(&self, state: &Customer, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        decide::decide(state, input, decision)
    }

    fn evolve(&self, state: &mut Customer, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        evolve::evolve(state, &event, evolution)
    }

    fn observe(&self, state: &Customer) -> serde_json::Value {
        state.observe()
    }

    fn queries(&self) -> &'static [QuerySpec] {
        &[MRR]
    }

    fn query(&self, state: &Customer, query: &str, parameters: &Parameters) -> Result<serde_json::Value, QueryError> {
        if query != MRR.name {
            return Err(QueryError::Unknown(query.to_owned()));
        }
        let currency = parameters.get("currency").map(|code| {
            let refused =
                || QueryError::Parameter { name: "currency".to_owned(), problem: "is not an ISO 4217 code of three capital letters, such as USD".to_owned() };
            code.parse::<Currency>().map_err(|_| refused())
        });
        Ok(state.mrr_with_movements(currency.transpose()?))
    }

    fn examples(&self) -> Vec<Event> {
        examples::examples()
    }
}
