//! The business rules, from facts about a customer to `revenue.*` events.
//!
//! A fact is put where it belongs among the facts that are known, what follows from all of them is compared with what was said, and the difference is said:
//! of a fact in order its own movement, of a late one also restatements of what it corrects.

use tol_events::{EventTime, EventView};
use tol_system::{Decision, Error, Input};

use crate::differences::{Scope, say};
use crate::facts::noted;
use crate::state::item_kind;
use crate::{Customer, RESTATE_TIMER};

pub(crate) fn decide(state: &Customer, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
    match input {
        Input::Event(event) => fact(state, &event, decision),
        Input::Timer { id, subject, due } => {
            let now = state.now.max(due);
            let scope = if id == RESTATE_TIMER { Scope::Everything } else { Scope::WhatIsDue };
            say(state, (customer_id(subject), state.now, now), scope, None, decision);
            Ok(())
        }
        Input::Effect { .. } => Ok(()), // it asks for none
    }
}

fn fact(state: &Customer, event: &EventView<'_>, decision: &mut Decision) -> Result<(), Error> {
    let Some(fact) = noted(event)? else { return Ok(()) };
    let now = now_of(state, event, fact.at);
    let mut with_fact = state.clone();
    if with_fact.take(&fact, now) {
        // What a correction names no more is counted again too.
        let item = item_kind(fact.kind).and_then(|kind| state.book.get(kind, &fact.reference));
        let named_before = item.iter().flat_map(|item| item.names()).collect();
        say(&with_fact, (event.subject_id(), state.now, now), Scope::Around(named_before), Some(fact), decision);
    }
    Ok(())
}

/// The moment of a decision. A fact without the time of its admission counts as one that has happened.
fn now_of(state: &Customer, event: &EventView<'_>, at: EventTime) -> EventTime {
    state.now.max(event.recorded_time().unwrap_or(at))
}

fn customer_id(subject: &str) -> &str {
    subject.split_once('/').map_or(subject, |(_, id)| id)
}
