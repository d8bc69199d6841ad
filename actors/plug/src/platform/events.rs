//! Events: what is admitted, searched and followed.

use std::collections::BTreeMap;

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tol_events::binding::json;
use tol_events::{Event, EventTime, Position, TopicPartition};
use utoipa::ToSchema;

/// What was appended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// Events the log did not have.
    pub accepted: u64,
    /// Events it had, with the same content.
    pub duplicates: u64,
    /// Highest position of the request's events by topic partition, for `min_position`.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({"facts.customer/3": 120}))]
    pub positions: BTreeMap<TopicPartition, Position>,
}

/// What became of facts that a system was asked to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decided {
    /// Decided: the system's events that each fact led to, in the order of the facts. A fact that led to nothing has none.
    By(Vec<Vec<Event>>),
    /// Durable, and not decided in time. It will be.
    Pending(Published),
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this subject.
    pub subject: Option<String>,
    /// Of this type; ending in `*`, of all types that begin so.
    pub event_type: Option<String>,
    /// Of this correlation id.
    pub correlation: Option<String>,
}

/// A search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchQuery {
    /// Which events.
    pub filter: EventFilter,
    /// Not before.
    pub from: Option<EventTime>,
    /// Not after.
    pub to: Option<EventTime>,
    /// At most so many, from 1.
    pub limit: usize,
    /// `next_cursor` of the previous page.
    pub cursor: Option<String>,
}

/// An event and where it lies. Serialises as the CloudEvent with the extension `logposition`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// The event.
    pub event: Event,
    /// Its place in the log.
    pub position: Option<(TopicPartition, Position)>,
}

/// Extension that tells where in the log an event lies, in the form `min_position` takes. Dropped again at admission.
pub const LOG_POSITION: &str = "logposition";

impl LoggedEvent {
    /// The CloudEvent as JSON on one line.
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

/// A stream that was opened.
#[derive(Debug)]
pub struct Subscription {
    /// Where it begins, so that a client that breaks off before the first event resumes from here too.
    pub token: String,
    /// What comes.
    pub events: mpsc::Receiver<StreamedEvent>,
}

/// An event of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamedEvent {
    /// Everything up to and with this event was delivered; opaque to clients, who send it back as `Last-Event-ID`. One line.
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
    /// Where the next page begins; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}
