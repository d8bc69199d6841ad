//! Redrives parked inputs in order, or discards one, as operators ask. Each leaves an own event with the operator's name and reason.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tol_events::{EncodedEvent, EventTime, reserved};
use tol_system::Input;

use super::decide::{Cause, OwnDraft, Place};
use super::parking::{Parked, Recorded, RedriveFailed, Removed};
use super::{Action, Error, Moment, Mutation, Owner, Ticket};

/// Parked inputs of one subject read at a time.
const CHUNK: usize = 500;
const NOT_OURS: &str = "this node does not own the partition; ask again in a moment";

/// What is to be decided again of one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// The subject.
    pub subject: String,
    /// Its parked inputs up to this [`Parked::order`], from the first on, up to the first that fails again.
    pub through: u64,
    /// Names the redrive. An input that failed in it is not tried again by it.
    pub id: String,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Also inputs that were redriven in vain as often as [`super::Options::redrives`] allows.
    pub force: bool,
}

/// A parked input that stays where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stayed {
    /// The dead letter.
    pub id: String,
    /// Its subject: later ones of it stay too.
    pub subject: String,
    /// What failed, or why it was not tried.
    pub problem: String,
}

/// What became of a redrive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Dead letters that went through, in order.
    pub gone: Vec<String>,
    /// Those that failed again.
    pub failed: Vec<Stayed>,
    /// Those not tried because they were redriven in vain too often.
    pub limited: Vec<Stayed>,
}

/// Answers to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Whether there was such a dead letter.
    Discarded(bool),
    /// What became of a redrive.
    Redriven(Redriven),
}

/// A redrive being worked through.
#[derive(Debug)]
pub(super) struct Redriving {
    subjects: VecDeque<Redrive>,
    pub(super) ticket: Ticket,
    so_far: Redriven,
}

impl Owner {
    /// The parked inputs of this partition, by subject and order, at most `limit`.
    ///
    /// # Errors
    /// The store failed.
    pub fn parked(&self, limit: usize) -> Result<Vec<Parked>, Error> {
        Ok(self.cache.parked(limit)?.iter().filter_map(|row| serde_json::from_slice(row).ok()).collect())
    }

    fn parked_by_id(&self, id: &str) -> Result<Option<Parked>, Error> {
        Ok(self.parked(usize::MAX / 2)?.into_iter().find(|parked| parked.id == id))
    }

    /// Asks for parked inputs to be decided again. The answer comes as [`Action::Answer`] once everything it says is committed.
    pub fn redrive(&mut self, subjects: Vec<Redrive>, ticket: Ticket) {
        if self.writer.is_active() {
            self.redriving.push_back(Redriving { subjects: subjects.into(), ticket, so_far: Redriven::default() });
        } else {
            self.actions.push(Action::Answer(ticket, Err(NOT_OURS.to_owned())));
        }
    }

    /// [`Owner::redrive`] of everything parked of a subject, however often it failed.
    pub fn redrive_subject(&mut self, subject: &str, ticket: Ticket) {
        let id = format!("ticket {ticket}");
        let all = Redrive { subject: subject.to_owned(), through: u64::MAX, id, by: String::new(), reason: String::new(), force: true };
        self.redrive(vec![all], ticket);
    }

    /// Gives up the dead letter `id`, for `reason`. Answered when committed.
    ///
    /// # Errors
    /// The store failed.
    pub fn discard(&mut self, id: &str, by: &str, reason: &str, ticket: Ticket, moment: Moment) -> Result<(), Error> {
        if !self.writer.is_active() {
            self.actions.push(Action::Answer(ticket, Err(NOT_OURS.to_owned())));
            return Ok(());
        }
        let Some(parked) = self.parked_by_id(id)? else {
            self.answer(ticket, Answered::Discarded(false));
            return Ok(());
        };
        let removed = Removed { id: parked.id.clone(), order: parked.order, by: Some(by.to_owned()), reason: Some(reason.to_owned()), redrive: None };
        let cause = Cause::of_operator("discard", &parked, format!("{}@{}", parked.id, parked.order), moment.wall);
        let drafts = vec![OwnDraft::reserved(reserved::INPUT_DISCARDED, &removed)];
        self.emit_own(&parked.subject, &cause, drafts, moment)?;
        self.answer(ticket, Answered::Discarded(true));
        Ok(())
    }

    /// E7: answers once what the answer rests on is committed: the batch being built, else the one in flight, else nothing.
    fn answer(&mut self, ticket: Ticket, answer: Answered) {
        if self.options.breaks(Mutation::AnsweredEarly) {
            self.actions.push(Action::Answer(ticket, Ok(answer)));
        } else if !self.building.records.is_empty() {
            self.building.answers.push((ticket, answer));
        } else if let Some((_, built, ..)) = &mut self.in_flight {
            built.answers.push((ticket, answer));
        } else {
            self.actions.push(Action::Answer(ticket, Ok(answer)));
        }
    }

