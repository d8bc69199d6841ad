#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
//! The ledger's arithmetic on hand-made and random histories, and the contract suite.

use proptest::prelude::*;
use tol_events::{Event, EventTime};
use tol_system::{Decision, Evolution, Input, System, contract, erase};
use tol_tree_of_life_system::state::{Phase, Tally};
use tol_tree_of_life_system::{Configuration, Error, Ledger, TreeOfLifeSystem};

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1_440 * MINUTE;

fn at(micros: i64) -> EventTime {
    EventTime::from_secs(1_767_225_600).plus_micros(micros) // 2026-01-01T00:00:00Z
}

/// Publishes an observation and folds what the hub says about it; how many events that were.
fn observe(ledger: &mut Ledger, what: &str, micros: i64, planned: bool) -> usize {
    observe_after(ledger, what, micros, planned, None)
}

/// The same of a start, when the clock was last seen at `last_alive`.
fn observe_after(ledger: &mut Ledger, what: &str, micros: i64, planned: bool, last_alive: Option<i64>) -> usize {
    let mut data = serde_json::json!({"system": "s", "node": "n", "planned": planned, "error": "e", "reason": "r", "attempt": 1, "backoff_ms": 5});
    if let Some(last_alive) = last_alive {
        data["last_alive"] = at(last_alive).to_string().into();
    }
    let event_type = format!("supervision.system_{what}_observed.v1");
    let fact = Event::new("f", "/n", event_type, "system/s").at(at(micros)).with_data(&data).unwrap();
    let mut decision = Decision::new("tree-of-life-system", "/n", "f");
    let hub = TreeOfLifeSystem::default();
    hub.decide(ledger, Input::Event(fact.encode().view()), &mut decision).unwrap();
    let drafts = decision.finish().unwrap();
    for draft in &drafts {
        let mut own = Event::new("own", "/systems/tree-of-life-system", draft.event_type, "system/s").at(at(micros));
        own.data.clone_from(&draft.data);
        hub.evolve(ledger, own.encode().view(), &mut Evolution::default()).unwrap();
    }
    drafts.len()
}

#[test]
fn the_contract_holds() {
    let report = contract::check(&erase(TreeOfLifeSystem::default())).unwrap();
    assert!(report.unreached.is_empty() && report.events > 100 && report.refused > 100, "{report:?}");
}

#[test]
fn failure_counts_until_the_restart_and_planned_stops_are_kept_apart() {
    let mut ledger = Ledger::default();
    observe(&mut ledger, "started", 0, true);
    observe(&mut ledger, "failed", 90 * MINUTE, false);
    observe(&mut ledger, "restarted", 100 * MINUTE, false);
    observe(&mut ledger, "stopped", 200 * MINUTE, true);
    observe(&mut ledger, "started", 500 * MINUTE, true);
    let report = ledger.report(0.99, at(600 * MINUTE));
    assert_eq!(report.total, Tally { up: 290 * MINUTE, down: 10 * MINUTE, planned_down: 300 * MINUTE });
    assert_eq!(report.availability, Some(290.0 / 300.0));
    assert_eq!((report.phase, report.restarts, report.incidents), (Phase::Up, 1, 1));
    // 1% of 30 days are 432 minutes.
    assert_eq!((report.error_budget, report.error_budget_left), (432 * MINUTE, 422 * MINUTE));
}

#[test]
fn a_degraded_system_is_down_until_it_recovers_whatever_its_probes_do() {
    let mut ledger = Ledger::default();
    observe(&mut ledger, "started", 0, true);
    observe(&mut ledger, "failed", 10 * MINUTE, false);
    assert_eq!(observe(&mut ledger, "degraded", 11 * MINUTE, false), 1);
    assert_eq!(observe(&mut ledger, "degraded", 12 * MINUTE, false), 0);
    observe(&mut ledger, "failed", 15 * MINUTE, false);
    assert_eq!(ledger.phase, Phase::Degraded);
    assert_eq!(observe(&mut ledger, "recovered", 30 * MINUTE, false), 1);
    assert_eq!(observe(&mut ledger, "recovered", 31 * MINUTE, false), 0);
    assert_eq!((ledger.total, ledger.incidents, ledger.degradations), (Tally { up: 10 * MINUTE, down: 20 * MINUTE, planned_down: 0 }, 1, 1));
}

