//! The node's one RocksDB: caches of the log that may be deleted at any time.
//!
//! * [`RocksStore`] — the keeper (`mod.rs`, `keeper.rs`): opens it, and opens it anew when the disk was full or files are damaged
//! * `database.rs` — RocksDB as it was opened once, and the `Session` on it that ends when it is opened anew
//! * `options.rs` — budgets
//!
//! One column family a [`Table`], one block cache and one write-buffer budget for all. Writes go to the WAL without fsync: after a crash a cache
//! is behind, never ahead, and the log fills it up. Rebuilds write without WAL; because memtables of all families are flushed atomically,
//! rows and their cursors stay together then too.

mod database;
mod keeper;
mod options;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking::{Mutex, RwLock};
use rocksdb::{ColumnFamilyDescriptor, DB};
use tol_runtime::store::{Change, Error as StoreError, Row, Store, Table};

#[cfg(test)]
pub(crate) use database::Trouble;
use database::failed;
pub(crate) use database::{Database, Session, upper_bound};
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
        pub(crate) fn new(value: T) -> Self {
            Self(std::sync::RwLock::new(value))
        }
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

/// The store of a node: keeps one RocksDB open and mends it ([`RocksStore::mend`]).
pub struct RocksStore {
    folder: PathBuf,
    options: StoreOptions,
    /// `None` while it is being opened anew.
    current: RwLock<Option<Arc<Database>>>,
    opened: Opened,
    mending: Mutex<keeper::Mending>,
    keeper: keeper::Keeper,
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
    /// [`Error::InUse`] when another process has it, [`Error::Full`] while there is no space to open it, [`Error::Store`] when the disk fails.
    pub fn open(folder: &Path, options: &StoreOptions) -> Result<Self, Error> {
        let (database, opened) = open_or_begin(folder, options)?;
        Ok(Self {
            folder: folder.to_owned(),
            options: options.clone(),
            current: RwLock::new(Some(Arc::new(database))),
            opened,
            mending: Mutex::default(),
            keeper: keeper::Keeper::default(),
        })
    }

    /// What was found at opening.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The database as it is open now, for one call.
    pub(crate) fn database(&self) -> Result<Arc<Database>, Error> {
        self.current.read().clone().ok_or(Error::Reopened)
    }

    pub(crate) fn current(&self) -> Result<Session, Error> {
        Ok(Session::of(&self.database()?))
    }

    /// Writes all memtables to disk, atomically over the tables.
    ///
    /// # Errors
    /// The disk failed.
    pub fn flush(&self) -> Result<(), Error> {
        self.database()?.flush()
    }

    /// Bytes that RocksDB holds in memory now: memtables, block cache, table readers.
    pub fn memory_bytes(&self) -> u64 {
        self.database().map_or(0, |database| database.memory_bytes())
    }
}

fn open_db(folder: &Path, options: &StoreOptions) -> Result<DB, rocksdb::Error> {
    let (database, family) = options.build();
    let families = Table::ALL.map(|table| ColumnFamilyDescriptor::new(table.name(), family(table)));
    DB::open_cf_descriptors(&database, folder, families)
}

/// Opens what is there, or moves it aside where it cannot be read.
fn open_or_begin(folder: &Path, options: &StoreOptions) -> Result<(Database, Opened), Error> {
    match open_db(folder, options) {
        Ok(db) => {
            let database = Database::new(db);
            // What everything begins with is small and read now: a node that fails on it at every start would never heal it.
            match database.scan(Table::Meta, b"", None, usize::MAX) {
                Err(problem) if matches!(database.trouble(), Some(database::Trouble::Damage(_))) => {
                    drop(database);
                    begin(folder, options, problem.to_string())
                }
                _ => Ok((database, Opened::Healthy)),
            }
        }
        Err(problem) if is_lock(&problem) => Err(Error::InUse(folder.display().to_string())),
        Err(problem) if is_full(&problem) => Err(Error::Full(problem.into_string())),
        Err(problem) if folder.join("CURRENT").exists() && is_damage(&problem) => begin(folder, options, problem.into_string()),
        Err(problem) => Err(problem.into()),
    }
}

/// Moves damaged files aside and opens an empty store in their place.
fn begin(folder: &Path, options: &StoreOptions, problem: String) -> Result<(Database, Opened), Error> {
    let to = move_aside(folder)?;
    tracing::error!(folder = %folder.display(), moved_to = %to.display(), %problem, "the projections store is damaged; it was moved aside and is filled again from the log");
    crate::metric_definitions::store_healed().increment(1);
    let db = open_db(folder, options).map_err(|problem| if is_full(&problem) { Error::Full(problem.into_string()) } else { problem.into() })?;
    Ok((Database::new(db), Opened::MovedAside { to, problem }))
}

fn is_full(problem: &rocksdb::Error) -> bool {
    ["No space left", "Disk quota exceeded", "NoSpace"].iter().any(|text| problem.as_ref().contains(text))
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
    // One is enough to look into; more would fill the disk.
    let siblings = folder.parent().and_then(|parent| std::fs::read_dir(parent).ok()).into_iter().flatten().flatten();
    for old in siblings.filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{name}.corrupt-"))) {
        if let Err(problem) = std::fs::remove_dir_all(old.path()) {
            tracing::warn!(folder = %old.path().display(), %problem, "an earlier damaged store could not be removed");
        }
    }
    let free = (1u32..).map(|n| folder.with_file_name(format!("{name}.corrupt-{n}"))).find(|path| !path.exists());
    let to = free.ok_or_else(|| Error::Store("no free name to move the damaged store to".to_owned()))?;
    std::fs::rename(folder, &to).map_err(|problem| Error::Store(format!("{} cannot be moved to {}: {problem}", folder.display(), to.display())))?;
    Ok(to)
}

/// On whatever is open now: for those who remember nothing between two calls. All others take a [`Store::session`].
impl Store for RocksStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.database().map_err(failed)?.get(table, key)
    }

    fn multi_get(&self, table: Table, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.database().map_err(failed)?.multi_get(table, keys)
    }

    fn scan(&self, table: Table, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Row>, StoreError> {
        self.database().map_err(failed)?.scan(table, prefix, after, limit)
    }

    fn write(&self, changes: Vec<Change>, token: Option<(&[u8], &[u8])>) -> Result<(), StoreError> {
        self.database().map_err(failed)?.write(changes, token)
    }

    fn session(&self) -> Result<Option<Arc<dyn Store>>, StoreError> {
        Ok(Some(Arc::new(self.current().map_err(failed)?)))
    }
}
