//! Events that a projection could not fold. They are set aside, in the WriteBatch that moves the cursor past them, and the projection goes on; a
//! rebuild folds them again in their place.
//!
//! ```text
//! Meta  proj.aside/<generation: u32><partition: u16><position: u64>  -> SetAside
//! ```

use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};
use tol_events::{EventTime, EventView};
use tol_kafka::{Position, TopicPartition};
use tol_runtime::store::Table;

use crate::engine::ProjectionEngine;
use crate::error::Error;
use crate::generation::{put_meta, row_prefix};
use crate::store::Database;

/// Most bytes of an error's text that are kept.
const PROBLEM_BYTES: usize = 1_000;

/// Why an event is not in the rows, and which it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SetAside {
    event_type: String,
    id: String,
    source: String,
    subject: String,
    recorded_at: Option<EventTime>,
    pub(crate) problem: String,
}

impl SetAside {
    pub(crate) fn new(event: &EventView<'_>, mut problem: String) -> Self {
        if problem.len() > PROBLEM_BYTES {
            problem.truncate(problem.floor_char_boundary(PROBLEM_BYTES));
            problem.push('…');
        }
        Self {
            event_type: event.event_type().to_owned(),
            id: event.id().to_owned(),
            source: event.source().to_owned(),
            subject: event.subject().to_owned(),
            recorded_at: event.recorded_time().or_else(|| event.time()),
            problem,
        }
    }
}

/// An event that a projection could not fold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetAsideEvent {
    /// The topic partition it lies in.
    pub at: TopicPartition,
    /// Its position there.
    pub position: Position,
    /// Its type.
    pub event_type: String,
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its subject.
    pub subject: String,
    /// When it was recorded.
    pub recorded_at: Option<EventTime>,
    /// What the fold says.
    pub problem: String,
}

/// A page of events that were set aside, by partition and position.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SetAsidePage {
    /// The events.
    pub items: Vec<SetAsideEvent>,
    /// Where the next page begins; `None` at the end.
    pub next_cursor: Option<String>,
}

fn generation_prefix(generation: u32) -> Vec<u8> {
    [b"proj.aside/", &generation.to_be_bytes()[..]].concat()
}

fn partition_prefix(generation: u32, partition: u32) -> Vec<u8> {
    [b"proj.aside/", &row_prefix(generation, partition)[..]].concat()
}

/// Adds an event that was set aside to `batch`.
pub(crate) fn put(store: &Database, batch: &mut WriteBatch, generation: u32, partition: u32, position: Position, aside: &SetAside) -> Result<(), Error> {
    put_meta(store, batch, &[&partition_prefix(generation, partition)[..], &position.to_be_bytes()].concat(), aside)
}

/// Adds the removal of all that a generation set aside to `batch`.
pub(crate) fn delete(store: &Database, batch: &mut WriteBatch, generation: u32) -> Result<(), Error> {
    store.delete_prefix(batch, Table::Meta, &generation_prefix(generation))
}

/// Calls `each` with what a generation set aside, of one partition or of all, from `from` on in the order of the keys, until it says stop.
fn scan(store: &Database, prefix: &[u8], from: &[u8], each: &mut dyn FnMut(u32, Position, &[u8]) -> bool) -> Result<(), Error> {
    let mut iterator = store.iterate(Table::Meta, prefix)?;
    iterator.seek(from);
    while let Some((key, value)) = iterator.item() {
        let Some((partition, position)) = key.len().checked_sub(10).and_then(|at| key.split_at_checked(at)).and_then(|(_, place)| place.split_at_checked(2))
        else {
            break;
        };
        let (partition, position) = (<[u8; 2]>::try_from(partition).unwrap_or_default(), <[u8; 8]>::try_from(position).unwrap_or_default());
        if !each(u16::from_be_bytes(partition).into(), u64::from_be_bytes(position), value) {
            break;
        }
        iterator.next();
    }
    store.noted(iterator.status())
}

/// How many events a generation set aside in a partition below `end`, and the first of them.
pub(crate) fn count_below(store: &Database, generation: u32, partition: u32, end: Position) -> Result<(u64, Option<(Position, SetAside)>), Error> {
    let prefix = partition_prefix(generation, partition);
    let (mut count, mut first) = (0, None);
    scan(store, &prefix, &prefix, &mut |_, position, value| {
        if position >= end {
            return false;
        }
        count += 1;
        if first.is_none() {
            first = postcard::from_bytes(value).ok().map(|aside| (position, aside));
        }
        true
    })?;
    Ok((count, first))
}

/// `partition:position`, where a page goes on.
fn parse_cursor(text: &str) -> Result<(u32, Position), Error> {
    let (partition, position) = text.split_once(':').ok_or(Error::Cursor)?;
    let partition: u16 = partition.parse().map_err(|_| Error::Cursor)?;
    Ok((partition.into(), position.parse().map_err(|_| Error::Cursor)?))
}

impl ProjectionEngine {
    /// Events that the serving generation set aside, by partition and position, at most `limit`, from `cursor` on.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Cursor`], or the store failed.
    pub fn set_aside(&self, name: &str, limit: usize, cursor: Option<&str>) -> Result<SetAsidePage, Error> {
        let shared = self.find(name)?;
        let (partition, position) = cursor.map(parse_cursor).transpose()?.unwrap_or_default();
        let mut page = SetAsidePage::default();
        // Held until the page is read: the generation is dropped only when nobody reads it.
        let Some(serving) = shared.serving() else { return Ok(page) };
        let store = serving.session.get()?;
        let prefix = generation_prefix(serving.generation);
        let from = [&partition_prefix(serving.generation, partition)[..], &position.to_be_bytes()].concat();
        scan(&store, &prefix, &from, &mut |partition, position, value| {
            if page.items.len() == limit {
                page.next_cursor = Some(format!("{partition}:{position}"));
                return false;
            }
            if let Ok(SetAside { event_type, id, source, subject, recorded_at, problem }) = postcard::from_bytes(value) {
                let at = TopicPartition::new(shared.projection.topic(), partition);
                page.items.push(SetAsideEvent { at, position, event_type, id, source, subject, recorded_at, problem });
            }
            true
        })?;
        Ok(page)
    }
}
