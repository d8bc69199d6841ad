//! [`Pool`]: consumers that catch up with what the tip does not have.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::rdkafka::consumer::{BaseConsumer, Consumer};
use ::rdkafka::message::Message;

use super::super::{Inner, lock, unavailable};
use super::ending::Ending;
use super::patience::Patience;
use super::{Collected, REFILL, WAIT, assignment, unbroken};
use crate::log::{Error, Position, TopicPartition};
use crate::record::Batch;

/// Consumers that catch up at a time. With fewer than there are partitions to read in turn, each read would find its consumer taken away and
/// wait for a fetch from another place: 12,500 records a second from four partitions when three were kept, in `benches/compare`.
const CATCHING_UP: usize = 24;
/// How long one is kept for the next read.
const IDLE: Duration = Duration::from_secs(5);
/// Least bytes a read that catches up takes along: moving a consumer to another place costs tens of milliseconds, and who wants one
/// record here mostly wants the next ones too.
const CHUNK: usize = 64 << 10;

/// A consumer that reads on where its last read ended.
struct CatchUp {
    consumer: BaseConsumer,
    of: TopicPartition,
    next: Position,
    used: Instant,
    /// Since when it was to fetch what it has not given.
    fetching: Instant,
}

#[derive(Default)]
pub(in crate::rdkafka) struct Pool {
    /// Those that are not reading now.
    idle: Mutex<Vec<CatchUp>>,
    patience: Mutex<Patience>,
    ending: Ending,
}

impl Pool {
    /// A consumer for that place; `wait` is for the broker's answers.
    fn take(&self, inner: &Inner, of: &TopicPartition, from: Position, wait: Duration) -> Result<CatchUp, Error> {
        let found = {
            let mut idle = lock(&self.idle);
            idle.extract_if(.., |reader| reader.used.elapsed() >= IDLE).for_each(|reader| self.ending.end(reader.consumer));
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
            None if !self.ending.has_room() => {
                return Err(Error::Unavailable("no other consumer is made before those that are no longer used have ended".into()));
            }
            None => {
                let mut config = inner.options.config();
                config.set("group.id", "tol-catch-up").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
                // What is read is known to exist; a fetch that waits at the end would only hold up the next read elsewhere.
                config.set("queued.max.messages.kbytes", "4096").set("fetch.wait.max.ms", "20").set("fetch.queue.backoff.ms", REFILL);
                inner.options.pass_through(&mut config);
                config.create().map_err(unavailable)?
            }
        };
        let assigned = assignment(&consumer, of, from, wait).and_then(|list| consumer.assign(&list).map_err(unavailable));
        if let Err(error) = assigned {
            self.ending.end(consumer);
            return Err(error);
        }
        Ok(CatchUp { consumer, of: of.clone(), next: from, used: Instant::now(), fetching: Instant::now() })
    }

    /// Records from `from` on, which are known to have been written up to `end`. Empty where they do not arrive, also where nobody waits for them
    /// now: see [`Patience`].
    pub(super) fn read(&self, inner: &Inner, of: &TopicPartition, from: Position, max_bytes: usize, end: Position) -> Result<Vec<Arc<Batch>>, Error> {
        let wait = lock(&self.patience).left(of, Instant::now());
        if wait.is_zero() {
            return Ok(Vec::new());
        }
        let until = Instant::now() + wait;
        let read = self
            .take(inner, of, from, wait)
            .map(|reader| self.read_on(reader, until, max_bytes, end))
            .and_then(|batches| if batches.is_empty() { inner.check_kept(of, from, wait).map(|()| batches) } else { unbroken(of, from, end, batches) });
        let mut patience = lock(&self.patience);
        match &read {
            Ok(batches) if !batches.is_empty() => patience.arrives(of),
            Ok(_) | Err(Error::Unavailable(_)) => _ = patience.misses(of, Instant::now()),
            Err(_) => {}
        }
        read
    }

