//! Events by subject, type, correlation and id: an index of positions, folded from all facts, all systems' events and `control`.
//!
//! ```text
//! Index  <kind: u8> <hash of the term: u64> <topic number: u16> <partition: u16> <first position: u64> -> further positions as deltas (LEB128)
//! Meta   index.source                          -> identity of the log and format
//! Meta   index.topics                          -> topic names; their places are the topic numbers
//! Meta   index.type/<event type>               -> empty; the types that a search for a prefix expands to
//! Meta   index.cursor/<topic number><partition> -> Cursor
//! ```
//! One row holds what one read brought of one term, so an event costs one or two small rows. Only accepted events (E3, E4) are indexed.
//! Queries read the events back from the log and compare the term itself, so a hash collision shows nothing wrong.

mod past;
mod postings;
mod query;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use rocksdb::WriteBatch;
use serde::Serialize;
use tol_kafka::reader::{Cursor, Delivery, Reader};
use tol_kafka::{EventLog, Position, TopicPartition};
use tol_runtime::background::Background;
use tol_runtime::store::Table;
use xxhash_rust::xxh3::xxh3_64;

pub use query::{Located, SearchPage, SearchQuery};

use self::postings::{Kind, Postings, note, term_hash, write_number};
use crate::error::Error;
use crate::generation::{put_meta, read_meta};
use crate::store::parking::Mutex;
use crate::store::{Database, RocksStore, Session};

/// Raised when what earlier versions wrote is to be indexed again.
const FORMAT: u32 = 3;
const READ_BYTES: usize = 512 << 10;
/// How long new events gather before they are indexed together; a search does not wait for it, see `take_newest`.
const GATHER: Duration = Duration::from_millis(50);
/// How often new topics are looked for and the lag is reported; both may ask the broker.
const LOOK: Duration = Duration::from_secs(1);

/// Most types that are remembered as stored; what is beyond is stored again each time.
const KNOWN_TYPES: usize = 100_000;

/// Hashes of the event types that are stored.
type Types = HashSet<u64>;

const TYPES: &[u8] = b"index.type/";

/// How far the index is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct IndexStatus {
    /// Records not indexed yet.
    pub lag: u64,
    /// Next position of each topic partition.
    pub positions: BTreeMap<String, Position>,
    /// Partitions that cannot be read on, and why; the others go on.
    pub failed: BTreeMap<String, String>,
}

struct Partition {
    topic_number: u16,
    reader: Reader,
    stored: Cursor,
    failed: Option<String>,
}

#[derive(Default)]
struct State {
    /// What all below was read from.
    session: Session,
    topics: Vec<String>,
    types: Types,
    partitions: BTreeMap<TopicPartition, Partition>,
    /// When topics were last looked for.
    looked: Option<Instant>,
}

/// What one step came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing new.
    Idle,
    /// Some, and the tip was reached.
    Tip,
    /// There is more in the log.
    Behind,
}

/// The index of all events. It may lag; what is asked by position reads the rest from the log.
pub struct EventIndex {
    log: Arc<dyn EventLog>,
    store: Arc<RocksStore>,
    state: Mutex<State>,
    woken: Arc<(std::sync::Mutex<bool>, Condvar)>,
    stopping: AtomicBool,
    /// The last round left more in the log.
    behind: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

fn cursor_key(topic_number: u16, partition: u32) -> Vec<u8> {
    [b"index.cursor/", &topic_number.to_be_bytes()[..], &(partition as u16).to_be_bytes()[..]].concat()
}

/// Whether events of a topic are indexed.
pub fn is_indexed(topic: &str) -> bool {
    topic == "control" || topic.starts_with("facts.") || topic.ends_with(".events")
}

impl EventIndex {
    /// The index in `store`; one of another log or format is emptied (E10).
    ///
    /// # Errors
    /// The store failed.
    pub fn open(log: Arc<dyn EventLog>, store: Arc<RocksStore>) -> Result<Arc<Self>, Error> {
        let state = Mutex::new(Self::load(&*log, store.current()?)?);
        Ok(Arc::new(Self {
            log,
            store,
            state,
            woken: Arc::default(),
            stopping: AtomicBool::new(false),
            behind: AtomicBool::new(true),
            thread: Mutex::default(),
        }))
    }

    /// What the store says.
    fn load(log: &dyn EventLog, session: Session) -> Result<State, Error> {
        let store = session.get()?;
        let source = (log.identity(), FORMAT);
        let mut topics = Vec::new();
        if read_meta::<(String, u32)>(&store, b"index.source")? == Some(source.clone()) {
            topics = read_meta(&store, b"index.topics")?.unwrap_or_default();
        } else {
            Self::empty(&store, &source)?;
        }
        let mut types = Types::new();
        let mut stored = store.iterate(Table::Meta, TYPES)?;
        stored.seek(TYPES);
        while let Some(name) = stored.key().and_then(|key| key.strip_prefix(TYPES)).filter(|_| types.len() < KNOWN_TYPES) {
            types.insert(xxh3_64(name));
            stored.next();
        }
        store.noted(stored.status())?;
        drop(stored);
        Ok(State { session, topics, types, ..State::default() })
    }

