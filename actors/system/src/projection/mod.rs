//! What a read model is: [`Projection`], a topic, a version and a pure fold from events to rows.
//!
//! * [`rows`] — [`Rows`], which a fold changes, and [`RowSource`], where stored rows come from
//! * [`erased`] — [`AnyProjection`] and [`AnyOverlay`], the same without the row's type, which the engine runs
//! * [`followed`] — [`Followed`], the changed rows that a follower keeps in memory
//! * [`error`] — why a fold stops

pub mod erased;
pub mod error;
pub mod followed;
pub mod rows;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tol_events::{Event, EventView};

pub use erased::{AnyOverlay, AnyProjection, PutRow, erase};
pub use error::{Error, refuse_other_version};
pub use followed::{ChangedRows, Followed};
pub use rows::{NoRows, RowSource, Rows};

/// A read model folded from one topic. All functions are pure: no clock, no I/O, no randomness.
pub trait Projection: Send + Sync + 'static {
    /// One row. Rows are stored with postcard, so field order is format: change [`Projection::VERSION`] with it.
    type Row: Default + Clone + Serialize + DeserializeOwned + Send + 'static;

    /// The name in URLs.
    const NAME: &'static str;
    /// Another version folds afresh from the log, beside the rows of the old one where this code can show those.
    const VERSION: u32;
    /// The oldest version whose stored rows this code reads: they are shown until the new fold has caught up. A change of the fold alone leaves it,
    /// a change of [`Projection::Row`] sets it to the new version (then the projection begins empty).
    const ROWS_SINCE: u32 = Self::VERSION;
    /// The one topic it is folded from.
    const TOPIC: &'static str;
    /// About how many bytes a row takes in memory; bounds how many are held while folding.
    const ROW_BYTES: usize = size_of::<Self::Row>();

    /// Folds one accepted event (reserved `tol.` types never come here). Event types that the projection does not need are left alone.
    ///
    /// # Errors
    /// Stops the projection in front of this event, for example at an unknown version of a type it needs. Nothing is skipped.
    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Self::Row>) -> Result<(), Error>;

    /// Joins what two partitions know under one key; must not depend on their order.
    fn merge(a: Self::Row, b: Self::Row) -> Self::Row;

    /// What people see. Canonical: equal rows give equal JSON, since digests are made of it.
    fn value(row: &Self::Row, key: &str) -> serde_json::Value;

    /// The one subject that a key is folded from, if there is one: only then can a single row be seen as of the past.
    fn subject_of(key: &str) -> Option<String> {
        let _ = key;
        None
    }

    /// Valid events of [`Projection::TOPIC`], from which the contract suite builds its runs: at least one of each type that the fold reads.
    fn examples(&self) -> Vec<Event>;
}