    /// Works through what operators asked to redrive, as far as one batch goes.
    pub(super) fn redrive_waiting(&mut self, moment: Moment) -> Result<(), Error> {
        while let Some(mut job) = self.redriving.pop_front() {
            while let Some(subject) = job.subjects.front() {
                if !self.redrive_part(subject, &mut job.so_far, moment)? {
                    self.redriving.push_front(job);
                    return Ok(());
                }
                job.subjects.pop_front();
            }
            self.answer(job.ticket, Answered::Redriven(job.so_far));
        }
        Ok(())
    }

    /// Redrives a subject's inputs as far as the batch goes; whether it is done with.
    fn redrive_part(&mut self, what: &Redrive, so_far: &mut Redriven, moment: Moment) -> Result<bool, Error> {
        loop {
            let chunk = self.cache.parked_of(&what.subject, CHUNK)?;
            if chunk.is_empty() {
                return Ok(true);
            }
            for (order, row) in chunk {
                if order > what.through && !self.options.breaks(Mutation::RedriveBeyond) {
                    return Ok(true);
                }
                if self.building.records.len() >= self.options.batch_events || self.is_halted_by_now() {
                    return Ok(false);
                }
                let parked: Parked = serde_json::from_slice(&row).map_err(|_| Error::Internal("a parked input does not read"))?;
                let stays = |problem: String| Stayed { id: parked.id.clone(), subject: parked.subject.clone(), problem };
                if parked.failed_in.as_ref() == Some(&what.id) && !self.options.breaks(Mutation::RedriveTwice) {
                    so_far.failed.push(stays(parked.error.clone()));
                    return Ok(true);
                }
                if parked.redrives >= self.options.redrives && !what.force && !self.options.breaks(Mutation::RedriveUnlimited) {
                    so_far.limited.push(stays(format!("it was redriven in vain {} times, the last time: {}", parked.redrives, parked.error)));
                    return Ok(true);
                }
                if let Err(problem) = self.redrive_one(&parked, what, moment)? {
                    self.redrive_failed(&parked, what, problem.clone(), moment)?;
                    so_far.failed.push(stays(problem));
                    return Ok(true);
                }
                so_far.gone.push(parked.id);
            }
        }
    }

    fn redrive_one(&mut self, parked: &Parked, what: &Redrive, moment: Moment) -> Result<Result<(), String>, Error> {
        let encoded: Option<EncodedEvent> = parked.input.to_event().map(|event| event.encode());
        let input = match (&parked.input, &encoded) {
            (Recorded::Timer { id, due }, _) => Input::Timer { id, subject: &parked.subject, due: *due },
            (Recorded::Effect { request_id, outcome, at }, _) => Input::Effect { request_id, subject: &parked.subject, outcome, at: *at },
            (Recorded::Event { .. }, Some(encoded)) => Input::Event(encoded.view()),
            (Recorded::Event { .. }, None) => return Ok(Err("the parked event does not read".to_owned())),
        };
        let cause = Cause::of_operator("redrive", parked, format!("{}@{}", parked.id, parked.order), input.time());
        let removed = Removed {
            id: parked.id.clone(),
            order: parked.order,
            by: Some(what.by.clone()),
            reason: Some(what.reason.clone()),
            redrive: Some(what.id.clone()),
        };
        let mut drafts = vec![OwnDraft::reserved(reserved::INPUT_REDRIVEN, &removed)];
        match self.decide(&parked.subject, input, &cause)? {
            Ok(decided) => drafts.extend(decided),
            Err(problem) => return Ok(Err(problem)),
        }
        self.emit(&parked.subject, &cause, drafts, moment)
    }

    /// Records that a redrive failed: the loop guard counts it.
    fn redrive_failed(&mut self, parked: &Parked, what: &Redrive, problem: String, moment: Moment) -> Result<(), Error> {
        self.counts.failures += 1;
        self.last_problem = Some(problem.clone());
        let redrives = parked.redrives + 1;
        let failed = RedriveFailed {
            id: parked.id.clone(),
            order: parked.order,
            error: problem,
            redrives,
            by: what.by.clone(),
            reason: what.reason.clone(),
            redrive: what.id.clone(),
        };
        let cause = Cause::of_operator("redrive-failed", parked, format!("{}@{}#{redrives}", parked.id, parked.order), moment.wall);
        self.emit_own(&parked.subject, &cause, vec![OwnDraft::reserved(reserved::REDRIVE_FAILED, &failed)], moment)
    }
}

impl<'a> Cause<'a> {
    /// What an operator does about a dead letter.
    fn of_operator(action: &str, parked: &'a Parked, id: String, time: EventTime) -> Self {
        Self {
            source: format!("{action}:{}", parked.system).into(),
            id: id.into(),
            correlation: parked.correlation.as_str().into(),
            trace: None,
            time,
            marks: Vec::new(),
            at: Place::Told(parked.at.as_str().into()),
        }
    }
}
