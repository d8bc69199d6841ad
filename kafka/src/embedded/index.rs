//! Where each batch lies, and the recent batches themselves.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::embedded::format::TopicEntry;
use crate::log::{Position, TopicPartition};
use crate::record::Batch;

/// Where one batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub base: Position,
    pub appended_at_ms: i64,
    pub count: u32,
    pub segment: u32,
    /// Of the batch's entry in the file.
    pub offset: u32,
    pub len: u32,
}

/// One partition's batches.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    pub places: Vec<Place>,
    pub end: Position,
    /// The last batches, the same as the last of `places`.
    recent: VecDeque<Arc<Batch>>,
}

/// Everything readers look up. Changed by the writer only, after the sync.
#[derive(Debug, Default)]
pub(crate) struct Index {
    topics: BTreeMap<String, TopicEntry>,
    numbers: HashMap<u32, Arc<str>>,
    slots: HashMap<TopicPartition, usize>,
    partitions: Vec<Partition>,
    /// Slots of the batches in all `recent`, oldest first.
    order: VecDeque<usize>,
    recent_bytes: usize,
    recent_limit: usize,
}

/// Memory a recent batch takes: its body, and its events once they are decoded.
fn weight(batch: &Batch) -> usize {
    batch.body().len() + batch.len() * 256
}

impl Index {
    pub(crate) fn new(recent_limit: usize) -> Self {
        Self { recent_limit, ..Self::default() }
    }

    pub(crate) fn topics(&self) -> &BTreeMap<String, TopicEntry> {
        &self.topics
    }

    pub(crate) fn next_topic_number(&self) -> u32 {
        self.topics.len() as u32
    }

    pub(crate) fn add_topic(&mut self, topic: TopicEntry) {
        let name: Arc<str> = topic.name.as_str().into();
        for partition in 0..topic.partitions {
            self.slots.insert(TopicPartition::new(name.clone(), partition), self.partitions.len());
            self.partitions.push(Partition::default());
        }
        self.numbers.insert(topic.number, name);
        self.topics.insert(topic.name.clone(), topic);
    }

    /// The topic partition of a stored batch.
    pub(crate) fn topic_partition(&self, topic: u32, partition: u32) -> Option<TopicPartition> {
        Some(TopicPartition::new(self.numbers.get(&topic)?.clone(), partition))
    }

    pub(crate) fn slot(&self, of: &TopicPartition) -> Option<usize> {
        self.slots.get(of).copied()
    }

    /// The slot of a partition and the number of its topic.
    pub(crate) fn locate(&self, of: &TopicPartition) -> Option<(usize, u32)> {
        Some((self.slot(of)?, self.topics.get(&*of.topic)?.number))
    }

    /// Records in all partitions.
    pub(crate) fn records(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.end).sum()
    }

    pub(crate) fn last_appended_at_ms(&self) -> i64 {
        self.partitions.iter().filter_map(|partition| partition.places.last()).map(|place| place.appended_at_ms).max().unwrap_or(0)
    }

    pub(crate) fn partition(&self, slot: usize) -> &Partition {
        &self.partitions[slot]
    }

    /// Adds the next batch of a partition; false if it does not follow the last one.
    pub(crate) fn add_place(&mut self, slot: usize, place: Place) -> bool {
        let partition = &mut self.partitions[slot];
        if place.base != partition.end || place.count == 0 {
            return false;
        }
        partition.end += u64::from(place.count);
        partition.places.push(place);
        true
    }

    /// Keeps a batch that was just added, and lets the oldest go.
    pub(crate) fn keep(&mut self, slot: usize, batch: Arc<Batch>) {
        self.recent_bytes += weight(&batch);
        self.partitions[slot].recent.push_back(batch);
        self.order.push_back(slot);
        while self.recent_bytes > self.recent_limit {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(batch) = self.partitions[oldest].recent.pop_front() {
                self.recent_bytes -= weight(&batch);
            }
        }
    }
}

impl Partition {
    /// Index of the batch that holds `position`, which must be below the end.
    pub(crate) fn find(&self, position: Position) -> usize {
        self.places.partition_point(|place| place.base <= position).saturating_sub(1)
    }

    /// Batch `index` if it is still in memory.
    pub(crate) fn recent(&self, index: usize) -> Option<&Arc<Batch>> {
        let first = self.places.len() - self.recent.len();
        self.recent.get(index.checked_sub(first)?)
    }

    /// First position appended at or after `time_us`, microseconds.
    pub(crate) fn position_at(&self, time_us: i64) -> Position {
        let index = self.places.partition_point(|place| place.appended_at_ms.saturating_mul(1000) < time_us);
        self.places.get(index).map_or(self.end, |place| place.base)
    }
}
