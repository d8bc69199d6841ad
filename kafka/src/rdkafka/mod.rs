//! [`KafkaLog`]: the event log on Apache Kafka.
//!
//! * `produce.rs` — one idempotent producer; a call is acknowledged when all its records are
//! * `consume/` — one consumer at the tip shared by all readers, a few that catch up
//! * `group.rs` — which partitions this node owns
//!
//! Kafka refuses no append for its position, and appends of one call are not atomic: the owner compares positions (E6).
//! TLS and SASL need librdkafka built with OpenSSL, which this build does not have yet.

mod consume;
mod group;
mod produce;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use ::rdkafka::ClientConfig;
use ::rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use ::rdkafka::client::DefaultClientContext;
use ::rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use ::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use ::rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tol_events::EventTime;

use crate::log::{Append, AppendDone, Assignment, Bounds, Error, EventLog, Health, Position, TopicPartition, TopicSpec};
use crate::record::Batch;

/// Largest record, for the producer and for the topics it creates.
const MESSAGE_BYTES: u32 = 8 << 20;
/// How long an operation waits for the broker.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long creating topics, and learning the cluster's name, may take.
const LONG: Duration = Duration::from_secs(30);
const REFRESH: Duration = Duration::from_secs(5);

/// How to reach Kafka.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// `host:port`, several separated by commas.
    pub bootstrap: String,
    /// Any setting of librdkafka; stronger than what this crate chooses.
    pub settings: BTreeMap<String, String>,
    /// Copies of each topic that is created; -1 leaves it to the broker.
    pub replication: i32,
    /// Names this node in the broker's logs.
    pub client_id: String,
    /// The group whose members share the partitions.
    pub group: String,
    /// The topic whose partitions stand for those numbers.
    pub ownership_topic: String,
    /// Memory for the recent records that readers at the tip share.
    pub recent_bytes: usize,
}

