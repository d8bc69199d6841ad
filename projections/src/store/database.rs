//! [`Database`]: the store's RocksDB as it was opened once. It notes what RocksDB complains of, for the keeper to mend.

use std::sync::{Arc, Weak};

use rocksdb::{ColumnFamily, DB, DBRawIterator, FlushOptions, ReadOptions, WriteBatch, WriteOptions};
use tol_runtime::store::{Change, Error as StoreError, Row, Store, Table};

use super::parking::{Mutex, RwLock};
use crate::error::Error;

/// What is wrong with an opened database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Files contradict their checksums or themselves: only the log can fill them again.
    Damage(String),
    /// The disk failed or is full: RocksDB takes no writes until it is opened anew.
    Disk(String),
}

impl Trouble {
    /// `None` for what is no fault of the files or the disk.
    pub(super) fn of(problem: &rocksdb::Error) -> Option<Self> {
        use rocksdb::ErrorKind::{Aborted, Corruption, IOError, ShutdownInProgress};
        let text = problem.as_ref();
        match problem.kind() {
            Corruption => Some(Trouble::Damage(text.to_owned())),
            _ if text.contains("Corruption") || text.contains("checksum mismatch") => Some(Trouble::Damage(text.to_owned())),
            IOError if text.contains("No such file") => Some(Trouble::Damage(text.to_owned())),
            IOError | Aborted | ShutdownInProgress => Some(Trouble::Disk(text.to_owned())),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> &str {
        let (Trouble::Damage(text) | Trouble::Disk(text)) = self;
        text
    }
}

/// One opened RocksDB.
pub(crate) struct Database {
    pub(super) db: DB,
    /// Token rows (E10) are set by writes without a token, which hold this alone; writes under a token hold it shared,
    /// so no token can change between the check and the write.
    tokens: RwLock<()>,
    /// Held while a generation's number is taken.
    pub(crate) numbers: Mutex<()>,
    trouble: Mutex<Option<Trouble>>,
}

/// The store as it is opened now. After the keeper had to open it anew every call fails, so that nothing that was read or computed before
/// is mixed with what is there after: whoever holds one begins again from what the store says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session(Weak<Database>);

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({})", self.db.path().display())
    }
}

impl Session {
    pub(super) fn of(database: &Arc<Database>) -> Self {
        Self(Arc::downgrade(database))
    }

    /// The database, for as long as the answer is held: short, because opening anew waits for it.
    pub(crate) fn get(&self) -> Result<Arc<Database>, Error> {
        self.0.upgrade().ok_or(Error::Reopened)
    }

    /// Whether both are of the same opening.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }

    /// Whether the database is gone or is to be opened anew.
    pub(crate) fn in_trouble(&self) -> bool {
        self.0.upgrade().is_none_or(|database| database.trouble().is_some())
    }

    /// Whether the database is still the one.
    pub(crate) fn is_current(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Database {
    pub(super) fn new(db: DB) -> Self {
        Self { db, tokens: RwLock::default(), numbers: Mutex::default(), trouble: Mutex::default() }
    }

    /// What RocksDB complained of, if it did.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().clone()
    }

    /// As if RocksDB had said so.
    #[cfg(test)]
    pub(crate) fn complain(&self, trouble: Trouble) {
        *self.trouble.lock() = Some(trouble);
    }

    /// Takes note of what RocksDB says, for the keeper.
    pub(crate) fn noted<T>(&self, outcome: Result<T, rocksdb::Error>) -> Result<T, Error> {
        outcome.map_err(|problem| {
            if let Some(found) = Trouble::of(&problem) {
                let mut known = self.trouble.lock();
                if known.is_none() || (matches!(found, Trouble::Damage(_)) && matches!(*known, Some(Trouble::Disk(_)))) {
                    tracing::error!(problem = found.text(), "the projections store is in trouble");
                    *known = Some(found);
                }
            }
            Error::Store(problem.into_string())
        })
    }

    pub(crate) fn family(&self, table: Table) -> Result<&ColumnFamily, Error> {
        self.db.cf_handle(table.name()).ok_or_else(|| Error::Store(format!("column family {} is missing", table.name())))
    }

    pub(crate) fn db(&self) -> &DB {
        &self.db
    }

    /// Writes a prepared batch; without `wal` it is durable only after [`Database::flush`].
    pub(crate) fn write_batch(&self, batch: WriteBatch, wal: bool) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.disable_wal(!wal);
        self.noted(self.db.write_opt(batch, &options))
    }

