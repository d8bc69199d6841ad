//! Folding one partition of one generation: the acceptance rules in front, the overlay of rows behind.

use std::sync::Arc;

use rocksdb::WriteBatch;
use tol_events::upcast::upcast;
use tol_events::{EventTime, EventView, reserved};
use tol_kafka::reader::{Cursor, Delivery, Reader, Stop};
use tol_kafka::{Batch, TopicPartition};
use tol_runtime::store::Table;
use tol_system::projection::{self, AnyOverlay, AnyProjection, ChangedRows, RowSource};

use crate::error::Error;
use crate::generation::{self, StoredCursor, row_prefix};
use crate::store::Session;

/// Up to when events count, when the past is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AsOf {
    /// What had happened then: events whose `time` (else `recordedtime`) is not later.
    EventTime(EventTime),
    /// What was known then: events whose `recordedtime` (else `time`) is not later.
    KnownAt(EventTime),
}

impl AsOf {
    /// The moment.
    pub fn time(self) -> EventTime {
        match self {
            AsOf::EventTime(time) | AsOf::KnownAt(time) => time,
        }
    }

    /// Whether an event belongs to that past. One without any time does.
    pub fn includes(self, event: &EventView<'_>) -> bool {
        let (limit, time) = match self {
            AsOf::EventTime(limit) => (limit, event.time().or_else(|| event.recorded_time())),
            AsOf::KnownAt(limit) => (limit, event.recorded_time().or_else(|| event.time())),
        };
        time.is_none_or(|time| time <= limit)
    }
}

/// Stored rows of one partition of one generation.
struct StoredRows {
    session: Session,
    prefix: [u8; generation::ROW_PREFIX],
    /// Nothing has been written yet, so there is nothing to look for.
    empty: bool,
}

impl RowSource for StoredRows {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, projection::Error> {
        if self.empty {
            return Ok(None);
        }
        let mut full = smallvec::SmallVec::<[u8; 64]>::from_slice(&self.prefix);
        full.extend_from_slice(key.as_bytes());
        let found = self.session.get().and_then(|store| store.with_row(Table::Rows, &full, <[u8]>::to_vec));
        found.map_err(|problem| projection::Error::Store(problem.to_string()))
    }
}

/// One partition on its way.
pub(crate) struct PartitionFold {
    generation: u32,
    rows: StoredRows,
    overlay: Box<dyn AnyOverlay>,
    reader: Reader,
    as_of: Option<AsOf>,
    /// Of the record in front of the reader's next one.
    last: u64,
    /// Cursor as last stored.
    stored: Cursor,
    /// Set by an error: what the overlay holds may be half an event.
    broken: bool,
    /// Records looked at since the start of this fold.
    pub(crate) seen: u64,
}

impl PartitionFold {
    /// Goes on where the store says.
    pub(crate) fn resume(session: &Session, projection: &dyn AnyProjection, generation: u32, partition: u32, as_of: Option<AsOf>) -> Result<Self, Error> {
        let StoredCursor { cursor, last } = generation::cursor(&*session.get()?, generation, partition)?;
        let at = TopicPartition::new(projection.topic(), partition);
        let rows = StoredRows { session: session.clone(), prefix: row_prefix(generation, partition), empty: cursor.position == 0 };
        Ok(Self { generation, rows, overlay: projection.overlay(), reader: Reader::resume(at, cursor), as_of, last, stored: cursor, broken: false, seen: 0 })
    }

    pub(crate) fn at(&self) -> &TopicPartition {
        self.reader.topic_partition()
    }

    /// The next position to read.
    pub(crate) fn next(&self) -> u64 {
        self.reader.next()
    }

    /// What is stored.
    pub(crate) fn stored(&self) -> Cursor {
        self.stored
    }

    pub(crate) fn bytes(&self) -> usize {
        self.overlay.bytes()
    }

    pub(crate) fn has_unstored(&self) -> bool {
        self.reader.cursor() != self.stored && !self.broken
    }

    /// Folds a batch.
    pub(crate) fn take(&mut self, batch: &Arc<Batch>) -> Result<(), Stop> {
        let (overlay, rows, as_of) = (&mut self.overlay, &self.rows, self.as_of);
        self.seen += batch.end().saturating_sub(self.reader.next().max(batch.base()));
        let outcome = self.reader.read(batch, &mut |delivery| {
            let Delivery::Group { events, .. } = delivery else { return Ok(()) };
            for (_, event) in events {
                if event.event_type().starts_with(reserved::PREFIX) || as_of.is_some_and(|as_of| !as_of.includes(event)) {
                    continue;
                }
                let event = upcast(*event).map_err(|problem| problem.to_string())?;
                let event = event.view();
                overlay.fold(event, rows).map_err(|problem| format!("{} {}: {problem}", event.event_type(), event.id()))?;
            }
            Ok(())
        });
        self.broken |= outcome.is_err();
        if let Some(event) = batch.len().checked_sub(1).and_then(|last| batch.event(last)) {
            self.last = generation::fingerprint(event.source(), event.id());
        }
        outcome
    }

    /// Adds what changed and the cursor to `batch` (E5), and the rows to `followed` as well. Call [`PartitionFold::written`] when that is written.
    pub(crate) fn flush(&mut self, batch: &mut WriteBatch, mut followed: Option<&mut ChangedRows<Vec<u8>>>) -> Result<(), Error> {
        let cursor = self.reader.cursor();
        if self.broken || cursor == self.stored {
            return Ok(());
        }
        let store = self.rows.session.get()?;
        let family = store.family(Table::Rows)?;
        let mut full = Vec::with_capacity(64);
        let prefix = self.rows.prefix;
        let drained = self.overlay.drain(&mut |key, value| {
            full.clear();
            full.extend_from_slice(&prefix);
            full.extend_from_slice(key.as_bytes());
            if let Some(followed) = &mut followed {
                followed.push((key.to_owned(), value.map(<[u8]>::to_vec)));
            }
            match value {
                Some(value) => batch.put_cf(family, &full, value),
                None => batch.delete_cf(family, &full),
            }
        });
        drained?;
        // The fingerprint is that of the record before the cursor only where nothing is held back.
        let last = if cursor.position == self.reader.next() { self.last } else { 0 };
        generation::put_meta(&store, batch, &generation::cursor_key(self.generation, self.at().partition), &StoredCursor { cursor, last })
    }

    /// What was flushed is written; rows beyond `keep_bytes` are let go.
    pub(crate) fn written(&mut self, keep_bytes: usize) {
        if self.broken {
            return;
        }
        self.stored = self.reader.cursor();
        self.rows.empty = false;
        if self.overlay.bytes() > keep_bytes {
            self.overlay.clear();
        }
    }
}
