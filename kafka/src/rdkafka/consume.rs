//! Reading: one consumer at the tip of all partitions that are followed, and a few that catch up.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::rdkafka::consumer::{BaseConsumer, Consumer};
use ::rdkafka::message::{BorrowedMessage, Headers, Message};
use ::rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Inner, lock, unavailable};
use crate::builder::Builder;
use crate::log::{Bounds, Error, Position, TopicPartition};
use crate::record::Batch;

/// Records of one batch at most.
const BATCH_RECORDS: usize = 1000;
/// Consumers that catch up at a time. With fewer than there are partitions to read in turn, each read would find its consumer taken away and
/// wait for a fetch from another place: 12,500 records a second from four partitions when three were kept, in `benches/compare`.
const CATCHING_UP: usize = 24;
/// How long one is kept for the next read.
const IDLE: Duration = Duration::from_secs(5);
/// Least bytes a read that catches up takes along: moving a consumer to another place costs tens of milliseconds, and who wants one
/// record here mostly wants the next ones too.
const CHUNK: usize = 64 << 10;
/// A partition is followed from so many records before its end, so that a node that starts again, a little behind everywhere, need not
/// catch up with one partition after the other.
const NEAR: u64 = 512;
/// How long librdkafka waits before it fetches again where its queue was full. Its default is a second: who reads faster than that empties the
/// queue and then waits, for each 4 MB of each partition.
const REFILL: &str = "2";
/// How long a read waits for data that is known to exist.
const WAIT: Duration = Duration::from_secs(1);
/// How long others do not wait after one waited in vain.
const PAUSE: Duration = Duration::from_secs(2);

/// The last batches of a partition that is followed.
struct Followed {
    recent: VecDeque<Arc<Batch>>,
    /// Position after the last of them.
    next: Position,
}

#[derive(Default)]
struct TipState {
    followed: HashMap<TopicPartition, Followed>,
    /// Partitions of the batches in all `recent`, oldest first.
    order: VecDeque<TopicPartition>,
    bytes: usize,
    /// Wanted by a reader.
    wanted: Vec<Wanted>,
    /// When a reader last waited here in vain.
    missed: Option<Instant>,
    /// When a read beside the tip last gave nothing of what is known to exist.
    unread: Option<Instant>,
}

impl TipState {
    /// How long to wait for what is known to exist: whoever waited a moment ago did so for all.
    fn patience(&self) -> Duration {
        if self.missed.is_some_and(|at| at.elapsed() < PAUSE) { Duration::ZERO } else { WAIT }
    }
}

/// A partition that somebody wants to be followed.
struct Wanted {
    of: TopicPartition,
    /// From where.
    from: Position,
    /// It is followed already, and a record that is known to exist does not arrive.
    again: bool,
}

/// What the consumer at the tip has read.
pub(super) struct Tip {
    state: Mutex<TipState>,
    moved: Condvar,
    limit: usize,
}

/// Records on their way into a batch.
#[derive(Default)]
struct Collected {
    base: Position,
    at_ms: i64,
    records: Builder,
}

impl Collected {
    fn add(&mut self, message: &BorrowedMessage<'_>) {
        if self.records.is_empty() {
            self.base = message.offset() as u64;
            self.at_ms = message.timestamp().to_millis().unwrap_or(0);
        }
        let headers = message.headers();
        let headers = headers.iter().flat_map(|headers| headers.iter()).map(|header| (header.key, header.value.unwrap_or_default()));
        self.records.add(message.key(), headers, message.payload().unwrap_or_default());
    }

    fn follows(&self, message: &BorrowedMessage<'_>) -> bool {
        self.records.is_empty() || (self.base + self.records.len() as u64 == message.offset() as u64 && self.records.len() < BATCH_RECORDS)
    }

    fn take(&mut self, of: &TopicPartition) -> Option<Arc<Batch>> {
        let Collected { base, at_ms, records } = std::mem::take(self);
        records.build(of.clone(), base, at_ms)
    }
}

/// `batches` up to the first hole. A consumer whose next record was deleted goes on at the first that is kept, without a word.
fn unbroken(of: &TopicPartition, position: Position, end: Position, mut batches: Vec<Arc<Batch>>) -> Result<Vec<Arc<Batch>>, Error> {
    if let Some(first) = batches.first().filter(|first| first.base() > position) {
        return Err(Error::OutOfRange { of: of.clone(), position, earliest: first.base(), end });
    }
    if let Some(hole) = batches.windows(2).position(|two| two[0].end() != two[1].base()) {
        // Who reads on behind what is returned is told of the hole.
        batches.truncate(hole + 1);
    }
    Ok(batches)
}