    /// Writes all memtables to disk, atomically over the tables.
    ///
    /// # Errors
    /// The disk failed.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        let families = Table::ALL.into_iter().map(|table| self.family(table)).collect::<Result<Vec<_>, _>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.noted(self.db.flush_cfs_opt(&families, &options))
    }

    /// Adds the removal of every row that starts with `prefix` to `batch`.
    pub(crate) fn delete_prefix(&self, batch: &mut WriteBatch, table: Table, prefix: &[u8]) -> Result<(), Error> {
        let family = self.family(table)?;
        match upper_bound(prefix) {
            Some(end) => batch.delete_range_cf(family, prefix, end.as_slice()),
            // Only a prefix of 0xff bytes has no end; nobody writes one, and a range cannot express it.
            None => {
                for (key, _) in self.scan(table, prefix, None, usize::MAX)? {
                    batch.delete_cf(family, key);
                }
            }
        }
        Ok(())
    }

    /// Read options that see only keys with `prefix`.
    pub(crate) fn prefix_options(prefix: &[u8]) -> ReadOptions {
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        if let Some(end) = upper_bound(prefix) {
            options.set_iterate_upper_bound(end);
        }
        options
    }

    /// An iterator over the rows that start with `prefix`, not yet placed.
    pub(crate) fn iterate(&self, table: Table, prefix: &[u8]) -> Result<DBRawIterator<'_>, Error> {
        Ok(self.db.raw_iterator_cf_opt(self.family(table)?, Self::prefix_options(prefix)))
    }

    /// Reads one row without copying it.
    pub(crate) fn with_row<T>(&self, table: Table, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Error> {
        Ok(self.noted(self.db.get_pinned_cf(self.family(table)?, key))?.map(|value| read(&value)))
    }

    /// Bytes that closing may still have to write.
    pub(super) fn unflushed_bytes(&self) -> u64 {
        let of = |table| self.db.property_int_value_cf(self.family(table).ok()?, "rocksdb.cur-size-all-mem-tables").ok().flatten();
        Table::ALL.into_iter().filter_map(of).sum()
    }

    /// Bytes that RocksDB holds in memory now: memtables, block cache, table readers.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let mut total = 0;
        for table in Table::ALL {
            let Ok(family) = self.family(table) else { continue };
            for property in ["rocksdb.cur-size-all-mem-tables", "rocksdb.estimate-table-readers-mem"] {
                total += self.db.property_int_value_cf(family, property).ok().flatten().unwrap_or_default();
            }
        }
        let cache = self.family(Table::Rows).ok().and_then(|family| self.db.property_int_value_cf(family, "rocksdb.block-cache-usage").ok().flatten());
        total + cache.unwrap_or_default()
    }
}

/// The first key after all that start with `prefix`; `None` if there is no such key.
pub(crate) fn upper_bound(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// Without what [`Error`] and [`StoreError`] both say.
pub(super) fn failed(error: Error) -> StoreError {
    StoreError::Failed(match error {
        Error::Store(problem) => problem,
        Error::Reopened => "it is being opened anew".to_owned(),
        other => other.to_string(),
    })
}

impl Store for Database {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.noted(self.db.get_cf(self.family(table).map_err(failed)?, key)).map_err(failed)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let rows = self.db.batched_multi_get_cf(self.family(table).map_err(failed)?, keys.iter().copied(), false);
        rows.into_iter().map(|row| Ok(self.noted(row).map_err(failed)?.map(|value| value.to_vec()))).collect()
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut iterator = self.iterate(table, prefix).map_err(failed)?;
        match after {
            Some(after) if after >= prefix => {
                iterator.seek(after);
                if iterator.key() == Some(after) {
                    iterator.next();
                }
            }
            _ => iterator.seek(prefix),
        }
        let mut rows = Vec::new();
        while rows.len() < limit {
            match iterator.item() {
                Some((key, value)) if key.starts_with(prefix) => rows.push((key.to_vec(), value.to_vec())),
                _ => break,
            }
            iterator.next();
        }
        self.noted(iterator.status()).map_err(failed)?;
        Ok(rows)
    }

    fn write(&self, changes: Vec<Change>, token: Option<(&[u8], &[u8])>) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let mut sets_meta = false;
        for change in changes {
            match change {
                Change::Put(table, key, value) => {
                    sets_meta |= table == Table::Meta;
                    batch.put_cf(self.family(table).map_err(failed)?, key, value);
                }
                Change::Delete(table, key) => {
                    sets_meta |= table == Table::Meta;
                    batch.delete_cf(self.family(table).map_err(failed)?, key);
                }
                Change::DeletePrefix(table, prefix) => {
                    sets_meta |= table == Table::Meta;
                    self.delete_prefix(&mut batch, table, &prefix).map_err(failed)?;
                }
            }
        }
        match token {
            Some((key, value)) => {
                let _shared = self.tokens.read();
                match self.with_row(Table::Meta, key, |held| held == value).map_err(failed)? {
                    Some(true) => {}
                    Some(false) => return Err(StoreError::TokenLost(String::from_utf8_lossy(key).into_owned())),
                    // Nobody took it over: the store itself was emptied under its holder.
                    None => return Err(StoreError::Failed("it was filled anew since this cache was opened".to_owned())),
                }
                self.write_batch(batch, true).map_err(failed)
            }
            None => {
                let _alone = sets_meta.then(|| self.tokens.write());
                self.write_batch(batch, true).map_err(failed)
            }
        }
    }
}

impl Store for Session {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.get().map_err(failed)?.get(table, key)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.get().map_err(failed)?.multi_get(table, keys)
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.get().map_err(failed)?.scan(table, prefix, after, limit)
    }

    fn write(&self, changes: Vec<Change>, token: Option<(&[u8], &[u8])>) -> Result<(), StoreError> {
        self.get().map_err(failed)?.write(changes, token)
    }

    fn is_current(&self) -> bool {
        Session::is_current(self)
    }
}
