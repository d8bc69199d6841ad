//! Generations: each is one complete fold of a projection, under a number of its own that begins the keys of all its rows.
//!
//! ```text
//! Rows  <generation: u32> <partition: u16> <key>  -> row (postcard)
//! Meta  proj.serving/<name>                       -> number of the generation that answers queries
//! Meta  proj.generation/<generation: u32>         -> GenerationRecord
//! Meta  proj.cursor/<generation><partition>       -> StoredCursor
//! Meta  proj.next                                 -> next free number
//! ```
//! Numbers are big endian, so that rows of a partition lie together in key order.

use std::sync::Arc;

use rocksdb::WriteBatch;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tol_kafka::reader::Cursor;
use tol_kafka::{EventLog, TopicPartition};
use tol_runtime::store::Table;
use tol_system::AnyProjection;

use crate::error::Error;
use crate::store::Database;

/// Bytes of generation and partition in front of a row's key.
pub(crate) const ROW_PREFIX: usize = 6;

/// What a generation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Answers queries, or did.
    Serving,
    /// Is folded beside the serving one.
    Rebuild,
    /// Holds the past; dropped at the next start.
    AsOf,
}

/// What a generation was folded from. Another log, version or partition count makes it useless (E10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GenerationRecord {
    pub(crate) projection: String,
    pub(crate) version: u32,
    pub(crate) topic: String,
    pub(crate) identity: String,
    pub(crate) partitions: u32,
    pub(crate) purpose: Purpose,
}

impl GenerationRecord {
    /// The record a generation of `projection` on this log must have.
    pub(crate) fn expected(projection: &dyn AnyProjection, identity: String, partitions: u32, purpose: Purpose) -> Self {
        Self { projection: projection.name().to_owned(), version: projection.version(), topic: projection.topic().to_owned(), identity, partitions, purpose }
    }

    /// Whether it is folded beside the serving one of that projection.
    pub(crate) fn is_rebuild_of(&self, projection: &str) -> bool {
        self.purpose == Purpose::Rebuild && self.projection == projection
    }

    pub(crate) fn same_source(&self, other: &Self) -> bool {
        Self { purpose: other.purpose, ..self.clone() } == *other
    }
}

/// Where a partition's fold goes on, and what lies right before, to notice another history (E10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredCursor {
    pub(crate) cursor: Cursor,
    /// Hash of the source and id of the record before the cursor; 0 when unknown.
    pub(crate) last: u64,
}

pub(crate) fn row_prefix(generation: u32, partition: u32) -> [u8; ROW_PREFIX] {
    let mut prefix = [0; ROW_PREFIX];
    prefix[..4].copy_from_slice(&generation.to_be_bytes());
    prefix[4..].copy_from_slice(&(partition as u16).to_be_bytes());
    prefix
}

pub(crate) fn row_key(generation: u32, partition: u32, key: &str) -> Vec<u8> {
    let mut full = Vec::with_capacity(ROW_PREFIX + key.len());
    full.extend_from_slice(&row_prefix(generation, partition));
    full.extend_from_slice(key.as_bytes());
    full
}

fn serving_key(name: &str) -> Vec<u8> {
    [b"proj.serving/", name.as_bytes()].concat()
}

const GENERATIONS: &[u8] = b"proj.generation/";
const NEXT: &[u8] = b"proj.next";

fn generation_key(generation: u32) -> Vec<u8> {
    [GENERATIONS, &generation.to_be_bytes()[..]].concat()
}

pub(crate) fn cursor_key(generation: u32, partition: u32) -> Vec<u8> {
    [b"proj.cursor/", &row_prefix(generation, partition)[..]].concat()
}

pub(crate) fn read_meta<T: DeserializeOwned>(store: &Database, key: &[u8]) -> Result<Option<T>, Error> {
    let value = store.with_row(Table::Meta, key, |bytes| postcard::from_bytes(bytes))?;
    // An entry of another format is as good as none: the log heals it.
    Ok(value.and_then(Result::ok))
}

pub(crate) fn put_meta<T: Serialize>(store: &Database, batch: &mut WriteBatch, key: &[u8], value: &T) -> Result<(), Error> {
    let bytes = postcard::to_stdvec(value).map_err(|problem| Error::Store(problem.to_string()))?;
    batch.put_cf(store.family(Table::Meta)?, key, bytes);
    Ok(())
}

/// Hash that tells one record from another at the same position.
pub(crate) fn fingerprint(source: &str, id: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(id.as_bytes(), xxhash_rust::xxh3::xxh3_64(source.as_bytes())) | 1
}

