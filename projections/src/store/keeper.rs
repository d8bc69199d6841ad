//! Mending: a RocksDB that ran out of disk takes no writes until it is opened anew, and one whose files are damaged never again.
//! The keeper closes it and opens it again, or begins an empty one that the log fills.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::database::Trouble;
use super::{Database, Opened, RocksStore, begin, open_or_begin};
use crate::error::Error;
use crate::store::parking::Mutex;

/// How often the keeper looks.
const ROUND: Duration = Duration::from_millis(250);
/// Longest time between two tries.
const LONGEST: Duration = Duration::from_secs(30);
/// Disk that must be free beside what waits in memory before a store is opened anew.
const LEAST_FREE: u64 = 8 << 20;
/// How long a call may still be under way on a store that is to be opened anew, before that is said.
const SLOW: Duration = Duration::from_secs(10);

/// What the keeper does about a trouble.
#[derive(Default)]
pub(super) struct Mending {
    /// What is wrong, until the store is open again.
    trouble: Option<Trouble>,
    /// Bytes that must be free.
    need: u64,
    next: Option<Instant>,
    wait: Duration,
}

#[derive(Default)]
pub(super) struct Keeper {
    stopping: AtomicBool,
    woken: (std::sync::Mutex<()>, Condvar),
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What is wrong, for those who ask: the other lock is held while queries end.
    said: Mutex<Option<String>>,
}

impl RocksStore {
    /// What is wrong with the store, if something is. It is being mended.
    pub fn trouble(&self) -> Option<String> {
        let said = self.keeper.said.lock().clone();
        said.or_else(|| self.database().ok()?.trouble().map(|trouble| trouble.text().to_owned()))
    }

    /// Starts the thread that mends.
    pub fn keep(self: &Arc<Self>) {
        let store = self.clone();
        let run = move || {
            while !store.keeper.stopping.load(Ordering::SeqCst) {
                store.mend();
                crate::metric_definitions::store_trouble().set(f64::from(u8::from(store.trouble().is_some())));
                let guard = store.keeper.woken.0.lock().unwrap_or_else(PoisonError::into_inner);
                drop(store.keeper.woken.1.wait_timeout(guard, ROUND));
            }
        };
        match std::thread::Builder::new().name("store-keeper".to_owned()).spawn(run) {
            Ok(thread) => *self.keeper.thread.lock() = Some(thread),
            Err(problem) => tracing::error!(%problem, "the thread that mends the store could not be started"),
        }
    }

    /// Stops and joins the thread.
    pub fn stop_keeping(&self) {
        self.keeper.stopping.store(true, Ordering::SeqCst);
        self.keeper.woken.1.notify_all();
        if let Some(thread) = self.keeper.thread.lock().take() {
            let _ = thread.join();
        }
    }

    /// Looks for trouble and tries to mend it, where it is time for that. `true` when the store was opened anew.
    pub fn mend(&self) -> bool {
        let mut mending = self.mending.lock();
        if let Ok(database) = self.database()
            && let Some(trouble) = database.trouble()
        {
            if mending.trouble.as_ref() != Some(&trouble) {
                // A trouble that comes back at once is not tried again at once.
                mending.wait = if mending.trouble.is_some() { (mending.wait * 2).clamp(ROUND, LONGEST) } else { ROUND };
                mending.next = Some(Instant::now() + mending.wait);
            }
            mending.need = LEAST_FREE + database.unflushed_bytes();
            *self.keeper.said.lock() = Some(trouble.text().to_owned());
            mending.trouble = Some(trouble);
        }
        let Some(trouble) = mending.trouble.clone() else { return false };
        if mending.next.is_some_and(|next| Instant::now() < next) {
            return false;
        }
        match self.reopen(&trouble, mending.need) {
            Ok(Opened::Healthy) => tracing::warn!(folder = %self.folder.display(), after = trouble.text(), "the projections store was opened anew"),
            Ok(Opened::MovedAside { .. }) => {}
            Err(problem) => {
                mending.wait = (mending.wait * 2).clamp(ROUND, Duration::from_secs(1));
                mending.next = Some(Instant::now() + mending.wait);
                tracing::debug!(%problem, "the projections store cannot be opened anew yet");
                return false;
            }
        }
        crate::metric_definitions::store_reopened().increment(1);
        mending.trouble = None;
        mending.next = None;
        *self.keeper.said.lock() = None;
        true
    }

    fn reopen(&self, trouble: &Trouble, need: u64) -> Result<Opened, Error> {
        if matches!(trouble, Trouble::Disk(_)) {
            self.probe(need)?;
        }
        let closing = self.current.write().take();
        let was_open = closing.is_some();
        if let Some(closing) = closing {
            close(closing);
        }
        let (database, opened) = match trouble {
            // Damage is only noted by an open store: one that was not opened has been moved aside already.
            Trouble::Damage(problem) if was_open => begin(&self.folder, &self.options, problem.clone())?,
            _ => open_or_begin(&self.folder, &self.options)?,
        };
        *self.current.write() = Some(Arc::new(database));
        Ok(opened)
    }

    /// Whether so much can be written: queries are answered from the store as it is until there is room to open it anew.
    fn probe(&self, bytes: u64) -> Result<(), Error> {
        let path = self.folder.with_extension("space");
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&path)?;
            let piece = vec![0x5a; 1 << 20];
            for _ in 0..bytes.div_ceil(piece.len() as u64) {
                file.write_all(&piece)?;
            }
            // Written for certain, whatever the file system promised.
            file.sync_data()
        };
        let written = write();
        let _ = std::fs::remove_file(&path);
        written.map_err(|problem| Error::Full(format!("{bytes} bytes cannot be written to {}: {problem}", path.display())))
    }
}

/// Waits until no call is under way on a database, then closes it. Sessions on it have ended already: they fail from now on.
fn close(mut database: Arc<Database>) {
    let started = Instant::now();
    let mut said = false;
    loop {
        match Arc::try_unwrap(database) {
            Ok(alone) => return drop(alone),
            Err(shared) => database = shared,
        }
        if !said && started.elapsed() > SLOW {
            said = true;
            tracing::warn!("the projections store waits for a query before it can be opened anew");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
