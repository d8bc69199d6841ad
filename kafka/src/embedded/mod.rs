//! [`EmbeddedLog`]: the event log in a folder of one machine, without a broker.
//!
//! * [`format`](self) — bytes of a segment (`format.rs`), files at start (`segment.rs`), the disk and its faults (`disk.rs`)
//! * `queue.rs`, `writer.rs` — group commit: one thread, one write and one sync for all that waits
//! * `index.rs` — where batches lie, and the recent ones in memory
//! * `inspect.rs` — reads everything with all checksums, for `tol doctor`

mod backup;
mod disk;
mod format;
mod index;
mod inspect;
mod queue;
mod read;
mod segment;
mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;

use bytes::Bytes;
use tol_events::EventTime;

pub use backup::{Copied, Restored, backup, restore};
use disk::Disk;
pub use disk::DiskFaults;
use index::Index;
pub use inspect::{Damage, Gap, Inspection, inspect};
use queue::{AppendJob, Job, Prepared, Queue};

use crate::log::{Append, AppendDone, Assignment, Bounds, Error, EventLog, Health, Position, TopicPartition, TopicSpec};
use crate::record::Batch;

/// How an embedded log works. `Default` is right for production.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// A new file is begun when one would grow beyond this.
    pub segment_bytes: u64,
    /// Sync before acknowledging. Off only for tests and throw-away data: a power cut then loses what was acknowledged.
    pub sync: bool,
    /// Disk kept back so that an emergency stop can be written when the disk is full.
    pub reserve_bytes: u64,
    /// Bytes that may wait for the disk; beyond, appends fail with [`Error::Unavailable`].
    pub queue_bytes: usize,
    /// Bytes one write takes from the queue.
    pub group_bytes: usize,
    /// Memory for the recent batches that readers at the tip share.
    pub recent_bytes: usize,
    /// For tests: makes the disk fail.
    pub faults: Option<Arc<DiskFaults>>,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            sync: true,
            reserve_bytes: 512 << 10,
            queue_bytes: 64 << 20,
            group_bytes: 8 << 20,
            recent_bytes: 64 << 20,
            faults: None,
        }
    }
}

/// The end of a file that an interrupted write left behind; it was never acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// First byte that was removed.
    pub at: u64,
    /// How many.
    pub bytes: u64,
    /// The file beside the segment that has what was removed; `None` when it could not be written.
    pub kept_in: Option<PathBuf>,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The folder was empty.
    pub created: bool,
    /// What was cut off.
    pub cut: Option<Cut>,
    /// Segment files.
    pub segments: u32,
    /// Records in all partitions.
    pub records: u64,
}

/// An event log in a folder. One process at a time.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EmbeddedLog({})", self.shared.folder.display())
    }
}

type Watcher = Arc<dyn Fn(&TopicPartition) + Send + Sync>;

/// What the writer thread and the readers share.
pub(crate) struct Shared {
    folder: PathBuf,
    options: EmbeddedOptions,
    disk: Disk,
    identity: String,
    index: RwLock<Index>,
    queue: Queue,
    files: read::Files,
    watchers: Mutex<Vec<Watcher>>,
    /// Why nothing can be written any more.
    failure: Mutex<Option<String>>,
    full: AtomicBool,
    /// The damage that readers met, the first of it: nothing is read past it.
    damage: Mutex<Option<String>>,
    /// Number and length of the open segment as far as it is durable.
    durable: Mutex<(u32, u64)>,
    /// Held while the log is open.
    lock: Mutex<Option<File>>,
}

pub(crate) fn io_error(what: &str, path: &Path, error: &io::Error) -> Error {
    if disk::is_full(error) { Error::DiskFull(path.display().to_string()) } else { Error::Unavailable(format!("{what} {}: {error}", path.display())) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve_path(&self) -> PathBuf {
        self.folder.join("reserve")
    }

    fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    fn set_failure(&self, reason: String) {
        tracing::error!(reason, "the embedded log cannot be written any more");
        *lock(&self.failure) = Some(reason);
    }

    fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    fn set_durable(&self, number: u32, len: u64) {
        *lock(&self.durable) = (number, len);
    }

    fn wake(&self, partitions: &[TopicPartition]) {
        let watchers = lock(&self.watchers).clone();
        for partition in partitions {
            watchers.iter().for_each(|watcher| watcher(partition));
        }
    }

    /// Those of `specs` that do not exist yet.
    fn missing_topics<'a>(&self, specs: &'a [TopicSpec]) -> Result<Vec<&'a TopicSpec>, Error> {
        let index = self.index();
        let mut missing: Vec<&TopicSpec> = Vec::new();
        for spec in specs {
            crate::log_topics::check(spec)?;
            let found =
                index.topics().get(&spec.name).map(|topic| topic.partitions).or_else(|| Some(missing.iter().find(|other| other.name == spec.name)?.partitions));
            match found {
                Some(found) if found != spec.partitions => {
                    return Err(Error::PartitionMismatch { topic: spec.name.clone(), configured: spec.partitions, found });
                }
                Some(_) => {}
                None => missing.push(spec),
            }
        }
        Ok(missing)
    }
}

