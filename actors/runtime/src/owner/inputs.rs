//! Reading inputs: which, from where, and what of them waits to be decided.

use std::sync::Arc;

use tol_kafka::{Batch, Cursor, Delivery, Position, TopicPartition};

use super::{Error, Owner, Waiting};

impl Owner {
    pub(super) fn input_partitions(&self) -> Vec<(&'static str, u32)> {
        let mut partitions = Vec::new();
        for spec in &self.description.inputs {
            if spec.topic.ends_with(".events") {
                // An event there may be meant for a subject of ours from whichever partition it was written to.
                partitions.extend((0..self.options.partitions).map(|partition| (spec.topic, partition)));
            } else {
                let single = matches!(spec.topic, "clock" | "control");
                partitions.push((spec.topic, if single { 0 } else { self.partition }));
            }
        }
        if !self.description.inputs.iter().any(|spec| spec.topic == "clock") {
            partitions.push(("clock", 0));
        }
        partitions
    }

    /// Whether a partition is among its inputs while it is active.
    pub(super) fn reads(&self, partition: &TopicPartition) -> bool {
        self.readers.contains_key(partition) || self.joined.contains_key(partition)
    }

    /// The inputs it wants to read by itself now, and from where. None while it has read enough (bounded), may decide nothing, or is not active.
    /// What shared readers handed to it does not count: neither kind of input keeps it from the other.
    pub fn read_inputs_from(&self) -> Vec<(TopicPartition, Position)> {
        if !self.writer.is_active() || self.waiting.len() > self.shared_waiting || self.is_halted() {
            return Vec::new();
        }
        self.readers.values().map(|reader| (reader.topic_partition().clone(), reader.next())).collect()
    }

    /// Takes a batch of an input.
    ///
    /// # Errors
    /// The owner ends: the input cannot be read on.
    pub fn take_input(&mut self, batch: &Arc<Batch>) -> Result<(), Error> {
        let Some(reader) = self.readers.get_mut(batch.topic_partition()) else { return Ok(()) };
        let (waiting, mut last) = (&mut self.waiting, reader.cursor());
        let kept = self.kept.entry(batch.topic_partition().clone()).or_default();
        kept.push(batch.clone());
        reader.read(batch, &mut |delivery| {
            if let Delivery::Group { events, epoch, first_sequence } = delivery {
                for (offset, (position, _)) in events.iter().enumerate() {
                    let sequence = if epoch == 0 { 0 } else { first_sequence + offset as u64 };
                    last = Cursor { position: position + 1, epoch, sequence };
                    let home = kept.iter().rev().find(|batch| batch.base() <= *position && *position < batch.end()).unwrap_or(batch);
                    let index = position.saturating_sub(home.base()) as usize;
                    waiting.push_back(Waiting::Event { batch: home.clone(), index, after: last, shared: false });
                }
            }
            Ok(())
        })?;
        let after = reader.cursor();
        // While a group is held, what lies before it is still needed.
        kept.retain(|batch| batch.end() > after.position);
        if after != last {
            waiting.push_back(Waiting::Moved { partition: batch.topic_partition().clone(), after, count: 1, shared: false });
        }
        Ok(())
    }
}
