//! Whether a profile is in an audience, and when the passage of time alone may change that.

use std::collections::BTreeMap;

use serde_json::Value;
use tol_events::EventTime;

use super::condition::{Comparison, Condition, EventTest};
use crate::activity::Activity;

/// What is known of a profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Opened traits.
    pub traits: BTreeMap<String, Value>,
    /// What it did, by the event's name.
    pub events: BTreeMap<String, Activity>,
    /// What it agreed to, by purpose.
    pub consent: BTreeMap<String, bool>,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the profile is in the audience.
    pub member: bool,
    /// The next moment at which a window slides past something; `None` where time changes nothing.
    pub check_at: Option<EventTime>,
}

/// Evaluates a condition for a profile at a moment.
pub fn evaluate(condition: &Condition, facts: &Facts, now: EventTime) -> Answer {
    let mut next = Next { now, at: None };
    let member = holds(condition, facts, &mut next);
    Answer { member, check_at: next.at }
}

/// The nearest moment in the future.
struct Next {
    now: EventTime,
    at: Option<EventTime>,
}

impl Next {
    fn change(&mut self, at: EventTime) {
        if at > self.now && self.at.is_none_or(|known| at < known) {
            self.at = Some(at);
        }
    }
}

/// Every part is evaluated, also where the answer is known: each may name the moment of the next change.
fn holds(condition: &Condition, facts: &Facts, next: &mut Next) -> bool {
    match condition {
        Condition::All(parts) => parts.iter().filter(|part| !holds(part, facts, next)).count() == 0,
        Condition::Any(parts) => parts.iter().filter(|part| holds(part, facts, next)).count() > 0,
        Condition::Not(part) => !holds(part, facts, next),
        Condition::Trait(name, comparison) => facts.traits.get(name).is_some_and(|value| comparison.holds(value)),
        Condition::HasTrait(name, known) => facts.traits.get(name).is_some_and(|value| !value.is_null()) == *known,
        Condition::Consent(purpose, granted) => facts.consent.get(purpose) == Some(granted),
        Condition::Event(name, test) => did(facts.events.get(name), test, next),
    }
}

fn did(activity: Option<&Activity>, test: &EventTest, next: &mut Next) -> bool {
    let nothing = Activity::default();
    let activity = activity.unwrap_or(&nothing);
    match test {
        EventTest::Count(comparison, window) => compare(comparison, windowed(activity, *window, next).count as f64),
        EventTest::Sum(measure, comparison, window) => compare(comparison, windowed(activity, *window, next).sum(measure)),
        EventTest::LastWithin(micros) => activity.last.is_some_and(|last| {
            let until = EventTime::from_micros(last).plus_micros(micros + 1);
            next.change(until);
            next.now < until
        }),
        EventTest::LastOlderThan(micros) => activity.last.is_some_and(|last| {
            let from = EventTime::from_micros(last).plus_micros(micros + 1);
            next.change(from);
            next.now >= from
        }),
    }
}

fn compare(comparison: &Comparison, number: f64) -> bool {
    comparison.holds(&Value::from(number))
}

fn windowed(activity: &Activity, window: Option<i64>, next: &mut Next) -> crate::activity::Total {
    let Some(micros) = window else { return activity.total.clone() };
    let from = next.now.plus_micros(-micros);
    let (total, oldest) = activity.since(from.as_micros());
    if let Some(oldest) = oldest {
        // The oldest that counts leaves the window one microsecond after it is as old as the window is long.
        next.change(EventTime::from_micros(oldest).plus_micros(micros + 1));
    }
    total
}
