//! What the HTTP server needs of a node. The node implements [`NodeApi`]; tests implement it with a fake.
//!
//! Methods that answer at once return a `Result`; those that wait return an [`Answer`]. Methods marked *blocking* may read
//! the disk: the server calls them on its blocking threads, never on a worker.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tol_events::{Position, TopicPartition};
use tol_plug::platform::{Folded, LoggedEvent, Past};
use tol_plug::{Answer, Platform, Problem};
use utoipa::ToSchema;

/// A node as its operators see it: the [`Platform`] that systems have, and what is beside it.
pub trait NodeApi: Platform {
    /// Waits until the events at all these positions (inclusive) are found by search, timeline, trace and id. Answers false where `timeout` passes first.
    fn wait_indexed(&self, positions: Vec<(TopicPartition, Position)>, timeout: Duration) -> Answer<'_, bool>;
    /// Records of the log that search, timeline, trace and id do not find yet. Blocking.
    fn index_lag(&self) -> u64;
    /// The tree of causes; without roots when nothing has that correlation id. Blocking.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn trace(&self, correlation: &str) -> Result<Trace, Problem>;

    /// All projections. Blocking.
    fn projections(&self) -> Vec<ProjectionStatus>;
    /// A hash of all rows. Blocking.
    ///
    /// # Errors
    /// `unknown-projection`, `JobRunning`.
    fn digest(&self, projection: &str, past: Option<Past>) -> Result<Folded<Digest>, Problem>;
    /// Events that a projection could not fold, by partition and position. Blocking.
    ///
    /// # Errors
    /// `unknown-projection`, `invalid-cursor`.
    fn set_aside(&self, projection: &str, limit: usize, cursor: Option<&str>) -> Result<SetAsidePage, Problem>;
    /// Starts a rebuild beside the serving generation; the running one where there is one. Blocking.
    ///
    /// # Errors
    /// `unknown-projection`, `JobRunning`.
    fn rebuild(&self, projection: &str, by: &str) -> Result<RebuildStatus, Problem>;
    /// The running rebuild, or how the last one ended.
    ///
    /// # Errors
    /// `unknown-projection`.
    fn rebuild_status(&self, projection: &str) -> Result<RebuildStatus, Problem>;
    /// Cancels the running rebuild; its last state where none runs. Blocking.
    ///
    /// # Errors
    /// `unknown-projection`.
    fn cancel_rebuild(&self, projection: &str, by: &str) -> Result<RebuildStatus, Problem>;

    /// All systems.
    fn systems(&self) -> Vec<SystemStatus>;
    /// One system, with its state about `subject` when that is given. `None` when there is no such system. Blocking.
    ///
    /// # Errors
    /// When its state cannot be read.
    fn system(&self, name: &str, subject: Option<&str>) -> Result<Option<SystemDetail>, Problem>;
    /// The digest of a system's states, as this node has cached them. Blocking.
    ///
    /// # Errors
    /// `unknown-system`, or its cache does not read or is written all the time.
    fn system_digest(&self, name: &str) -> Result<SystemDigest, Problem>;
    /// Pauses, resumes or restarts a system. Errors: `unknown-system`, `WrongState`.
    fn control(&self, name: &str, control: Control, by: &str) -> Answer<'_, SystemStatus>;

    /// At most `limit` effects that wait, run or ended on this node, those that run first.
    fn effects(&self, limit: usize) -> Vec<EffectStatus>;

    /// Parked inputs, oldest first. Blocking.
    ///
    /// # Errors
    /// `InvalidCursor`.
    fn dead_letters(&self, query: &DeadLetterQuery) -> Result<DeadLetterPage, Problem>;
    /// One dead letter with its input. Blocking.
    ///
    /// # Errors
    /// `unknown-dead-letter`.
    fn dead_letter(&self, id: &str) -> Result<DeadLetterDetail, Problem>;
    /// Has one decided again, and those parked behind it; or admits a refused record, as it is or mended. Errors: `unknown-dead-letter`, `WrongState`.
    fn redrive(&self, id: &str, request: RedriveOne, by: &str) -> Answer<'_, Redriven>;
    /// Gives one up. Errors: `unknown-dead-letter`.
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

    /// Whether the node can do its work.
    fn readiness(&self) -> Readiness;
    /// All metrics in Prometheus' text format. Blocking.
    fn metrics(&self) -> String;
    /// What runs here.
    fn version(&self) -> Version;
    /// What another node of the cluster asks of this one, as JSON. It is answered here or refused, never passed on.
    fn peer(&self, question: Vec<u8>) -> Answer<'_, Value>;
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
mod projections;

pub use tol_runtime::effects::{EffectState, EffectStatus};

pub use control::{
    Control, DeadLetter, DeadLetterDetail, DeadLetterKind, DeadLetterPage, DeadLetterQuery, Erased, InboxRecord, Readiness, RedriveFilter, RedriveOne,
    Redriven, StayedDeadLetter, StopState, SystemDetail, SystemDigest, SystemStatus, Topic, Uptime, Version,
};
pub use projections::{Digest, ProjectionStatus, RebuildState, RebuildStatus, SetAsideEvent, SetAsidePage};
