//! What the HTTP server needs of a node. The node implements [`NodeApi`]; tests implement it with a fake.
//!
//! Methods that answer at once return a `Result`; those that wait return an [`Answer`]. Methods marked *blocking* may read
//! the disk: the server calls them on its blocking threads, never on a worker.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tol_events::binding::json;
use tol_events::{Event, EventTime};
use tol_kafka::{Position, TopicPartition};
use utoipa::ToSchema;

use super::problem::Problem;
use crate::flags::FlagServer;

/// Something that is waited for.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send + 'a>>;

/// A node, as the HTTP server sees it.
pub trait NodeApi: Send + Sync + 'static {
    /// Admits events and answers when they are durable. All or none.
    /// Errors: `id_conflict`, `invalid_data`, `unavailable` with Retry-After, `DiskFull`, `EmergencyStop`.
    fn publish(&self, events: Vec<Event>) -> Answer<'_, Published>;
    /// Events of the log in (time, position) order. Blocking.
    ///
    /// # Errors
    /// `InvalidCursor`.
    fn search(&self, query: &SearchQuery) -> Result<EventPage, Problem>;
    /// The events of that id, one a source (of `source` only, when given). Blocking.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn event(&self, id: &str, source: Option<&str>) -> Result<Vec<LoggedEvent>, Problem>;
    /// Accepted events as they are appended, from after `resume` (a token of [`Subscription`] or [`StreamedEvent`]) or from now on.
    /// The channel is bounded; where its receiver cannot keep up, the node drops the sender and the client resumes.
    fn subscribe(&self, filter: EventFilter, resume: Option<String>) -> Answer<'_, Subscription>;
    /// The tree of causes; without roots when nothing has that correlation id. Blocking.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn trace(&self, correlation: &str) -> Result<Trace, Problem>;
    /// A subject's facts and the systems' events about it, in order of time. Blocking.
    ///
    /// # Errors
    /// `InvalidCursor`.
    fn timeline(&self, subject: &str, limit: usize, cursor: Option<&str>) -> Result<EventPage, Problem>;

    /// All projections. Blocking.
    fn projections(&self) -> Vec<ProjectionStatus>;
    /// Waits until the projection holds all the positions (inclusive); false when `timeout` passes first.
    fn wait_for(&self, projection: &str, positions: Vec<(TopicPartition, Position)>, timeout: Duration) -> Answer<'_, bool>;
    /// One row, or `None`. Called on a worker when `past` is `None`: it must be a point read; blocking otherwise.
    ///
    /// # Errors
    /// `unknown_projection`, `WholeProjectionOnly`.
    fn row(&self, projection: &str, key: &str, past: Option<Past>) -> Result<Option<Row>, Problem>;
    /// A page of rows in key order. Blocking.
    ///
    /// # Errors
    /// `unknown_projection`, `InvalidCursor`, `JobRunning`.
    fn rows(&self, projection: &str, query: &RowsQuery) -> Result<Folded<RowPage>, Problem>;
    /// A hash of all rows. Blocking.
    ///
    /// # Errors
    /// `unknown_projection`, `JobRunning`.
    fn digest(&self, projection: &str, past: Option<Past>) -> Result<Folded<Digest>, Problem>;
    /// Starts a rebuild beside the serving generation; the running one where there is one. Blocking.
    ///
    /// # Errors
    /// `unknown_projection`, `JobRunning`.
    fn rebuild(&self, projection: &str, by: &str) -> Result<RebuildStatus, Problem>;
    /// The running rebuild, or how the last one ended.
    ///
    /// # Errors
    /// `unknown_projection`.
    fn rebuild_status(&self, projection: &str) -> Result<RebuildStatus, Problem>;
    /// Cancels the running rebuild; its last state where none runs. Blocking.
    ///
    /// # Errors
    /// `unknown_projection`.
    fn cancel_rebuild(&self, projection: &str, by: &str) -> Result<RebuildStatus, Problem>;

    /// All systems.
    fn systems(&self) -> Vec<SystemStatus>;
    /// One system, with its state about `subject` when that is given. `None` when there is no such system. Blocking.
    ///
    /// # Errors
    /// When its state cannot be read.
    fn system(&self, name: &str, subject: Option<&str>) -> Result<Option<SystemDetail>, Problem>;
    /// Answers a question of a system's own about a subject. Blocking.
    ///
    /// # Errors
    /// `unknown_system`, `NotFound`, `InvalidParameter`, or its state cannot be read.
    fn query(&self, system: &str, query: &str, subject: &str, parameters: BTreeMap<String, String>) -> Result<serde_json::Value, Problem>;
    /// Pauses, resumes or restarts a system. Errors: `unknown_system`, `WrongState`.
    fn control(&self, name: &str, control: Control, by: &str) -> Answer<'_, SystemStatus>;

    /// Parked inputs, oldest first. Blocking.
    ///
    /// # Errors
    /// `InvalidCursor`.
    fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, Problem>;
    /// Has one decided again, and those parked behind it. Errors: `unknown_dead_letter`.
    fn redrive(&self, id: &str, by: &str) -> Answer<'_, Redriven>;
    /// Gives one up. Errors: `unknown_dead_letter`.
    fn discard(&self, id: &str, reason: &str, by: &str) -> Answer<'_, DeadLetter>;
    /// Has all that match decided again; with `dry_run` only tells which. Errors: `JobRunning`, `EmergencyStop`.
    fn redrive_all(&self, filter: RedriveFilter, by: &str) -> Answer<'_, Redriven>;
    /// How far a redrive is, or what became of it. `None` when this node knows of none with that id. Errors: another node that takes part
    /// does not answer now.
    fn redrive_status(&self, id: &str) -> Answer<'_, Option<Redriven>>;

    /// Engages the emergency stop; answers when every live node has stopped or its lease has run out. Idempotent.
    fn stop(&self, reason: &str, by: &str) -> Answer<'_, StopState>;
    /// Whether it is engaged. Changes nothing.
    fn stop_state(&self) -> StopState;
    /// Releases it. Idempotent.
    fn release(&self, reason: &str, by: &str) -> Answer<'_, StopState>;

    /// The flags it serves, from memory: also before it is open, and while the log is away.
    fn flags(&self) -> &Arc<FlagServer>;

    /// Whether the node can do its work.
    fn readiness(&self) -> Readiness;
    /// All metrics in Prometheus' text format. Blocking.
    fn metrics(&self) -> String;
    /// What runs here.
    fn version(&self) -> Version;
    /// What another node of the cluster asks of this one, as JSON. It is answered here or refused, never passed on.
    fn peer(&self, question: Vec<u8>) -> Answer<'_, Value>;
}

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
    #[schema(value_type = Vec<CloudEvent>)]
    pub items: Vec<LoggedEvent>,
    /// Where the next page begins; null at the end.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A CloudEvent 1.0 in JSON. Extensions are further members.
