//! What the puppet decides: each fact asks for one effect, and how the effect ended is an event.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tol_events::{Event, EventTime, EventView};
use tol_system::{Decision, Description, EffectOutcome, Error, Evolution, Input, InputSpec, Projection, Rows, System};

use super::plug::NAME;

/// Facts that ask for an effect: `{"runner": …, "payload": …}`.
pub const ASKED: &str = "puppet.effect_asked.v1";
/// A file of a customer's was stored: its data is the blob's reference.
pub const FILED: &str = "puppet.file_stored.v1";
/// The puppet requests an effect.
pub const REQUESTED: &str = "puppet.effect_requested.v1";
/// An effect ended.
pub const ENDED: &str = "puppet.effect_ended.v1";

/// What is asked for.
#[derive(Serialize, Deserialize)]
struct Asked {
    runner: String,
    payload: Value,
}

fn asked(event: &EventView<'_>) -> Result<Asked, Error> {
    event.data_as().map_err(|problem| Error::malformed(event, problem))
}

/// The puppet.
pub struct Puppet {
    /// Effects that one subject may have asked for.
    pub limit: u32,
}

/// What it remembers about a subject.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Remembered {
    requested: u32,
    ended: u32,
}

impl System for Puppet {
    type State = Remembered;

    fn describe(&self) -> Description {
        Description {
            name: NAME,
            tier: 7,
            code_version: "1",
            state_version: 1,
            about: "Does what a test asks for",
            inputs: vec![InputSpec { topic: "facts.customer", types: &["puppet.effect_asked."] }],
            emits: &[REQUESTED, ENDED],
            depends_on: &[],
            uptime_target: 0.9,
        }
    }

    fn configuration(&self) -> Value {
        json!({"limit": self.limit})
    }

    fn decide(&self, state: &Remembered, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        match input {
            Input::Event(event) => {
                if state.requested >= self.limit {
                    return Err(Error::Refused(format!("{} asked for {} effects already", event.subject(), self.limit)));
                }
                decision.emit(REQUESTED, &asked(&event)?);
            }
            Input::Effect { request_id, outcome: EffectOutcome::Completed(answer), .. } => {
                decision.emit(ENDED, &json!({"key": request_id, "answer": answer}));
            }
            Input::Effect { request_id, outcome: EffectOutcome::Failed(problem), .. } => {
                decision.emit(ENDED, &json!({"key": request_id, "problem": problem}));
            }
            Input::Timer { .. } => {}
        }
        Ok(())
    }

    fn evolve(&self, state: &mut Remembered, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        match event.event_type() {
            REQUESTED => {
                let asked = asked(&event)?;
                evolution.request_effect(asked.runner, asked.payload);
                state.requested += 1;
            }
            ENDED => state.ended += 1,
            other => return Err(Error::UnknownOwnEvent(other.to_owned())),
        }
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        vec![example(ASKED, json!({"runner": "puppet.short", "payload": {"note": "hello"}}))]
    }
}

fn example(event_type: &str, data: Value) -> Event {
    let mut event = Event::new(event_type, "/test", event_type, "customer/1").at(EventTime::from_secs(1_767_268_800));
    event.data = data.to_string().into_bytes();
    event
}

/// Customers as the puppet serves them, folded from what they are registered with (sealed) and their files.
pub struct Customers;

/// A customer. JSON as text, since rows are stored with postcard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Customer {
    /// Data of the registration, its personal fields sealed.
    pub registered: Option<String>,
    /// The reference of the file.
    pub file: Option<String>,
}

impl Projection for Customers {
    type Row = Customer;
    const NAME: &'static str = "puppet-customers";
    const VERSION: u32 = 1;
    const TOPIC: &'static str = "facts.customer";

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Customer>) -> Result<(), tol_system::projection::Error> {
        let text = || Some(String::from_utf8_lossy(event.data()).into_owned());
        match event.event_type() {
            "commerce.customer_registered.v1" => rows.get_mut(event.subject())?.registered = text(),
            FILED => rows.get_mut(event.subject())?.file = text(),
            _ => {}
        }
        // What is folded of these two is not to stay.
        match event.data_as::<Value>()?.get("fold").and_then(Value::as_str) {
            Some("fails") => Err(tol_system::projection::Error::TooLarge("the file".to_owned())),
            Some("panics") => panic!("the fold panics, as asked"),
            _ => Ok(()),
        }
    }

    fn merge(a: Customer, b: Customer) -> Customer {
        Customer { registered: a.registered.or(b.registered), file: a.file.or(b.file) }
    }

    fn value(row: &Customer, _: &str) -> Value {
        json!({"registered": row.registered.is_some(), "file": row.file.is_some()})
    }

    fn subject_of(key: &str) -> Option<String> {
        Some(key.to_owned())
    }

    fn examples(&self) -> Vec<Event> {
        vec![example("commerce.customer_registered.v1", json!({"customer_id": "1"})), example(FILED, json!({}))]
    }
}
