//! What an owner remembers: subjects' states, timers, pending effects, parked inputs and positions.
//!
//! All of it is the fold of the owner's own topic partition. Rows live in the [`Store`]; what was decided and is not yet
//! committed lives in an overlay that can be dropped (E6). [`Cache::cut`] takes the overlay's changes as they are now (E8).
//!
//! * `effects`, `parked`, `timers` — rows other than states

mod effects;
mod parked;
mod timers;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tol_events::EventTime;
use tol_kafka::{Cursor, TopicPartition};
use tol_system::{AnySystem, Description, State};

pub use effects::PendingEffect;
pub(super) use parked::parked_prefix;
pub use timers::{DueTimer, SetTimer};

use super::Error;
use crate::store::{Change, Row, Store, Table};

/// Bytes of states kept decoded; above this the clean ones are forgotten.
const DECODED_BYTES: usize = 8 << 20;
/// What a decoded state takes beside its row's bytes, roughly: its entry here, and its own allocations.
const DECODED_OVERHEAD: usize = 128;

/// Input positions, by partition, in an order that is the same everywhere.
pub type Positions = BTreeMap<TopicPartition, Cursor>;

/// The row that makes a cache a cache of something (E10), written together with the rows it stands for (E5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// [`tol_kafka::EventLog::identity`].
    pub log: String,
    /// Where the fold of the own topic goes on.
    pub own: Cursor,
    /// Id of the last own event folded, compared with the log when the cache is opened.
    pub last_id: String,
    /// Where that event lies.
    pub last_position: u64,
    /// Input positions as the own events say (E9).
    pub inputs: Positions,
}

/// The cache of one owner.
pub struct Cache {
    system: Arc<dyn AnySystem>,
    store: Arc<dyn Store>,
    prefix: Vec<u8>,
    token_key: Vec<u8>,
    token: Vec<u8>,
    meta_key: Vec<u8>,
    /// Committed and then changed by what is being decided. Never iterated into a result.
    states: HashMap<String, Decoded>,
    /// Subjects whose state changed since the last cut, each once.
    dirty: Vec<String>,
    /// Bytes of `states`, and above how many the clean ones are forgotten.
    decoded_bytes: usize,
    room: usize,
    /// Bytes folded since the last cut, roughly what it would write.
    changed_bytes: usize,
    /// Other rows changed since the last cut; `None` deletes.
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Changes cut and not yet written: reads look here between overlay and store.
    cut: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Nothing at all is parked: nearly always, and it spares a scan an input. Never set while anything may be.
    none_parked: bool,
    /// No timer is due before this, or at all; unknown until the rows were looked at. Spares a scan a tick.
    first_due: Option<Option<EventTime>>,
}

/// A state in memory.
struct Decoded {
    state: State,
    /// Changed since the last cut.
    dirty: bool,
    /// Its row's bytes when it was last read or cut.
    bytes: usize,
}

/// Changes of one batch, as they were when it was cut (E8).
#[derive(Debug, Default)]
pub struct Cut {
    changes: Vec<Change>,
}

fn key(prefix: &[u8], kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + 1 + parts.iter().map(|part| part.len() + 1).sum::<usize>());
    key.extend_from_slice(prefix);
    key.push(kind);
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            key.push(0);
        }
        key.extend_from_slice(part);
    }
    key
}

fn change(key: Vec<u8>, row: Option<Vec<u8>>) -> Change {
    match row {
        Some(row) => Change::Put(Table::State, key, row),
        None => Change::Delete(Table::State, key),
    }
}

/// Bytes that a decoded state takes, roughly.
fn weight(subject: &str, bytes: usize) -> usize {
    bytes + subject.len() + DECODED_OVERHEAD
}

/// Format of the rows. A cache of another format is removed and folded anew from the log.
///
/// 2: a timer's row holds the correlation of the event that set it. Caches of format 1 have no format in their keys.
const FORMAT: u32 = 2;

/// Where the rows of a partition of a system lie.
pub(crate) fn rows_prefix(description: &Description, partition: u32) -> String {
    format!("{}\u{0}{FORMAT}.{}\u{0}{partition}\u{0}", description.name, description.state_version)
}

/// [`rows_prefix`] as a key.
pub(super) fn prefix_of(description: &Description, partition: u32) -> Vec<u8> {
    rows_prefix(description, partition).into_bytes()
}

/// Where they lay in format 1.
fn prefix_of_format_1(description: &Description, partition: u32) -> Vec<u8> {
    format!("{}\u{0}{}\u{0}{partition}\u{0}", description.name, description.state_version).into_bytes()
}

/// Where its [`Meta`] lies.
pub(super) fn meta_key_of(prefix: &[u8]) -> Vec<u8> {
    key(b"owner\0", b'm', &[prefix])
}

