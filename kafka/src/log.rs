//! The [`EventLog`] trait: append to topic partitions and learn the durable positions, read from a position, create topics.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use tol_events::EventTime;
pub use tol_events::{Position, TopicPartition};

use crate::record::{Batch, Record};

/// A topic that must exist, with its number of partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// The topic's name: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// How long records are kept; `None` is for ever. Never compacted.
    pub retention: Option<std::time::Duration>,
}

/// What is to be appended to one partition, in order and contiguously.
#[derive(Debug)]
pub struct Append {
    /// Where to.
    pub to: TopicPartition,
    /// The position the first record must get. The embedded log refuses the append otherwise;
    /// Kafka cannot, so the owner compares the positions it is told (E6).
    pub expected: Option<Position>,
    /// At least one.
    pub records: Vec<Record>,
}

/// Where the records of one [`Append`] went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where to.
    pub to: TopicPartition,
    /// Position of each record, in the order given. Increasing; not always contiguous on Kafka, where a zombie may write in between.
    pub positions: Vec<Position>,
}

/// Called once, from a thread of the log's: durable positions of all appends of the call in the order given, or the failure of the whole call.
/// Must not block.
pub type AppendDone = Box<dyn FnOnce(Result<Vec<Appended>, Error>) + Send>;

/// The readable part of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// First position that can still be read.
    pub earliest: Position,
    /// The next position to be written; everything below is durable.
    pub end: Position,
}

/// Whether the log can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Appends and reads work.
    pub ready: bool,
    /// What is wrong, or `ok`.
    pub detail: String,
}

/// Which partition numbers this node owns now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The numbers.
    pub partitions: BTreeSet<u32>,
}

/// What went wrong with the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A conditional append came at another position (E6): somebody else wrote.
    #[error("append to {to} expected position {expected}, but the partition ends at {end}; another owner writes there, claim anew")]
    Conflict {
        /// Where to.
        to: TopicPartition,
        /// What the writer believed.
        expected: Position,
        /// What is.
        end: Position,
    },
    /// The topic or partition does not exist.
    #[error("{0} does not exist in this log; check the name, `tol topics` lists them")]
    Unknown(String),
    /// A topic exists with another number of partitions.
    #[error(
        "topic {topic} has {found} partitions but the configuration says {configured}; set log.partitions = {found}, or use an empty log: the number cannot change, a subject's history would be split"
    )]
    PartitionMismatch {
        /// The topic.
        topic: String,
        /// As configured.
        configured: u32,
        /// As found.
        found: u32,
    },
    /// A position below the earliest that is kept, or above the end.
    #[error("position {position} of {of} is outside what the log keeps ({earliest} to {end})")]
    OutOfRange {
        /// Which partition.
        of: TopicPartition,
        /// Asked for.
        position: Position,
        /// First kept.
        earliest: Position,
        /// Next to be written.
        end: Position,
    },
    /// Stored bytes do not match their checksum, or contradict themselves.
    #[error("corrupt log: {0}; restore this file from a backup, nothing after it was read")]
    Corrupt(String),
    /// No space left.
    #[error("the disk of {0} is full; free some space, the append was not acknowledged")]
    DiskFull(String),
    /// Another process has the folder.
    #[error("{0} is in use by another process; stop it or choose another --data folder")]
    InUse(String),
    /// Bad argument.
    #[error("{0}")]
    Invalid(String),
    /// The broker or the disk failed in a way that may pass. What was appended may or may not be durable.
    #[error("the log is not available: {0}; it is tried again")]
    Unavailable(String),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// A durable, partitioned, append-only log.
pub trait EventLog: Send + Sync + 'static {
    /// Appends to one or several partitions. Each [`Append`] stays in order; appends of one call to the embedded log are atomic, on Kafka they are not.
    /// Calls from one thread to one partition keep their order. `done` is called when all is durable, or has failed.
    fn append(&self, appends: Vec<Append>, done: AppendDone);

    /// Reads durable records from `from` on: whole batches in order, together about `max_bytes` (at least one batch if there is one).
    /// The first batch may begin below `from`: skip what lies below. Empty at the end. Returns at once on the embedded log; on Kafka it may wait up to a second for data known to exist.
    ///
    /// # Errors
    /// Unknown partition, position out of range, corruption, or the log is unavailable.
    fn read(&self, from: &TopicPartition, position: Position, max_bytes: usize) -> Result<Vec<Arc<Batch>>, Error>;

    /// The readable part of a partition.
    ///
    /// # Errors
    /// Unknown partition, or the log is unavailable.
    fn bounds(&self, of: &TopicPartition) -> Result<Bounds, Error>;

    /// The end as this process last heard of it: never above the true end and, where readers are at the tip, hardly below. Asks the broker only
    /// about a partition nobody here reads. For gauges.
    ///
    /// # Errors
    /// As [`EventLog::bounds`].
    fn known_end(&self, of: &TopicPartition) -> Result<Position, Error> {
        Ok(self.bounds(of)?.end)
    }

    /// The first position appended at or after `time` (the end if none).
    ///
    /// # Errors
    /// As [`EventLog::bounds`].
    fn position_at(&self, of: &TopicPartition, time: EventTime) -> Result<Position, Error>;

    /// All topics with their number of partitions, sorted by name.
    ///
    /// # Errors
    /// The log is unavailable.
    fn topics(&self) -> Result<Vec<(String, u32)>, Error>;

    /// Creates what is missing. Waits until it is usable.
    ///
    /// # Errors
    /// [`Error::PartitionMismatch`] where a topic exists with another count, or the log is unavailable.
    fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), Error>;

    /// Registers a function called (from a thread of the log's, must not block) with each partition that got new durable records.
    fn watch(&self, woken: Arc<dyn Fn(&TopicPartition) + Send + Sync>);

    /// Asks to be told which of the partition numbers `0..partitions` this node owns, now and at each change. One process only: all, at once.
    fn join(&self, partitions: u32, changed: Arc<dyn Fn(Assignment) + Send + Sync>);

    /// Tells the log how far the `inbox` partition was read, for a node that takes it over. Nothing, on a log without an inbox.
    fn commit_inbox(&self, _partition: u32, _position: Position) {}

    /// What was told last by [`EventLog::commit_inbox`], by any node.
    ///
    /// # Errors
    /// The log is unavailable.
    fn inbox_committed(&self, _partition: u32) -> Result<Option<Position>, Error> {
        Ok(None)
    }

    /// Names the log for ever (cluster id): a cache of another log is thrown away (E10).
    fn identity(&self) -> String;

    /// Whether it can be reached now.
    fn health(&self) -> Health;

    /// Stops threads; pending appends fail with [`Error::Closed`] or complete.
    fn close(&self);
}