impl EmbeddedLog {
    /// Opens the log in `folder`, creating it where there is none. An interrupted last write is cut off and reported.
    ///
    /// # Errors
    /// [`Error::InUse`] while another process has it, [`Error::Corrupt`] naming file and byte for damage that is not an interrupted last write, or the disk's error.
    pub fn open(folder: impl Into<PathBuf>, options: EmbeddedOptions) -> Result<(Arc<Self>, OpenReport), Error> {
        let folder = folder.into();
        let options = EmbeddedOptions { segment_bytes: options.segment_bytes.clamp(1024, 1 << 30), ..options };
        std::fs::create_dir_all(&folder).map_err(|e| io_error("cannot create", &folder, &e))?;
        let lock_path = folder.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path).map_err(|e| io_error("cannot open", &lock_path, &e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(folder.display().to_string())),
            Err(TryLockError::Error(error)) => return Err(io_error("cannot lock", &lock_path, &error)),
        }
        let disk = Disk::new(options.sync, options.faults.clone());
        let numbers = segment::list(&folder)?;
        let identity = read_identity(&folder, numbers.is_empty(), &disk)?;
        let mut report = OpenReport { created: numbers.is_empty(), ..OpenReport::default() };
        let mut index = Index::new(options.recent_bytes);
        let mut contents = segment::Contents::default();
        if let Some((last, closed)) = numbers.split_last() {
            for number in closed {
                let loaded = segment::load_closed(&folder, *number, &disk).map_err(|error| inspect::explain(&folder, error))?;
                segment::add(&mut index, &loaded, &segment::log_path(&folder, *number))?;
            }
            (contents, report.cut) = segment::scan(&folder, *last).map_err(|error| inspect::explain(&folder, error))?;
            segment::add(&mut index, &contents, &segment::log_path(&folder, *last))?;
        }
        report.records = index.records();
        let last_appended_at_ms = index.last_appended_at_ms();
        let shared = Shared {
            queue: Queue::new(options.queue_bytes),
            files: read::Files::default(),
            index: RwLock::new(index),
            watchers: Mutex::default(),
            failure: Mutex::default(),
            full: AtomicBool::new(false),
            damage: Mutex::default(),
            durable: Mutex::default(),
            lock: Mutex::new(Some(lock)),
            folder,
            options,
            disk,
            identity,
        };
        if let Some(cut) = &mut report.cut {
            cut.kept_in = segment::keep_cut(cut);
        }
        let (file, number) = shared.open_last(numbers.last().copied(), report.cut.as_ref())?;
        let path = segment::log_path(&shared.folder, number);
        let len = file.metadata().map_err(|e| io_error("cannot read", &path, &e))?.len();
        shared.set_durable(number, len);
        report.segments = number + 1;
        let reserved = shared.disk.reserve(&shared.reserve_path(), shared.options.reserve_bytes);
        if let Err(error) = &reserved {
            tracing::warn!(%error, "no disk could be kept back for an emergency stop");
        }
        let reserve_tried = reserved.is_err().then(std::time::Instant::now);
        let shared = Arc::new(shared);
        let writer = writer::Writer { shared: shared.clone(), file, number, len, contents, last_appended_at_ms, buffer: Vec::new(), reserve_tried };
        let thread = std::thread::Builder::new().name("tol-log-writer".into()).spawn(move || writer.run());
        let thread = thread.map_err(|error| Error::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok((Arc::new(Self { shared, writer: Mutex::new(Some(thread)) }), report))
    }

    /// The files that hold the log with the bytes of each that are durable now: copied up to there they are a consistent copy, while appends go on.
    pub fn durable_files(&self) -> Vec<(PathBuf, u64)> {
        let (last, last_len) = *lock(&self.shared.durable);
        let len = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let identity = self.shared.folder.join("identity");
        let mut files = vec![(identity.clone(), len(&identity))];
        for number in 0..=last {
            let path = segment::log_path(&self.shared.folder, number);
            let durable = if number == last { last_len } else { len(&path) };
            files.push((path, durable));
        }
        files
    }

    fn prepare(&self, appends: Vec<Append>) -> Result<(Vec<Prepared>, usize), Error> {
        if appends.is_empty() {
            return Err(Error::Invalid("an append names no partition".into()));
        }
        let mut batches = Vec::with_capacity(appends.len());
        let mut bytes = 0;
        for Append { to, expected, records } in appends {
            if records.is_empty() {
                return Err(Error::Invalid(format!("an append to {to} has no records")));
            }
            let (slot, topic) = self.shared.index().locate(&to).ok_or_else(|| Error::Unknown(to.to_string()))?;
            let raw = Bytes::from(Batch::encode(&records));
            let packed = format::compress(&raw);
            bytes += raw.len() + packed.as_ref().map_or(0, Vec::len);
            batches.push(Prepared { to, slot, topic, expected, count: records.len() as u32, raw, packed });
        }
        if bytes > 1 << 30 {
            return Err(Error::Invalid(format!("one append of {bytes} bytes is too large; at most 1 GiB, split it")));
        }
        Ok((batches, bytes))
    }
}