/// Begins a generation: takes the next number and writes its record. Safe from several threads.
pub(crate) fn create(store: &Database, record: &GenerationRecord) -> Result<u32, Error> {
    let _alone = store.numbers.lock();
    let number = read_meta::<u32>(store, NEXT)?.unwrap_or(1);
    let mut batch = WriteBatch::default();
    put_meta(store, &mut batch, NEXT, &(number + 1))?;
    put_meta(store, &mut batch, &generation_key(number), record)?;
    store.write_batch(batch, true)?;
    Ok(number)
}

/// Makes `generation` the one that serves.
pub(crate) fn serve(store: &Database, batch: &mut WriteBatch, generation: u32, record: &GenerationRecord) -> Result<(), Error> {
    put_meta(store, batch, &generation_key(generation), &GenerationRecord { purpose: Purpose::Serving, ..record.clone() })?;
    put_meta(store, batch, &serving_key(&record.projection), &generation)
}

/// Removes a generation's rows, cursors and record.
pub(crate) fn drop_generation(store: &Database, generation: u32) -> Result<(), Error> {
    let mut batch = WriteBatch::default();
    let prefix = generation.to_be_bytes();
    store.delete_prefix(&mut batch, Table::Rows, &prefix)?;
    store.delete_prefix(&mut batch, Table::Meta, &[b"proj.cursor/", &prefix[..]].concat())?;
    crate::set_aside::delete(store, &mut batch, generation)?;
    batch.delete_cf(store.family(Table::Meta)?, generation_key(generation));
    store.write_batch(batch, true)?;
    // Whole files go at once, without waiting for compaction.
    if let Some(end) = crate::store::upper_bound(&prefix) {
        store.noted(store.db().delete_file_in_range_cf(store.family(Table::Rows)?, prefix.as_slice(), end.as_slice()))?;
    }
    Ok(())
}

/// All generations that have a record.
pub(crate) fn all(store: &Database) -> Result<Vec<(u32, GenerationRecord)>, Error> {
    let mut found = Vec::new();
    let mut iterator = store.iterate(Table::Meta, GENERATIONS)?;
    iterator.seek(GENERATIONS);
    while let Some((key, value)) = iterator.item() {
        let number = key.get(GENERATIONS.len()..).and_then(|rest| <[u8; 4]>::try_from(rest).ok()).map(u32::from_be_bytes);
        if let (Some(number), Ok(record)) = (number, postcard::from_bytes(value)) {
            found.push((number, record));
        }
        iterator.next();
    }
    store.noted(iterator.status())?;
    Ok(found)
}

/// The record of one generation.
pub(crate) fn record(store: &Database, generation: u32) -> Result<Option<GenerationRecord>, Error> {
    read_meta(store, &generation_key(generation))
}

/// The generation that serves `name`, if there is one.
pub(crate) fn serving(store: &Database, name: &str) -> Result<Option<u32>, Error> {
    read_meta(store, &serving_key(name))
}

pub(crate) fn cursor(store: &Database, generation: u32, partition: u32) -> Result<StoredCursor, Error> {
    Ok(read_meta(store, &cursor_key(generation, partition))?.unwrap_or_default())
}

/// Whether the log still holds the history that the cursors of a generation were made of (E10).
pub(crate) fn fits_log(store: &Database, log: &dyn EventLog, generation: u32, record: &GenerationRecord) -> Result<bool, Error> {
    let topic: Arc<str> = record.topic.as_str().into();
    for partition in 0..record.partitions {
        let stored = cursor(store, generation, partition)?;
        let at = TopicPartition::new(topic.clone(), partition);
        if stored.cursor.position > log.bounds(&at)?.end {
            tracing::warn!(projection = record.projection, %at, position = stored.cursor.position, "the cache is ahead of the log; it starts empty");
            return Ok(false);
        }
        if stored.last != 0 && fingerprint_at(log, &at, stored.cursor.position)? != Some(stored.last) {
            tracing::warn!(projection = record.projection, %at, position = stored.cursor.position, "the log holds another history than the cache; it starts empty");
            return Ok(false);
        }
    }
    Ok(true)
}

/// Fingerprint of the record before `position`; `None` if the log does not keep it.
fn fingerprint_at(log: &dyn EventLog, at: &TopicPartition, position: u64) -> Result<Option<u64>, Error> {
    let Some(before) = position.checked_sub(1) else { return Ok(None) };
    let batches = log.read(at, before, 1)?;
    let found = batches.iter().flat_map(|batch| batch.events_from(before)).next();
    Ok(found.filter(|(found, _)| *found == before).map(|(_, event)| fingerprint(event.source(), event.id())))
}