    /// The store that everything known was read from; an error while it is opened anew.
    fn database(&self) -> Result<Arc<Database>, Error> {
        self.state.lock().session.get()
    }

    fn empty(store: &Database, source: &(String, u32)) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        for kind in [Kind::All, Kind::Id, Kind::Subject, Kind::Type, Kind::Correlation] {
            store.delete_prefix(&mut batch, Table::Index, &[kind as u8])?;
        }
        store.delete_prefix(&mut batch, Table::Meta, b"index.")?;
        put_meta(store, &mut batch, b"index.source", source)?;
        store.write_batch(batch, true)
    }

    /// Starts the thread that keeps the index at the log's tip.
    pub fn start(self: &Arc<Self>) {
        let woken = self.woken.clone();
        self.log.watch(Arc::new(move |_: &TopicPartition| {
            *woken.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
            woken.1.notify_one();
        }));
        let index = self.clone();
        match std::thread::Builder::new().name("event-index".to_owned()).spawn(move || index.run()) {
            Ok(thread) => *self.thread.lock() = Some(thread),
            Err(problem) => tracing::error!(%problem, "the index thread could not be started"),
        }
    }

    fn run(&self) {
        tol_runtime::background::yield_to_others(Background::Housekeeping);
        let mut reported: Option<Instant> = None;
        while !self.stopping.load(Ordering::SeqCst) {
            match self.round() {
                Ok(Progress::Behind) => {}
                Ok(Progress::Tip) => std::thread::sleep(GATHER),
                Ok(Progress::Idle) => self.sleep(LOOK),
                Err(problem) => {
                    tracing::warn!(%problem, "the event index waits");
                    self.sleep(Duration::from_millis(500));
                }
            }
            if reported.is_none_or(|at| at.elapsed() >= LOOK) {
                reported = Some(Instant::now());
                crate::metric_definitions::index_lag_events().set(self.status().lag as f64);
            }
        }
    }

    fn sleep(&self, timeout: Duration) {
        let woken = self.woken.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (mut woken, _) = self.woken.1.wait_timeout_while(woken, timeout, |woken| !*woken).unwrap_or_else(std::sync::PoisonError::into_inner);
        *woken = false;
    }

