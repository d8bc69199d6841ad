//! The node's one RocksDB: caches of the log that may be deleted at any time.
//!
//! One column family a [`Table`], one block cache and one write-buffer budget for all. Writes go to the WAL without fsync: after a crash a cache
//! is behind, never ahead, and the log fills it up. Rebuilds write without WAL; because memtables of all families are flushed atomically,
//! rows and their cursors stay together then too.

mod options;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use std::path::{Path, PathBuf};

use parking::RwLock;
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, DBRawIterator, FlushOptions, ReadOptions, WriteBatch, WriteOptions};
use tol_runtime::store::{Change, Error as StoreError, Row, Store, Table};

pub use options::StoreOptions;

use crate::error::Error;

/// Locks that outlive a panic of their holder: what they guard is always whole.
pub(crate) mod parking {
    use std::sync::{MutexGuard, PoisonError, RwLockReadGuard, RwLockWriteGuard};

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T>(std::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }
        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

/// What was found at opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A new or a healthy store.
    Healthy,
    /// It could not be read and was moved aside; the store is empty and the log heals it.
    MovedAside {
        /// Where the damaged files are now.
        to: PathBuf,
        /// What RocksDB said.
        problem: String,
    },
}

/// [`Store`] on RocksDB.
pub struct RocksStore {
    db: DB,
    folder: PathBuf,
    opened: Opened,
    /// Token rows (E10) are set by writes without a token, which hold this alone; writes under a token hold it shared,
    /// so no token can change between the check and the write.
    tokens: RwLock<()>,
    /// Held while a generation's number is taken.
    pub(crate) numbers: parking::Mutex<()>,
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RocksStore({})", self.folder.display())
    }
}

impl RocksStore {
    /// Opens (or creates) the store in `folder`. What cannot be read is moved aside to `<folder>.corrupt-<n>` and an empty one is made.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it, [`Error::Store`] when the disk fails.
    pub fn open(folder: &Path, options: &StoreOptions) -> Result<Self, Error> {
        let (db, opened) = match Self::open_db(folder, options) {
            Ok(db) => (db, Opened::Healthy),
            Err(problem) if is_lock(&problem) => return Err(Error::InUse(folder.display().to_string())),
            Err(problem) if folder.join("CURRENT").exists() && is_damage(&problem) => {
                let to = move_aside(folder)?;
                tracing::error!(folder = %folder.display(), moved_to = %to.display(), %problem, "the projections store could not be read; it was moved aside and is filled again from the log");
                (Self::open_db(folder, options)?, Opened::MovedAside { to, problem: problem.into_string() })
            }
            Err(problem) => return Err(problem.into()),
        };
        Ok(Self { db, folder: folder.to_owned(), opened, tokens: RwLock::default(), numbers: parking::Mutex::default() })
    }

    fn open_db(folder: &Path, options: &StoreOptions) -> Result<DB, rocksdb::Error> {
        let (database, family) = options.build();
        let families = Table::ALL.map(|table| ColumnFamilyDescriptor::new(table.name(), family(table)));
        DB::open_cf_descriptors(&database, folder, families)
    }

    /// What was found at opening.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn family(&self, table: Table) -> Result<&ColumnFamily, Error> {
        self.db.cf_handle(table.name()).ok_or_else(|| Error::Store(format!("column family {} is missing", table.name())))
    }

    pub(crate) fn db(&self) -> &DB {
        &self.db
    }

    /// Writes a prepared batch; without `wal` it is durable only after [`RocksStore::flush`].
    pub(crate) fn write_batch(&self, batch: WriteBatch, wal: bool) -> Result<(), Error> {
        let mut options = WriteOptions::default();
        options.disable_wal(!wal);
        Ok(self.db.write_opt(batch, &options)?)
    }

    /// Writes all memtables to disk, atomically over the tables.
    ///
    /// # Errors
    /// The disk failed.
    pub fn flush(&self) -> Result<(), Error> {
        let families = Table::ALL.into_iter().map(|table| self.family(table)).collect::<Result<Vec<_>, _>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        Ok(self.db.flush_cfs_opt(&families, &options)?)
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
        Ok(self.db.get_pinned_cf(self.family(table)?, key)?.map(|value| read(&value)))
    }

    /// Bytes that RocksDB holds in memory now: memtables, block cache, table readers.
    pub fn memory_bytes(&self) -> u64 {
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

fn is_lock(problem: &rocksdb::Error) -> bool {
    problem.kind() == rocksdb::ErrorKind::IOError && ["While lock file", "lock hold by current process"].iter().any(|text| problem.as_ref().contains(text))
}

/// Whether the files are at fault, not the disk: another version's format or missing files cannot be read either.
fn is_damage(problem: &rocksdb::Error) -> bool {
    use rocksdb::ErrorKind::{Corruption, IOError, InvalidArgument, NotFound, NotSupported, Unknown};
    match problem.kind() {
        Corruption | InvalidArgument | NotFound | NotSupported | Unknown => true,
        IOError => problem.as_ref().contains("No such file"),
        _ => false,
    }
}

fn move_aside(folder: &Path) -> Result<PathBuf, Error> {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let free = (1u32..).map(|n| folder.with_file_name(format!("{name}.corrupt-{n}"))).find(|path| !path.exists());
    let to = free.ok_or_else(|| Error::Store("no free name to move the damaged store to".to_owned()))?;
    std::fs::rename(folder, &to).map_err(|problem| Error::Store(format!("{} cannot be moved to {}: {problem}", folder.display(), to.display())))?;
    Ok(to)
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

impl Store for RocksStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(table).map_err(failed)?, key).map_err(failed)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let rows = self.db.batched_multi_get_cf(self.family(table).map_err(failed)?, keys.iter().copied(), false);
        rows.into_iter().map(|row| Ok(row.map_err(failed)?.map(|value| value.to_vec()))).collect()
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
        iterator.status().map_err(failed)?;
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
                let held = self.with_row(Table::Meta, key, |held| held == value).map_err(failed)?;
                if held != Some(true) {
                    return Err(StoreError::TokenLost(String::from_utf8_lossy(key).into_owned()));
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
