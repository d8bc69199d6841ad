//! The reading half of the protocol (rules E3, E4 and E5 of the architecture document), without I/O.
//!
//! A [`Reader`] sees every record of one partition in order and lets through only those that its one writer
//! wrote under a valid claim, once, in whole groups. Owners use it on their own topic and on their inputs, projections on theirs.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tol_events::reserved::{OWNER_CLAIMED, OwnerClaimed};
use tol_events::{Attribute, EventView};

use crate::log::{Position, TopicPartition};
use crate::record::Batch;

/// Where a reader goes on, with what it must remember to judge the next record (E5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// The next record to read.
    pub position: Position,
    /// The highest epoch validly claimed below `position`; 0 before any claim.
    pub epoch: u64,
    /// The last sequence accepted below `position`; 0 before any.
    pub sequence: u64,
}

/// Written `position:epoch:sequence`.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.position, self.epoch, self.sequence)
    }
}

impl FromStr for Cursor {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(':').map(|part| part.parse::<u64>().map_err(drop));
        let mut next = || parts.next().unwrap_or(Err(()));
        let cursor = Cursor { position: next()?, epoch: next()?, sequence: next()? };
        if parts.next().is_some() { Err(()) } else { Ok(cursor) }
    }
}

/// Whether the records of a topic are numbered by an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbering {
    /// Facts, systems' events, `clock`: one writer, E3 and E4 hold.
    Owned,
    /// `control`: any node appends; every record counts.
    Open,
}

impl Numbering {
    /// The numbering of a topic, by its name.
    pub fn of_topic(topic: &str) -> Self {
        match topic {
            "control" | "inbox" => Numbering::Open,
            _ => Numbering::Owned,
        }
    }
}

/// What a reader lets through.
#[derive(Debug)]
pub enum Delivery<'a> {
    /// A valid claim (E2).
    Claim {
        /// Where it lies.
        position: Position,
        /// What it says.
        claim: OwnerClaimed,
    },
    /// A whole group (E4), in order; after a restart in the middle of one, the rest of it.
    Group {
        /// The events and their positions.
        events: &'a [(Position, EventView<'a>)],
        /// Epoch they were written under.
        epoch: u64,
        /// Sequence of the first of them; the others follow without gap.
        first_sequence: u64,
    },
}

/// Counts of what was not let through, for metrics and alarms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Written under an epoch that a later claim ended (a zombie's).
    pub stale: u64,
    /// A sequence already taken (a re-send).
    pub repeated: u64,
    /// A sequence beyond the next, after a lost batch; an alarm unless a claim follows.
    pub beyond_gap: u64,
    /// Claims not above the current epoch.
    pub void_claims: u64,
    /// Events of groups that a claim cut off.
    pub voided: u64,
}

/// Why a reader stops: going on would skip something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// E3: an epoch that was never claimed.
    #[error("{at} position {position}: epoch {epoch} was never claimed (the last claim is {current}); the log was written by something else than its owner")]
    UnclaimedEpoch {
        /// Partition.
        at: TopicPartition,
        /// Position.
        position: Position,
        /// The record's epoch.
        epoch: u64,
        /// The last valid claim's.
        current: u64,
    },
    /// Not numbered, or a group whose numbers do not fit.
    #[error("{at} position {position}: {problem}; the log was written by something else than its owner")]
    Malformed {
        /// Partition.
        at: TopicPartition,
        /// Position.
        position: Position,
        /// What does not fit.
        problem: String,
    },
    /// The consumer refused a delivery.
    #[error("{at} position {position}: {problem}")]
    Consumer {
        /// Partition.
        at: TopicPartition,
        /// Position of the delivery's first record.
        position: Position,
        /// What the consumer said.
        problem: String,
    },
}

/// The acceptance filter of one partition.
#[derive(Debug)]
pub struct Reader {
    topic_partition: TopicPartition,
    numbering: Numbering,
    /// Next position to look at.
    next: Position,
    epoch: u64,
    /// Last sequence accepted, held ones included.
    sequence: u64,
    /// The group being collected, with the batches that keep its bytes.
    held: Vec<(Arc<Batch>, Position)>,
    /// Set until the first acceptance after [`Reader::resume`]: the first event may then be in the middle of a group known to be whole.
    resumed: bool,
    /// A gap was seen and no claim since.
    gap: bool,
    dropped: Dropped,
}

impl Reader {
    /// A reader of `topic_partition` that goes on at `cursor`.
    pub fn resume(topic_partition: TopicPartition, cursor: Cursor) -> Self {
        let numbering = Numbering::of_topic(&topic_partition.topic);
        Self {
            topic_partition,
            numbering,
            next: cursor.position,
            epoch: cursor.epoch,
            sequence: cursor.sequence,
            held: Vec::new(),
            resumed: true,
            gap: false,
            dropped: Dropped::default(),
        }
    }

    /// What to store so that nothing held back is lost (E5): the first held event if there is one, else the next record.
    pub fn cursor(&self) -> Cursor {
        match self.held.first() {
            Some((_, position)) => Cursor { position: *position, epoch: self.epoch, sequence: self.sequence - self.held.len() as u64 },
            None => Cursor { position: self.next, epoch: self.epoch, sequence: self.sequence },
        }
    }

    /// The next position to read from the log.
    pub fn next(&self) -> Position {
        self.next
    }

