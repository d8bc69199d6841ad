//! Questions and answers about events: admitting, searching and following them.

use std::collections::BTreeMap;

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tol_events::binding::json;
use tol_events::{Event, EventTime, Position, TopicPartition};
use utoipa::ToSchema;

/// What admission appended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// How many events the log did not have.
    pub accepted: u64,
    /// How many events the log had, with the same content.
    pub duplicates: u64,
    /// Highest position of the request's events by topic partition, for `min_position`.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({"facts.customer/3": 120}))]
    pub positions: BTreeMap<TopicPartition, Position>,
    /// What accepted events probably got wrong; left out where there is nothing. What several events have in common is told once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// What accepted events probably got wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// `unknown-type`: the domain is known and the type is not. `unknown-field`: the type has no such field. `spelling`: a name is known in another
    /// spelling. `more`: further warnings were left out.
    #[schema(example = "unknown-field")]
    pub kind: String,
    /// The first event that it is about, counted from 0.
    pub index: usize,
    /// How many events of the request it is about.
    pub events: u64,
    /// What is odd, and what follows from it.
    pub detail: String,
}

/// Distinct warnings of one answer; senders choose how many there are.
const MOST_WARNINGS: usize = 100;

/// Adds a warning about the event at `index` to an answer's: once for all events that have it in common.
pub fn add_warning(warnings: &mut Vec<Warning>, kind: &str, index: usize, events: u64, detail: String) {
    if let Some(same) = warnings.iter_mut().find(|known| known.kind == kind && known.detail == detail) {
        same.index = same.index.min(index);
        same.events += events;
    } else if warnings.len() < MOST_WARNINGS {
        warnings.push(Warning { kind: kind.to_owned(), index, events, detail });
    } else if let Some(last) = warnings.last_mut().filter(|last| last.kind == "more") {
        last.events += events;
    } else if let Some(last) = warnings.last_mut() {
        let detail = format!("only the first {} warnings are listed", MOST_WARNINGS - 1);
        *last = Warning { kind: "more".to_owned(), index: last.index, events: last.events + events, detail };
    }
}

/// The outcome of facts that a system was to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// The facts are decided. For each fact, in their order, the system's events that it led to; none where it led to nothing.
    By(Vec<Vec<Event>>),
    /// The facts are durable, and were not decided in time. The system will decide them.
    Pending(Published),
}

/// Selects events; a field that is `None` selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Events of this subject.
    pub subject: Option<String>,
    /// Events of this type; a text that ends in `*` selects all types that begin so.
    pub event_type: Option<String>,
    /// Events of this correlation id.
    pub correlation: Option<String>,
}

/// A search for events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchQuery {
    /// Selects the events.
    pub filter: EventFilter,
    /// The earliest time (inclusive).
    pub from: Option<EventTime>,
    /// The latest time (inclusive).
    pub to: Option<EventTime>,
    /// Most events of the page, from 1.
    pub limit: usize,
    /// `next_cursor` of the previous page.
    pub cursor: Option<String>,
}

/// An event and its place in the log. It serialises as the CloudEvent with the extension `logposition`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// The event.
    pub event: Event,
    /// Its place in the log.
    pub position: Option<(TopicPartition, Position)>,
}

/// The extension with an event's place in the log, in the form that `min_position` takes. Admission drops it.
pub const LOG_POSITION: &str = "logposition";

impl LoggedEvent {
    /// Writes the CloudEvent as JSON on one line.
    pub fn to_json(&self) -> Vec<u8> {
        let mut body = match &self.position {
            Some((topic_partition, position)) => {
                let mut event = self.event.clone();
                event.extensions.insert(LOG_POSITION.to_owned(), format!("{topic_partition}:{position}"));
                json::encode(&event)
            }
            None => json::encode(&self.event),
        };
        // Data is kept as sent, line feeds included; inside JSON strings they are escaped, so these are white space.
        body.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        body
    }
}

impl Serialize for LoggedEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = String::from_utf8(self.to_json()).map_err(S::Error::custom)?;
        RawValue::from_string(text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// The token of the beginning of the log.
pub const STREAM_START: &str = "start";

/// Makes the token of a stream that begins with the events recorded at `time`.
pub fn stream_token_at(time: EventTime) -> String {
    format!("at:{}", time.as_micros().div_euclid(1_000))
}

/// An opened stream of events.
#[derive(Debug)]
pub struct Subscription {
    /// The token of the stream's beginning, from which a client resumes that breaks off before the first event.
    pub token: String,
    /// Receives the events.
    pub events: mpsc::Receiver<StreamedEvent>,
}

/// An event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamedEvent {
    /// Stands for everything up to and with this event. Clients send it back as `Last-Event-ID`; it is opaque, and one line.
    pub token: String,
    /// The event.
    pub event: LoggedEvent,
}

/// A page of events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct EventPage {
    /// The events, as CloudEvents.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<LoggedEvent>,
    /// The cursor of the next page; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}
