//! A log in memory that counts its reads, and panics or hangs when it is told to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use tol_events::EventTime;
use tol_kafka::{Append, AppendDone, Assignment, Batch, Bounds, Error, EventLog, Faults, Health, MemoryLog, Position, TopicPartition, TopicSpec};

/// The log.
pub(crate) struct TestLog {
    pub inner: MemoryLog,
    /// Reads so far.
    pub reads: AtomicUsize,
    /// The next append panics.
    pub panics: AtomicBool,
    /// Appends hang as long as this is set.
    hangs: Mutex<bool>,
    freed: Condvar,
}

impl TestLog {
    /// With these topics.
    pub fn new(topics: &[(&str, u32)]) -> Arc<Self> {
        let inner = MemoryLog::new(1, Faults::default());
        let spec = |(name, partitions): &(&str, u32)| TopicSpec { name: (*name).to_owned(), partitions: *partitions, retention: None };
        inner.ensure_topics(&topics.iter().map(spec).collect::<Vec<_>>()).unwrap();
        Arc::new(Self { inner, reads: AtomicUsize::new(0), panics: AtomicBool::new(false), hangs: Mutex::new(false), freed: Condvar::new() })
    }

    /// Lets appends hang, or go on.
    pub fn hang(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.freed.notify_all();
    }
}

impl EventLog for TestLog {
    fn append(&self, appends: Vec<Append>, done: AppendDone) {
        assert!(!self.panics.swap(false, Ordering::SeqCst), "as the test asked");
        drop(self.freed.wait_while(self.hangs.lock().unwrap(), |hangs| *hangs).unwrap());
        self.inner.append(appends, done);
    }

    fn read(&self, from: &TopicPartition, position: Position, max_bytes: usize) -> Result<Vec<Arc<Batch>>, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.read(from, position, max_bytes)
    }

    fn bounds(&self, of: &TopicPartition) -> Result<Bounds, Error> {
        self.inner.bounds(of)
    }

    fn position_at(&self, of: &TopicPartition, time: EventTime) -> Result<Position, Error> {
        self.inner.position_at(of, time)
    }

    fn topics(&self) -> Result<Vec<(String, u32)>, Error> {
        self.inner.topics()
    }

    fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), Error> {
        self.inner.ensure_topics(topics)
    }

    fn watch(&self, woken: Arc<dyn Fn(&TopicPartition) + Send + Sync>) {
        self.inner.watch(woken);
    }

    fn join(&self, partitions: u32, changed: Arc<dyn Fn(Assignment) + Send + Sync>) {
        self.inner.join(partitions, changed);
    }

    fn identity(&self) -> String {
        self.inner.identity()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn close(&self) {
        self.inner.close();
    }
}
