//! Folding one partition of one generation: the acceptance rules in front, the overlay of rows behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use rocksdb::WriteBatch;
use tol_events::upcast::upcast;
use tol_events::{EventTime, EventView, reserved};
use tol_kafka::reader::{Cursor, Delivery, Reader};
use tol_kafka::{Batch, Position, TopicPartition};
use tol_runtime::store::Table;
use tol_system::projection::{self, AnyOverlay, AnyProjection, ChangedRows, RowSource};

use crate::error::Error;
use crate::generation::{self, StoredCursor, row_prefix};
use crate::set_aside::{self, SetAside};
use crate::store::Session;

/// Events folded so that each can be undone, after one that could not be folded: often more of the kind follow.
const CAREFUL_EVENTS: u64 = 10_000;
/// About what an event that was set aside takes in memory until it is stored.
const SET_ASIDE_BYTES: usize = 600;

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

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was folded.
    All,
    /// It holds an event that cannot be folded, and rows in memory held a part of that event: they were dropped. Read again from
    /// [`PartitionFold::next`] on, which is before this batch; that event is left out then.
    Again,
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
    /// Events that cannot be folded, at or behind the stored cursor.
    unstored_aside: BTreeMap<Position, SetAside>,
    /// How many were set aside below the stored cursor.
    stored_aside: u64,
    /// How many more events are folded so that each can be undone.
    careful: u64,
    /// Records looked at since the start of this fold.
    pub(crate) seen: u64,
}

impl PartitionFold {
    /// Goes on where the store says.
    pub(crate) fn resume(session: &Session, projection: &dyn AnyProjection, generation: u32, partition: u32, as_of: Option<AsOf>) -> Result<Self, Error> {
        let store = session.get()?;
        let StoredCursor { cursor, last } = generation::cursor(&store, generation, partition)?;
        let (stored_aside, _) = set_aside::count_below(&store, generation, partition, Position::MAX)?;
        let at = TopicPartition::new(projection.topic(), partition);
        let rows = StoredRows { session: session.clone(), prefix: row_prefix(generation, partition), empty: cursor.position == 0 };
        Ok(Self {
            generation,
            rows,
            overlay: projection.overlay(),
            reader: Reader::resume(at, cursor),
            as_of,
            last,
            stored: cursor,
            broken: false,
            unstored_aside: BTreeMap::new(),
            stored_aside,
            careful: 0,
            seen: 0,
        })
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
        self.overlay.bytes() + self.unstored_aside.len() * SET_ASIDE_BYTES
    }

    /// How many events were set aside below the stored cursor.
    pub(crate) fn set_aside(&self) -> u64 {
        self.stored_aside
    }

    pub(crate) fn has_unstored(&self) -> bool {
        self.reader.cursor() != self.stored && !self.broken
    }

    /// Folds a batch. An event that cannot be folded is set aside.
    ///
    /// # Errors
    /// The partition cannot be read on (E3), a row does not read, or the store failed.
    pub(crate) fn take(&mut self, batch: &Arc<Batch>) -> Result<Taken, Error> {
        let Self { overlay, rows, as_of, unstored_aside, careful, reader, stored, .. } = self;
        let before = reader.next();
        let mut stopped: Option<projection::Error> = None;
        let mut again = false;
        let outcome = reader.read(batch, &mut |delivery| {
            let Delivery::Group { events, .. } = delivery else { return Ok(()) };
            for (position, event) in events {
                let left_out = event.event_type().starts_with(reserved::PREFIX) || as_of.is_some_and(|as_of| !as_of.includes(event));
                if left_out || (!unstored_aside.is_empty() && unstored_aside.contains_key(position)) {
                    continue;
                }
                let (outcome, undone) = match upcast(*event) {
                    Ok(event) if *careful > 0 => (overlay.fold_or_undo(event.view(), rows), true),
                    Ok(event) => (overlay.fold(event.view(), rows), false),
                    Err(problem) => (Err(projection::Error::Malformed(problem.to_string())), true),
                };
                *careful = careful.saturating_sub(1);
                let Err(problem) = outcome else { continue };
                if !problem.is_about_event() {
                    let text = problem.to_string();
                    stopped = Some(problem);
                    return Err(text);
                }
                tracing::warn!(at = %batch.topic_partition(), position, event = event.event_type(), id = event.id(), %problem, "a projection sets an event aside");
                unstored_aside.insert(*position, SetAside::new(event, problem.to_string()));
                *careful = CAREFUL_EVENTS;
                if !undone {
                    // As far as this event once more, and on from there.
                    *careful += position.saturating_sub(stored.position);
                    again = true;
                    return Err(problem.to_string());
                }
            }
            Ok(())
        });
        if again {
            overlay.clear();
            *reader = Reader::resume(reader.topic_partition().clone(), *stored);
            return Ok(Taken::Again);
        }
        self.broken |= outcome.is_err();
        self.seen += self.reader.next().saturating_sub(before);
        if let Some(event) = batch.len().checked_sub(1).and_then(|last| batch.event(last)) {
            self.last = generation::fingerprint(event.source(), event.id());
        }
        match (outcome, stopped) {
            (Ok(()), _) => Ok(Taken::All),
            (Err(_), Some(projection::Error::Store(problem))) => Err(Error::Store(problem)),
            (Err(stop), _) => Err(Error::Stopped(stop.to_string())),
        }
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
        for (position, aside) in self.unstored_aside.range(..cursor.position) {
            set_aside::put(&store, batch, self.generation, self.at().partition, *position, aside)?;
        }
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
        let behind = self.unstored_aside.split_off(&self.stored.position);
        self.stored_aside += std::mem::replace(&mut self.unstored_aside, behind).len() as u64;
        self.rows.empty = false;
        if self.overlay.bytes() > keep_bytes {
            self.overlay.clear();
        }
    }
}