/// An assignment that can be fetched at once: a consumer that does not know the topic would ask for it only with its next round of a second.
fn assignment(consumer: &BaseConsumer, of: &TopicPartition, from: Position) -> Result<TopicPartitionList, Error> {
    consumer.fetch_metadata(Some(&of.topic), super::TIMEOUT).map_err(unavailable)?;
    place(of, from)
}

fn place(of: &TopicPartition, from: Position) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&of.topic, of.partition as i32, Offset::Offset(from as i64)).map_err(unavailable)?;
    Ok(list)
}

/// How long a new consumer at the tip has for its first records before it is replaced in turn.
const ANEW: Duration = Duration::from_secs(3);

/// Predecessors that may be ending at a time.
const ENDING: usize = 4;

/// Ends a consumer on a thread of its own: one that no longer fetches may not end at once either.
fn discard(consumer: BaseConsumer) -> Option<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("tol-kafka-drop".into()).spawn(move || drop(consumer));
    thread.inspect_err(|error| tracing::warn!(%error, "no thread to end a consumer on")).ok()
}

impl Tip {
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), moved: Condvar::new(), limit }
    }

    /// Asks for a partition to be followed from `from` on.
    fn follow(&self, of: &TopicPartition, from: Position) {
        let mut state = lock(&self.state);
        if !state.followed.contains_key(of) {
            state.followed.insert(of.clone(), Followed { recent: VecDeque::new(), next: from });
            state.wanted.push(Wanted { of: of.clone(), from, again: false });
        }
    }

    /// Whether its new records arrive here.
    pub(super) fn follows(&self, of: &TopicPartition) -> bool {
        lock(&self.state).followed.contains_key(of)
    }

    /// Records that are known to exist do not arrive: the consumer is replaced, and who reads goes another way meanwhile.
    fn follow_anew(&self, of: &TopicPartition) {
        let mut state = lock(&self.state);
        let next = state.followed.get(of).map(|followed| followed.next);
        if let Some(from) = next.filter(|_| !state.wanted.iter().any(|wanted| wanted.of == *of)) {
            tracing::warn!(partition = %of, position = from, "the consumer at the tip stands still");
            state.wanted.push(Wanted { of: of.clone(), from, again: true });
        }
        state.missed = Some(Instant::now());
    }

    /// Whether a read beside the tip gave nothing a moment ago. One thread reads many partitions: if it waited for each while the broker stands
    /// still, it would give no sign of life for long enough to be taken for dead.
    fn is_hopeless(&self) -> bool {
        lock(&self.state).unread.is_some_and(|at| at.elapsed() < PAUSE)
    }

    fn hopeless(&self, hopeless: bool) {
        lock(&self.state).unread = hopeless.then(Instant::now);
    }

    fn publish(&self, of: &TopicPartition, batch: Arc<Batch>) {
        let weight = |batch: &Batch| batch.body().len() + batch.len() * 256;
        let mut state = lock(&self.state);
        let state = &mut *state;
        let Some(followed) = state.followed.get_mut(of) else { return };
        if followed.next != batch.base() {
            // Something was skipped (retention passed by): what is kept must have no hole.
            state.bytes -= followed.recent.drain(..).map(|old| weight(&old)).sum::<usize>();
            state.order.retain(|other| other != of);
        }
        followed.next = batch.end();
        state.missed = None;
        state.bytes += weight(&batch);
        followed.recent.push_back(batch);
        state.order.push_back(of.clone());
        while state.bytes > self.limit && state.order.len() > 1 {
            let oldest = state.order.pop_front().and_then(|oldest| state.followed.get_mut(&oldest)?.recent.pop_front());
            state.bytes -= oldest.map_or(0, |old| weight(&old));
        }
    }

    /// Batches from `position` on, if the tip has or will have them: empty at its end. `None` if the position is behind what it keeps or it does not follow.
    fn read(&self, of: &TopicPartition, position: Position, max_bytes: usize, known_end: Position) -> Option<Vec<Arc<Batch>>> {
        let mut state = lock(&self.state);
        let started = Instant::now();
        loop {
            let followed = state.followed.get(of)?;
            let first = followed.recent.front().map_or(followed.next, |batch| batch.base());
            if position < first {
                return None;
            }
            if position < followed.next {
                let from = followed.recent.partition_point(|batch| batch.end() <= position);
                let mut bytes = 0;
                let fits = |batch: &&Arc<Batch>| {
                    let first = bytes == 0;
                    bytes += batch.body().len();
                    first || bytes <= max_bytes
                };
                return Some(followed.recent.iter().skip(from).take_while(fits).cloned().collect());
            }
            let left = state.patience().saturating_sub(started.elapsed());
            if position >= known_end || left.is_zero() {
                return Some(Vec::new());
            }
            state = self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What is to be followed now for the first time, and whether the consumer is to be replaced: records that are known to exist still do not
    /// arrive. After a broker stood still, librdkafka's consumer may never fetch again, and to take partitions away from it and give them back
    /// one by one, as often as somebody misses something, keeps also the others from going on (`scripts/chaos`, broker-stalls, seed 1).
    fn due(&self, renewed: Option<Instant>) -> (Vec<(TopicPartition, Position)>, bool) {
        let mut state = lock(&self.state);
        let (mut missed, due): (Vec<Wanted>, Vec<Wanted>) = std::mem::take(&mut state.wanted).into_iter().partition(|wanted| wanted.again);
        // What has arrived since needs nothing.
        missed.retain(|one| state.followed.get(&one.of).is_some_and(|now| now.next == one.from));
        let renew = !missed.is_empty() && renewed.is_none_or(|at| at.elapsed() >= ANEW);
        if !renew {
            state.wanted.extend(missed);
        }
        (due.into_iter().map(|wanted| (wanted.of, wanted.from)).collect(), renew)
    }

    fn consumer(inner: &Inner) -> Result<BaseConsumer, Error> {
        let mut config = inner.options.config();
        config.set("group.id", "tol-tip").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest").set("fetch.wait.max.ms", "100");
        config.set("queued.max.messages.kbytes", "32768").set("fetch.queue.backoff.ms", REFILL);
        inner.options.pass_through(&mut config);
        config.create().map_err(unavailable)
    }

    /// Another consumer that goes on where this one stands, with connections of its own.
    fn successor(&self, inner: &Inner, followed: &BTreeSet<TopicPartition>) -> Result<BaseConsumer, Error> {
        let consumer = Self::consumer(inner)?;
        let topics: BTreeSet<&str> = followed.iter().map(|of| &*of.topic).collect();
        for topic in topics {
            consumer.fetch_metadata(Some(topic), WAIT).map_err(unavailable)?;
        }
        let mut list = TopicPartitionList::new();
        for of in followed {
            let next = lock(&self.state).followed.get(of).map_or(0, |followed| followed.next);
            list.add_partition_offset(&of.topic, of.partition as i32, Offset::Offset(next as i64)).map_err(unavailable)?;
        }
        consumer.incremental_assign(&list).map_err(unavailable)?;
        Ok(consumer)
    }

    /// The thread at the tip.
    pub(super) fn run(&self, inner: &Inner) {
        let mut consumer = match Self::consumer(inner) {
            Ok(consumer) => consumer,
            Err(error) => return tracing::error!(%error, "cannot create the consumer at the tip"),
        };
        let mut names: HashMap<String, Arc<str>> = HashMap::new();
        let (mut known, mut followed) = (BTreeSet::new(), BTreeSet::new());
        let mut renewed: Option<Instant> = None;
        let mut ending: Vec<JoinHandle<()>> = Vec::new();
        while !inner.closed() {
            let (due, renew) = self.due(renewed);
            ending.retain(|thread| !thread.is_finished());
            if renew {
                renewed = Some(Instant::now());
                match self.successor(inner, &followed) {
                    Ok(successor) if ending.len() < ENDING => ending.extend(discard(std::mem::replace(&mut consumer, successor))),
                    Ok(_) => tracing::warn!("the consumer at the tip is not replaced: its predecessors have not ended"),
                    // The broker is away: who misses something says so again.
                    Err(error) => tracing::debug!(%error, "the consumer at the tip was not replaced"),
                }
            }
            for (of, from) in due {
                let list = if known.contains(&of.topic) { place(&of, from) } else { assignment(&consumer, &of, from) };
                if let Err(error) = list.and_then(|list| consumer.incremental_assign(&list).map_err(unavailable)) {
                    tracing::warn!(%error, partition = %of, "cannot follow");
                    // Its readers wait to be woken: it is tried until it can be followed.
                    lock(&self.state).wanted.push(Wanted { of, from, again: false });
                    inner.pause(Duration::from_millis(200));
                } else {
                    known.insert(of.topic.clone());
                    followed.insert(of);
                }
            }
            let mut collected: BTreeMap<TopicPartition, Collected> = BTreeMap::new();
            let mut woken = Vec::new();
            // Short, as what a reader newly wants waits for it.
            let mut timeout = Duration::from_millis(10);
            for _ in 0..4 * BATCH_RECORDS {
                match consumer.poll(timeout) {
                    None => break,
                    Some(Err(error)) => tracing::debug!(%error, "the consumer at the tip"),
                    Some(Ok(message)) => {
                        let name = names.entry(message.topic().to_owned()).or_insert_with(|| message.topic().into());
                        let of = TopicPartition { topic: name.clone(), partition: message.partition() as u32 };
                        let entry = collected.entry(of.clone()).or_default();
                        if !entry.follows(&message) {
                            entry.take(&of).into_iter().for_each(|batch| self.publish(&of, batch));
                        }
                        entry.add(&message);
                    }
                }
                timeout = Duration::ZERO;
            }
            for (of, mut records) in collected {
                if let Some(batch) = records.take(&of) {
                    inner.ends.at_least(&of, batch.end());
                    self.publish(&of, batch);
                    woken.push(of);
                }
            }
            if !woken.is_empty() {
                self.moved.notify_all();
                inner.wake(&woken);
            }
        }
    }
}

/// A consumer that reads on where its last read ended.
struct CatchUp {
    consumer: BaseConsumer,
    of: TopicPartition,
    next: Position,
    used: Instant,
}

/// The consumers that are not reading now.
#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<CatchUp>>,
}

