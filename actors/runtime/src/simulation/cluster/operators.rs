//! What operators do about dead letters, and what they were told became of it.

use std::collections::BTreeMap;

use rand::Rng;

use super::super::oracle::Limits;
use super::{Cluster, Outcome};
use crate::owner::{Answered, Redrive};

/// What the event of a redrive says of who asked, where it was forced.
pub(in crate::simulation) const FORCED: &str = "forced";

/// What was answered, and what must therefore be in the log for ever.
#[derive(Default)]
pub(in crate::simulation) struct Promised {
    pub discarded: Vec<String>,
    /// Dead letters and the redrives they went through in.
    pub redriven: Vec<(String, String)>,
    /// Dead letters and the redrives they failed again in.
    pub failed: Vec<(String, String)>,
}

impl Promised {
    /// `asked` is the dead letter to be discarded, or the redrive.
    pub(super) fn note(&mut self, asked: Option<String>, answer: Answered) {
        let Some(asked) = asked else { return };
        match answer {
            Answered::Discarded(true) => self.discarded.push(asked),
            Answered::Discarded(false) => {}
            Answered::Redriven(outcome) => {
                self.redriven.extend(outcome.gone.into_iter().map(|letter| (letter, asked.clone())));
                self.failed.extend(outcome.failed.into_iter().map(|stayed| (stayed.id, asked.clone())));
            }
        }
    }
}

impl Cluster {
    pub(in crate::simulation) fn limits(&self) -> Limits {
        Limits { partitions: self.partitions, subjects: self.world.subjects, redrives: self.options.redrives }
    }

    /// An operator of one node discards a dead letter, or redrives one subject or many.
    pub(super) fn operate(&mut self, discard: bool) -> Outcome {
        let (node, Some(key)) = self.pick() else { return Ok(()) };
        let moment = self.moment(node);
        let Some(running) = self.nodes[node].drivers.get_mut(&key) else { return Ok(()) };
        let parked = running.driver.owner().parked(100).map_err(|error| error.to_string())?;
        self.tickets += 1;
        let (instance, ticket) = (running.instance, self.tickets);
        if parked.is_empty() {
            if self.random.random_bool(0.2) {
                running.driver.owner_mut().redrive_subject("customer/0", ticket);
                self.open_tickets.insert(ticket, (instance, None));
            }
            return Ok(());
        }
        let chosen = &parked[self.random.random_range(0..parked.len())];
        if discard {
            running.driver.owner_mut().discard(&chosen.id, "nobody", "a test", ticket, moment).map_err(|error| format!("discard: {error}"))?;
            self.open_tickets.insert(ticket, (instance, Some(chosen.id.clone())));
            let (id, subject) = (chosen.id.clone(), chosen.subject.clone());
            self.say(|| format!("n{node} {key:?} discard {id} of {subject}"));
            return Ok(());
        }
        // Now and then the same redrive goes on after a break.
        let id = format!("redrive {}", ticket / 3);
        let force = self.random.random_bool(0.3);
        let mut through: BTreeMap<&str, u64> = BTreeMap::new();
        for letter in &parked {
            if self.random.random_bool(0.5) {
                through.insert(&letter.subject, letter.order);
            }
        }
        let subjects: Vec<Redrive> = through
            .into_iter()
            .map(|(subject, through)| Redrive {
                subject: subject.to_owned(),
                through,
                id: id.clone(),
                by: if force { FORCED.to_owned() } else { "nobody".to_owned() },
                reason: format!("through {through}"),
                force,
            })
            .collect();
        let count = subjects.len();
        running.driver.owner_mut().redrive(subjects, ticket);
        self.open_tickets.insert(ticket, (instance, Some(id.clone())));
        self.say(|| format!("n{node} {key:?} {id} of {count} subjects"));
        Ok(())
    }
}