impl Cache {
    /// Opens the cache of partition `partition` of a system and takes it over (E10): a token makes every earlier holder's writes fail.
    ///
    /// # Errors
    /// The store failed.
    pub fn open(system: Arc<dyn AnySystem>, partition: u32, store: Arc<dyn Store>, token: Vec<u8>) -> Result<(Self, Meta), Error> {
        let description = system.describe();
        let prefix = prefix_of(&description, partition);
        let token_key = key(b"token\0", b't', &[&prefix]);
        let meta_key = meta_key_of(&prefix);
        let meta = match store.get(Table::Meta, &meta_key)? {
            Some(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(), // not readable: as if empty, the log fills it
            None => Meta::default(),
        };
        let cache = Self {
            system,
            store,
            prefix,
            token_key,
            token,
            meta_key,
            states: HashMap::new(),
            dirty: Vec::new(),
            decoded_bytes: 0,
            room: DECODED_BYTES,
            changed_bytes: 0,
            rows: BTreeMap::new(),
            cut: BTreeMap::new(),
            none_parked: false,
            first_due: None,
        };
        cache.take_token()?;
        cache.remove(&prefix_of_format_1(&description, partition))?;
        Ok((cache, meta))
    }

    /// Removes a cache of another format, if there is one.
    fn remove(&self, prefix: &[u8]) -> Result<(), Error> {
        let meta_key = meta_key_of(prefix);
        if self.store.get(Table::Meta, &meta_key)?.is_none() {
            return Ok(());
        }
        let changes = vec![
            Change::DeletePrefix(Table::State, prefix.to_vec()),
            Change::Delete(Table::Meta, meta_key),
            Change::Delete(Table::Meta, key(b"token\0", b't', &[prefix])),
        ];
        Ok(self.store.write(changes, Some((&self.token_key, &self.token)))?)
    }

    /// Writes the token: what any other owner writes from now on is refused.
    ///
    /// # Errors
    /// The store failed.
    pub fn take_token(&self) -> Result<(), Error> {
        Ok(self.store.write(vec![Change::Put(Table::Meta, self.token_key.clone(), self.token.clone())], None)?)
    }

    /// Empties the cache: it does not belong to this log (E10).
    ///
    /// # Errors
    /// The store failed, or the token was lost.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.drop_overlay();
        let changes = vec![Change::DeletePrefix(Table::State, self.prefix.clone()), Change::Delete(Table::Meta, self.meta_key.clone())];
        Ok(self.store.write(changes, Some((&self.token_key, &self.token)))?)
    }

    /// Fails where another owner took the cache over (E10).
    ///
    /// # Errors
    /// The store failed, or the token was lost.
    pub fn check_token(&self) -> Result<(), Error> {
        Ok(self.store.write(Vec::new(), Some((&self.token_key, &self.token)))?)
    }

