//! Following a projection: what changes in its rows is handed to one follower of this node as it becomes visible, so that the follower can hold
//! in memory what must be answered without a read.

use std::sync::OnceLock;

use tol_system::projection::followed::read_rows;
use tol_system::projection::{AnyProjection, ChangedRows, Followed, Projection, erase};

use crate::engine::ProjectionEngine;
use crate::error::Error;
use crate::generation;
use crate::query::View;
use crate::store::RocksStore;

/// Takes rows as they are stored; [`Followed::read`] reads them.
pub type Follower = Box<dyn Fn(Followed<Vec<u8>>) + Send + Sync>;

/// The follower of a projection, if there is one.
#[derive(Default)]
pub(crate) struct Follow(OnceLock<Follower>);

impl Follow {
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.get().is_some()
    }

    pub(crate) fn tell(&self, followed: Followed<Vec<u8>>) {
        if let Some(follower) = self.0.get() {
            follower(followed);
        }
    }
}

impl ProjectionEngine {
    /// Has `follower` told of all rows of a projection now and of those that change from now on. Before [`ProjectionEngine::start`]; once.
    ///
    /// # Errors
    /// [`Error::Unknown`], or [`Error::Busy`] where somebody follows it already.
    pub fn follow<P: Projection>(&self, follower: impl Fn(Followed<P::Row>) + Send + Sync + 'static) -> Result<(), Error> {
        self.follow_stored(P::NAME, Box::new(move |followed| follower(followed.read::<P>())))
    }

    /// As [`ProjectionEngine::follow`], with rows as they are stored.
    ///
    /// # Errors
    /// As there.
    pub fn follow_stored(&self, projection: &str, follower: Follower) -> Result<(), Error> {
        self.find(projection)?.follow.0.set(follower).map_err(|_| Error::Busy(format!("projection {projection} is followed already")))
    }

    /// The rows that the store holds of a projection, as they were when it was last open: for a node whose log is not there yet.
    ///
    /// # Errors
    /// The store failed.
    pub fn last_known<P: Projection + Default>(store: &RocksStore) -> Result<ChangedRows<P::Row>, Error> {
        Ok(read_rows::<P>(Self::last_stored(store, &*erase(P::default()))?))
    }

    /// As [`ProjectionEngine::last_known`], with rows as they are stored.
    ///
    /// # Errors
    /// The store failed.
    pub fn last_stored(store: &RocksStore, projection: &dyn AnyProjection) -> Result<ChangedRows<Vec<u8>>, Error> {
        let store = store.database()?;
        let Some(generation) = generation::serving(&store, projection.name())? else { return Ok(Vec::new()) };
        let Some(record) = generation::record(&store, generation)? else { return Ok(Vec::new()) };
        if record.topic != projection.topic() || !projection.reads_rows_of(record.version) {
            return Ok(Vec::new());
        }
        View { store: &store, projection, generation, partitions: record.partitions }.stored()
    }
}