impl Pool {
    fn take(&self, inner: &Inner, of: &TopicPartition, from: Position) -> Result<CatchUp, Error> {
        let found = {
            let mut idle = lock(&self.idle);
            idle.retain(|reader| reader.used.elapsed() < IDLE);
            match idle.iter().position(|reader| reader.of == *of && reader.next == from) {
                Some(place) => return Ok(idle.swap_remove(place)),
                // Not one that somebody may be about to use, unless there are too many.
                None if idle.len() >= CATCHING_UP => {
                    let oldest = idle.iter().enumerate().min_by_key(|(_, reader)| reader.used).map(|(place, _)| place);
                    oldest.map(|place| idle.swap_remove(place).consumer)
                }
                None => None,
            }
        };
        let consumer = match found {
            Some(consumer) => consumer,
            None => {
                let mut config = inner.options.config();
                config.set("group.id", "tol-catch-up").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
                // What is read is known to exist; a fetch that waits at the end would only hold up the next read elsewhere.
                config.set("queued.max.messages.kbytes", "4096").set("fetch.wait.max.ms", "20").set("fetch.queue.backoff.ms", REFILL);
                inner.options.pass_through(&mut config);
                config.create().map_err(unavailable)?
            }
        };
        consumer.assign(&assignment(&consumer, of, from)?).map_err(unavailable)?;
        Ok(CatchUp { consumer, of: of.clone(), next: from, used: Instant::now() })
    }

