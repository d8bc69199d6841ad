//! [`SharedInputs`]: the inputs that every owner of a system reads, read once for all of them.
//!
//! An event of a system's topic may have a target in any partition, and a tick of the clock may be due anywhere. If each owner read all of them, a node
//! would have readers by the square of its partitions. So one reader a partition hands each event to the owner it is for. An owner that begins,
//! or falls behind while it tries an input again, reads by itself until it has caught up; the shared reader waits for no such owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tol_kafka::{Batch, Cursor, Delivery, EventLog, Reader, TopicPartition};

use crate::owner::{Error, Moment, Mutation, Owner, Positions, breaks, recipient};

/// Records that a shared reader passes before its members are told where it is, at most.
const TOLD_EVERY: u64 = 1_000;

/// One partition, read for several owners.
#[derive(Debug)]
struct SharedReader {
    reader: Reader,
    /// Batches in which a group begins that is not whole yet.
    kept: Vec<Arc<Batch>>,
    /// Where it was when all members were told last.
    told: Cursor,
}

/// The readers that the owners of one system on one node share.
#[derive(Debug, Default)]
pub struct SharedInputs {
    readers: BTreeMap<TopicPartition, SharedReader>,
    /// Those that may have something to read.
    pending: BTreeSet<TopicPartition>,
    /// The log could not be read at the last step.
    failed: bool,
}

/// What a step did.
#[derive(Debug, Default)]
pub struct Handed {
    /// Partitions whose owners have something to do.
    pub owners: BTreeSet<u32>,
    /// Something was read.
    pub read: bool,
}

impl SharedInputs {
    /// Takes note that a partition may have new records.
    pub fn grew(&mut self, partition: TopicPartition) {
        self.pending.insert(partition);
    }

    /// Looks whether any partition goes on behind its reader, in case nobody said so.
    pub fn look(&mut self, log: &dyn EventLog) {
        for (partition, shared) in &self.readers {
            if log.known_end(partition).is_ok_and(|end| end > shared.reader.next()) {
                self.pending.insert(partition.clone());
            }
        }
    }

    /// Whether the log could not be read at the last step, so that another one is due soon.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// Whether a step has anything to do.
    pub fn has_work<'a>(&self, mut owners: impl Iterator<Item = &'a Owner>) -> bool {
        !self.pending.is_empty() || owners.any(|owner| owner.is_alone() || owner.has_questions())
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.readers.len()
    }

    /// Where the inputs of an owner stand: what it decided, and what a shared reader passed that was not for it.
    pub fn positions(&self, owner: &Owner) -> Positions {
        let mut positions = owner.positions().clone();
        for (partition, shared) in &self.readers {
            if let Some(cursor) = owner.stands_at(partition, Some(shared.reader.cursor())) {
                positions.insert(partition.clone(), cursor);
            }
        }
        positions
    }

    /// Takes in owners that have caught up, reads what is new, and hands it out. `owners` are those of one system, in the order of their partitions.
    ///
    /// # Errors
    /// A partition cannot be read on, or the store failed.
    pub fn step(&mut self, log: &dyn EventLog, owners: &mut [&mut Owner], moment: Moment, read_bytes: usize) -> Result<Handed, Error> {
        let mut handed = Handed::default();
        self.failed = false;
        for owner in owners.iter_mut() {
            if owner.is_alone() {
                self.take_in(owner);
            }
            self.answer_questions(owner, &mut handed);
        }
        for partition in std::mem::take(&mut self.pending) {
            let Some(shared) = self.readers.get_mut(&partition) else { continue };
            // Else it stays pending without anything having moved: a member that decides, or whose append is answered, brings the next step.
            if !shared.makes_room(owners, moment) {
                if owners.iter().any(|owner| owner.member_from(&partition).is_some()) {
                    self.pending.insert(partition);
                }
                continue;
            }
            handed.owners.extend(owners.iter().filter(|owner| owner.reads_alone(&partition)).map(|owner| owner.partition()));
            match log.read(&partition, shared.reader.next(), read_bytes) {
                Ok(batches) if batches.is_empty() => {}
                Ok(batches) => {
                    handed.read = true;
                    for batch in batches {
                        shared.take(&batch, owners, &mut handed.owners)?;
                    }
                    self.pending.insert(partition);
                }
                Err(damaged @ tol_kafka::Error::Corrupt(_)) => return Err(damaged.into()),
                Err(_) => {
                    self.failed = true;
                    self.pending.insert(partition);
                }
            }
        }
        Ok(handed)
    }

    /// Lets an owner share what it reads by itself, wherever the shared reader is not ahead of it.
    fn take_in(&mut self, owner: &mut Owner) {
        for (partition, cursor) in owner.alone() {
            let shared = self.readers.entry(partition.clone()).or_insert_with(|| SharedReader {
                reader: Reader::resume(partition.clone(), cursor),
                kept: Vec::new(),
                told: cursor,
            });
            if cursor.position >= shared.reader.cursor().position || breaks(Mutation::JoinedBehind) {
                owner.join(&partition);
                // The shared reader may be behind.
                self.pending.insert(partition);
            }
        }
    }

    /// An owner that is asked about a partition has to know how far it was read.
    fn answer_questions(&self, owner: &mut Owner, handed: &mut Handed) {
        for partition in owner.asked_about() {
            let Some(from) = owner.member_from(&partition) else { continue };
            let Some(shared) = self.readers.get(&partition) else { continue };
            let cursor = shared.reader.cursor();
            if cursor.position > from {
                owner.pass(&partition, cursor, 0);
                handed.owners.insert(owner.partition());
            }
        }
    }
}