#[test]
fn after_a_crash_the_time_since_the_clock_fell_silent_is_downtime() {
    let mut ledger = Ledger::default();
    observe(&mut ledger, "started", 0, true);
    observe_after(&mut ledger, "started", 30 * MINUTE, true, Some(20 * MINUTE));
    assert_eq!((ledger.total, ledger.incidents, ledger.unobserved_stops), (Tally { up: 20 * MINUTE, down: 10 * MINUTE, planned_down: 0 }, 1, 1));
    // A clock that is said to have stopped before the last thing seen of the system, or after the start, changes nothing before or after.
    observe_after(&mut ledger, "started", 40 * MINUTE, true, Some(25 * MINUTE));
    assert_eq!(ledger.total.down, 20 * MINUTE);
    observe_after(&mut ledger, "started", 50 * MINUTE, true, Some(60 * MINUTE));
    assert_eq!((ledger.total.up, ledger.total.down), (30 * MINUTE, 20 * MINUTE));
    // After a planned stop the clock's silence says nothing.
    observe(&mut ledger, "stopped", 60 * MINUTE, true);
    observe_after(&mut ledger, "started", 90 * MINUTE, true, Some(61 * MINUTE));
    assert_eq!((ledger.total.down, ledger.total.planned_down, ledger.phase), (20 * MINUTE, 30 * MINUTE, Phase::Up));
}

#[test]
fn an_unplanned_stop_is_downtime_and_an_unobserved_one_is_counted() {
    let mut ledger = Ledger::default();
    observe(&mut ledger, "started", 0, true);
    observe(&mut ledger, "stopped", 10 * MINUTE, false);
    observe(&mut ledger, "started", 15 * MINUTE, false);
    observe(&mut ledger, "started", 20 * MINUTE, false);
    assert_eq!((ledger.total.down, ledger.incidents, ledger.unobserved_stops, ledger.starts), (5 * MINUTE, 1, 1, 3));
}

#[test]
fn the_window_slides_by_days_and_the_month_begins_anew() {
    let mut ledger = Ledger::default();
    observe(&mut ledger, "started", 0, true);
    observe(&mut ledger, "failed", DAY - 5 * MINUTE, false); // ends five minutes into the second day
    observe(&mut ledger, "restarted", DAY + 5 * MINUTE, false);
    let down_in_window = |day: i64| ledger.report(0.999, at(day * DAY)).window.down;
    assert_eq!((down_in_window(29), down_in_window(30), down_in_window(31)), (10 * MINUTE, 5 * MINUTE, 0));
    assert_eq!(ledger.report(0.999, at(30 * DAY)).month.down, 10 * MINUTE);
    assert_eq!(ledger.report(0.999, at(31 * DAY)).month, Tally::default()); // midnight of 1 February
    assert_eq!(ledger.report(0.999, at(4_000 * DAY)).total.down, 10 * MINUTE);
    assert!(ledger.report(0.999, at(4_000 * DAY)).window.up <= 30 * DAY);
}

#[test]
fn a_target_that_cannot_be_is_refused() {
    for target in [0.0, -1.0, 1.01, f64::NAN] {
        let problem = Configuration::new([("s".to_owned(), target)]).unwrap_err();
        assert!(matches!(&problem, Error::Target { system, .. } if system == "s") && problem.to_string().contains("0.999"));
    }
    let configuration = Configuration::new([("s".to_owned(), 0.95)]).unwrap();
    assert_eq!((configuration.target("s"), configuration.target("other")), (0.95, 0.99));
}

proptest! {
    #[test]
    fn booked_time_adds_up_and_late_observations_book_nothing(observations in proptest::collection::vec((0..5usize, 0..40 * DAY, any::<bool>()), 1..40)) {
        let mut ledger = Ledger::default();
        let mut first = None;
        let mut latest = i64::MIN;
        for (what, micros, planned) in observations {
            observe(&mut ledger, ["started", "failed", "restarted", "degraded", "stopped"][what], micros, planned);
            first.get_or_insert(micros);
            latest = latest.max(micros);
        }
        let all = |tally: Tally| tally.up + tally.down + tally.planned_down;
        prop_assert_eq!(all(ledger.total), ledger.booked_until.micros_since(at(first.unwrap())));
        prop_assert!(ledger.booked_until <= at(latest));
        prop_assert!(ledger.days.len() <= 31 && ledger.days.values().all(|day| all(*day) <= DAY));
        let report = ledger.report(0.99, at(latest));
        prop_assert!(report.availability.is_none_or(|share| (0.0..=1.0).contains(&share)));
        prop_assert_eq!(report.error_budget_left, report.error_budget - report.window.down);
    }
}
