//! Counts what is noted about each %KIND%.
//!
//! * [`state`] — what it remembers about a %KIND%
//! * `decide` — the business rules, from `%SHORT%.*` facts
//! * `evolve` — the fold of its own events
//! * [`projections`] — read models
//! * `http` — its routes
//! * `plug` — how it is mounted

mod decide;
mod evolve;
mod http;
mod plug;
pub mod projections;
pub mod state;

use tol_events::%SHORT%::{%SUBJECT%Counted, %SUBJECT%Noted};
use tol_events::{DomainEvent, Event, EventTime, EventView};
use tol_system::{Decision, Description, Error, Evolution, Input, InputSpec, System};

pub use plug::%PLUG%;
pub use state::%SUBJECT%;

pub(crate) const NOTED: &str = %SUBJECT%Noted::<'static>::TYPE;
pub(crate) const COUNTED: &str = %SUBJECT%Counted::<'static>::TYPE;

/// The system. It has no configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct %SYSTEM%;

impl System for %SYSTEM% {
    type State = %SUBJECT%;

    fn describe(&self) -> Description {
        Description {
            name: "%NAME%",
            tier: 5,
            code_version: env!("CARGO_PKG_VERSION"),
            state_version: 1,
            about: "Counts what is noted about each %KIND%",
            inputs: vec![InputSpec { topic: "%TOPIC%", types: &["%SHORT%."] }],
            emits: &[COUNTED],
            depends_on: &["tree-of-life-system"],
            uptime_target: 0.99,
        }
    }

    fn decide(&self, state: &%SUBJECT%, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        match input {
            Input::Event(event) => decide::decide(state, &event, decision),
            Input::Timer { .. } | Input::Effect { .. } => Ok(()), // it asks for neither
        }
    }

    fn evolve(&self, state: &mut %SUBJECT%, event: EventView<'_>, _evolution: &mut Evolution) -> Result<(), Error> {
        evolve::evolve(state, &event)
    }

    fn examples(&self) -> Vec<Event> {
        let noted = |id: &str, note: &str| {
            let data = %SUBJECT%Noted { %FIELD%_id: "42".into(), note: note.into() };
            data.to_event(id, "/examples/%SHORT%").map(|event| event.at(EventTime::from_secs(1_767_268_800)))
        };
        [noted("1", "as it is"), noted("2", "as it was")].into_iter().flatten().collect()
    }
}
