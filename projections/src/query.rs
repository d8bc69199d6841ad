//! Queries: one row, pages of rows, and the digest; over the serving generation or one that holds the past.

use std::collections::BTreeMap;

use rocksdb::DBRawIterator;
use serde::Serialize;
use tol_events::EventTime;
use tol_events::id::partition_of;
use tol_kafka::Position;
use tol_runtime::store::{Store, Table};
use tol_system::{AnyProjection, ChangedRows};

use crate::engine::ProjectionEngine;
use crate::error::Error;
use crate::generation::{self, ROW_PREFIX, row_key, row_prefix};
use crate::store::Database;

/// One row as people see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// Its key.
    pub key: String,
    /// What the projection makes of it.
    pub value: serde_json::Value,
}

/// A page of rows in key order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// The rows.
    pub items: Vec<Item>,
    /// Where the next page begins; `None` at the end.
    pub next_cursor: Option<String>,
}

/// The content of a projection in one number, to compare live, rebuilt and other nodes' folds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Digest {
    /// Sum modulo 2^128 of a BLAKE3 hash of each merged row, as hex: independent of the order and the number of partitions.
    pub digest: String,
    /// How many rows.
    pub rows: u64,
    /// Next position of each topic partition that it holds.
    pub positions: BTreeMap<String, Position>,
}

/// One generation for reading.
pub(crate) struct View<'a> {
    pub(crate) store: &'a Database,
    pub(crate) projection: &'a dyn AnyProjection,
    pub(crate) generation: u32,
    pub(crate) partitions: u32,
}

impl View<'_> {
    pub(crate) fn get(&self, key: &str, now: EventTime) -> Result<Option<serde_json::Value>, Error> {
        // A row about one subject lies in that subject's partition, unless its sender chose another partition key.
        if let Some(subject) = self.projection.subject_of(key) {
            let full = row_key(self.generation, partition_of(&subject, self.partitions), key);
            if let Some(row) = self.store.get(Table::Rows, &full)? {
                return Ok(self.projection.value_at(key, &[row], now)?);
            }
        }
        let keys: Vec<Vec<u8>> = (0..self.partitions).map(|partition| row_key(self.generation, partition, key)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let rows: Vec<Vec<u8>> = self.store.multi_get(Table::Rows, &keys)?.into_iter().flatten().collect();
        Ok(self.projection.value_at(key, &rows, now)?)
    }

    pub(crate) fn list(&self, limit: usize, cursor: Option<&str>, now: EventTime) -> Result<Page, Error> {
        let snapshot = self.store.db().snapshot();
        let mut rows = Merged::new(self, &snapshot, cursor)?;
        let mut items: Vec<Item> = Vec::new();
        while let Some((key, rows)) = rows.next()? {
            if items.len() == limit {
                return Ok(Page { next_cursor: items.last().map(|item| item.key.clone()), items });
            }
            if let Some(value) = self.projection.value_at(&key, &rows, now)? {
                items.push(Item { key, value });
            }
        }
        Ok(Page { items, next_cursor: None })
    }

    /// All rows as they are stored, by key.
    pub(crate) fn stored(&self) -> Result<ChangedRows<Vec<u8>>, Error> {
        let snapshot = self.store.db().snapshot();
        let mut merged = Merged::new(self, &snapshot, None)?;
        let mut all = Vec::new();
        while let Some((key, rows)) = merged.next()? {
            all.extend(rows.into_iter().map(|row| (key.clone(), Some(row))));
        }
        Ok(all)
    }

    pub(crate) fn digest(&self) -> Result<Digest, Error> {
        let snapshot = self.store.db().snapshot();
        let mut positions = BTreeMap::new();
        for partition in 0..self.partitions {
            let stored = self.store.noted(snapshot.get_cf(self.store.family(Table::Meta)?, generation::cursor_key(self.generation, partition)))?;
            let cursor: generation::StoredCursor = stored.and_then(|bytes| postcard::from_bytes(&bytes).ok()).unwrap_or_default();
            positions.insert(format!("{}/{partition}", self.projection.topic()), cursor.cursor.position);
        }
        let mut merged = Merged::new(self, &snapshot, None)?;
        let (mut sum, mut rows) = (0u128, 0);
        let mut json = Vec::new();
        while let Some((key, stored)) = merged.next()? {
            let Some(value) = self.projection.value(&key, &stored)? else { continue };
            json.clear();
            serde_json::to_writer(&mut json, &value).map_err(|problem| Error::Store(problem.to_string()))?;
            let mut hasher = blake3::Hasher::new();
            hasher.update(&(key.len() as u64).to_le_bytes()).update(key.as_bytes()).update(&json);
            let mut half = [0; 16];
            half.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
            sum = sum.wrapping_add(u128::from_le_bytes(half));
            rows += 1;
        }
        Ok(Digest { digest: format!("{sum:032x}"), rows, positions })
    }
}