    fn read(&self, inner: &Inner, of: &TopicPartition, from: Position, max_bytes: usize, end: Position) -> Result<Vec<Arc<Batch>>, Error> {
        let mut reader = self.take(inner, of, from)?;
        let mut batches = Vec::new();
        let mut collected = Collected::default();
        let mut bytes = 0;
        let started = Instant::now();
        while reader.next < end && bytes < max_bytes.max(CHUNK) {
            let left = if reader.next == from { WAIT.saturating_sub(started.elapsed()) } else { Duration::from_millis(1) };
            match reader.consumer.poll(left) {
                Some(Ok(message)) => {
                    if !collected.follows(&message) {
                        batches.extend(collected.take(of));
                    }
                    collected.add(&message);
                    bytes += message.payload_len() + message.key_len();
                    reader.next = message.offset() as u64 + 1;
                }
                Some(Err(error)) if reader.next == from => {
                    tracing::debug!(%error, partition = %of, "reading");
                    if left.is_zero() {
                        return Err(unavailable(error));
                    }
                }
                _ if reader.next > from || left.is_zero() => break,
                _ => {}
            }
        }
        batches.extend(collected.take(of));
        reader.used = Instant::now();
        let mut idle = lock(&self.idle);
        if idle.len() < CATCHING_UP {
            idle.push(reader);
        }
        Ok(batches)
    }

    pub(super) fn clear(&self) {
        lock(&self.idle).clear();
    }
}

impl Inner {
    /// Follows a partition from near its end, and with it the others of its topic: a fetch that waits would hold up each of them in turn.
    fn follow(&self, of: &TopicPartition, bounds: Bounds) {
        let near = |bounds: Bounds| bounds.end.saturating_sub(NEAR).max(bounds.earliest);
        if self.tip.follows(of) {
            return;
        }
        self.tip.follow(of, near(bounds));
        let count = if &*of.topic == "inbox" { 0 } else { lock(&self.topics.counts).get(&*of.topic).copied().unwrap_or(0) };
        for other in (0..count).map(|partition| TopicPartition { topic: of.topic.clone(), partition }) {
            if !self.tip.follows(&other)
                && let Ok(bounds) = self.bounds(&other)
            {
                self.tip.follow(&other, near(bounds));
            }
        }
    }

