//! The node as a system sees it.
//!
//! * [`events`] — publishing, searching, following
//! * [`rows`] — rows of projections
//! * [`standing`] — owners, permits, health

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

pub use events::{Decided, EventFilter, EventPage, LOG_POSITION, LoggedEvent, Published, SearchQuery, StreamedEvent, Subscription};
pub use rows::{Folded, Item, Past, Row, RowPage, RowsQuery, Running};
pub use standing::{Check, Owner, Permit, Standing};

/// Something that is waited for.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send + 'a>>;

/// A node, as systems use it. Methods that answer at once return a `Result`; those that wait return an [`Answer`]. Methods marked *blocking* may
/// read the disk: call them through [`Request::block`](crate::Request::block), never on a worker.
pub trait Platform: Send + Sync + 'static {
    /// Admits facts and answers when they are durable. All or none. A retry with the same ids is safe.
    ///
    /// Errors: `id-conflict`, `invalid-data`, `unavailable` with Retry-After, `disk-full`, `emergency-stop`.
    fn admit(&self, facts: Vec<Event>) -> Answer<'_, Published>;
    /// Admits facts, and waits until `system` has decided each of them and this is committed.
    ///
    /// Errors: as [`Platform::admit`], `unknown-system`.
    fn decide(&self, system: &str, facts: Vec<Event>, patience: Duration) -> Answer<'_, Decided>;

    /// Events of the log in (time, position) order. Blocking.
    ///
    /// # Errors
    /// `invalid-cursor`.
    fn search(&self, query: &SearchQuery) -> Result<EventPage, Problem>;
    /// The events of that id, one a source (of `source` only, when given). Blocking.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn event(&self, id: &str, source: Option<&str>) -> Result<Vec<LoggedEvent>, Problem>;
    /// A subject's facts and the systems' events about it, in order of time. Blocking.
    ///
    /// # Errors
    /// `invalid-cursor`.
    fn timeline(&self, subject: &str, limit: usize, cursor: Option<&str>) -> Result<EventPage, Problem>;
    /// Accepted events as they are appended, from after `resume` (a token of [`Subscription`] or [`StreamedEvent`]) or from now on.
    /// The channel is bounded; where its receiver cannot keep up, the node drops the sender and the client resumes.
    fn subscribe(&self, filter: EventFilter, resume: Option<String>) -> Answer<'_, Subscription>;

    /// Waits until the projection holds all the positions (inclusive); false when `timeout` passes first.
    fn wait_for(&self, projection: &str, positions: Vec<(TopicPartition, Position)>, timeout: Duration) -> Answer<'_, bool>;
    /// One row, or `None`. A point read where `past` is `None`, and may then be called on a worker; blocking otherwise.
    ///
    /// # Errors
    /// `unknown-projection`, `whole-projection-only`.
    fn row(&self, projection: &str, key: &str, past: Option<Past>) -> Result<Option<Row>, Problem>;
    /// A page of rows in key order. Blocking.
    ///
    /// # Errors
    /// `unknown-projection`, `invalid-cursor`, `job-running`.
    fn rows(&self, projection: &str, query: &RowsQuery) -> Result<Folded<RowPage>, Problem>;
    /// Answers a question of a system's own about a subject from what it remembers of it. Blocking.
    ///
    /// # Errors
    /// `unknown-system`, `not-found`, `invalid-parameter`, or its state cannot be read.
    fn query(&self, system: &str, query: &str, subject: &str, parameters: BTreeMap<String, String>) -> Result<Value, Problem>;

    /// Who decides about a subject.
    fn owner(&self, subject: &str) -> Owner;
    /// Asks the node that owns the subject's partition; passed on once, never twice.
    ///
    /// Errors: `not-found` for a question nobody declared, `unavailable` while the partition moves, the answer's own.
    fn ask(&self, question: &str, subject: &str, body: Value) -> Answer<'_, Value>;

    /// JSON with its sealed personal values opened, as far as the keys exist. Blocking.
    ///
    /// # Errors
    /// When a key store cannot be read.
    fn reveal(&self, subject: &str, json: &[u8]) -> Result<Vec<u8>, Problem>;
    /// Content that is too large for an event. Its functions are blocking.
    ///
    /// # Errors
    /// `unavailable` while the node opens.
    fn blobs(&self) -> Result<Arc<dyn Blobs>, Problem>;
    /// Erases a person: destroys the subject's key on all nodes and purges what was made with it.
    fn erase(&self, subject: &str, by: &str, reason: &str) -> Answer<'_, ()>;

    /// Permission to act outside without a runner, now; `None` during an emergency stop. Ask for it each time.
    fn permit(&self) -> Option<Permit>;
    /// Whether the emergency stop is engaged, and each change of that.
    fn stopped(&self) -> watch::Receiver<bool>;
    /// Whether what is served from memory is what the log holds.
    fn health(&self) -> Standing;
    /// Now. The only clock of a system's serving side.
    fn now(&self) -> EventTime;
}
