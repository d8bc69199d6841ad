//! Count and sum per key as one of our systems: each fact leads to one event, which is folded into the state of its subject.

use serde::{Deserialize, Serialize};
use tol_events::{Event, EventView};
use tol_system::{Decision, Description, Error, Evolution, Input, InputSpec, System};

/// The type of the facts.
pub const FACT: &str = "bench.amount.v1";
/// The type of the events.
pub const EVENT: &str = "bench.counted.v1";
/// The first name; further copies for the measurement with many systems have others.
pub const NAME: &str = "count-sum";

/// What it remembers of a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sum {
    /// Records so far.
    pub count: u64,
    /// Their amounts.
    pub sum: i64,
}

/// An input's data.
#[derive(Deserialize)]
struct Amount {
    amount: i64,
}

/// An output's data.
#[derive(Serialize, Deserialize)]
pub struct Counted<'a> {
    /// The key.
    pub key: &'a str,
    /// Records so far.
    pub count: u64,
    /// Their amounts.
    pub sum: i64,
}

/// The system.
pub struct CountSum {
    /// Its name.
    pub name: &'static str,
}

impl System for CountSum {
    type State = Sum;

    fn describe(&self) -> Description {
        Description {
            name: self.name,
            tier: 7,
            code_version: "1",
            state_version: 1,
            about: "counts and sums amounts by key, for benches/compare",
            inputs: vec![InputSpec { topic: "facts.customer", types: &[FACT] }],
            emits: &[EVENT],
            depends_on: &[],
            uptime_target: 0.9,
        }
    }

    fn decide(&self, state: &Sum, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        let Input::Event(event) = input else { return Ok(()) };
        let Amount { amount } = event.data_as().map_err(|problem| Error::malformed(&event, problem))?;
        let sum = state.sum.checked_add(amount).ok_or_else(|| Error::Refused("the sum is too large".to_owned()))?;
        decision.emit(EVENT, &Counted { key: event.subject(), count: state.count + 1, sum });
        Ok(())
    }

    fn evolve(&self, state: &mut Sum, event: EventView<'_>, _: &mut Evolution) -> Result<(), Error> {
        let counted: Counted<'_> = event.data_as().map_err(|problem| Error::malformed(&event, problem))?;
        *state = Sum { count: counted.count, sum: counted.sum };
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        vec![
            Event::new("1", "/bench", FACT, "customer/1")
                .with_data(&serde_json::json!({"amount": 1}))
                .unwrap_or_else(|_| Event::new("1", "/bench", FACT, "customer/1")),
        ]
    }
}
