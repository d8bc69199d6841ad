#![allow(clippy::unwrap_used, clippy::expect_used)]
//! A system that keeps the contract, and one broken in each way the contract is there to catch.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::Rng;
use serde::{Deserialize, Serialize};
use tol_events::{Event, EventTime, EventView};

use super::*;
use crate::{Decision, Description, Error, Evolution, Input, InputSpec, System, erase};

/// What is wrong with a [`Counter`].
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    BadName,
    NoExamples,
    ExamplesLeadToNothing,
    ExampleRefused,
    Panics,
    PanicsOnTimer,
    StaticCounter,
    HashMapOrder,
    LossyState,
    EmitsUnlisted,
    EmitsReserved,
    EmitsNotJson,
    EvolveRefuses,
    EvolveReadsAStatic,
    IgnoresUnknownOwnEvents,
    NamelessError,
    MutatesInDecide,
}

static CALLS: AtomicU64 = AtomicU64::new(0);

struct Counter(Flaw);

#[derive(Default, Clone, Serialize, Deserialize)]
struct Counted {
    seen: u64,
    #[serde(skip)]
    lost: u64,
    by_item: HashMap<String, u64>,
    peeked: Cell<u64>,
}

#[derive(Deserialize)]
struct Thing {
    item: String,
    count: u64,
}

#[derive(Serialize, Deserialize)]
struct Counts {
    item: String,
    total: u64,
    dice: u32,
}

fn thing(id: &str, event_type: &str, subject: &str, item: &str) -> Event {
    let data = serde_json::json!({"item": item, "count": 2});
    Event::new(id, "/test", event_type, subject).at(EventTime::from_secs(1_000)).with_data(&data).unwrap()
}

impl System for Counter {
    type State = Counted;

    fn describe(&self) -> Description {
        Description {
            name: if self.0 == Flaw::BadName { "Bad Name" } else { "counter" },
            tier: 7,
            code_version: "1",
            state_version: 1,
            about: "Counts things",
            inputs: vec![InputSpec { topic: "facts.other", types: &["test."] }],
            emits: match self.0 {
                Flaw::EmitsUnlisted => &["test.other_counted.v1"],
                Flaw::EmitsReserved => &["test.things_counted.v1", "tol.checkpointed.v1"],
                _ => &["test.things_counted.v1"],
            },
            depends_on: &[],
            uptime_target: 0.9,
        }
    }

    fn decide(&self, state: &Counted, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
        let event = match input {
            Input::Event(event) => event,
            Input::Timer { .. } if self.0 == Flaw::PanicsOnTimer => panic!("no timer expected"),
            Input::Timer { .. } | Input::Effect { .. } => return Ok(()),
        };
        if event.event_type() == "test.thing_ignored.v1" || self.0 == Flaw::ExamplesLeadToNothing {
            return Ok(());
        }
        let thing: Thing = match event.data_as() {
            Ok(thing) => thing,
            Err(_) if self.0 == Flaw::Panics => panic!("cannot read this"),
            Err(_) if self.0 == Flaw::NamelessError => return Err(Error::Refused("no".into())),
            Err(problem) => return Err(Error::malformed(&event, problem)),
        };
        if self.0 == Flaw::ExampleRefused {
            return Err(Error::malformed(&event, "not today"));
        }
        if self.0 == Flaw::MutatesInDecide {
            state.peeked.set(state.peeked.get() + 1);
        }
        let mut total = state.seen.saturating_add(thing.count);
        if self.0 == Flaw::StaticCounter {
            total = CALLS.fetch_add(1, Ordering::Relaxed);
        }
        if self.0 == Flaw::LossyState {
            total = total.saturating_add(state.lost);
        }
        let counts = Counts { item: thing.item, total, dice: decision.random("dice").random_range(1..7) };
        let draft = decision.emit("test.things_counted.v1", &counts);
        if self.0 == Flaw::EmitsNotJson {
            draft.data = b"{".to_vec();
        }
        Ok(())
    }

    fn evolve(&self, state: &mut Counted, event: EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
        if event.event_type() != "test.things_counted.v1" && self.0 != Flaw::IgnoresUnknownOwnEvents {
            return Err(Error::UnknownOwnEvent(event.event_type().to_owned()));
        }
        if self.0 == Flaw::EvolveRefuses {
            return Err(Error::malformed(&event, "no"));
        }
        let counts: Counts = event.data_as().map_err(|problem| Error::malformed(&event, problem))?;
        state.seen = counts.total;
        state.lost = state.lost.saturating_add(1);
        if self.0 == Flaw::EvolveReadsAStatic {
            state.seen = CALLS.fetch_add(1, Ordering::Relaxed);
        }
        if self.0 == Flaw::HashMapOrder {
            for number in 0..50 {
                state.by_item.insert(format!("{} {number}", counts.item), 1);
            }
        }
        evolution.set_timer("look-again", event.time().unwrap_or_default().plus_micros(1));
        evolution.request_effect("http", serde_json::Value::Null);
        Ok(())
    }