impl SharedReader {
    /// Whether it may read on: it has members, and each can take something. A member that cannot because it tries an input again leaves.
    fn makes_room(&self, owners: &mut [&mut Owner], moment: Moment) -> bool {
        let partition = self.reader.topic_partition();
        let (mut members, mut full) = (0, false);
        for owner in owners.iter_mut().filter(|owner| owner.member_from(partition).is_some()) {
            if owner.is_full() && owner.is_retrying(moment) {
                owner.leave(partition, self.reader.cursor());
                continue;
            }
            members += 1;
            full |= owner.is_full();
        }
        members > 0 && !full
    }

    /// Hands the events of a batch to the owners they are for.
    fn take(&mut self, batch: &Arc<Batch>, owners: &mut [&mut Owner], woken: &mut BTreeSet<u32>) -> Result<(), Error> {
        let partition = batch.topic_partition();
        let is_clock = &*partition.topic == "clock";
        let mut failed = None;
        let Self { reader, kept, .. } = self;
        kept.push(batch.clone());
        let read = reader.read(batch, &mut |delivery| {
            let Delivery::Group { events, epoch, first_sequence } = delivery else { return Ok(()) };
            for (offset, (position, event)) in events.iter().enumerate() {
                let sequence = if epoch == 0 { 0 } else { first_sequence + offset as u64 };
                let after = Cursor { position: position + 1, epoch, sequence };
                let home = kept.iter().rev().find(|batch| batch.base() <= *position && *position < batch.end()).unwrap_or(batch);
                let index = position.saturating_sub(home.base()) as usize;
                let takes = |owner: &Owner| owner.member_from(partition).is_some_and(|from| *position >= from || breaks(Mutation::HandedTwice));
                if is_clock {
                    let time = event.time().unwrap_or_default();
                    for owner in owners.iter_mut().filter(|owner| takes(owner)) {
                        match owner.wants_tick(time) {
                            Ok(true) => {
                                owner.hand(home.clone(), index, after);
                                woken.insert(owner.partition());
                            }
                            Ok(false) => {}
                            Err(error) => {
                                let text = error.to_string();
                                failed = Some(error);
                                return Err(text);
                            }
                        }
                    }
                    continue;
                }
                let Some(first) = owners.first() else { continue };
                let Some(number) = recipient(first.specs(), first.partitions(), partition, *event) else { continue };
                let Ok(at) = owners.binary_search_by_key(&number, |owner| owner.partition()) else { continue };
                if takes(owners[at]) {
                    owners[at].hand(home.clone(), index, after);
                    woken.insert(number);
                }
            }
            Ok(())
        });
        read.map_err(|stop| failed.unwrap_or(Error::Stopped(stop)))?;
        let after = reader.cursor();
        // While a group is held, what lies before it is still needed.
        kept.retain(|batch| batch.end() > after.position);
        self.tell(after, owners, woken);
        Ok(())
    }

    /// Tells members where it is: all of them when it has come far, otherwise those that are asked.
    fn tell(&mut self, after: Cursor, owners: &mut [&mut Owner], woken: &mut BTreeSet<u32>) {
        let partition = self.reader.topic_partition();
        let passed = after.position.saturating_sub(self.told.position);
        let every = owners.first().map_or(TOLD_EVERY, |owner| owner.told_every().min(TOLD_EVERY));
        let all = passed >= every;
        for owner in owners.iter_mut() {
            if owner.member_from(partition).is_some_and(|from| after.position > from) && (all || owner.asks_about(partition)) {
                owner.pass(partition, after, passed);
                woken.insert(owner.partition());
            }
        }
        if all {
            self.told = after;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "shared_inputs_tests.rs"]
mod tests;
