//! A projection's rows in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tol_events::Event;
use tol_system::projection::{Error, NoRows, RowSource};
use tol_system::{AnyOverlay, AnyProjection, ChangedRows};

/// The stored rows of a projection, by key and partition.
pub(crate) type StoredRows = BTreeMap<String, BTreeMap<u32, Vec<u8>>>;

/// A projection that is folded in memory.
pub(crate) struct View {
    pub(crate) projection: Arc<dyn AnyProjection>,
    overlays: BTreeMap<u32, Box<dyn AnyOverlay>>,
    pub(crate) rows: StoredRows,
}

/// Stored rows of one partition.
struct Stored<'a>(&'a StoredRows, u32);

impl RowSource for Stored<'_> {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key).and_then(|rows| rows.get(&self.1)).cloned())
    }
}

impl View {
    pub(crate) fn new(projection: Arc<dyn AnyProjection>) -> Self {
        Self { projection, overlays: BTreeMap::new(), rows: BTreeMap::new() }
    }

    /// Folds an event of a partition; rows stay in memory.
    pub(crate) fn fold(&mut self, partition: u32, event: &Event) -> Result<(), Error> {
        let overlay = self.overlays.entry(partition).or_insert_with(|| self.projection.overlay());
        overlay.fold(event.encode().view(), &NoRows)
    }

    /// Folds an event as a store does whose memory is full: every row is loaded, changed, stored and let go.
    pub(crate) fn fold_stored(&mut self, partition: u32, event: &Event) -> Result<ChangedRows<Vec<u8>>, Error> {
        let overlay = self.overlays.entry(partition).or_insert_with(|| self.projection.overlay());
        overlay.fold(event.encode().view(), &Stored(&self.rows, partition))?;
        let changed = self.store()?;
        self.overlays.values_mut().for_each(|overlay| overlay.clear());
        Ok(changed)
    }

    /// Stores what changed, and tells it.
    pub(crate) fn store(&mut self) -> Result<ChangedRows<Vec<u8>>, Error> {
        let mut changed = Vec::new();
        for (partition, overlay) in &mut self.overlays {
            overlay.drain(&mut |key, bytes| {
                changed.push((key.to_owned(), bytes.map(<[u8]>::to_vec)));
                let rows = self.rows.entry(key.to_owned()).or_default();
                match bytes {
                    Some(bytes) => rows.insert(*partition, bytes.to_vec()),
                    None => rows.remove(partition),
                };
            })?;
        }
        self.rows.retain(|_, rows| !rows.is_empty());
        Ok(changed)
    }

    /// Removes the rows of a subject, and tells their keys.
    pub(crate) fn erase(&mut self, subject: &str) -> Vec<String> {
        let of_subject = |key: &String| self.projection.subject_of(key).is_some_and(|owner| owner == subject);
        let keys: Vec<String> = self.rows.keys().filter(|key| of_subject(key)).cloned().collect();
        for key in &keys {
            self.rows.remove(key);
        }
        keys
    }

    pub(crate) fn value(&self, key: &str) -> Result<Option<Value>, Error> {
        let Some(rows) = self.rows.get(key) else { return Ok(None) };
        let rows: Vec<Vec<u8>> = rows.values().cloned().collect();
        self.projection.value(key, &rows)
    }

    /// All rows as people see them.
    pub(crate) fn values(&self) -> Result<BTreeMap<String, Value>, Error> {
        let mut values = BTreeMap::new();
        for key in self.rows.keys() {
            if let Some(value) = self.value(key)? {
                values.insert(key.clone(), value);
            }
        }
        Ok(values)
    }
}
