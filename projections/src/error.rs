//! What can go wrong in this crate.

use tol_kafka::{Position, TopicPartition};

/// Why something failed, and what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Another process has the RocksDB folder.
    #[error("the projections folder {0} is in use by another process; stop it or choose another --data folder")]
    InUse(String),
    /// Disk or RocksDB.
    #[error("the projections store failed: {0}; the log is not affected, free the disk or delete the projections folder and start again")]
    Store(String),
    /// There is no space to open the store.
    #[error("there is no space to open the projections store: {0}; free some disk")]
    Full(String),
    /// The store was opened anew since this was begun, or is being opened anew: begin again.
    #[error("the projections store is being opened anew; ask again in a moment")]
    Reopened,
    /// The log.
    #[error(transparent)]
    Log(#[from] tol_kafka::Error),
    /// The owner's protocol does not hold in a topic (E3), or the fold refused an event.
    #[error("{0}")]
    Stopped(String),
    /// A row of a projection does not read or write.
    #[error(transparent)]
    Row(#[from] tol_system::projection::Error),
    /// Nobody registered that name.
    #[error("there is no projection {0}; GET /projections lists them")]
    Unknown(String),
    /// The state of one subject as of then cannot be folded from its own events alone.
    #[error("rows of projection {0} are not about one subject; ask for the whole projection as of that time")]
    NotOneSubject(String),
    /// A second job of the kind of which there may be one.
    #[error("{0}")]
    Busy(String),
    /// A cursor of a listing that was not made by this node.
    #[error("the cursor does not read; use next_cursor of the previous page as it is")]
    Cursor,
    /// An event that an index names is not where it was.
    #[error("the event at {0}@{1} cannot be read back; rebuild the index by deleting the projections folder")]
    Missing(TopicPartition, Position),
}

impl From<rocksdb::Error> for Error {
    fn from(error: rocksdb::Error) -> Self {
        Error::Store(error.into_string())
    }
}

impl From<tol_runtime::store::Error> for Error {
    fn from(error: tol_runtime::store::Error) -> Self {
        Error::Store(error.to_string())
    }
}
