//! The revenue agent: recurring revenue and how it moves, and revenue recognised once for each order or payment.
//!
//! * [`state`] — what it remembers about a customer
//! * `decide` — the business rules, from `commerce.*` and `billing.*` facts
//! * `evolve` — the fold of its own `revenue.*` events
//! * `plug` — how it is mounted
//! * [`mrr`] — the monthly amount of a subscription and the class of a movement

mod decide;
mod evolve;
mod examples;
pub mod mrr;
mod plug;
pub mod state;

use tol_events::revenue::{MrrMoved, Recognized, Refunded};
use tol_events::{Currency, DomainEvent, Event, EventView};
use tol_system::{Decision, Description, Error, Evolution, Input, InputSpec, Parameters, QueryError, QueryParameter, QuerySpec, System};

pub use plug::Revenue;
pub use state::Customer;

pub(crate) const MRR_MOVED: &str = MrrMoved::<'static>::TYPE;
pub(crate) const RECOGNIZED: &str = Recognized::<'static>::TYPE;
pub(crate) const REFUNDED: &str = Refunded::<'static>::TYPE;

const MRR: QuerySpec = QuerySpec {
    name: "mrr",
    about: "Monthly recurring revenue of a customer by currency and subscription, and its last 24 movements.",
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
            state_version: 2,
            about: "Classifies every movement of monthly recurring revenue and recognises each order or payment once",
            inputs: vec![InputSpec { topic: "facts.customer", types: &["commerce.", "billing."] }],
            emits: &[MRR_MOVED, RECOGNIZED, REFUNDED],
            depends_on: &["tree-of-life-system"],
            uptime_target: 0.999,
        }
    }

    fn decide(&self, state: &Customer, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        match input {
            Input::Event(event) => decide::decide(state, &event, decision),
            Input::Timer { .. } | Input::Effect { .. } => Ok(()), // it asks for neither
        }
    }

    fn evolve(&self, state: &mut Customer, event: EventView<'_>, _: &mut Evolution) -> Result<(), Error> {
        evolve::evolve(state, &event)
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
