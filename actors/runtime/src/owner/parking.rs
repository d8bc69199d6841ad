//! Inputs that failed too often, parked in the order of their subject: what is kept of each, and how its row is folded.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use tol_events::{Attribute, Event, EventTime, EventView, reserved};
use tol_system::{EffectOutcome, Input};

use super::decide::{Cause, OwnDraft, Place};
use super::{Error, Moment, Owner};

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
    /// When it was parked: recorded time, known once the event was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked_at: Option<EventTime>,
    /// How often it was redriven in vain.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub redrives: u32,
    /// The redrive it failed in last: that one does not try it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_in: Option<String>,
    /// The input.
    pub input: Recorded,
}

impl Parked {
    /// Whether it was never tried: it only waits behind another one of its subject.
    pub fn came_behind(&self) -> bool {
        self.attempts == 0 && self.redrives == 0
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The row of a parked input: what its event says, and when that was recorded.
pub(super) fn row_of_parked(event: EventView<'_>) -> Result<Vec<u8>, Error> {
    let mut parked: Parked = event.data_as().map_err(|_| Error::Internal("a parked input does not read"))?;
    parked.parked_at = event.attribute(Attribute::RecordedTime).and_then(EventTime::parse);
    write_row(&parked)
}

/// The row after a redrive that failed.
pub(super) fn row_after_failure(row: &[u8], failed: RedriveFailed) -> Result<Vec<u8>, Error> {
    let mut parked: Parked = serde_json::from_slice(row).map_err(|_| Error::Internal("a parked input does not read"))?;
    parked.redrives = failed.redrives;
    parked.error = failed.error;
    parked.failed_in = Some(failed.redrive);
    write_row(&parked)
}

fn write_row(parked: &Parked) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(parked).map_err(|_| Error::Internal("a parked input does not serialise"))
}

/// Data of a redrive and of a discard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Removed {
    /// The dead letter.
    pub id: String,
    /// [`Parked::order`].
    pub order: u64,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Names the redrive: many dead letters may go in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redrive: Option<String>,
}

/// Data of a redrive that failed: the dead letter stays where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RedriveFailed {
    /// The dead letter.
    pub id: String,
    /// [`Parked::order`].
    pub order: u64,
    /// What failed this time.
    pub error: String,
    /// How often it was redriven in vain, this time included.
    pub redrives: u32,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Names the redrive.
    pub redrive: String,
}

impl Owner {
    /// Parks an input: an own event, and part of the state.
    pub(super) fn park(&mut self, input: Input<'_>, cause: &Cause<'_>, error: String, attempts: u32, moment: Moment) -> Result<(), Error> {
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
            at: cause.at.to_string(),
            correlation: cause.correlation.clone().into_owned(),
            time: cause.time,
            parked_at: None,
            redrives: 0,
            failed_in: None,
            input: Recorded::of(input),
        };
        let drafts = vec![OwnDraft::reserved(reserved::INPUT_PARKED, &parked)];
        self.emit_own(&subject, cause, drafts, moment)?;
        self.counts.parked += 1;
        self.building.dead_letters.push(Parked { parked_at: Some(moment.wall), ..parked });
        Ok(())
    }

    /// Whether inputs of this subject are parked, so that later ones wait behind them.
    pub(super) fn is_parked(&mut self, subject: &str) -> Result<bool, Error> {
        self.cache.is_parked(subject)
    }
}

impl<'a> Cause<'a> {
    /// The cause that an event is.
    pub(super) fn of_event(event: EventView<'a>, at: Place<'a>) -> Self {
        Self {
            source: event.source().into(),
            id: event.id().into(),
            correlation: event.correlation_id().into(),
            trace: event.attribute(Attribute::TraceParent),
            time: Input::Event(event).time(),
            marks: Vec::new(),
            at,
        }
    }
}
