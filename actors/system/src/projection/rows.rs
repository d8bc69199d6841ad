//! [`Rows`]: the rows that a fold reads and changes. They are loaded from the store on demand and kept until they are drained.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use serde::de::DeserializeOwned;

use super::erased::AnyOverlay;
use super::error::Error;

/// Loads the rows of one partition that are not in memory.
pub trait RowSource {
    /// Loads the stored bytes of the row of `key`; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Store`].
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, Error>;
}

/// An empty store: for folds that begin from nothing and keep all rows in memory.
#[derive(Clone, Copy, Debug)]
pub struct NoRows;

impl RowSource for NoRows {
    fn load(&self, _: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }
}

/// Rows that are stored in memory: for folds whose rows go through storage without a database.
#[derive(Clone, Debug, Default)]
pub struct MemoryRows(BTreeMap<String, Vec<u8>>);

impl MemoryRows {
    /// Stores what an overlay changed, and empties the overlay, so that it loads its rows again.
    ///
    /// # Errors
    /// A row does not serialise.
    pub fn store(&mut self, overlay: &mut dyn AnyOverlay) -> Result<(), Error> {
        overlay.drain(&mut |key, row| match row {
            Some(row) => drop(self.0.insert(key.to_owned(), row.to_vec())),
            None => drop(self.0.remove(key)),
        })?;
        overlay.clear();
        Ok(())
    }

    /// Gives the stored bytes of each row by its key.
    pub fn into_rows(self) -> BTreeMap<String, Vec<u8>> {
        self.0
    }
}

impl RowSource for MemoryRows {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(key).cloned())
    }
}

/// How a row in memory differs from the stored one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// As stored; `false` if nothing is stored.
    Clean(bool),
    Changed,
    Removed,
}

/// A row in memory.
#[derive(Clone)]
pub(super) struct Entry<R> {
    pub(super) row: R,
    pub(super) held: Held,
}

/// The rows of one partition, loaded on demand.
pub struct Rows<'a, R> {
    pub(super) entries: &'a mut HashMap<Box<str>, Entry<R>>,
    pub(super) source: &'a dyn RowSource,
    /// Bytes of the keys in `entries`, for the overlay's account of its memory.
    pub(super) key_bytes: &'a mut usize,
    /// Takes each row as it was before a change, where the changes of one event may have to be undone.
    pub(super) before: Option<&'a mut Vec<(Box<str>, Entry<R>)>>,
}

impl<R: Default + Clone + DeserializeOwned> Rows<'_, R> {
    /// Gives the row of `key` to change; the default row where there is none yet.
    ///
    /// # Errors
    /// The store failed; hand the error on.
    pub fn get_mut(&mut self, key: &str) -> Result<&mut R, Error> {
        let entry = self.entry_to_change(key)?;
        entry.held = Held::Changed;
        Ok(&mut entry.row)
    }

    /// Reads the row of `key`; `None` where there is none.
    ///
    /// # Errors
    /// The store failed; hand the error on.
    pub fn get(&mut self, key: &str) -> Result<Option<&R>, Error> {
        let entry = self.entry(key)?;
        Ok(matches!(entry.held, Held::Changed | Held::Clean(true)).then_some(&entry.row))
    }

    /// Removes the row of `key`.
    ///
    /// # Errors
    /// The store failed; hand the error on.
    pub fn remove(&mut self, key: &str) -> Result<(), Error> {
        let entry = self.entry_to_change(key)?;
        *entry = Entry { row: R::default(), held: Held::Removed };
        Ok(())
    }

    fn entry_to_change(&mut self, key: &str) -> Result<&mut Entry<R>, Error> {
        if self.before.is_some() {
            let entry = self.entry(key)?.clone();
            if let Some(before) = &mut self.before {
                before.push((key.into(), entry));
            }
        }
        self.entry(key)
    }

    fn entry(&mut self, key: &str) -> Result<&mut Entry<R>, Error> {
        match self.entries.entry_ref(key) {
            EntryRef::Occupied(entry) => Ok(entry.into_mut()),
            EntryRef::Vacant(vacant) => {
                *self.key_bytes += key.len();
                let entry = match self.source.load(key)? {
                    Some(bytes) => Entry { row: read_row(key, &bytes)?, held: Held::Clean(true) },
                    None => Entry { row: R::default(), held: Held::Clean(false) },
                };
                Ok(vacant.insert(entry))
            }
        }
    }
}

/// A row from its stored bytes.
pub(super) fn read_row<R: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<R, Error> {
    postcard::from_bytes(bytes).map_err(|problem| Error::UnreadableRow { key: key.to_owned(), problem: problem.to_string() })
}