    fn read_on(&self, mut reader: CatchUp, until: Instant, max_bytes: usize, end: Position) -> Vec<Arc<Batch>> {
        let (of, from) = (reader.of.clone(), reader.next);
        let mut batches = Vec::new();
        let mut collected = Collected::default();
        let mut bytes = 0;
        while reader.next < end && bytes < max_bytes.max(CHUNK) {
            let left = if reader.next == from { until.saturating_duration_since(Instant::now()) } else { Duration::from_millis(1) };
            match reader.consumer.poll(left) {
                Some(Ok(message)) => {
                    if !collected.follows(&message) {
                        batches.extend(collected.take(&of));
                    }
                    collected.add(&message);
                    bytes += message.payload_len() + message.key_len();
                    reader.next = message.offset() as u64 + 1;
                }
                Some(Err(error)) if reader.next == from && !left.is_zero() => tracing::debug!(%error, partition = %of, "reading"),
                _ if reader.next > from || left.is_zero() => break,
                _ => {}
            }
        }
        batches.extend(collected.take(&of));
        self.give_back(reader, from);
        batches
    }

    fn give_back(&self, mut reader: CatchUp, from: Position) {
        reader.used = Instant::now();
        if reader.next > from {
            reader.fetching = reader.used;
        }
        let mut idle = lock(&self.idle);
        // After a broker stood still, a consumer may fetch nothing for as long as it lives, and each read of this place would be given the same
        // one: it has its time, over however many reads.
        if idle.len() >= CATCHING_UP || reader.fetching.elapsed() >= WAIT {
            self.ending.end(reader.consumer);
        } else {
            idle.push(reader);
        }
    }

    pub(in crate::rdkafka) fn clear(&self) {
        lock(&self.idle).clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use ::rdkafka::mocking::MockCluster;

    use super::super::super::{KafkaLog, KafkaOptions};
    use super::*;
    use crate::log::{Append, EventLog};
    use crate::record::Record;

    fn append_ten(log: &KafkaLog, to: &TopicPartition) {
        let (send, done) = mpsc::channel();
        let append = Append { to: to.clone(), expected: None, records: vec![Record::default(); 10] };
        log.append(vec![append], Box::new(move |answer| drop(send.send(answer))));
        done.recv().unwrap().unwrap();
    }

    #[test]
    fn while_the_broker_stands_still_few_partitions_are_waited_for_and_no_consumer_is_kept() {
        // librdkafka's own broker, in this process.
        let broker = MockCluster::new(1).unwrap();
        broker.create_topic("t", 10, 1).unwrap();
        let log = KafkaLog::connect(KafkaOptions::new(broker.bootstrap_servers())).unwrap();
        log.bounds(&TopicPartition::new("t", 0)).unwrap();
        let pool = &log.inner.pool;
        let read = |partition, from| pool.read(&log.inner, &TopicPartition::new("t", partition), from, 1, from + 10).map(|batches| batches.len());
        let partitions = 0..10;
        for partition in partitions.clone() {
            append_ten(&log, &TopicPartition::new("t", partition));
            assert_eq!(read(partition, 0).unwrap(), 1, "{partition}");
        }
        assert_eq!(lock(&pool.idle).len(), 10, "each may read on");

        // Longer than all that is waited for below.
        broker.broker_round_trip_time(1, Duration::from_secs(5)).unwrap();
        for partition in partitions.clone() {
            assert!(!matches!(read(partition, 10), Ok(1..)), "{partition}");
        }
        assert!(!lock(&pool.idle).iter().any(|reader| reader.of.partition == 0), "it had its time");
        let not_waited_for = lock(&pool.idle).iter().filter(|reader| reader.used == reader.fetching).count();
        assert_eq!(not_waited_for, 6, "four were waited for, on behalf of all");

        broker.broker_round_trip_time(1, Duration::ZERO).unwrap();
        for partition in partitions {
            append_ten(&log, &TopicPartition::new("t", partition));
        }
        let started = Instant::now();
        let mut left: Vec<u32> = (0..10).collect();
        while !left.is_empty() {
            left.retain(|partition| !matches!(read(*partition, 10), Ok(1..)));
            assert!(started.elapsed() < Duration::from_secs(60), "these do not go on: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
