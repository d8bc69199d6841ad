//! Inputs that failed too often, in the order of their subject, and what operators do about them.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use tol_events::{Attribute, EncodedEvent, Event, EventTime, EventView, reserved};
use tol_system::{EffectOutcome, Input};

use super::decide::{Cause, OwnDraft};
use super::{Action, Error, Moment, Owner, Ticket};

/// An input as it was, so that it can be decided again without reading its topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Recorded {
    /// An event.
    Event {
        /// Attributes and extensions by CloudEvents name.
        attributes: BTreeMap<String, String>,
        /// The data, as text where it is UTF-8.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The data in base64 where it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
    },
    /// A timer.
    Timer {
        /// Its name.
        id: String,
        /// When it was due.
        due: EventTime,
    },
    /// An effect's result.
    Effect {
        /// The request.
        request_id: String,
        /// How it ended.
        outcome: EffectOutcome,
        /// When.
        at: EventTime,
    },
}

impl Recorded {
    pub(super) fn of(input: Input<'_>) -> Self {
        match input {
            Input::Timer { id, due, .. } => Recorded::Timer { id: id.to_owned(), due },
            Input::Effect { request_id, outcome, at, .. } => Recorded::Effect { request_id: request_id.to_owned(), outcome: outcome.clone(), at },
            Input::Event(event) => {
                let event = event.to_event();
                let attributes = event.attributes.into_iter().map(|(attribute, value)| (attribute.name().to_owned(), value)).chain(event.extensions).collect();
                match String::from_utf8(event.data) {
                    Ok(text) => Recorded::Event { attributes, text: Some(text), base64: None },
                    Err(bytes) => {
                        let base64 = base64::engine::general_purpose::STANDARD.encode(bytes.as_bytes());
                        Recorded::Event { attributes, text: None, base64: Some(base64) }
                    }
                }
            }
        }
    }

    /// The event again, if it is one.
    pub fn to_event(&self) -> Option<Event> {
        let Recorded::Event { attributes, text, base64 } = self else { return None };
        let mut event = Event::default();
        for (name, value) in attributes {
            match Attribute::from_name(name) {
                Some(attribute) => event.set(attribute, value.clone()),
                None => {
                    event.extensions.insert(name.clone(), value.clone());
                    &mut event
                }
            };
        }
        event.data = match (text, base64) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(base64)) => base64::engine::general_purpose::STANDARD.decode(base64).ok()?,
            (None, None) => Vec::new(),
        };
        Some(event)
    }
}

/// A parked input: the data of its `tol.input_parked.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// The parking event's id; names the dead letter to operators.
    pub id: String,
    /// The system that could not decide it.
    pub system: String,
    /// Its partition.
    pub partition: u32,
    /// The subject that waits.
    pub subject: String,
    /// Sequence of the parking event: the order within the subject.
    pub order: u64,
    /// What failed, or that it came behind one that did.
    pub error: String,
    /// Tries; 0 for those that came behind.
    pub attempts: u32,
    /// Where the input lies: `topic/partition@position`, a timer or an effect.
    pub at: String,
    /// The input's correlation.
    pub correlation: String,
    /// The input's time.
    pub time: EventTime,
    /// The input.
    pub input: Recorded,
}

