//! [`AnyProjection`]: a [`Projection`] without the type of its rows, so that one engine folds all projections.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hashbrown::HashMap;
use tol_events::{Event, EventTime, EventView};

use super::Projection;
use super::error::Error;
use super::rows::{Entry, Held, RowSource, Rows, read_row};

/// Called with each changed row in key order: its bytes, or `None` where it was removed.
pub type PutRow<'a> = &'a mut dyn FnMut(&str, Option<&[u8]>);

/// The rows of one partition that are in memory.
pub trait AnyOverlay: Send {
    /// See [`Projection::fold`]; rows that are not in memory come from `source`. After an error the rows may hold a part of the event.
    ///
    /// # Errors
    /// As there, and [`Error::Panicked`].
    fn fold(&mut self, event: EventView<'_>, source: &dyn RowSource) -> Result<(), Error>;
    /// As [`AnyOverlay::fold`], but after an error the rows are as they were before. It copies each row that the event changes.
    ///
    /// # Errors
    /// As there.
    fn fold_or_undo(&mut self, event: EventView<'_>, source: &dyn RowSource) -> Result<(), Error>;
    /// Estimates the bytes of memory that it takes.
    fn bytes(&self) -> usize;
    /// Gives the rows that changed since the last call, in the order of their keys. The rows stay in memory.
    ///
    /// # Errors
    /// [`Error::UnwritableRow`].
    fn drain(&mut self, put: PutRow<'_>) -> Result<(), Error>;
    /// Drops all rows. Call it after [`AnyOverlay::drain`], or to discard what changed.
    fn clear(&mut self);
}

/// A [`Projection`] without the type of its rows; [`erase`] makes it.
pub trait AnyProjection: Send + Sync {
    /// See [`Projection::NAME`].
    fn name(&self) -> &'static str;
    /// See [`Projection::VERSION`].
    fn version(&self) -> u32;
    /// Tells whether rows that this version stored can be shown.
    fn reads_rows_of(&self, version: u32) -> bool;
    /// See [`Projection::TOPIC`].
    fn topic(&self) -> &'static str;
    /// Makes the overlay of one partition, without rows.
    fn overlay(&self) -> Box<dyn AnyOverlay>;
    /// Merges the stored rows of one key and shows the result, see [`Projection::value`]; `None` where there is no row, or none to show.
    ///
    /// # Errors
    /// [`Error::UnreadableRow`].
    fn value(&self, key: &str, rows: &[Vec<u8>]) -> Result<Option<serde_json::Value>, Error>;
    /// Merges the stored rows of one key and shows the result as of `now`, see [`Projection::value_at`].
    ///
    /// # Errors
    /// As [`AnyProjection::value`].
    fn value_at(&self, key: &str, rows: &[Vec<u8>], now: EventTime) -> Result<Option<serde_json::Value>, Error>;
    /// See [`Projection::subject_of`].
    fn subject_of(&self, key: &str) -> Option<String>;
    /// See [`Projection::examples`].
    fn examples(&self) -> Vec<Event>;
}

/// Erases the type of a projection's rows.
pub fn erase<P: Projection>(projection: P) -> Arc<dyn AnyProjection> {
    Arc::new(Erased(Arc::new(projection)))
}

struct Overlay<P: Projection> {
    projection: Arc<P>,
    entries: HashMap<Box<str>, Entry<P::Row>>,
    key_bytes: usize,
}

/// Rows as they were, by key, in the order of their changes.
type Before<R> = Vec<(Box<str>, Entry<R>)>;

impl<P: Projection> Overlay<P> {
    fn run(&mut self, event: EventView<'_>, source: &dyn RowSource, before: Option<&mut Before<P::Row>>) -> Result<(), Error> {
        let mut rows = Rows { entries: &mut self.entries, source, key_bytes: &mut self.key_bytes, before };
        // What a panic leaves behind is undone or cleared by the caller, as after an error.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.projection.fold(event, &mut rows)));
        outcome.unwrap_or_else(|carried| Err(Error::of_panic(&*carried)))
    }
}

impl<P: Projection> AnyOverlay for Overlay<P> {
    fn fold(&mut self, event: EventView<'_>, source: &dyn RowSource) -> Result<(), Error> {
        self.run(event, source, None)
    }

    fn fold_or_undo(&mut self, event: EventView<'_>, source: &dyn RowSource) -> Result<(), Error> {
        let mut before = Before::<P::Row>::new();
        let outcome = self.run(event, source, Some(&mut before));
        if outcome.is_err() {
            for (key, entry) in before.into_iter().rev() {
                self.entries.insert(key, entry);
            }
        }
        outcome
    }

    fn bytes(&self) -> usize {
        // hashbrown is at least half full; keys are heap blocks of their own.
        self.entries.len() * (2 * (size_of::<Entry<P::Row>>() + size_of::<Box<str>>()) + P::ROW_BYTES.saturating_sub(size_of::<P::Row>()) + 16) + self.key_bytes
    }

    fn drain(&mut self, put: PutRow<'_>) -> Result<(), Error> {
        let mut changed: Vec<(&str, &mut Entry<P::Row>)> =
            self.entries.iter_mut().filter(|(_, entry)| !matches!(entry.held, Held::Clean(_))).map(|(key, entry)| (&**key, entry)).collect();
        changed.sort_unstable_by_key(|(key, _)| *key);
        let mut buffer = Vec::with_capacity(256);
        for (key, entry) in changed {
            if entry.held == Held::Removed {
                put(key, None);
                entry.held = Held::Clean(false);
                continue;
            }
            buffer.clear();
            buffer = postcard::to_extend(&entry.row, buffer).map_err(|problem| Error::UnwritableRow { key: key.to_owned(), problem: problem.to_string() })?;
            put(key, Some(&buffer));
            entry.held = Held::Clean(true);
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.entries = HashMap::new();
        self.key_bytes = 0;
    }
}

/// Merges the stored rows of one key; `None` where there is none that clients see.
fn merged<P: Projection>(key: &str, rows: &[Vec<u8>]) -> Result<Option<P::Row>, Error> {
    let mut merged: Option<P::Row> = None;
    for bytes in rows {
        let row: P::Row = read_row(key, bytes)?;
        merged = Some(match merged {
            Some(other) => P::merge(other, row),
            None => row,
        });
    }
    Ok(merged.filter(P::is_shown))
}

struct Erased<P>(Arc<P>);

impl<P: Projection> AnyProjection for Erased<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn version(&self) -> u32 {
        P::VERSION
    }

    fn reads_rows_of(&self, version: u32) -> bool {
        (P::ROWS_SINCE..=P::VERSION).contains(&version)
    }

    fn topic(&self) -> &'static str {
        P::TOPIC
    }

    fn overlay(&self) -> Box<dyn AnyOverlay> {
        Box::new(Overlay { projection: self.0.clone(), entries: HashMap::new(), key_bytes: 0 })
    }

    fn value(&self, key: &str, rows: &[Vec<u8>]) -> Result<Option<serde_json::Value>, Error> {
        Ok(merged::<P>(key, rows)?.map(|row| P::value(&row, key)))
    }

    fn value_at(&self, key: &str, rows: &[Vec<u8>], now: EventTime) -> Result<Option<serde_json::Value>, Error> {
        Ok(merged::<P>(key, rows)?.map(|row| P::value_at(&row, key, now)))
    }

    fn subject_of(&self, key: &str) -> Option<String> {
        P::subject_of(key)
    }

    fn examples(&self) -> Vec<Event> {
        self.0.examples()
    }
}