    /// As [`crate::EventLog::read`].
    pub(super) fn read(&self, of: &TopicPartition, position: Position, max_bytes: usize) -> Result<Vec<Arc<Batch>>, Error> {
        if self.closing.load(Ordering::Relaxed) {
            return Err(Error::Closed);
        }
        let known = self.ends.known(of);
        if let Some(batches) = self.tip.read(of, position, max_bytes, known) {
            // A position above the end must be told from one at the end, also while it is followed.
            if !batches.is_empty() || position == known {
                return Ok(batches);
            }
            if position < known {
                self.tip.follow_anew(of);
                return self.catch_up(of, position, max_bytes, known);
            }
        }
        let Bounds { earliest, end } = if position < known { Bounds { earliest: 0, end: known } } else { self.bounds(of)? };
        if position > end {
            return Err(Error::OutOfRange { of: of.clone(), position, earliest, end });
        }
        if position == end {
            self.follow(of, Bounds { earliest, end });
            return Ok(Vec::new());
        }
        if end - position <= NEAR {
            self.follow(of, Bounds { earliest, end });
            // Unless it was followed from a later position on before.
            if let Some(batches) = self.tip.read(of, position, max_bytes, end) {
                return Ok(batches);
            }
        }
        self.catch_up(of, position, max_bytes, end)
    }

    /// Reads what the tip does not have and is known to have been written; what retention deleted of it is told.
    fn catch_up(&self, of: &TopicPartition, position: Position, max_bytes: usize, end: Position) -> Result<Vec<Arc<Batch>>, Error> {
        if self.tip.is_hopeless() {
            return Ok(Vec::new());
        }
        let read = self.pool.read(self, of, position, max_bytes, end);
        self.tip.hopeless(read.as_ref().map_or(true, Vec::is_empty));
        let batches = read?;
        if batches.is_empty() {
            let Bounds { earliest, end } = self.bounds(of)?;
            return if position < earliest { Err(Error::OutOfRange { of: of.clone(), position, earliest, end }) } else { Ok(batches) };
        }
        unbroken(of, position, end, batches)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::record::Record;

    #[test]
    fn the_consumer_is_replaced_for_what_stays_missing_and_not_too_often() {
        let (tip, of) = (Tip::new(1 << 20), TopicPartition::new("t", 0));
        let batch = |base| Arc::new(Batch::of_records(of.clone(), base, 0, &[Record::default()]));
        tip.follow(&of, 4);
        assert_eq!(tip.due(None), (vec![(of.clone(), 4)], false), "followed for the first time");
        let started = Instant::now();
        assert_eq!(tip.read(&of, 4, 1, 5).map(|batches| batches.len()), Some(0), "waits for what is known to exist");
        assert!(started.elapsed() >= WAIT);
        tip.follow_anew(&of);
        tip.follow_anew(&of);
        assert_eq!(lock(&tip.state).patience(), Duration::ZERO, "one has waited for all");
        assert_eq!(tip.read(&of, 4, 1, 5).map(|batches| batches.len()), Some(0));
        assert_eq!(tip.due(Some(Instant::now())), (vec![], false), "the last one has not had its time");
        assert_eq!(tip.due(None), (vec![], true));
        assert_eq!(tip.due(None), (vec![], false), "until it is missed again");
        tip.follow_anew(&of);
        tip.publish(&of, batch(4));
        assert_eq!(tip.due(None), (vec![], false), "it has arrived meanwhile");
        assert_eq!(lock(&tip.state).patience(), WAIT, "readers wait again");
    }

    #[test]
    fn what_retention_deleted_is_told_and_never_read_over() {
        let of = TopicPartition::new("t", 0);
        let batch = |base| Arc::new(Batch::of_records(of.clone(), base, 0, &[Record::default(), Record::default()]));
        let bases = |batches: Vec<Arc<Batch>>| batches.iter().map(|batch| batch.base()).collect::<Vec<_>>();
        assert_eq!(bases(unbroken(&of, 4, 9, vec![batch(4), batch(6)]).unwrap()), [4, 6]);
        assert_eq!(bases(unbroken(&of, 4, 9, vec![batch(4), batch(7)]).unwrap()), [4], "the hole is left to the next read");
        let problem = unbroken(&of, 4, 9, vec![batch(5), batch(7)]).unwrap_err();
        assert!(matches!(problem, Error::OutOfRange { position: 4, earliest: 5, end: 9, .. }), "{problem}");
    }
}