/// Data of a redrive and of a discard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Removed {
    /// The dead letter.
    pub id: String,
    /// [`Parked::order`].
    pub order: u64,
    /// Why, for a discard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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

    /// Asks for everything parked of `subject` to be decided again, in order, up to the first that fails again.
    /// The answer comes as [`Action::Answer`] with the number of inputs that went through.
    pub fn redrive_subject(&mut self, subject: &str, ticket: Option<Ticket>) {
        if self.writer.is_active() {
            self.redriving.push_back((subject.to_owned(), ticket, 0));
        } else if let Some(ticket) = ticket {
            self.actions.push(Action::Answer(ticket, Err("this node does not own the partition; ask again in a moment".to_owned())));
        }
    }

    /// Gives up the dead letter `id`, for `reason`. Answers 1 when committed, 0 when there is no such dead letter.
    ///
    /// # Errors
    /// The store failed.
    pub fn discard(&mut self, id: &str, reason: &str, ticket: Ticket, moment: Moment) -> Result<(), Error> {
        if !self.writer.is_active() {
            self.actions.push(Action::Answer(ticket, Err("this node does not own the partition; ask again in a moment".to_owned())));
            return Ok(());
        }
        let Some(parked) = self.parked_by_id(id)? else {
            self.answer(ticket, 0);
            return Ok(());
        };
        let removed = Removed { id: parked.id.clone(), order: parked.order, reason: Some(reason.to_owned()) };
        let cause = Cause::of_operator("discard", &parked, moment.wall);
        let drafts = vec![OwnDraft::reserved(reserved::INPUT_DISCARDED, &removed)];
        self.emit_own(&parked.subject, &cause, drafts, moment)?;
        self.answer(ticket, 1);
        Ok(())
    }

    /// E7: answers once what the answer rests on is committed: the batch being built, else the one in flight, else nothing.
    fn answer(&mut self, ticket: Ticket, count: u64) {
        if !self.building.records.is_empty() {
            self.building.answers.push((ticket, count));
        } else if let Some((_, built, ..)) = &mut self.in_flight {
            built.answers.push((ticket, count));
        } else {
            self.actions.push(Action::Answer(ticket, Ok(count)));
        }
    }

    /// Works through what operators asked to redrive, as far as one batch goes.
    pub(super) fn redrive(&mut self, moment: Moment) -> Result<(), Error> {
        while let Some((subject, ticket, mut done)) = self.redriving.pop_front() {
            let failed = loop {
                if self.building.records.len() >= self.options.batch_events {
                    self.redriving.push_front((subject, ticket, done));
                    return Ok(());
                }
                let Some((_, row)) = self.cache.parked_of(&subject, 1)?.into_iter().next() else { break None };
                let parked: Parked = serde_json::from_slice(&row).map_err(|_| Error::Internal("a parked input does not read"))?;
                match self.redrive_one(&parked, moment)? {
                    Ok(()) => done += 1,
                    Err(problem) => break Some(problem),
                }
            };
            let Some(ticket) = ticket else { continue };
            match failed {
                Some(problem) if done == 0 => self.actions.push(Action::Answer(ticket, Err(problem))),
                _ => self.answer(ticket, done),
            }
        }
        Ok(())
    }

    fn redrive_one(&mut self, parked: &Parked, moment: Moment) -> Result<Result<(), String>, Error> {
        let encoded: Option<EncodedEvent> = parked.input.to_event().map(|event| event.encode());
        let input = match (&parked.input, &encoded) {
            (Recorded::Timer { id, due }, _) => Input::Timer { id, subject: &parked.subject, due: *due },
            (Recorded::Effect { request_id, outcome, at }, _) => Input::Effect { request_id, subject: &parked.subject, outcome, at: *at },
            (Recorded::Event { .. }, Some(encoded)) => Input::Event(encoded.view()),
            (Recorded::Event { .. }, None) => return Ok(Err("the parked event does not read".to_owned())),
        };
        let cause = Cause::of_operator("redrive", parked, input.time());
        let mut drafts = vec![OwnDraft::reserved(reserved::INPUT_REDRIVEN, &Removed { id: parked.id.clone(), order: parked.order, reason: None })];
        match self.decide(&parked.subject, input, &cause)? {
            Ok(decided) => drafts.extend(decided),
            Err(problem) => return Ok(Err(problem)),
        }
        self.emit(&parked.subject, &cause, drafts, moment)
    }

    /// Parks an input: an own event, and part of the state.
    pub(super) fn park(&mut self, input: Input<'_>, cause: &Cause, error: String, attempts: u32, moment: Moment) -> Result<(), Error> {
        let subject = input.subject().to_owned();
        let sequence = self.writer.peek_sequence();
        let parked = Parked {
            id: cause.derived_id(self.description.name, 0),
            system: self.description.name.to_owned(),
            partition: self.partition,
            subject: subject.clone(),
            order: sequence,
            error,
            attempts,
            at: cause.at.clone(),
            correlation: cause.correlation.clone(),
            time: cause.time,
            input: Recorded::of(input),
        };
        let drafts = vec![OwnDraft::reserved(reserved::INPUT_PARKED, &parked)];
        self.emit_own(&subject, cause, drafts, moment)?;
        self.counts.parked += 1;
        self.building.dead_letters.push(parked);
        Ok(())
    }

    /// Whether inputs of this subject are parked, so that later ones wait behind them.
    pub(super) fn is_parked(&mut self, subject: &str) -> Result<bool, Error> {
        self.cache.is_parked(subject)
    }
}

impl Cause {
    /// An operator's redrive or discard of a dead letter.
    fn of_operator(action: &str, parked: &Parked, time: EventTime) -> Cause {
        Cause {
            source: format!("{action}:{}", parked.system),
            id: format!("{}@{}", parked.id, parked.order),
            correlation: parked.correlation.clone(),
            trace: None,
            time,
            marks: Vec::new(),
            at: parked.at.clone(),
        }
    }

    /// The cause that an event is.
    pub(super) fn of_event(event: EventView<'_>, at: String) -> Cause {
        Cause {
            source: event.source().to_owned(),
            id: event.id().to_owned(),
            correlation: event.correlation_id().to_owned(),
            trace: event.attribute(Attribute::TraceParent).map(str::to_owned),
            time: Input::Event(event).time(),
            marks: Vec::new(),
            at,
        }
    }
}