    /// The highest epoch validly claimed so far.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last sequence accepted, held ones not counted.
    pub fn sequence(&self) -> u64 {
        self.sequence - self.held.len() as u64
    }

    /// The partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// What was not let through so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Whether sequences are missing and no claim has explained it: an alarm (E3).
    pub fn has_gap(&self) -> bool {
        self.gap
    }

    /// Takes a batch (what lies below [`Reader::next`] is skipped) and hands on what is accepted.
    /// Where `deliver` refuses, the reader stays in front of that delivery.
    ///
    /// # Errors
    /// [`Stop`]: the partition cannot be read further.
    pub fn read(&mut self, batch: &Arc<Batch>, deliver: &mut dyn FnMut(Delivery<'_>) -> Result<(), String>) -> Result<(), Stop> {
        for (position, event) in batch.events_from(self.next) {
            self.take(batch, position, event, deliver)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        batch: &Arc<Batch>,
        position: Position,
        event: EventView<'_>,
        deliver: &mut dyn FnMut(Delivery<'_>) -> Result<(), String>,
    ) -> Result<(), Stop> {
        let refused = |at: &TopicPartition, problem: String| Stop::Consumer { at: at.clone(), position, problem };
        if self.numbering == Numbering::Open {
            deliver(Delivery::Group { events: &[(position, event)], epoch: 0, first_sequence: 0 })
                .map_err(|problem| refused(&self.topic_partition, problem))?;
            self.next = position + 1;
            return Ok(());
        }
        let Some(epoch) = event.epoch() else {
            return Err(self.malformed(position, "it has no epoch"));
        };
        if event.attribute(Attribute::Sequence).is_none() && event.event_type() == OWNER_CLAIMED {
            return self.take_claim(position, event, deliver);
        }
        let Some(sequence) = event.sequence() else {
            return Err(self.malformed(position, "it has no sequence"));
        };
        if epoch > self.epoch {
            return Err(Stop::UnclaimedEpoch { at: self.topic_partition.clone(), position, epoch, current: self.epoch });
        }
        if epoch < self.epoch {
            self.dropped.stale += 1;
        } else if sequence <= self.sequence {
            self.dropped.repeated += 1;
        } else if sequence > self.sequence + 1 {
            self.dropped.beyond_gap += 1;
            self.gap = true;
        } else {
            return self.take_next(batch, position, event, sequence, deliver);
        }
        self.next = position + 1;
        Ok(())
    }

    fn take_claim(&mut self, position: Position, event: EventView<'_>, deliver: &mut dyn FnMut(Delivery<'_>) -> Result<(), String>) -> Result<(), Stop> {
        let claim: OwnerClaimed = event.data_as().map_err(|problem| self.malformed(position, &format!("its claim does not read: {problem}")))?;
        if claim.epoch > self.epoch {
            let epoch = claim.epoch;
            deliver(Delivery::Claim { position, claim }).map_err(|problem| Stop::Consumer { at: self.topic_partition.clone(), position, problem })?;
            self.dropped.voided += self.held.len() as u64;
            self.sequence -= self.held.len() as u64; // E4: used again by the new owner
            self.held.clear();
            self.epoch = epoch;
            self.gap = false;
            self.resumed = false;
        } else {
            self.dropped.void_claims += 1;
        }
        self.next = position + 1;
        Ok(())
    }

    fn take_next(
        &mut self,
        batch: &Arc<Batch>,
        position: Position,
        event: EventView<'_>,
        sequence: u64,
        deliver: &mut dyn FnMut(Delivery<'_>) -> Result<(), String>,
    ) -> Result<(), Stop> {
        let (index, count) = match event.attribute(Attribute::InputIndex) {
            None => (1, 1),
            Some(text) => {
                event.input_index().filter(|(i, n)| *i >= 1 && i <= n).ok_or_else(|| self.malformed(position, &format!("inputindex {text} is not i/n")))?
            }
        };
        let in_order = match self.held.last() {
            Some((last_batch, last_position)) => {
                let previous = last_batch.event((last_position - last_batch.base()) as usize).and_then(|event| event.input_index());
                previous == index.checked_sub(1).map(|i| (i, count))
            }
            None => index == 1 || self.resumed,
        };
        if !in_order {
            return Err(self.malformed(position, &format!("inputindex {index}/{count} does not follow the event before it")));
        }
        if index < count {
            self.held.push((batch.clone(), position));
        } else {
            let epoch = self.epoch;
            let outcome = if self.held.is_empty() {
                deliver(Delivery::Group { events: &[(position, event)], epoch, first_sequence: sequence })
            } else {
                let mut events: Vec<(Position, EventView<'_>)> = Vec::with_capacity(self.held.len() + 1);
                events.extend(self.held.iter().filter_map(|(batch, position)| Some((*position, batch.event((position - batch.base()) as usize)?))));
                events.push((position, event));
                deliver(Delivery::Group { events: &events, epoch, first_sequence: sequence - self.held.len() as u64 })
            };
            outcome.map_err(|problem| Stop::Consumer { at: self.topic_partition.clone(), position, problem })?;
            self.held.clear();
        }
        self.sequence = sequence;
        self.resumed = false;
        self.next = position + 1;
        Ok(())
    }

    fn malformed(&self, position: Position, problem: &str) -> Stop {
        Stop::Malformed { at: self.topic_partition.clone(), position, problem: problem.to_owned() }
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
