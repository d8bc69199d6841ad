//! [`Tip`]: one consumer at the tip of all partitions that are followed, shared by all readers.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::rdkafka::consumer::{BaseConsumer, Consumer};
use ::rdkafka::message::Message;
use ::rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::super::{Inner, TIMEOUT, lock, unavailable};
use super::ending::Ending;
use super::patience::Patience;
use super::{BATCH_RECORDS, Collected, REFILL, WAIT, assignment, place};
use crate::log::{Error, Position, TopicPartition};
use crate::record::Batch;

/// How long a new consumer at the tip has for its first records before it is replaced in turn.
const ANEW: Duration = Duration::from_secs(3);

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
    patience: Patience,
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
pub(in crate::rdkafka) struct Tip {
    state: Mutex<TipState>,
    moved: Condvar,
    limit: usize,
    /// Consumers that were replaced.
    ending: Ending,
}

impl Tip {
    pub(in crate::rdkafka) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), moved: Condvar::new(), limit, ending: Ending::default() }
    }

    /// Asks for a partition to be followed from `from` on.
    pub(super) fn follow(&self, of: &TopicPartition, from: Position) {
        let mut state = lock(&self.state);
        if !state.followed.contains_key(of) {
            state.followed.insert(of.clone(), Followed { recent: VecDeque::new(), next: from });
            state.wanted.push(Wanted { of: of.clone(), from, again: false });
        }
    }

    /// Whether its new records arrive here.
    pub(in crate::rdkafka) fn follows(&self, of: &TopicPartition) -> bool {
        lock(&self.state).followed.contains_key(of)
    }

    /// Records that are known to exist do not arrive: if somebody waited for them, the consumer is to be replaced.
    pub(super) fn miss(&self, of: &TopicPartition) {
        let mut state = lock(&self.state);
        if !state.patience.misses(of, Instant::now()) {
            return;
        }
        let next = state.followed.get(of).map(|followed| followed.next);
        if let Some(from) = next.filter(|_| !state.wanted.iter().any(|wanted| wanted.of == *of)) {
            tracing::warn!(partition = %of, position = from, "the consumer at the tip stands still");
            state.wanted.push(Wanted { of: of.clone(), from, again: true });
        }
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
        state.patience.arrives(of);
        state.bytes += weight(&batch);
        followed.recent.push_back(batch);
        state.order.push_back(of.clone());
        while state.bytes > self.limit && state.order.len() > 1 {
            let oldest = state.order.pop_front().and_then(|oldest| state.followed.get_mut(&oldest)?.recent.pop_front());
            state.bytes -= oldest.map_or(0, |old| weight(&old));
        }
    }

    /// Batches from `position` on, if the tip has or will have them: empty at its end. `None` if the position is behind what it keeps or it does not follow.
    pub(super) fn read(&self, of: &TopicPartition, position: Position, max_bytes: usize, known_end: Position) -> Option<Vec<Arc<Batch>>> {
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
            let left = state.patience.left(of, Instant::now()).saturating_sub(started.elapsed());
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

    /// Another consumer that goes on where this one stands, with connections of its own. `None` where there cannot be one now: who misses something
    /// says so again.
    fn successor(&self, inner: &Inner, followed: &BTreeSet<TopicPartition>) -> Option<BaseConsumer> {
        if !self.ending.has_room() {
            tracing::warn!("the consumer at the tip is not replaced: its predecessors have not ended");
            return None;
        }
        let consumer = Self::consumer(inner);
        let consumer = consumer.inspect_err(|error| tracing::warn!(%error, "the consumer at the tip is not replaced")).ok()?;
        if let Err(error) = self.assign_all(&consumer, followed) {
            tracing::debug!(%error, "the consumer at the tip is not replaced: the broker is away");
            self.ending.end(consumer);
            return None;
        }
        Some(consumer)
    }

    fn assign_all(&self, consumer: &BaseConsumer, followed: &BTreeSet<TopicPartition>) -> Result<(), Error> {
        let topics: BTreeSet<&str> = followed.iter().map(|of| &*of.topic).collect();
        for topic in topics {
            consumer.fetch_metadata(Some(topic), WAIT).map_err(unavailable)?;
        }
        let mut list = TopicPartitionList::new();
        for of in followed {
            let next = lock(&self.state).followed.get(of).map_or(0, |followed| followed.next);
            list.add_partition_offset(&of.topic, of.partition as i32, Offset::Offset(next as i64)).map_err(unavailable)?;
        }
        consumer.incremental_assign(&list).map_err(unavailable)
    }

    /// The thread at the tip.
    pub(in crate::rdkafka) fn run(&self, inner: &Inner) {
        let mut consumer = match Self::consumer(inner) {
            Ok(consumer) => consumer,
            Err(error) => return tracing::error!(%error, "cannot create the consumer at the tip"),
        };
        let mut names: HashMap<String, Arc<str>> = HashMap::new();
        let (mut known, mut followed) = (BTreeSet::new(), BTreeSet::new());
        let mut renewed: Option<Instant> = None;
        while !inner.closed() {
            let (due, renew) = self.due(renewed);
            if renew {
                renewed = Some(Instant::now());
                if let Some(successor) = self.successor(inner, &followed) {
                    self.ending.end(std::mem::replace(&mut consumer, successor));
                }
            }
            for (of, from) in due {
                let list = if known.contains(&of.topic) { place(&of, from) } else { assignment(&consumer, &of, from, TIMEOUT) };
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
        tip.miss(&of);
        tip.miss(&of);
        assert_eq!(tip.read(&of, 4, 1, 5).map(|batches| batches.len()), Some(0), "one has waited for all");
        assert_eq!(tip.due(Some(Instant::now())), (vec![], false), "the last one has not had its time");
        assert_eq!(tip.due(None), (vec![], true));
        assert_eq!(tip.due(None), (vec![], false), "until it is missed again");
        let other = TopicPartition::new("t", 1);
        tip.follow(&other, 7);
        assert_eq!(tip.due(None), (vec![(other.clone(), 7)], false));
        tip.miss(&other);
        tip.miss(&of);
        tip.publish(&other, Arc::new(Batch::of_records(other.clone(), 7, 0, &[Record::default()])));
        assert_eq!(tip.due(None), (vec![], false), "it has arrived meanwhile, and for the first nobody waited again");
        assert!(lock(&tip.state).patience.left(&of, Instant::now()).is_zero());
        tip.publish(&of, batch(4));
        assert_eq!(lock(&tip.state).patience.left(&of, Instant::now()), WAIT, "readers wait again");
    }
}
