//! [`Platform`]: the node as a system uses it.
//!
//! * [`events`] — publishing, searching and following events
//! * [`rows`] — rows of projections
//! * [`standing`] — owners, permits, health, checks

pub mod events;
pub mod rows;
pub mod standing;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tol_events::{Event, EventTime, Position, TopicPartition};

use crate::blobs::Blobs;
use crate::problem::Problem;

pub use events::{
    Decided, EventFilter, EventPage, LOG_POSITION, LoggedEvent, Published, STREAM_START, SearchQuery, StreamedEvent, Subscription, Warning, stream_token_at,
};
pub use rows::{Folded, Item, Past, Row, RowPage, RowsQuery, Running};
pub use standing::{Check, Owner, Permit, Standing};

/// A result to wait for.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send + 'a>>;

/// Gives a system what the node offers. Methods that answer at once return a `Result`; methods that wait return an [`Answer`]. Methods marked *blocking* may
/// read the disk: call them in a runner, or through [`Request::block`](crate::Request::block), never on a worker.
pub trait Platform: Send + Sync + 'static {
    /// Admits facts, all or none, and answers when they are durable. A retry with the same ids is safe.
    ///
    /// Errors: `id-conflict`, `invalid-data`, `unavailable` with Retry-After, `disk-full`, `emergency-stop`.
    fn admit(&self, facts: Vec<Event>) -> Answer<'_, Published>;
    /// Admits facts, and waits at most `patience` until `system` has decided each of them and committed that.
    ///
    /// Errors: as [`Platform::admit`], `unknown-system`.
    fn decide(&self, system: &str, facts: Vec<Event>, patience: Duration) -> Answer<'_, Decided>;

    /// Finds events of the log, in the order of time, then position. Blocking.
    ///
    /// # Errors
    /// `invalid-cursor`.
    fn search(&self, query: &SearchQuery) -> Result<EventPage, Problem>;
    /// Finds the events of an id: one for each source, or only that of `source`. Blocking.
    ///
    /// # Errors
    /// The log cannot be read.
    fn event(&self, id: &str, source: Option<&str>) -> Result<Vec<LoggedEvent>, Problem>;
    /// Lists a subject's facts and all systems' events about it, in order of time. Blocking.
    ///
    /// # Errors
    /// `invalid-cursor`.
    fn timeline(&self, subject: &str, limit: usize, cursor: Option<&str>) -> Result<EventPage, Problem>;
    /// Follows accepted events as they are appended: from behind `resume` (a token of [`Subscription`] or [`StreamedEvent`], [`STREAM_START`], or one of
    /// [`stream_token_at`]), or from now on. Errors: `invalid-cursor`, `stream-ahead`.
    /// The channel is bounded. Where the receiver cannot keep up, the node drops the sender, and the client resumes.
    fn subscribe(&self, filter: EventFilter, resume: Option<String>) -> Answer<'_, Subscription>;

    /// Waits until the projection holds all the positions (inclusive). Answers false where `timeout` passes first.
    fn wait_for(&self, projection: &str, positions: Vec<(TopicPartition, Position)>, timeout: Duration) -> Answer<'_, bool>;
    /// Reads one row. With `past` `None` it is a point read, which may be called on a worker; with a past it is blocking.
    ///
    /// # Errors
    /// `unknown-projection`, `whole-projection-only`.
    fn row(&self, projection: &str, key: &str, past: Option<Past>) -> Result<Option<Row>, Problem>;
    /// Reads a page of rows in the order of their keys. Blocking.
    ///
    /// # Errors
    /// `unknown-projection`, `invalid-cursor`, `job-running`.
    fn rows(&self, projection: &str, query: &RowsQuery) -> Result<Folded<RowPage>, Problem>;
    /// Answers one of a system's queries from the system's state of a subject. Blocking.
    ///
    /// # Errors
    /// `unknown-system`, `not-found`, `invalid-parameter`, or the state cannot be read.
    fn query(&self, system: &str, query: &str, subject: &str, parameters: BTreeMap<String, String>) -> Result<Value, Problem>;

    /// Finds the node that decides about a subject.
    fn owner(&self, subject: &str) -> Owner;
    /// Asks a declared question of the node that owns the subject's partition. The node passes it on once, never twice.
    ///
    /// Errors: `not-found` for a question nobody declared, `unavailable` while the partition moves, the answer's own.
    fn ask(&self, question: &str, subject: &str, body: Value) -> Answer<'_, Value>;

    /// Opens the sealed personal values in JSON, with the key of `subject`. Values whose key was destroyed become null. Blocking.
    ///
    /// # Errors
    /// The key store cannot be read.
    fn reveal(&self, subject: &str, json: &[u8]) -> Result<Vec<u8>, Problem>;
    /// Gives the blob store, for content that is too large for an event. Its functions are blocking.
    ///
    /// # Errors
    /// `unavailable` while the node opens.
    fn blobs(&self) -> Result<Arc<dyn Blobs>, Problem>;
    /// Erases a person: destroys the subject's key on all nodes, and purges what was made of opened data.
    fn erase(&self, subject: &str, by: &str, reason: &str) -> Answer<'_, ()>;

    /// Permits one act outside without a runner, now; `None` during an emergency stop. Ask for a permit each time, and hold it while acting.
    fn permit(&self) -> Option<Permit>;
    /// Watches whether the emergency stop is engaged.
    fn stopped(&self) -> watch::Receiver<bool>;
    /// Tells whether what is served from memory is up to date with the log.
    fn health(&self) -> Standing;
    /// Reads the clock. A system's serving side uses no other.
    fn now(&self) -> EventTime;
}
