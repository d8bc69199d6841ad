//! Following a projection: what changes in its rows is handed to one follower of this node as it becomes visible, so that the follower can hold
//! in memory what must be answered without a read.

use std::sync::OnceLock;

use crate::engine::ProjectionEngine;
use crate::error::Error;
use crate::generation;
use crate::projection::{Projection, erase};
use crate::query::View;
use crate::store::RocksStore;

/// Rows that changed, by key; `None` where a row was removed.
pub type ChangedRows<R> = Vec<(String, Option<R>)>;

/// What a follower is told, in order, from the thread that folds, before anybody who waits for a position is told that it is visible.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed<R> {
    /// Whether these are all rows there are: another generation serves now.
    pub anew: bool,
    /// The rows. A key that lies in several partitions comes once for each: following is for projections where none does.
    pub rows: ChangedRows<R>,
    /// Whether that is all the log had when it was last looked at.
    pub caught_up: bool,
}

/// The same with rows as they are stored.
pub(crate) type FollowedBytes = Followed<Vec<u8>>;
/// Takes what is followed.
type Follower = Box<dyn Fn(FollowedBytes) + Send + Sync>;

/// The follower of a projection, if there is one.
#[derive(Default)]
pub(crate) struct Follow(OnceLock<Follower>);

impl Follow {
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.get().is_some()
    }

    pub(crate) fn tell(&self, followed: FollowedBytes) {
        if let Some(follower) = self.0.get() {
            follower(followed);
        }
    }
}

/// Reads rows; one that does not read is left out, which its own projection's queries tell as well.
fn read<P: Projection>(rows: ChangedRows<Vec<u8>>) -> ChangedRows<P::Row> {
    let read = |key: &str, bytes: &[u8]| {
        let row = postcard::from_bytes(bytes);
        row.inspect_err(|problem| tracing::error!(projection = P::NAME, key, %problem, "a stored row does not read; rebuild the projection")).ok()
    };
    rows.into_iter()
        .filter_map(|(key, bytes)| match bytes {
            Some(bytes) => read(&key, &bytes).map(|row| (key, Some(row))),
            None => Some((key, None)),
        })
        .collect()
}

impl ProjectionEngine {
    /// Has `follower` told of all rows of a projection now and of those that change from now on. Before [`ProjectionEngine::start`]; once.
    ///
    /// # Errors
    /// [`Error::Unknown`], or [`Error::Busy`] where somebody follows it already.
    pub fn follow<P: Projection>(&self, follower: impl Fn(Followed<P::Row>) + Send + Sync + 'static) -> Result<(), Error> {
        let told = Box::new(move |followed: FollowedBytes| {
            follower(Followed { anew: followed.anew, rows: read::<P>(followed.rows), caught_up: followed.caught_up });
        });
        self.find(P::NAME)?.follow.0.set(told).map_err(|_| Error::Busy(format!("projection {} is followed already", P::NAME)))
    }

    /// The rows that the store holds of a projection, as they were when it was last open: for a node whose log is not there yet.
    ///
    /// # Errors
    /// The store failed.
    pub fn last_known<P: Projection + Default>(store: &RocksStore) -> Result<ChangedRows<P::Row>, Error> {
        let projection = erase(P::default());
        let store = store.database()?;
        let Some(generation) = generation::serving(&store, P::NAME)? else { return Ok(Vec::new()) };
        let Some(record) = generation::record(&store, generation)? else { return Ok(Vec::new()) };
        if record.topic != P::TOPIC || !projection.reads_rows_of(record.version) {
            return Ok(Vec::new());
        }
        let view = View { store: &store, projection: &*projection, generation, partitions: record.partitions };
        Ok(read::<P>(view.stored()?))
    }
}