impl KafkaOptions {
    /// The usual settings for the brokers at `bootstrap`.
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            settings: BTreeMap::new(),
            replication: -1,
            client_id: "tol".into(),
            group: "tol".into(),
            ownership_topic: "ownership".into(),
            recent_bytes: 64 << 20,
        }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("client.id", &self.client_id);
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000").set("allow.auto.create.topics", "false");
        config
    }

    fn pass_through(&self, config: &mut ClientConfig) {
        for (name, value) in &self.settings {
            config.set(name, value);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unavailable(error: KafkaError) -> Error {
    Error::Unavailable(error.to_string())
}

/// Calls callers' functions, in order, from a thread of its own: they must not hold up the producer.
#[derive(Clone)]
struct Calls(Sender<Box<dyn FnOnce() + Send>>);

impl Calls {
    /// The thread ends with the last clone of what is returned.
    fn start() -> Result<Self, Error> {
        let (send, calls) = channel::<Box<dyn FnOnce() + Send>>();
        let thread = std::thread::Builder::new().name("tol-kafka-done".into()).spawn(move || calls.iter().for_each(|call| call()));
        thread.map_err(|error| Error::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Self(send))
    }

    fn call(&self, function: impl FnOnce() + Send + 'static) {
        let _ = self.0.send(Box::new(function));
    }
}

/// The topics as last heard of.
#[derive(Default)]
struct Topics {
    counts: Mutex<BTreeMap<String, u32>>,
    loaded: AtomicBool,
}

impl Topics {
    fn check_known(&self, of: &TopicPartition) -> Result<(), Error> {
        match lock(&self.counts).get(&*of.topic) {
            Some(count) if of.partition < *count => Ok(()),
            None if !self.loaded.load(Ordering::Relaxed) => Err(Error::Unavailable("the broker was not reached yet".into())),
            _ => Err(Error::Unknown(of.to_string())),
        }
    }
}

/// Ends of partitions that are known for certain; they may be further on.
#[derive(Default)]
struct Ends(Mutex<HashMap<TopicPartition, Position>>);

impl Ends {
    fn at_least(&self, of: &TopicPartition, end: Position) {
        let mut ends = lock(&self.0);
        match ends.get_mut(of) {
            Some(known) => *known = end.max(*known),
            None => drop(ends.insert(of.clone(), end)),
        }
    }

    fn known(&self, of: &TopicPartition) -> Position {
        lock(&self.0).get(of).copied().unwrap_or(0)
    }
}

type Watcher = Arc<dyn Fn(&TopicPartition) + Send + Sync>;

struct Inner {
    options: KafkaOptions,
    /// For metadata, ends, times and the inbox's committed positions; assigned to nothing.
    meta: BaseConsumer,
    admin: AdminClient<DefaultClientContext>,
    appender: produce::Appender,
    topics: Arc<Topics>,
    ends: Arc<Ends>,
    tip: consume::Tip,
    pool: consume::Pool,
    watchers: Mutex<Vec<Watcher>>,
    identity: OnceLock<String>,
    /// Why the broker cannot be reached, as of the last try.
    trouble: Mutex<Option<String>>,
    closing: AtomicBool,
}

/// The event log on Kafka.
pub struct KafkaLog {
    inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KafkaLog({})", self.inner.options.bootstrap)
    }
}

impl KafkaLog {
    /// Begins to connect. A broker that is down is no error here: [`EventLog::health`] says so, and everything works once it is up.
    ///
    /// # Errors
    /// [`Error::Invalid`] when librdkafka does not take a setting.
    pub fn connect(options: KafkaOptions) -> Result<Arc<Self>, Error> {
        let invalid = |error: KafkaError| Error::Invalid(format!("Kafka settings: {error}"));
        let mut config = options.config();
        config.set("group.id", "tol-inbox").set("enable.auto.commit", "false");
        options.pass_through(&mut config);
        let (topics, ends) = (Arc::new(Topics::default()), Arc::new(Ends::default()));
        let calls = Calls::start()?;
        let mut admin = options.config();
        options.pass_through(&mut admin);
        let inner = Arc::new(Inner {
            meta: config.create().map_err(invalid)?,
            admin: admin.create().map_err(invalid)?,
            appender: produce::Appender::new(&options, topics.clone(), calls, ends.clone()).map_err(invalid)?,
            topics,
            ends,
            tip: consume::Tip::new(options.recent_bytes),
            pool: consume::Pool::default(),
            watchers: Mutex::default(),
            identity: OnceLock::new(),
            trouble: Mutex::new(Some("connecting".into())),
            closing: AtomicBool::new(false),
            options,
        });
        let log = Self { inner: inner.clone(), threads: Mutex::default() };
        let tip = inner.clone();
        log.spawn("tol-kafka-tip", move || tip.tip.run(&tip))?;
        log.spawn("tol-kafka-meta", move || {
            while !inner.closed() {
                let _ = inner.refresh();
                let wait = if lock(&inner.trouble).is_some() { Duration::from_millis(500) } else { REFRESH };
                inner.pause(wait);
            }
        })?;
        Ok(Arc::new(log))
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(run);
        lock(&self.threads).push(thread.map_err(|error| Error::Unavailable(format!("cannot start a thread: {error}")))?);
        Ok(())
    }
}

impl Inner {
    fn closed(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Sleeps, but not beyond the log's end.
    fn pause(&self, time: Duration) {
        let started = Instant::now();
        while !self.closed() && started.elapsed() < time {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn wake(&self, partitions: &[TopicPartition]) {
        let watchers = lock(&self.watchers).clone();
        for partition in partitions {
            watchers.iter().for_each(|watcher| watcher(partition));
        }
    }

    /// Asks for the topics, and so also whether the broker is there.
    fn refresh(&self) -> Result<BTreeMap<String, u32>, Error> {
        let metadata = self.meta.fetch_metadata(None, TIMEOUT).map_err(|error| {
            let trouble = format!("{}: {error}", self.options.bootstrap);
            *lock(&self.trouble) = Some(trouble.clone());
            Error::Unavailable(trouble)
        })?;
        let usable = metadata.topics().iter().filter(|topic| topic.error().is_none() && !topic.name().starts_with("__"));
        let counts: BTreeMap<String, u32> = usable.map(|topic| (topic.name().to_owned(), topic.partitions().len() as u32)).collect();
        lock(&self.topics.counts).clone_from(&counts);
        self.topics.loaded.store(true, Ordering::Relaxed);
        *lock(&self.trouble) = None;
        Ok(counts)
    }

    fn check_known(&self, of: &TopicPartition) -> Result<(), Error> {
        // It may have been created since by another node.
        self.topics.check_known(of).or_else(|_| self.refresh().and_then(|_| self.topics.check_known(of)))
    }

    fn bounds(&self, of: &TopicPartition) -> Result<Bounds, Error> {
        self.bounds_within(of, TIMEOUT)
    }

    fn bounds_within(&self, of: &TopicPartition, wait: Duration) -> Result<Bounds, Error> {
        self.check_known(of)?;
        let (earliest, end) = self.meta.fetch_watermarks(&of.topic, of.partition as i32, wait).map_err(unavailable)?;
        let (earliest, end) = (earliest.max(0) as u64, end.max(0) as u64);
        self.ends.at_least(of, end);
        Ok(Bounds { earliest, end })
    }

    fn ensure_topics(&self, specs: &[TopicSpec]) -> Result<(), Error> {
        specs.iter().try_for_each(crate::log_topics::check)?;
        let started = Instant::now();
        let missing = loop {
            match self.missing(specs) {
                Err(Error::Unavailable(_)) if started.elapsed() < LONG && !self.closed() => self.pause(Duration::from_millis(200)),
                other => break other?,
            }
        };
        if missing.is_empty() {
            return Ok(());
        }
        let message_bytes = MESSAGE_BYTES.to_string();
        let retentions: Vec<String> = missing.iter().map(|spec| spec.retention.map_or("-1".into(), |kept| kept.as_millis().to_string())).collect();
        let new = missing.iter().zip(&retentions).map(|(spec, retention)| {
            NewTopic::new(&spec.name, spec.partitions as i32, TopicReplication::Fixed(self.options.replication))
                .set("retention.ms", retention)
                .set("retention.bytes", "-1")
                .set("cleanup.policy", "delete")
                .set("max.message.bytes", &message_bytes)
        });
        let new: Vec<NewTopic<'_>> = new.collect();
        let options = AdminOptions::new().operation_timeout(Some(LONG)).request_timeout(Some(LONG));
        for created in block_on(self.admin.create_topics(&new, &options)).map_err(unavailable)? {
            match created {
                // Another node was faster.
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    let copies = if self.options.replication < 0 { "the broker's number of".to_owned() } else { self.options.replication.to_string() };
                    return Err(Error::Unavailable(format!("topic {topic} cannot be created with {copies} copies: {code}")));
                }
            }
        }
        while !self.missing(specs)?.is_empty() {
            if started.elapsed() > LONG || self.closed() {
                return Err(Error::Unavailable("new topics have no leader yet".into()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Those that do not exist, or whose partitions cannot be used yet.
    fn missing<'a>(&self, specs: &'a [TopicSpec]) -> Result<Vec<&'a TopicSpec>, Error> {
        let counts = self.refresh()?;
        let mut missing = Vec::new();
        for spec in specs {
            match counts.get(&spec.name) {
                Some(found) if *found != spec.partitions => {
                    return Err(Error::PartitionMismatch { topic: spec.name.clone(), configured: spec.partitions, found: *found });
                }
                Some(_) if (0..spec.partitions).all(|partition| self.meta.fetch_watermarks(&spec.name, partition as i32, TIMEOUT).is_ok()) => {}
                _ => missing.push(spec),
            }
        }
        Ok(missing)
    }
}

impl EventLog for KafkaLog {
    fn append(&self, appends: Vec<Append>, done: AppendDone) {
        if self.inner.closed() {
            return done(Err(Error::Closed));
        }
        self.inner.appender.append(appends, done);
    }

    fn read(&self, from: &TopicPartition, position: Position, max_bytes: usize) -> Result<Vec<Arc<Batch>>, Error> {
        self.inner.read(from, position, max_bytes)
    }

    fn bounds(&self, of: &TopicPartition) -> Result<Bounds, Error> {
        self.inner.bounds(of)
    }

    fn known_end(&self, of: &TopicPartition) -> Result<Position, Error> {
        if self.inner.tip.follows(of) { Ok(self.inner.ends.known(of)) } else { Ok(self.inner.bounds(of)?.end) }
    }

    fn position_at(&self, of: &TopicPartition, time: EventTime) -> Result<Position, Error> {
        self.inner.check_known(of)?;
        // Up to the next millisecond: the first at or after `time`.
        let millis = time.as_micros().div_euclid(1000) + i64::from(time.as_micros().rem_euclid(1000) != 0);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&of.topic, of.partition as i32, Offset::Offset(millis.max(0))).map_err(unavailable)?;
        let found = self.inner.meta.offsets_for_times(list, TIMEOUT).map_err(unavailable)?;
        match found.elements().first().map(|element| element.offset()) {
            Some(Offset::Offset(position)) if position >= 0 => Ok(position as u64),
            _ => Ok(self.inner.bounds(of)?.end),
        }
    }

    fn topics(&self) -> Result<Vec<(String, u32)>, Error> {
        Ok(self.inner.refresh()?.into_iter().collect())
    }

    fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), Error> {
        self.inner.ensure_topics(topics)
    }

    fn watch(&self, woken: Watcher) {
        lock(&self.inner.watchers).push(woken);
    }

    fn join(&self, partitions: u32, changed: Arc<dyn Fn(Assignment) + Send + Sync>) {
        let inner = self.inner.clone();
        if let Err(error) = self.spawn("tol-kafka-group", move || group::run(&inner, partitions, changed)) {
            tracing::error!(%error, "cannot join the ownership group");
        }
    }

    fn commit_inbox(&self, partition: u32, position: Position) {
        let mut list = TopicPartitionList::new();
        let committed = list.add_partition_offset("inbox", partition as i32, Offset::Offset(position as i64));
        if let Err(error) = committed.and_then(|()| self.inner.meta.commit(&list, CommitMode::Async)) {
            tracing::debug!(%error, partition, "cannot commit the inbox's position");
        }
    }

    fn inbox_committed(&self, partition: u32) -> Result<Option<Position>, Error> {
        let mut list = TopicPartitionList::new();
        list.add_partition("inbox", partition as i32);
        let committed = self.inner.meta.committed_offsets(list, TIMEOUT).map_err(unavailable)?;
        let first = committed.elements().first().map(|element| element.offset());
        Ok(first.and_then(|offset| if let Offset::Offset(position) = offset { u64::try_from(position).ok() } else { None }))
    }

    /// The cluster's id. Waits for the broker; empty if it cannot be reached.
    fn identity(&self) -> String {
        if let Some(identity) = self.inner.identity.get() {
            return identity.clone();
        }
        match self.inner.meta.client().fetch_cluster_id(LONG) {
            Some(identity) if !identity.is_empty() => self.inner.identity.get_or_init(|| identity).clone(),
            _ => String::new(),
        }
    }

    fn health(&self) -> Health {
        let trouble = self.inner.appender.fatal().map(|reason| format!("the producer gave up: {reason}; restart tol"));
        match trouble.or_else(|| lock(&self.inner.trouble).clone()) {
            Some(detail) => Health { ready: false, detail },
            None => Health { ready: true, detail: "ok".into() },
        }
    }

    fn close(&self) {
        if self.inner.closing.swap(true, Ordering::Relaxed) {
            return;
        }
        self.inner.appender.close();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            // A callback may close the log from one of them.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
        self.inner.pool.clear();
        lock(&self.inner.watchers).clear();
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.close();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for the admin client, whose own thread does the work.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}