#[derive(Debug, Serialize, ToSchema)]
pub struct CloudEvent {
    /// `1.0`
    #[schema(example = "1.0")]
    pub specversion: String,
    /// Unique within `source`.
    #[schema(example = "order-1001")]
    pub id: String,
    /// Who says so.
    #[schema(example = "/shop")]
    pub source: String,
    /// `<domain>.<thing>_<past tense>.v<N>`
    #[schema(example = "commerce.order_placed.v1")]
    pub r#type: String,
    /// The entity as `kind/id`.
    #[schema(example = "customer/42")]
    pub subject: Option<String>,
    /// When it happened, RFC 3339.
    #[schema(example = "2026-01-31T12:00:00Z")]
    pub time: Option<String>,
    /// Media type of the data; JSON when absent.
    pub datacontenttype: Option<String>,
    /// The JSON Schema of the type and version.
    pub dataschema: Option<String>,
    /// The request it belongs to.
    pub correlationid: Option<String>,
    /// The event that caused it.
    pub causationid: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// When it was admitted; set by the node.
    pub recordedtime: Option<String>,
    /// Where in the log it lies, `topic/partition:position`; set by the node.
    pub logposition: Option<String>,
    /// The data.
    pub data: Option<Value>,
    /// The data where it is not JSON or text.
    pub data_base64: Option<String>,
}

/// The tree of causes of one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Trace {
    /// The correlation id.
    pub correlation: String,
    /// How many events the tree holds.
    pub events: usize,
    /// Whether the tree was cut off because it is too large.
    pub truncated: bool,
    /// Events that no event of this trace caused.
    pub roots: Vec<TraceNode>,
}

/// An event and what it caused.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TraceNode {
    /// The event.
    #[schema(value_type = CloudEvent)]
    pub event: LoggedEvent,
    /// What it caused, in order of time.
    #[schema(no_recursion)]
    pub children: Vec<TraceNode>,
}

mod control;
mod flags;
mod projections;

pub use control::{
    Check, Control, DeadLetter, DeadLetterPage, DeadLetterQuery, Readiness, RedriveFilter, Redriven, StayedDeadLetter, StopState, SystemDetail, SystemStatus,
    Topic, Uptime, Version,
};
pub use flags::{
    ChangeFlag, ChangeShared, EvaluateFlags, ExposureSeen, ExposuresRecorded, Flag, FlagEnvironment, FlagExperiment, FlagExperimentPage, FlagHistoryEntry,
    FlagInShort, FlagPage, FlagProblem, FlagsImported, FlagsPending, InEnvironment, RecordExposures, ScheduleFlag, ScheduledChange, StartExperiment,
    StartRollout,
};
pub use projections::{Digest, Folded, Item, Past, ProjectionStatus, RebuildState, RebuildStatus, Row, RowPage, RowsQuery, Running};