    /// Stops and joins the thread.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        *self.woken.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = true;
        self.woken.1.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }

    /// Reads a piece of every partition; `true` if there may be more.
    ///
    /// # Errors
    /// The log or the store failed; what was indexed stays.
    pub fn step(&self) -> Result<bool, Error> {
        Ok(self.round()? != Progress::Idle)
    }

    /// Indexes what gathers at the tip, so that whoever published a moment ago finds it. What fails or is far behind is left to the thread.
    pub(crate) fn take_newest(&self) {
        if !self.behind.load(Ordering::Relaxed)
            && let Err(problem) = self.round()
        {
            tracing::debug!(%problem, "the newest events are not indexed yet");
        }
    }

    fn round(&self) -> Result<Progress, Error> {
        let progress = self.take_round()?;
        self.behind.store(progress == Progress::Behind, Ordering::Relaxed);
        Ok(progress)
    }

    fn take_round(&self) -> Result<Progress, Error> {
        let mut state = self.state.lock();
        if !state.session.is_current() {
            *state = Self::load(&*self.log, self.store.current()?)?;
        }
        let store = state.session.get()?;
        if state.looked.is_none_or(|at| at.elapsed() >= LOOK) {
            self.find_topics(&mut state, &store)?;
            state.looked = Some(Instant::now());
        }
        let mut batch = WriteBatch::default();
        let written = self.read_on(&mut state, &store, &mut batch).and_then(|read| {
            if !batch.is_empty() {
                store.write_batch(batch, true)?;
            }
            Ok(read)
        });
        let (progress, unread) = match written {
            Ok(read) => read,
            Err(problem) => {
                // The readers are ahead of what is stored: begin again from there.
                state.partitions.clear();
                state.types.clear();
                state.looked = None;
                return Err(problem);
            }
        };
        for partition in state.partitions.values_mut() {
            partition.stored = partition.reader.cursor();
        }
        unread.map_or(Ok(progress), |problem| Err(problem.into()))
    }

    /// Reads a piece of every partition into `batch`, and why it could not read on where the log failed: what was read of those before that
    /// one is in the batch, and their readers are past it.
    fn read_on(&self, state: &mut State, store: &Database, batch: &mut WriteBatch) -> Result<(Progress, Option<tol_kafka::Error>), Error> {
        let mut progress = Progress::Idle;
        let State { partitions, types, .. } = state;
        for (at, partition) in partitions {
            if partition.failed.is_some() {
                continue;
            }
            let batches = match self.log.read(at, partition.reader.next(), READ_BYTES) {
                Ok(batches) => batches,
                Err(problem) => return Ok((progress, Some(problem))),
            };
            if !batches.is_empty() && progress != Progress::Behind {
                // A read ends before the batch that would exceed what was asked for.
                let full = batches.iter().map(|batch| batch.body().len()).sum::<usize>() >= READ_BYTES / 2;
                progress = if full { Progress::Behind } else { Progress::Tip };
            }
            let mut postings = Postings::new();
            let mut new_types: Vec<String> = Vec::new();
            for read in &batches {
                let outcome = partition.reader.read(read, &mut |delivery| {
                    if let Delivery::Group { events, .. } = delivery {
                        for (position, event) in events {
                            note(&mut postings, *position, event);
                            if !types.contains(&term_hash(event.event_type())) {
                                new_types.push(event.event_type().to_owned());
                                if types.len() < KNOWN_TYPES {
                                    types.insert(term_hash(event.event_type()));
                                }
                            }
                        }
                    }
                    Ok(())
                });
                if let Err(stop) = outcome {
                    tracing::error!(%at, problem = %stop, "the event index cannot read on");
                    partition.failed = Some(stop.to_string());
                    break;
                }
            }
            let meta = store.family(Table::Meta)?;
            new_types.iter().for_each(|name| batch.put_cf(meta, [TYPES, name.as_bytes()].concat(), []));
            let cursor = partition.reader.cursor();
            if cursor != partition.stored {
                Self::put(store, batch, partition.topic_number, at.partition, postings)?;
                put_meta(store, batch, &cursor_key(partition.topic_number, at.partition), &cursor)?;
            }
        }
        Ok((progress, None))
    }

    fn put(store: &Database, batch: &mut WriteBatch, topic_number: u16, partition: u32, postings: Postings) -> Result<(), Error> {
        let family = store.family(Table::Index)?;
        let mut sorted: Vec<_> = postings.into_iter().collect();
        sorted.sort_unstable_by_key(|(term, _)| *term);
        let (mut key, mut value) = (Vec::with_capacity(21), Vec::new());
        for ((kind, hash), positions) in sorted {
            let Some((first, rest)) = positions.split_first() else { continue };
            key.clear();
            key.push(kind as u8);
            key.extend_from_slice(&hash.to_be_bytes());
            key.extend_from_slice(&topic_number.to_be_bytes());
            key.extend_from_slice(&(partition as u16).to_be_bytes());
            key.extend_from_slice(&first.to_be_bytes());
            value.clear();
            let mut last = *first;
            for position in rest {
                write_number(&mut value, position - last);
                last = *position;
            }
            batch.put_cf(family, &key, &value);
        }
        Ok(())
    }

    /// Takes up topics that have appeared.
    fn find_topics(&self, state: &mut State, store: &Database) -> Result<(), Error> {
        for (topic, partitions) in self.log.topics()?.into_iter().filter(|(topic, _)| is_indexed(topic)) {
            let number = match state.topics.iter().position(|known| *known == topic) {
                Some(number) => number as u16,
                None => {
                    let mut topics = state.topics.clone();
                    topics.push(topic.clone());
                    let mut batch = WriteBatch::default();
                    put_meta(store, &mut batch, b"index.topics", &topics)?;
                    store.write_batch(batch, true)?;
                    state.topics = topics;
                    state.topics.len() as u16 - 1
                }
            };
            for partition in 0..partitions {
                let at = TopicPartition::new(topic.as_str(), partition);
                if state.partitions.contains_key(&at) {
                    continue;
                }
                let mut cursor: Cursor = read_meta(store, &cursor_key(number, partition))?.unwrap_or_default();
                if cursor.position > self.log.bounds(&at)?.end {
                    // Rows above are never shown: queries compare what they read back.
                    tracing::warn!(%at, "the index is ahead of the log; this partition is indexed again");
                    cursor = Cursor::default();
                }
                state.partitions.insert(at.clone(), Partition { topic_number: number, reader: Reader::resume(at, cursor), stored: cursor, failed: None });
            }
        }
        Ok(())
    }

    /// Where the index of a partition goes on.
    pub fn cursor(&self, at: &TopicPartition) -> Cursor {
        self.state.lock().partitions.get(at).map(|partition| partition.stored).unwrap_or_default()
    }

    /// Whether all events at these (inclusive) positions are found. Indexes what gathers at the tip first, topics that have just appeared among it.
    pub fn reached(&self, positions: &[(TopicPartition, Position)]) -> bool {
        {
            let mut state = self.state.lock();
            if positions.iter().any(|(at, _)| !state.partitions.contains_key(at)) {
                state.looked = None;
            }
        }
        self.take_newest();
        let state = self.state.lock();
        positions.iter().all(|(at, position)| state.partitions.get(at).is_some_and(|partition| partition.stored.position > *position))
    }

    /// How far it is.
    pub fn status(&self) -> IndexStatus {
        let mut status = IndexStatus::default();
        for (at, partition) in &self.state.lock().partitions {
            let next = partition.stored.position;
            status.lag += self.log.known_end(at).map_or(0, |end| end.saturating_sub(next));
            status.positions.insert(at.to_string(), next);
            if let Some(problem) = &partition.failed {
                status.failed.insert(at.to_string(), problem.clone());
            }
        }
        status
    }
}