/// A key with its stored rows, one a partition that has it.
type KeyRows = (String, Vec<Vec<u8>>);

/// The partitions' rows merged in key order.
struct Merged<'a> {
    store: &'a Database,
    partitions: Vec<(DBRawIterator<'a>, [u8; ROW_PREFIX])>,
}

impl<'a> Merged<'a> {
    fn new(view: &View<'a>, snapshot: &'a rocksdb::Snapshot<'a>, after: Option<&str>) -> Result<Self, Error> {
        let mut partitions = Vec::new();
        for partition in 0..view.partitions {
            let prefix = row_prefix(view.generation, partition);
            let mut iterator = snapshot.raw_iterator_cf_opt(view.store.family(Table::Rows)?, Database::prefix_options(&prefix));
            match after {
                None => iterator.seek(prefix),
                Some(after) => {
                    let full = row_key(view.generation, partition, after);
                    iterator.seek(&full);
                    if iterator.key() == Some(&full) {
                        iterator.next();
                    }
                }
            }
            partitions.push((iterator, prefix));
        }
        Ok(Self { store: view.store, partitions })
    }

    /// The next key with the rows of all partitions that have it.
    fn next(&mut self) -> Result<Option<KeyRows>, Error> {
        let mut lowest: Option<Vec<u8>> = None;
        for (iterator, prefix) in &self.partitions {
            self.store.noted(iterator.status())?;
            if let Some(key) = iterator.key().and_then(|key| key.strip_prefix(&prefix[..]))
                && lowest.as_deref().is_none_or(|lowest| key < lowest)
            {
                lowest = Some(key.to_vec());
            }
        }
        let Some(key) = lowest else { return Ok(None) };
        let mut rows = Vec::new();
        for (iterator, prefix) in &mut self.partitions {
            let Some((found, row)) = iterator.item() else { continue };
            if found.strip_prefix(&prefix[..]) == Some(&key) {
                rows.push(row.to_vec());
                iterator.next();
            }
        }
        let key = String::from_utf8(key).map_err(|_| Error::Store("a row's key is not text".to_owned()))?;
        Ok(Some((key, rows)))
    }
}

impl ProjectionEngine {
    /// Runs `read` on the serving generation; the default before the projection has begun.
    fn serving<T: Default>(&self, name: &str, read: impl FnOnce(&View<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let shared = self.find(name)?;
        // Held until the read ends: a generation is dropped only when nobody reads it.
        match shared.serving() {
            Some(serving) => {
                let store = serving.session.get()?;
                read(&View { store: &store, projection: &*shared.projection, generation: serving.generation, partitions: serving.partitions })
            }
            None => Ok(T::default()),
        }
    }

    /// The value of one key, as of now.
    ///
    /// # Errors
    /// [`Error::Unknown`], or the store failed.
    pub fn get(&self, name: &str, key: &str) -> Result<Option<serde_json::Value>, Error> {
        self.serving(name, |view| view.get(key, (self.options.now)()))
    }

    /// Up to `limit` rows in key order, after `cursor`, as of now.
    ///
    /// # Errors
    /// [`Error::Unknown`], or the store failed.
    pub fn list(&self, name: &str, limit: usize, cursor: Option<&str>) -> Result<Page, Error> {
        let page = self.serving(name, |view| view.list(limit, cursor, (self.options.now)()).map(Some))?;
        Ok(page.unwrap_or(Page { items: Vec::new(), next_cursor: None }))
    }

    /// The digest of all rows. Reads all of them: about a second a million.
    ///
    /// # Errors
    /// [`Error::Unknown`], or the store failed.
    pub fn digest(&self, name: &str) -> Result<Digest, Error> {
        let digest = self.serving(name, |view| view.digest().map(Some))?;
        Ok(digest.unwrap_or(Digest { digest: format!("{:032x}", 0), rows: 0, positions: BTreeMap::new() }))
    }

    /// Next position of each topic partition: everything below is visible.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn positions(&self, name: &str) -> Result<BTreeMap<String, Position>, Error> {
        Ok(self.find(name)?.positions())
    }
}
