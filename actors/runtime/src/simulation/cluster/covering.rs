//! Clients that ask which own position of a system covers an input, and what they were told.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tol_kafka::{EventLog, MemoryLog, Position, TopicPartition};

use super::super::oracle;
use super::{Cluster, Outcome};
use crate::owner::{Ticket, Uncovered};

/// What was asked.
#[derive(Clone, Debug)]
struct Asked {
    own: TopicPartition,
    input: TopicPartition,
    position: Position,
}

/// Questions and promises, drawn beside, so that the rest of a seed stays what it is.
pub(in crate::simulation) struct Questions {
    random: ChaCha8Rng,
    asked: u64,
    /// Those without an answer, with the instance that was asked.
    open: BTreeMap<Ticket, (u64, Asked)>,
    /// What was asked, and below which own position everything decided from it was said to lie.
    promised: Vec<(Asked, Position)>,
    refused: usize,
}

impl Questions {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed ^ 0xc0ff_ee00), asked: 0, open: BTreeMap::new(), promised: Vec::new(), refused: 0 }
    }

    pub(super) fn none_is_open(&self) -> Outcome {
        match self.open.first_key_value() {
            Some((ticket, (_, asked))) => Err(format!("question {ticket} was never answered: {asked:?}")),
            None => Ok(()),
        }
    }

    /// How many were answered and how many refused.
    ///
    /// # Errors
    /// An answer that does not hold.
    pub(in crate::simulation) fn check(&self, log: &MemoryLog) -> Result<(usize, usize), String> {
        for (Asked { own, input, position }, end) in &self.promised {
            let read = oracle::accepted(log, input)?;
            let Some(event) = read.into_iter().flatten().find(|event| event.position == *position) else { continue };
            let decided = oracle::accepted(log, own)?.into_iter().flatten().filter(|own| own.is_caused_by(&event.id));
            if let Some(late) = decided.map(|own| own.position).find(|at| at >= end) {
                return Err(format!("{own}@{end} was said to cover {input}@{position}, and {late} was decided from it"));
            }
        }
        Ok((self.promised.len(), self.refused))
    }
}

impl Cluster {
    /// Now and then some client asks some owner.
    pub(super) fn ask_what_covers(&mut self) {
        if !self.questions.random.random_bool(0.02) {
            return;
        }
        let node = self.questions.random.random_range(0..self.nodes.len());
        let count = self.nodes[node].drivers.len();
        if count == 0 {
            return;
        }
        let at = self.questions.random.random_range(0..count);
        let (now_ms, Some((key, running))) = (self.now_ms, self.nodes[node].drivers.iter_mut().nth(at)) else { return };
        let Some((topic, _)) = key.0.reads() else { return };
        let input = TopicPartition::new(topic, key.1);
        let Ok(bounds) = self.log.bounds(&input) else { return };
        if bounds.end == 0 {
            return;
        }
        // Also what is not written yet.
        let position = self.questions.random.random_range(bounds.end.saturating_sub(4)..bounds.end + 2);
        let patience = self.questions.random.random_range(1..5_000);
        self.questions.asked += 1;
        let asked = Asked { own: running.driver.owner().own().clone(), input: input.clone(), position };
        running.driver.owner_mut().cover(input, position, self.questions.asked, now_ms + patience);
        self.questions.open.insert(self.questions.asked, (running.instance, asked));
    }

    /// An owner answers.
    pub(super) fn covered(&mut self, ticket: Ticket, covered: Result<Position, Uncovered>) -> Outcome {
        let Some((_, asked)) = self.questions.open.remove(&ticket) else {
            return Err(format!("question {ticket} was answered twice or never asked"));
        };
        match covered {
            Ok(end) => self.questions.promised.push((asked, end)),
            Err(_) => self.questions.refused += 1,
        }
        Ok(())
    }

    /// Nobody answers what an instance that is gone was asked.
    pub(super) fn forget_tickets(&mut self, instance: u64) {
        self.open_tickets.retain(|_, (asked, _)| *asked != instance);
        self.questions.open.retain(|_, (asked, _)| *asked != instance);
    }
}
