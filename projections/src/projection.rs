//! What a projection is: [`Projection`], the [`Rows`] its fold changes, and the same without the row's type, which the engine runs.

use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tol_events::EventView;

/// A read model folded from one topic. All functions are pure: no clock, no I/O, no randomness.
pub trait Projection: Send + Sync + 'static {
    /// One row. Rows are stored with postcard, so field order is format: change [`Projection::VERSION`] with it.
    type Row: Default + Clone + Serialize + DeserializeOwned + Send + 'static;

    /// The name in URLs.
    const NAME: &'static str;
    /// Another version folds afresh from the log, beside the rows of the old one where this code can show those.
    const VERSION: u32;
    /// The oldest version whose stored rows this code reads: they are shown until the new fold has caught up. A change of the fold alone leaves it,
    /// a change of [`Projection::Row`] sets it to the new version (then the projection begins empty).
    const ROWS_SINCE: u32 = Self::VERSION;
    /// The one topic it is folded from.
    const TOPIC: &'static str;
    /// About how many bytes a row takes in memory; bounds how many are held while folding.
    const ROW_BYTES: usize = size_of::<Self::Row>();

    /// Folds one accepted event (reserved `tol.` types never come here). Event types that the projection does not need are left alone.
    ///
    /// # Errors
    /// Stops the projection in front of this event, for example at an unknown version of a type it needs. Nothing is skipped.
    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Self::Row>) -> Result<(), String>;

    /// Joins what two partitions know under one key; must not depend on their order.
    fn merge(a: Self::Row, b: Self::Row) -> Self::Row;

    /// What people see. Canonical: equal rows give equal JSON, since digests are made of it.
    fn value(row: &Self::Row, key: &str) -> serde_json::Value;

    /// The one subject that a key is folded from, if there is one: only then can a single row be seen as of the past.
    fn subject_of(key: &str) -> Option<String> {
        let _ = key;
        None
    }
}

/// Where rows that are not held come from.
pub(crate) trait RowSource {
    fn load(&self, key: &str) -> Result<Option<Vec<u8>>, String>;
}

/// Nothing stored: folds that begin from nothing and keep all they make in memory.
pub(crate) struct Nothing;

impl RowSource for Nothing {
    fn load(&self, _: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// As stored; `false` if nothing is stored.
    Clean(bool),
    Changed,
    Removed,
}

struct Entry<R> {
    row: R,
    held: Held,
}

/// The rows of one partition, loaded as they are asked for.
pub struct Rows<'a, R> {
    entries: &'a mut HashMap<Box<str>, Entry<R>>,
    source: &'a dyn RowSource,
    loaded: &'a mut usize,
}

impl<R: Default + DeserializeOwned> Rows<'_, R> {
    /// The row of `key` for changing; the default where there is none yet.
    ///
    /// # Errors
    /// The store failed; hand the error on.
    pub fn get_mut(&mut self, key: &str) -> Result<&mut R, String> {
        let entry = self.entry(key)?;
        entry.held = Held::Changed;
        Ok(&mut entry.row)
    }

    /// The row of `key`, if there is one.
    ///
    /// # Errors
    /// The store failed; hand the error on.
    pub fn get(&mut self, key: &str) -> Result<Option<&R>, String> {
        let entry = self.entry(key)?;
        Ok(matches!(entry.held, Held::Changed | Held::Clean(true)).then_some(&entry.row))
    }

    /// Removes the row of `key`.
    ///
    /// # Errors
    /// The store failed; hand the error on.
    pub fn remove(&mut self, key: &str) -> Result<(), String> {
        let entry = self.entry(key)?;
        *entry = Entry { row: R::default(), held: Held::Removed };
        Ok(())
    }

    fn entry(&mut self, key: &str) -> Result<&mut Entry<R>, String> {
        match self.entries.entry_ref(key) {
            EntryRef::Occupied(entry) => Ok(entry.into_mut()),
            EntryRef::Vacant(vacant) => {
                *self.loaded += key.len();
                let entry = match self.source.load(key)? {
                    Some(bytes) => Entry {
                        row: postcard::from_bytes(&bytes).map_err(|problem| format!("stored row {key} does not read: {problem}"))?,
                        held: Held::Clean(true),
                    },
                    None => Entry { row: R::default(), held: Held::Clean(false) },
                };
                Ok(vacant.insert(entry))
            }
        }
    }
}

