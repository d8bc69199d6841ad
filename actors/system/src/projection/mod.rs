//! [`Projection`]: a read model, made of a topic, a version and a pure fold from events to rows.
//!
//! * [`rows`] — [`Rows`], which a fold changes, and [`RowSource`], where stored rows come from
//! * [`erased`] — [`AnyProjection`] and [`AnyOverlay`], a projection without the type of its rows, which the engine runs
//! * [`followed`] — [`Followed`], the changed rows that a follower keeps in memory
//! * [`error`] — why an event is set aside, or a fold stops

pub mod erased;
pub mod error;
pub mod followed;
pub mod rows;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tol_events::{Event, EventTime, EventView};

pub use erased::{AnyOverlay, AnyProjection, PutRow, erase};
pub use error::{Error, refuse_other_version};
pub use followed::{ChangedRows, Followed};
pub use rows::{MemoryRows, NoRows, RowSource, Rows};

/// A read model folded from one topic. All functions are pure: no clock, no I/O, no randomness.
pub trait Projection: Send + Sync + 'static {
    /// A row. Rows are stored with postcard, so the order of fields is the format: change [`Projection::VERSION`] with it.
    type Row: Default + Clone + Serialize + DeserializeOwned + Send + 'static;

    /// Its name in URLs.
    const NAME: &'static str;
    /// The version of fold and row. Another version is folded anew from the log, beside the old rows where this code can show them.
    const VERSION: u32;
    /// The oldest version whose stored rows this code reads; those rows answer until the new fold has caught up. Leave it where only the fold changes.
    /// Set it to the new version where [`Projection::Row`] changes; then the projection begins empty.
    const ROWS_SINCE: u32 = Self::VERSION;
    /// The one topic from which it is folded.
    const TOPIC: &'static str;
    /// About how many bytes a row takes in memory; it bounds how many rows are held while folding.
    const ROW_BYTES: usize = size_of::<Self::Row>();

    /// Folds one accepted event; reserved `tol.` types never come here. Ignore event types that the projection does not need.
    ///
    /// # Errors
    /// The projection sets this event aside, for example at an unknown version of a type that it needs: nothing of it is folded, the node says so,
    /// and a rebuild folds it again. A panic counts as an error. Where a row does not read, or the store fails, the projection stops.
    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Self::Row>) -> Result<(), Error>;

    /// Merges the rows of two partitions under one key. The result must not depend on their order.
    fn merge(a: Self::Row, b: Self::Row) -> Self::Row;

    /// Shows a row. Equal rows must give equal JSON, since digests are hashes of it.
    fn value(row: &Self::Row, key: &str) -> serde_json::Value;

    /// Shows a row to clients as of `now`: the time of the question, or the past moment that the client asks about. Write it where a row's value
    /// changes with time alone, without an event: facts from the future, windows that slide. Then [`Projection::value`] shows the row as of the
    /// latest time that the row knows of.
    fn value_at(row: &Self::Row, key: &str, now: EventTime) -> serde_json::Value {
        let _ = now;
        Self::value(row, key)
    }

    /// Tells whether clients see a row. A fold may need to keep what nobody asked about: a customer's payments, until an order comes.
    fn is_shown(row: &Self::Row) -> bool {
        let _ = row;
        true
    }

    /// Gives the one subject from whose events the row of `key` is folded, if there is one. Only then can a single row be shown as of the past.
    fn subject_of(key: &str) -> Option<String> {
        let _ = key;
        None
    }

    /// Makes valid events of [`Projection::TOPIC`], from which the contract suite builds its runs: at least one of each type that the fold reads.
    fn examples(&self) -> Vec<Event>;
}