impl Shared {
    /// The segment that is written on, cut where it must be.
    fn open_last(&self, last: Option<u32>, cut: Option<&Cut>) -> Result<(File, u32), Error> {
        let Some(number) = last else { return Ok((writer::create_segment(self, 0)?, 0)) };
        let path = segment::log_path(&self.folder, number);
        match cut {
            // Not even the header is whole.
            Some(cut) if cut.at == 0 => return Ok((writer::create_segment(self, number)?, number)),
            _ => {}
        }
        let open = || {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            if let Some(cut) = cut {
                file.set_len(cut.at)?;
            }
            // What a crash left unsynced was read and will be served: it must be durable first.
            self.disk.sync(&file)?;
            Ok(file)
        };
        Ok((open().map_err(|e| io_error("cannot open", &path, &e))?, number))
    }
}

fn read_identity(folder: &Path, empty: bool, disk: &Disk) -> Result<String, Error> {
    let path = folder.join("identity");
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("cannot read", &path, &error)),
        _ if !empty => return Err(Error::Corrupt(format!("{} is missing or empty beside a log", path.display()))),
        _ => {}
    }
    let identity = uuid::Uuid::new_v4().to_string();
    disk.write_whole(&path, identity.as_bytes()).map_err(|e| io_error("cannot write", &path, &e))?;
    Ok(identity)
}

impl EventLog for EmbeddedLog {
    fn append(&self, appends: Vec<Append>, done: AppendDone) {
        let job = match self.prepare(appends) {
            Ok((batches, bytes)) => Job::Append(AppendJob { batches, bytes, done }),
            Err(error) => Job::Refused(done, error),
        };
        if let Some(Job::Append(AppendJob { done, .. }) | Job::Refused(done, _)) = self.shared.queue.push(job) {
            done(Err(Error::Closed));
        }
    }

    fn read(&self, from: &TopicPartition, position: Position, max_bytes: usize) -> Result<Vec<Arc<Batch>>, Error> {
        self.shared.read(from, position, max_bytes)
    }

    fn bounds(&self, of: &TopicPartition) -> Result<Bounds, Error> {
        let index = self.shared.index();
        let slot = index.slot(of).ok_or_else(|| Error::Unknown(of.to_string()))?;
        Ok(Bounds { earliest: 0, end: index.partition(slot).end })
    }

    fn position_at(&self, of: &TopicPartition, time: EventTime) -> Result<Position, Error> {
        let index = self.shared.index();
        let slot = index.slot(of).ok_or_else(|| Error::Unknown(of.to_string()))?;
        Ok(index.partition(slot).position_at(time.as_micros()))
    }

    fn topics(&self) -> Result<Vec<(String, u32)>, Error> {
        Ok(self.shared.index().topics().values().map(|topic| (topic.name.clone(), topic.partitions)).collect())
    }

    fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), Error> {
        if self.shared.missing_topics(topics)?.is_empty() {
            return Ok(());
        }
        let (reply, answer) = sync_channel(1);
        if self.shared.queue.push(Job::Topics(topics.to_vec(), reply)).is_some() {
            return Err(Error::Closed);
        }
        answer.recv().unwrap_or(Err(Error::Closed))
    }

    fn watch(&self, woken: Watcher) {
        lock(&self.shared.watchers).push(woken);
    }

    fn join(&self, partitions: u32, changed: Arc<dyn Fn(Assignment) + Send + Sync>) {
        changed(Assignment { partitions: (0..partitions).collect() });
    }

    fn identity(&self) -> String {
        self.shared.identity.clone()
    }

    fn health(&self) -> Health {
        let damage = lock(&self.shared.damage).clone();
        match self.shared.failure().or(damage) {
            Some(detail) => Health { ready: false, detail },
            None if self.shared.full.load(Ordering::Relaxed) => {
                Health { ready: false, detail: Error::DiskFull(self.shared.folder.display().to_string()).to_string() }
            }
            None => Health { ready: true, detail: "ok".into() },
        }
    }

    /// Writes what is queued, then stops. The folder is free afterwards.
    fn close(&self) {
        self.shared.queue.close();
        let thread = lock(&self.writer).take();
        if let Some(thread) = thread
            // A callback that drops the last handle runs on the writer thread itself.
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
            lock(&self.shared.lock).take();
            lock(&self.shared.watchers).clear();
        }
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}