    /// Forgets everything that is not written (E6).
    pub fn drop_overlay(&mut self) {
        self.none_parked = false; // what was dropped may have been a redrive
        self.first_due = None;
        self.states.clear();
        self.dirty.clear();
        (self.decoded_bytes, self.changed_bytes) = (0, 0);
        self.rows.clear();
        self.cut.clear();
    }

    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if let Some(row) = self.rows.get(key).or_else(|| self.cut.get(key)) {
            return Ok(row.clone());
        }
        Ok(self.store.get(Table::State, key)?)
    }

    /// Rows below `prefix` in key order, at most `limit`, overlay included.
    fn rows_below(&self, prefix: &[u8], limit: usize) -> Result<Vec<Row>, Error> {
        let mut merged: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
        // Rows that the overlay deletes must not use up the limit.
        let below = |map: &BTreeMap<Vec<u8>, Option<Vec<u8>>>| -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
            map.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix)).map(|(key, row)| (key.clone(), row.clone())).collect()
        };
        let cut = below(&self.cut);
        let overlay = below(&self.rows);
        for (key, row) in self.store.scan(Table::State, prefix, None, limit.saturating_add(cut.len() + overlay.len()))? {
            merged.insert(key, Some(row));
        }
        merged.extend(cut);
        merged.extend(overlay);
        Ok(merged.into_iter().filter_map(|(key, row)| Some((key, row?))).take(limit).collect())
    }

    fn load(&mut self, subject: &str) -> Result<(), Error> {
        if !self.states.contains_key(subject) {
            let (state, bytes) = match self.row(&key(&self.prefix, b's', &[subject.as_bytes()]))? {
                Some(row) => (self.system.read_state(&row)?, row.len()),
                None => (self.system.empty_state(), 0),
            };
            if self.decoded_bytes >= self.room {
                self.states.retain(|_, decoded| decoded.dirty);
                self.decoded_bytes = self.states.iter().map(|(subject, decoded)| weight(subject, decoded.bytes)).sum();
                // Changed ones stay: without this, each further one would look at them all again.
                self.room = DECODED_BYTES.max(2 * self.decoded_bytes);
            }
            self.decoded_bytes += weight(subject, bytes);
            self.states.insert(subject.to_owned(), Decoded { state, dirty: false, bytes });
        }
        Ok(())
    }

    /// The state of a subject, to read.
    ///
    /// # Errors
    /// The store failed or the state does not read.
    pub fn state(&mut self, subject: &str) -> Result<&State, Error> {
        self.load(subject)?;
        self.states.get(subject).map(|decoded| &decoded.state).ok_or(Error::Internal("a state that was just loaded is missing"))
    }

    /// The state of a subject, to change.
    ///
    /// # Errors
    /// The store failed or the state does not read.
    pub fn state_mut(&mut self, subject: &str) -> Result<&mut State, Error> {
        self.load(subject)?;
        let decoded = self.states.get_mut(subject).ok_or(Error::Internal("a state that was just loaded is missing"))?;
        if !decoded.dirty {
            decoded.dirty = true;
            self.dirty.push(subject.to_owned());
            self.changed_bytes += weight(subject, decoded.bytes);
        }
        Ok(&mut decoded.state)
    }

    /// An event with so much data was folded.
    pub fn grew(&mut self, bytes: usize) {
        self.changed_bytes += bytes;
    }

    /// Bytes changed since the last cut: roughly what it would write, and what must stay in memory until then.
    pub fn changed_bytes(&self) -> usize {
        self.changed_bytes
    }

    /// A copy of a subject's state.
    ///
    /// # Errors
    /// The store failed or the state does not read.
    pub fn copy_of(&mut self, subject: &str) -> Result<State, Error> {
        let system = self.system.clone();
        Ok(system.copy_state(self.state(subject)?))
    }

    /// Subjects with a state, after `after`, at most `limit`: committed ones only.
    ///
    /// # Errors
    /// The store failed.
    pub fn subjects(&self, limit: usize) -> Result<Vec<String>, Error> {
        let prefix = key(&self.prefix, b's', &[]);
        let rows = self.store.scan(Table::State, &prefix, None, limit)?;
        Ok(rows.into_iter().filter_map(|(row, _)| String::from_utf8(row[prefix.len()..].to_vec()).ok()).collect())
    }

    /// E8: takes all changes since the last cut, as they are now. One cut at a time is outstanding.
    ///
    /// # Errors
    /// A state does not serialise.
    pub fn cut(&mut self) -> Result<Cut, Error> {
        let rows = self.changed_rows()?;
        let changes = rows.iter().map(|(key, row)| change(key.clone(), row.clone())).collect();
        self.cut.extend(rows);
        Ok(Cut { changes })
    }

    /// Cuts as [`Cache::cut`] does, for a caller that commits at once: nothing is kept for reads in between.
    ///
    /// # Errors
    /// A state does not serialise.
    pub fn cut_at_once(&mut self) -> Result<Cut, Error> {
        Ok(Cut { changes: self.changed_rows()?.into_iter().map(|(key, row)| change(key, row)).collect() })
    }

    fn changed_rows(&mut self) -> Result<BTreeMap<Vec<u8>, Option<Vec<u8>>>, Error> {
        for subject in std::mem::take(&mut self.dirty) {
            let Some(decoded) = self.states.get_mut(&subject) else { continue };
            let row = self.system.write_state(&decoded.state)?;
            self.decoded_bytes = (self.decoded_bytes + row.len()).saturating_sub(decoded.bytes);
            (decoded.dirty, decoded.bytes) = (false, row.len());
            self.rows.insert(key(&self.prefix, b's', &[subject.as_bytes()]), Some(row));
        }
        (self.room, self.changed_bytes) = (DECODED_BYTES, 0);
        Ok(std::mem::take(&mut self.rows))
    }

    /// Writes a cut with the positions that belong to it, in one batch, under the token (E5, E7, E10).
    ///
    /// # Errors
    /// The store failed, or the token was lost: this owner ends.
    pub fn commit(&mut self, cut: Cut, meta: &Meta) -> Result<(), Error> {
        let mut changes = cut.changes;
        let bytes = serde_json::to_vec(meta).map_err(|_| Error::Internal("positions do not serialise"))?;
        changes.push(Change::Put(Table::Meta, self.meta_key.clone(), bytes));
        self.store.write(changes, Some((&self.token_key, &self.token)))?;
        self.cut.clear();
        Ok(())
    }
}
