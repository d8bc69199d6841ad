//! Which own position covers an input. The question waits in the owner and is answered with the commit (E7).

use serde::{Deserialize, Serialize};
use tol_kafka::{Position, TopicPartition};

use super::{Action, Moment, Mutation, Owner, Ticket};

/// Why a question which own position covers an input has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Uncovered {
    /// The owner is not active, or lost the partition while the question waited. Another node may own it: look and ask again.
    #[error("the partition has no active owner here; look who owns it and ask again")]
    NotOwned,
    /// The system reads nothing from that topic, so that it never covers its positions.
    #[error("the system does not read that topic")]
    NotRead,
    /// Too many questions wait.
    #[error("{0} requests wait for this partition already; ask again in a moment")]
    Busy(usize),
    /// The input was not decided in the time that the question had.
    #[error("the input was not decided in time")]
    Late,
}

/// A question that waits for its input to be decided.
#[derive(Debug)]
pub(super) struct Question {
    partition: TopicPartition,
    position: Position,
    ticket: Ticket,
    until_ms: u64,
}

impl Owner {
    /// Asks which own position covers input `position` of `partition` (inclusive): everything decided from it lies below the answer.
    /// [`Action::Covered`] answers once, when all of that is committed, or when nothing can be said until `until_ms`.
    pub fn cover(&mut self, partition: TopicPartition, position: Position, ticket: Ticket, until_ms: u64) {
        let waiting = self.questions_open();
        let refused = if !self.writer.is_active() {
            Some(Uncovered::NotOwned)
        } else if !self.reads(&partition) {
            Some(Uncovered::NotRead)
        } else {
            (waiting >= self.options.questions).then_some(Uncovered::Busy(waiting))
        };
        match refused {
            Some(refusal) => self.actions.push(Action::Covered(ticket, Err(refusal))),
            None => self.questions.push(Question { partition, position, ticket, until_ms }),
        }
    }

    /// Questions that were not answered yet.
    fn questions_open(&self) -> usize {
        let in_flight = self.in_flight.as_ref().map_or(0, |(_, built, ..)| built.covers.len());
        self.questions.len() + self.building.covers.len() + in_flight
    }

    /// The partitions that questions are about.
    pub(crate) fn asked_about(&self) -> Vec<TopicPartition> {
        self.questions.iter().map(|question| question.partition.clone()).collect()
    }

    /// Whether any question waits for its input.
    pub(crate) fn has_questions(&self) -> bool {
        !self.questions.is_empty()
    }

    /// Whether a question is about this partition.
    pub(crate) fn asks_about(&self, partition: &TopicPartition) -> bool {
        self.questions.iter().any(|question| question.partition == *partition)
    }

    /// When the first question that waits for its input is over.
    pub(super) fn questions_due_ms(&self) -> Option<u64> {
        self.questions.iter().map(|question| question.until_ms).min()
    }

    /// Takes up the questions whose input was decided by now: each is answered with the batch that holds what was decided last.
    pub(super) fn take_up_questions(&mut self, moment: Moment) {
        for question in std::mem::take(&mut self.questions) {
            if self.is_decided(&question.partition, question.position) {
                self.cover_with_commit(question.ticket);
            } else if moment.now_ms >= question.until_ms {
                self.actions.push(Action::Covered(question.ticket, Err(Uncovered::Late)));
            } else {
                self.questions.push(question);
            }
        }
    }

    /// Whether everything that input leads to is in a batch, committed or not.
    fn is_decided(&self, partition: &TopicPartition, position: Position) -> bool {
        self.positions.get(partition).is_some_and(|cursor| cursor.position > position)
    }

    /// E7: answers when the batch being built is committed, else the one in flight, else at once.
    fn cover_with_commit(&mut self, ticket: Ticket) {
        if self.options.breaks(Mutation::CoveredEarly) {
            let end = self.writer.next_position();
            self.actions.push(Action::Covered(ticket, Ok(end)));
        } else if !self.building.records.is_empty() {
            self.building.covers.push(ticket);
        } else if let Some((_, built, ..)) = &mut self.in_flight {
            built.covers.push(ticket);
        } else {
            self.actions.push(Action::Covered(ticket, Ok(self.meta.own.position)));
        }
    }

    /// Answers all waiting requests that the partition is lost: this node learns no more when its inputs are decided.
    pub(super) fn drop_questions(&mut self, attached: Vec<Ticket>) {
        let waiting = std::mem::take(&mut self.questions).into_iter().map(|question| question.ticket);
        for ticket in waiting.chain(attached).collect::<Vec<_>>() {
            self.actions.push(Action::Covered(ticket, Err(Uncovered::NotOwned)));
        }
    }
}