    fn examples(&self) -> Vec<Event> {
        if self.0 == Flaw::NoExamples {
            return Vec::new();
        }
        vec![
            thing("1", "test.thing_seen.v1", "thing/1", "apple"),
            thing("2", "test.thing_seen.v1", "thing/1", "pear"),
            thing("3", "test.thing_ignored.v1", "thing/1", "plum"),
        ]
    }
}

fn rules_broken_by(flaw: Flaw) -> Vec<Rule> {
    let violations = check(&erase(Counter(flaw))).expect_err("the flaw went unnoticed");
    assert!(violations.iter().all(|violation| !violation.detail.is_empty()));
    let mut rules: Vec<Rule> = violations.into_iter().map(|violation| violation.rule).collect();
    rules.sort();
    rules.dedup();
    rules
}

#[test]
fn a_sound_system_passes_and_the_report_shows_what_was_looked_at() {
    let report = check(&erase(Counter(Flaw::None))).unwrap();
    assert_eq!((report.examples, report.runs, report.system.as_str()), (3, SEEDS, "counter"));
    assert!(report.inputs > 300 && report.events > 200 && report.timers > 30 && report.effects > 30, "{report:?}");
    assert!(report.malformed > 300 && report.refused > 100 && report.refused < report.malformed, "{report:?}");
    assert!(report.unreached.is_empty());
    assert_eq!(check(&erase(Counter(Flaw::None))).unwrap(), report);
}

#[test]
fn each_flaw_breaks_its_rule() {
    let cases = [
        (Flaw::BadName, Rule::Description),
        (Flaw::EmitsReserved, Rule::Description),
        (Flaw::NoExamples, Rule::Examples),
        (Flaw::ExamplesLeadToNothing, Rule::Examples),
        (Flaw::ExampleRefused, Rule::Examples),
        (Flaw::Panics, Rule::NoPanic),
        (Flaw::PanicsOnTimer, Rule::NoPanic),
        (Flaw::StaticCounter, Rule::Determinism),
        (Flaw::EmitsUnlisted, Rule::Emits),
        (Flaw::EmitsNotJson, Rule::Emits),
        (Flaw::EvolveRefuses, Rule::EvolveFoldsOwnEvents),
        (Flaw::EvolveReadsAStatic, Rule::ReplayEqualsLive),
        (Flaw::IgnoresUnknownOwnEvents, Rule::UnknownOwnEvent),
        (Flaw::NamelessError, Rule::ErrorsNameTheInput),
        (Flaw::MutatesInDecide, Rule::DecideIsPure),
    ];
    for (flaw, rule) in cases {
        assert!(rules_broken_by(flaw).contains(&rule), "{flaw:?}");
        let quickly = check_quickly(&erase(Counter(flaw))).expect_err("the flaw went unnoticed in the quick check");
        assert!(quickly.iter().any(|violation| violation.rule == rule), "{flaw:?}: {quickly:?}");
    }
}

#[test]
fn the_quick_check_looks_at_every_rule_and_tries_little() {
    let report = check_quickly(&erase(Counter(Flaw::None))).unwrap();
    assert_eq!((report.examples, report.runs), (3, 1));
    assert!(report.inputs > 0 && report.events > 0 && report.timers > 0 && report.effects > 0 && report.refused > 0, "{report:?}");
    assert!(report.timers + report.effects <= QUICK_FOLLOW_UPS as u64 && report.malformed < 300, "{report:?}");
    for flaw in [Flaw::LossyState, Flaw::HashMapOrder] {
        assert!(check_quickly(&erase(Counter(flaw))).is_err(), "{flaw:?}");
    }
}

#[test]
fn a_field_left_out_of_the_state_is_noticed_where_it_changes_a_decision() {
    // The two decisions of one input are made from a state as it is and one that was written and read.
    let rules = rules_broken_by(Flaw::LossyState);
    assert!(rules.contains(&Rule::Determinism) || rules.contains(&Rule::StateRoundTrip), "{rules:?}");
}

#[test]
fn a_map_without_order_in_the_state_is_noticed() {
    let rules = rules_broken_by(Flaw::HashMapOrder);
    assert!(rules.contains(&Rule::ReplayEqualsLive) || rules.contains(&Rule::StateRoundTrip), "{rules:?}");
}
