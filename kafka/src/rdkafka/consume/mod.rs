//! Reading: one consumer at the tip of all partitions that are followed, and a few that catch up.
//!
//! * `tip.rs` — the consumer at the tip, and what it has read
//! * `pool.rs` — those that catch up
//! * `patience.rs` — how long readers wait for what does not arrive
//! * `ending.rs` — consumers that are being ended

mod ending;
mod patience;
mod pool;
mod tip;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ::rdkafka::consumer::{BaseConsumer, Consumer};
use ::rdkafka::message::{BorrowedMessage, Headers, Message};
use ::rdkafka::topic_partition_list::{Offset, TopicPartitionList};

pub(super) use self::pool::Pool;
pub(super) use self::tip::Tip;
use super::{Inner, lock, unavailable};
use crate::builder::Builder;
use crate::log::{Bounds, Error, Position, TopicPartition};
use crate::record::Batch;

/// Records of one batch at most.
const BATCH_RECORDS: usize = 1000;
/// A partition is followed from so many records before its end, so that a node that starts again, a little behind everywhere, need not
/// catch up with one partition after the other.
const NEAR: u64 = 512;
/// How long librdkafka waits before it fetches again where its queue was full. Its default is a second: who reads faster than that empties the
/// queue and then waits, for each 4 MB of each partition.
const REFILL: &str = "2";
/// How long a read waits for data that is known to exist.
const WAIT: Duration = Duration::from_secs(1);

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
fn assignment(consumer: &BaseConsumer, of: &TopicPartition, from: Position, wait: Duration) -> Result<TopicPartitionList, Error> {
    consumer.fetch_metadata(Some(&of.topic), wait).map_err(unavailable)?;
    place(of, from)
}

fn place(of: &TopicPartition, from: Position) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&of.topic, of.partition as i32, Offset::Offset(from as i64)).map_err(unavailable)?;
    Ok(list)
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
            if !self.tip.follows(&other) {
                // One that cannot be asked for now is followed when it is read; the broker may be away, and each question takes its time.
                let Ok(bounds) = self.bounds(&other) else { return };
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
        if let Some(read) = self.read_tip(of, position, max_bytes, known) {
            return read;
        }
        let Bounds { earliest, end } = if position < known { Bounds { earliest: 0, end: known } } else { self.bounds(of)? };
        if position > end {
            return Err(Error::OutOfRange { of: of.clone(), position, earliest, end });
        }
        if end - position <= NEAR {
            self.follow(of, Bounds { earliest, end });
            // Unless it was followed from a later position on before.
            if let Some(read) = self.read_tip(of, position, max_bytes, end) {
                return read;
            }
        }
        self.pool.read(self, of, position, max_bytes, end)
    }

    /// Reads at the tip, if that has or will have it, what is known to have been written up to `end`; what does not arrive there, beside it.
    fn read_tip(&self, of: &TopicPartition, position: Position, max_bytes: usize, end: Position) -> Option<Result<Vec<Arc<Batch>>, Error>> {
        let batches = self.tip.read(of, position, max_bytes, end)?;
        if !batches.is_empty() || position == end {
            return Some(Ok(batches));
        }
        if position > end {
            // Beyond the end, or the end is further on: the broker knows.
            return None;
        }
        self.tip.miss(of);
        Some(self.pool.read(self, of, position, max_bytes, end))
    }

    /// Tells that retention deleted what is at `position`.
    fn check_kept(&self, of: &TopicPartition, position: Position, wait: Duration) -> Result<(), Error> {
        let Bounds { earliest, end } = self.bounds_within(of, wait)?;
        if position < earliest { Err(Error::OutOfRange { of: of.clone(), position, earliest, end }) } else { Ok(()) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::record::Record;

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
