//! What an owner takes from the readers that it shares with the system's other owners ([`crate::shared_inputs`]).
//!
//! Of an input an owner either has a reader of its own, or is a member of the shared one: then it is handed the events that are meant for it, and told
//! now and then how far the shared reader is. What lies between was not for it, so its position may stay behind: to read that again changes nothing.

use std::sync::Arc;

use tol_events::{EventTime, EventView, id, reserved};
use tol_kafka::{Batch, Cursor, Position, Reader, TopicPartition};
use tol_system::InputSpec;

use super::{Error, Moment, Mutation, Owner, Waiting};

/// Whether all owners of a system read all of this topic: of a system's events as any may have a target, of the clock as any may have timers.
pub(crate) fn is_shared(topic: &str) -> bool {
    topic == "clock" || topic.ends_with(".events")
}

impl Owner {
    /// Whether it decides.
    pub(crate) fn is_active(&self) -> bool {
        self.writer.is_active()
    }

    /// The inputs that it could share and reads by itself, and where it stands in them.
    pub(crate) fn alone(&self) -> Vec<(TopicPartition, Cursor)> {
        if !self.is_active() {
            return Vec::new();
        }
        let shareable = self.readers.values().filter(|reader| is_shared(&reader.topic_partition().topic));
        shareable.map(|reader| (reader.topic_partition().clone(), reader.cursor())).collect()
    }

    /// Whether [`Owner::alone`] has any.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_active() && self.readers.keys().any(|partition| is_shared(&partition.topic))
    }

    /// Whether it reads this partition by itself.
    pub(crate) fn reads_alone(&self, partition: &TopicPartition) -> bool {
        self.is_active() && self.readers.contains_key(partition)
    }

    /// Gives up its own reader for the shared one, which is not ahead of it.
    pub(crate) fn join(&mut self, partition: &TopicPartition) {
        if let Some(reader) = self.readers.remove(partition) {
            self.kept.remove(partition);
            self.joined.insert(partition.clone(), reader.cursor());
        }
    }

    /// Reads by itself from where the shared reader is, because the owner cannot keep up and the shared reader does not wait.
    pub(crate) fn leave(&mut self, partition: &TopicPartition, shared: Cursor) {
        if let Some(told) = self.joined.remove(partition) {
            let from = if told.position > shared.position { told } else { shared };
            self.readers.insert(partition.clone(), Reader::resume(partition.clone(), from));
        }
    }

    /// From where on it takes what a shared reader reads; `None` where it is no member.
    pub(crate) fn member_from(&self, partition: &TopicPartition) -> Option<Position> {
        self.joined.get(partition).map(|told| told.position)
    }

    /// Whether it has as much to decide as it takes from shared readers.
    pub(crate) fn is_full(&self) -> bool {
        self.shared_waiting >= self.options.batch_events
    }

    /// Whether it waits before it tries an input again.
    pub(crate) fn is_retrying(&self, moment: Moment) -> bool {
        moment.now_ms < self.retry.1
    }

    /// Takes event `index` of a batch, which is for it.
    pub(crate) fn hand(&mut self, batch: Arc<Batch>, index: usize, after: Cursor) {
        self.waiting.push_back(Waiting::Event { batch, index, after, shared: true });
        self.shared_waiting += 1;
    }

    /// Takes note that the shared reader passed `count` records since it was told last, and that all of them that are for it were handed to it.
    pub(crate) fn pass(&mut self, partition: &TopicPartition, after: Cursor, count: u64) {
        let Some(told) = self.joined.get_mut(partition).filter(|told| told.position < after.position) else { return };
        *told = after;
        self.waiting.push_back(Waiting::Moved { partition: partition.clone(), after, count, shared: true });
        self.shared_waiting += 1;
    }

    /// Whether a tick may lead to anything here: a timer is due, or something that waits may set one.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) fn wants_tick(&mut self, time: EventTime) -> Result<bool, Error> {
        Ok(!self.waiting.is_empty() || self.cache.is_timer_due(time)?)
    }

    /// Where an input stands for it: a shared reader at `shared` passed nothing that it has not decided.
    pub(crate) fn stands_at(&self, partition: &TopicPartition, shared: Option<Cursor>) -> Option<Cursor> {
        let own = self.positions.get(partition).copied();
        let shared = shared.filter(|_| self.shared_waiting == 0 && self.joined.contains_key(partition));
        own.max(shared)
    }

    /// What it decides on.
    pub(crate) fn specs(&self) -> &[InputSpec] {
        &self.description.inputs
    }

    /// How many partitions there are.
    pub(crate) fn partitions(&self) -> u32 {
        self.options.partitions
    }

    /// How many readers it has of its own.
    pub fn readers(&self) -> usize {
        self.readers.len()
    }
}

/// The number of the partition whose owner decides on an event of an input topic; `None` where the system does not want it.
pub(crate) fn recipient(inputs: &[InputSpec], partitions: u32, partition: &TopicPartition, event: EventView<'_>) -> Option<u32> {
    let event_type = event.event_type();
    let wanted = inputs.iter().any(|spec| spec.topic == &*partition.topic && spec.wants(event_type));
    if !wanted || event_type.starts_with(reserved::PREFIX) {
        return None;
    }
    let target = event.target().filter(|_| !super::breaks(Mutation::TargetIgnored));
    Some(target.map_or(partition.partition, |target| id::partition_of(target, partitions)))
}
