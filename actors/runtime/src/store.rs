//! The [`Store`] trait: what owners and projections keep on disk, as caches of the log. [`MemoryStore`] is its twin for simulation;
//! the RocksDB one lives in `tol-projections`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// One table of the store. Few, because RocksDB pays memory for each column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Cursors, tokens, generations: small and always written together with the rows they stand for.
    Meta,
    /// Owners' state: subjects, timers, effects, parked inputs.
    State,
    /// Admission's memory of what it has seen.
    Seen,
    /// Rows of projections.
    Rows,
    /// Positions by id, subject, correlation and type.
    Index,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 5] = [Table::Meta, Table::State, Table::Seen, Table::Rows, Table::Index];

    /// The column family's name.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::State => "state",
            Table::Seen => "seen",
            Table::Rows => "rows",
            Table::Index => "index",
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Sets a row.
    Put(Table, Vec<u8>, Vec<u8>),
    /// Removes a row.
    Delete(Table, Vec<u8>),
    /// Removes every row whose key starts so.
    DeletePrefix(Table, Vec<u8>),
}

/// Why the store failed. The log heals it: delete the folder and start again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// E10: somebody opened this cache after us.
    #[error("cache {0} was opened by another owner; this one ends")]
    TokenLost(String),
    /// Disk or RocksDB.
    #[error("the store failed: {0}; the log is not affected, free the disk or delete the projections folder and start again")]
    Failed(String),
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// An ordered key-value store with atomic batches. Calls block: threads of their own only.
pub trait Store: Send + Sync + 'static {
    /// One row.
    ///
    /// # Errors
    /// The disk failed.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// Several rows, in the order asked for.
    ///
    /// # Errors
    /// The disk failed.
    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        keys.iter().map(|key| self.get(table, key)).collect()
    }

    /// Up to `limit` rows whose key starts with `prefix` and is above `after` (from the first if `None`), in key order.
    ///
    /// # Errors
    /// The disk failed.
    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error>;

    /// All or nothing; if `token` is given, only while row `token.0` of [`Table::Meta`] holds `token.1` (E10).
    ///
    /// # Errors
    /// [`Error::TokenLost`], or the disk failed.
    fn write(&self, changes: Vec<Change>, token: Option<(&[u8], &[u8])>) -> Result<(), Error>;

    /// A handle on the store as it is now, whose calls all fail once the store had to be opened anew (damage, a full disk): for those who
    /// remember what they read. `None` where that never happens; see [`session`].
    ///
    /// # Errors
    /// It is being opened anew.
    fn session(&self) -> Result<Option<Arc<dyn Store>>, Error> {
        Ok(None)
    }

    /// Whether this handle still works: see [`Store::session`].
    fn is_current(&self) -> bool {
        true
    }
}

/// A handle on `store` as it is now: [`Store::session`].
///
/// # Errors
/// It is being opened anew.
pub fn session(store: &Arc<dyn Store>) -> Result<Arc<dyn Store>, Error> {
    Ok(store.session()?.unwrap_or_else(|| store.clone()))
}

/// Fails where the store was opened anew since the session on it was taken.
///
/// # Errors
/// [`Error::Failed`], so that whoever remembers what it read begins again.
pub fn check_current(store: &dyn Store) -> Result<(), Error> {
    if store.is_current() { Ok(()) } else { Err(Error::Failed("it was opened anew, and everything is read from it again".to_owned())) }
}

/// A store in memory. [`MemoryStore::lose_tail`] forgets the newest batches, as a machine that lost power does.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

/// The rows a batch replaced.
type Undo = Vec<((Table, Vec<u8>), Option<Vec<u8>>)>;

#[derive(Debug, Default)]
struct Inner {
    rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    /// For each batch still undoable: the rows it replaced.
    undo: Vec<Undo>,
    keep_undo: usize,
}

impl MemoryStore {
    /// A store that can take back its last `keep_undo` batches.
    pub fn new(keep_undo: usize) -> Self {
        Self { inner: Mutex::new(Inner { keep_undo, ..Inner::default() }) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes back the newest `batches` batches, at most as many as are kept.
    pub fn lose_tail(&self, batches: usize) {
        let mut inner = self.lock();
        for _ in 0..batches {
            let Some(undo) = inner.undo.pop() else { return };
            for (key, value) in undo.into_iter().rev() {
                match value {
                    Some(value) => inner.rows.insert(key, value),
                    None => inner.rows.remove(&key),
                };
            }
        }
    }

    /// Forgets everything, as an operator who deletes the folder.
    pub fn clear(&self) {
        let mut inner = self.lock();
        inner.rows.clear();
        inner.undo.clear();
    }
}

impl Store for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.lock().rows.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, Error> {
        use std::ops::Bound;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded((table, after.to_vec())),
            _ => Bound::Included((table, prefix.to_vec())),
        };
        let inner = self.lock();
        let rows = inner.rows.range((start, Bound::Unbounded));
        Ok(rows.take_while(|((t, key), _)| *t == table && key.starts_with(prefix)).take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn write(&self, changes: Vec<Change>, token: Option<(&[u8], &[u8])>) -> Result<(), Error> {
        let mut inner = self.lock();
        if let Some((key, value)) = token
            && inner.rows.get(&(Table::Meta, key.to_vec())).map(Vec::as_slice) != Some(value)
        {
            return Err(Error::TokenLost(String::from_utf8_lossy(key).into_owned()));
        }
        let mut undo = Vec::new();
        for change in changes {
            match change {
                Change::Put(table, key, value) => {
                    let before = inner.rows.insert((table, key.clone()), value);
                    undo.push(((table, key), before));
                }
                Change::Delete(table, key) => {
                    let before = inner.rows.remove(&(table, key.clone()));
                    undo.push(((table, key), before));
                }
                Change::DeletePrefix(table, prefix) => {
                    let keys: Vec<_> = inner
                        .rows
                        .range((table, prefix.clone())..)
                        .take_while(|((t, key), _)| *t == table && key.starts_with(&prefix))
                        .map(|(key, _)| key.clone())
                        .collect();
                    for key in keys {
                        let before = inner.rows.remove(&key);
                        undo.push((key, before));
                    }
                }
            }
        }
        if inner.keep_undo > 0 {
            inner.undo.push(undo);
            if inner.undo.len() > inner.keep_undo {
                inner.undo.remove(0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Change {
        Change::Put(Table::State, key.into(), value.into())
    }

    #[test]
    fn lost_tail_restores_what_was_there() {
        let store = MemoryStore::new(8);
        store.write(vec![put("a", "1"), put("b", "1")], None).unwrap();
        store.write(vec![put("a", "2"), Change::DeletePrefix(Table::State, b"b".to_vec())], None).unwrap();
        assert_eq!(store.scan(Table::State, b"", None, 9).unwrap(), [(b"a".to_vec(), b"2".to_vec())]);
        store.lose_tail(1);
        assert_eq!(store.scan(Table::State, b"", Some(b"a"), 9).unwrap(), [(b"b".to_vec(), b"1".to_vec())]);
    }

    #[test]
    fn a_write_under_a_lost_token_changes_nothing() {
        let store = MemoryStore::new(0);
        store.write(vec![Change::Put(Table::Meta, b"t".to_vec(), b"new".to_vec())], None).unwrap();
        assert!(matches!(store.write(vec![put("a", "1")], Some((b"t", b"old"))), Err(Error::TokenLost(_))));
        assert_eq!(store.get(Table::State, b"a").unwrap(), None);
        store.write(vec![put("a", "1")], Some((b"t", b"new"))).unwrap();
    }
}
