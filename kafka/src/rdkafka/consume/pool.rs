//! [`Pool`]: consumers that catch up with what the tip does not have.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::rdkafka::consumer::{BaseConsumer, Consumer};
use ::rdkafka::message::Message;

use super::super::{Inner, lock, unavailable};
use super::{Collected, REFILL, WAIT, assignment, discard};
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
}

/// The consumers that are not reading now.
#[derive(Default)]
pub(in crate::rdkafka) struct Pool {
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

    pub(super) fn read(&self, inner: &Inner, of: &TopicPartition, from: Position, max_bytes: usize, end: Position) -> Result<Vec<Arc<Batch>>, Error> {
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
        if reader.next == from {
            // It was known to exist. After a broker stood still, a consumer may fetch nothing for as long as it lives, and the next read of this
            // place would be given the same one.
            discard(reader.consumer);
            return Ok(batches);
        }
        reader.used = Instant::now();
        let mut idle = lock(&self.idle);
        if idle.len() < CATCHING_UP {
            idle.push(reader);
        }
        Ok(batches)
    }

    pub(in crate::rdkafka) fn clear(&self) {
        lock(&self.idle).clear();
    }
}