/// Called with each changed row in key order: its bytes, or `None` where it was removed.
pub(crate) type PutRow<'a> = &'a mut dyn FnMut(&str, Option<&[u8]>);

/// The rows held of one partition.
pub(crate) trait AnyOverlay: Send {
    fn fold(&mut self, event: EventView<'_>, source: &dyn RowSource) -> Result<(), String>;
    /// About how much memory it takes.
    fn bytes(&self) -> usize;
    /// Hands out what changed since the last time, in key order; the rows stay held.
    fn drain(&mut self, put: PutRow<'_>) -> Result<(), String>;
    /// Lets go of all rows; only after [`AnyOverlay::drain`] or to forget what changed.
    fn clear(&mut self);
}

/// [`Projection`] without its row's type.
pub(crate) trait AnyProjection: Send + Sync {
    fn name(&self) -> &'static str;
    fn version(&self) -> u32;
    /// Whether rows that this version stored can be shown.
    fn reads_rows_of(&self, version: u32) -> bool;
    fn topic(&self) -> &'static str;
    fn overlay(&self) -> Box<dyn AnyOverlay>;
    /// The value of stored rows of one key, merged; `None` of none.
    fn value(&self, key: &str, rows: &[Vec<u8>]) -> Result<Option<serde_json::Value>, String>;
    fn subject_of(&self, key: &str) -> Option<String>;
}

struct Overlay<P: Projection> {
    projection: Arc<P>,
    entries: HashMap<Box<str>, Entry<P::Row>>,
    key_bytes: usize,
}

impl<P: Projection> AnyOverlay for Overlay<P> {
    fn fold(&mut self, event: EventView<'_>, source: &dyn RowSource) -> Result<(), String> {
        self.projection.fold(event, &mut Rows { entries: &mut self.entries, source, loaded: &mut self.key_bytes })
    }

    fn bytes(&self) -> usize {
        // hashbrown is at least half full; keys are heap blocks of their own.
        self.entries.len() * (2 * (size_of::<Entry<P::Row>>() + size_of::<Box<str>>()) + P::ROW_BYTES.saturating_sub(size_of::<P::Row>()) + 16) + self.key_bytes
    }

    fn drain(&mut self, put: PutRow<'_>) -> Result<(), String> {
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
            buffer = postcard::to_extend(&entry.row, buffer).map_err(|problem| format!("row {key} does not serialise: {problem}"))?;
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

    fn value(&self, key: &str, rows: &[Vec<u8>]) -> Result<Option<serde_json::Value>, String> {
        let mut merged: Option<P::Row> = None;
        for bytes in rows {
            let row: P::Row = postcard::from_bytes(bytes).map_err(|problem| format!("stored row {key} of {} does not read: {problem}", P::NAME))?;
            merged = Some(match merged {
                Some(other) => P::merge(other, row),
                None => row,
            });
        }
        Ok(merged.map(|row| P::value(&row, key)))
    }

    fn subject_of(&self, key: &str) -> Option<String> {
        P::subject_of(key)
    }
}

/// Erases the row's type.
pub(crate) fn erase<P: Projection>(projection: P) -> Arc<dyn AnyProjection> {
    Arc::new(Erased(Arc::new(projection)))
}

/// `Err` where `event_type` is another version of `known` (which ends in `.v<N>`) than the fold was written for.
///
/// # Errors
/// The message names the type; hand it on from [`Projection::fold`].
pub fn refuse_other_version(event_type: &str, known: &[&str]) -> Result<(), String> {
    let stem = |name: &str| name.rfind(".v").map_or(name.len(), |at| at + 2);
    let own = &event_type[..stem(event_type)];
    match known.iter().find(|name| &name[..stem(name)] == own) {
        Some(name) if *name != event_type => {
            Err(format!("{event_type} is a version this fold does not know (it knows {name}); run a version of tol that does"))
        }
        _ => Ok(()),
    }
}
