#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
//! The orchestrator's rules on hand-made and random histories, and the contract suite.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tol_events::{Attribute, Event, EventTime};
use tol_intelligent_ci_cd_orchestrator::{IntelligentCiCdOrchestrator, Service, state};
use tol_system::{Decision, Evolution, Input, System, contract, erase};

fn at(minutes: i64) -> EventTime {
    EventTime::from_secs(1_767_268_800).plus_micros(minutes * 60_000_000)
}

/// A service whose facts arrive one after the other.
#[derive(Default)]
struct Life {
    state: Service,
    facts: u64,
    timers: BTreeMap<String, EventTime>,
}

impl Life {
    /// Publishes a fact, told long after what it tells; what was decided besides notes, as "promoted d1", "rollback d1 reason incident", "withdrawn d1".
    fn fact(&mut self, event_type: &str, data: serde_json::Value) -> Vec<String> {
        self.facts += 1;
        self.told(&format!("f{:05}", self.facts), event_type, at(100_000), None, data)
    }

    /// Publishes a fact as event `id`, told at `told_at` and admitted at `recorded`.
    fn told(&mut self, id: &str, event_type: &str, told_at: EventTime, recorded: Option<EventTime>, data: serde_json::Value) -> Vec<String> {
        let mut fact = Event::new(id, "/test", event_type, "service/web").at(told_at);
        if let Some(recorded) = recorded {
            fact.set(Attribute::RecordedTime, recorded.to_string());
        }
        fact.data = data.to_string().into_bytes();
        self.decide(Input::Event(fact.encode().view()), id)
    }

    /// Lets the timers fall due, in order.
    fn time_comes(&mut self) -> Vec<String> {
        let mut due: Vec<(EventTime, String)> = std::mem::take(&mut self.timers).into_iter().map(|(id, due)| (due, id)).collect();
        due.sort();
        due.iter().flat_map(|(due, id)| self.decide(Input::Timer { id, subject: "service/web", due: *due }, id)).collect()
    }

    fn decide(&mut self, input: Input<'_>, cause: &str) -> Vec<String> {
        let mut decision = Decision::new("intelligent-ci-cd-orchestrator", "/test", cause);
        IntelligentCiCdOrchestrator.decide(&self.state, input, &mut decision).unwrap();
        let mut decided = Vec::new();
        for draft in decision.finish().unwrap() {
            let mut own = Event::new("own", "/systems/intelligent-ci-cd-orchestrator", draft.event_type, "service/web").at(at(100_000));
            own.data = draft.data;
            let mut evolution = Evolution::default();
            IntelligentCiCdOrchestrator.evolve(&mut self.state, own.encode().view(), &mut evolution).unwrap();
            for timer in evolution.timers {
                match timer.due {
                    Some(due) => drop(self.timers.insert(timer.id, due)),
                    None => drop(self.timers.remove(&timer.id)),
                }
            }
            let data: serde_json::Value = own.data_as().unwrap();
            let text = |field: &str| data[field].as_str().unwrap_or("-").to_owned();
            match draft.event_type {
                "delivery.release_promoted.v1" => decided.push(format!("promoted {}", text("deployment_id"))),
                "delivery.rollback_requested.v1" => decided.push(format!("rollback {} {} {}", text("deployment_id"), text("reason"), text("incident_id"))),
                "delivery.rollback_withdrawn.v1" => decided.push(format!("withdrawn {}", text("deployment_id"))),
                _ => {}
            }
        }
        decided
    }

    fn finished_in(&mut self, environment: &str, id: &str, minute: i64, outcome: &str) -> Vec<String> {
        let data = serde_json::json!({"deployment_id": id, "service": "web", "environment": environment, "version": id, "outcome": outcome,
            "started_at": at(minute - 1), "finished_at": at(minute)});
        self.fact("delivery.deployment_finished.v1", data)
    }

    fn finished(&mut self, id: &str, minute: i64, outcome: &str) -> Vec<String> {
        self.finished_in("production", id, minute, outcome)
    }

    fn incident_at(&mut self, id: &str, opened_at: EventTime, deployment_id: Option<&str>) -> Vec<String> {
        let mut data = serde_json::json!({"incident_id": id, "service": "web", "environment": "production", "opened_at": opened_at});
        if let Some(deployment_id) = deployment_id {
            data["deployment_id"] = deployment_id.into();
        }
        self.fact("delivery.incident_opened.v1", data)
    }

    fn incident(&mut self, id: &str, minute: i64) -> Vec<String> {
        self.incident_at(id, at(minute), None)
    }

    fn rolled_back(&mut self, id: &str, minute: i64) -> Vec<String> {
        let data = serde_json::json!({"deployment_id": id, "service": "web", "environment": "production", "version": id, "rolled_back_at": at(minute)});
        self.fact("delivery.deployment_rolled_back.v1", data)
    }
}

#[test]
fn the_contract_holds() {
    let report = contract::check(&erase(IntelligentCiCdOrchestrator)).unwrap();
    assert!(report.unreached.is_empty() && report.events > 100 && report.refused > 100, "{report:?}");
}

#[test]
fn a_healthy_deployment_is_promoted_and_a_failed_one_taken_back_once() {
    let mut life = Life::default();
    assert_eq!(life.finished("d1", 0, "succeeded"), ["promoted d1"]);
    assert_eq!(life.finished("d2", 10, "failed"), ["rollback d2 deployment_failed -"]);
    assert!(life.finished("d1", 0, "succeeded").is_empty() && life.finished("d2", 10, "failed").is_empty());
    assert_eq!(life.finished("d1", 0, "failed"), ["rollback d1 deployment_failed -"]); // the sender corrects itself
    assert_eq!(life.finished("d1", 0, "succeeded"), ["withdrawn d1"]); // and once more
    assert_eq!(life.finished("d1", 0, "failed"), ["rollback d1 deployment_failed -"]);
}

#[test]
fn the_window_is_thirty_minutes_with_both_ends_by_the_times_of_the_facts() {
    for (micros, is_blamed) in [(-1, false), (0, true), (30 * 60_000_000, true), (30 * 60_000_000 + 1, false)] {
        let mut life = Life::default();
        life.finished("d1", 0, "succeeded");
        assert_eq!(!life.incident_at("i1", at(0).plus_micros(micros), None).is_empty(), is_blamed, "{micros}");
        let mut early = Life::default();
        assert!(early.incident_at("i1", at(0).plus_micros(micros), None).is_empty());
        let expected = if is_blamed { "rollback d1 incident i1" } else { "promoted d1" };
        assert_eq!(early.finished("d1", 0, "succeeded"), [expected], "{micros}");
    }
}

#[test]
fn an_incident_is_laid_to_the_last_deployment_that_served() {
    let mut life = Life::default();
    life.finished("d1", 0, "succeeded");
    life.finished("d2", 10, "succeeded");
    life.finished("d3", 12, "failed");
    assert_eq!(life.incident("i1", 15), ["rollback d2 incident i1"]);
    assert!(life.incident("i2", 16).is_empty()); // of the same deployment, which is on its way back
    assert_eq!(life.incident("i3", 5), ["rollback d1 incident i3"]); // opened while d1 served
}

#[test]
fn a_named_deployment_is_blamed_and_no_other() {
    let mut life = Life::default();
    life.finished("d1", 0, "succeeded");
    life.finished("d2", 10, "succeeded");
    assert_eq!(life.incident_at("i1", at(15), Some("d1")), ["rollback d1 incident i1"]);
    assert!(life.incident_at("i2", at(15), Some("d9")).is_empty());
    assert_eq!(life.finished("d8", 14, "succeeded"), ["promoted d8"]); // i2 named another one
    assert_eq!(life.finished("d9", 1, "succeeded"), ["rollback d9 incident i2"]);
}

#[test]
fn environments_do_not_touch_each_other() {
    let mut life = Life::default();
    life.finished_in("staging", "d1", 0, "succeeded");
    assert!(life.incident("i1", 5).is_empty());
}

#[test]
fn a_correction_that_comes_before_what_it_corrects_holds() {
    let data = |outcome: &str| {
        serde_json::json!({"deployment_id": "d1", "service": "web", "environment": "production", "version": "d1", "outcome": outcome,
            "started_at": at(0), "finished_at": at(0)})
    };
    let mut life = Life::default();
    assert_eq!(life.told("b", "delivery.deployment_finished.v1", at(20), None, data("failed")), ["rollback d1 deployment_failed -"]);
    assert!(life.told("a", "delivery.deployment_finished.v1", at(0), None, data("succeeded")).is_empty());
    // Told again by the nightly import: what was told between then and the first telling is no news either.
    assert!(life.told("import", "delivery.deployment_finished.v1", at(600), None, data("failed")).is_empty());
    assert!(life.told("c", "delivery.deployment_finished.v1", at(30), None, data("succeeded")).is_empty());
}

#[test]
fn a_late_deployment_takes_the_blame_from_the_one_before_it() {
    let mut life = Life::default();
    life.finished("d1", 0, "succeeded");
    assert_eq!(life.incident("i1", 15), ["rollback d1 incident i1"]);
    assert_eq!(life.finished("d2", 10, "succeeded"), ["withdrawn d1", "rollback d2 incident i1"]);
    // Of one that was taken back meanwhile nothing is withdrawn.
    let mut life = Life::default();
    life.finished("d1", 0, "succeeded");
    life.incident("i1", 15);
    life.rolled_back("d1", 16);
    assert_eq!(life.finished("d2", 10, "succeeded"), ["rollback d2 incident i1"]);
}

#[test]
fn a_rollback_that_is_told_before_the_finish_leaves_the_deployment_that_served() {
    let mut in_order = Life::default();
    in_order.finished("d0", 0, "succeeded");
    in_order.finished("d1", 10, "succeeded");
    in_order.rolled_back("d1", 14);
    assert!(in_order.incident("i1", 12).is_empty());
    let mut late = Life::default();
    late.finished("d0", 0, "succeeded");
    late.rolled_back("d1", 14);
    assert_eq!(late.incident("i1", 12), ["rollback d0 incident i1"]);
    assert_eq!(late.finished("d1", 10, "succeeded"), ["withdrawn d0"]);
}

#[test]
fn a_fact_of_a_time_to_come_is_decided_when_it_comes() {
    let finished = |id: &str, minute: i64| {
        serde_json::json!({"deployment_id": id, "service": "web", "environment": "production", "version": id, "outcome": "succeeded",
            "started_at": at(minute), "finished_at": at(minute)})
    };
    let mut life = Life::default();
    let now = Some(at(0));
    assert!(life.told("a", "delivery.deployment_finished.v1", at(60), now, finished("d1", 60)).is_empty());
    // Told now of a later time: it has not happened either.
    assert!(life.told("b", "delivery.deployment_finished.v1", at(0), now, finished("d2", 30)).is_empty());
    assert_eq!(life.timers.values().copied().collect::<Vec<_>>(), [at(60), at(30)]);
    assert_eq!(life.time_comes(), ["promoted d2", "promoted d1"]);
    assert!(life.state.scheduled.is_empty() && life.timers.is_empty());
    for number in 0..300 {
        life.told(&number.to_string(), "delivery.deployment_finished.v1", at(100 + number), now, finished(&format!("e{number}"), 100 + number));
    }
    assert_eq!((life.state.scheduled.len(), life.timers.len(), life.state.dropped), (state::SCHEDULED, state::SCHEDULED, 44));
    assert!(life.timers.values().all(|due| *due < at(100 + state::SCHEDULED as i64)), "the soonest are kept");
}

#[test]
fn what_was_taken_back_is_not_asked_for_again() {
    let mut life = Life::default();
    life.finished("d1", 0, "succeeded");
    life.rolled_back("d1", 5);
    assert!(life.incident("i1", 6).is_empty() && life.finished("d1", 0, "failed").is_empty());
    life.rolled_back("d2", 20); // its finish is not known yet
    assert!(life.finished("d2", 10, "succeeded").is_empty());
}

#[test]
fn an_incident_repeated_under_another_id_of_its_fact_counts_once() {
    let mut life = Life::default();
    life.finished("d1", 0, "succeeded");
    assert_eq!(life.incident("i1", 5).len(), 1);
    life.finished("d2", 6, "succeeded");
    assert!(life.incident("i1", 5).is_empty());
    // Told otherwise, it is corrected.
    assert_eq!(life.incident("i1", 7), ["withdrawn d1", "rollback d2 incident i1"]);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut life = Life::default();
    for number in 0..200 {
        life.finished(&format!("d{number}"), number * 100, "succeeded");
        life.incident(&format!("i{number}"), number * 100 + 50);
    }
    let environment = &life.state.environments["production"];
    assert_eq!((environment.deployments.len(), environment.incidents.len()), (state::KEPT, state::KEPT));
    assert_eq!(environment.deployments.last().unwrap().id, "d199");
    // What is older than all that is kept decides nothing, and an incident that is no longer kept is no reason to withdraw.
    assert!(life.finished("d3", 300, "failed").is_empty() && life.incident("i3", 310).is_empty());
    let mut busy = Life::default();
    busy.finished("d1", 0, "succeeded");
    assert_eq!(busy.incident("first", 1), ["rollback d1 incident first"]);
    for number in 0..200 {
        assert!(busy.incident(&format!("i{number}"), 100 + number).is_empty());
    }
}

/// What a history tells: deployments that end, perhaps told otherwise later, and incidents.
#[derive(Clone, Debug)]
enum Fact {
    Finished { id: usize, minute: i64, failed: bool, corrected: Option<bool> },
    Opened { id: usize, minute: i64, names: Option<usize> },
}

/// A telling: the event's id, when it was told, its type and data.
type Told = (String, i64, &'static str, serde_json::Value);

impl Fact {
    fn tellings(&self) -> Vec<Told> {
        match self {
            Fact::Finished { id, minute, failed, corrected } => {
                let told = |event: &str, later: i64, failed: bool| {
                    let data = serde_json::json!({"deployment_id": format!("d{id}"), "service": "web", "environment": "production", "version": "v",
                        "outcome": if failed { "failed" } else { "succeeded" }, "started_at": at(*minute), "finished_at": at(*minute)});
                    (format!("{event}{id}"), minute + later, "delivery.deployment_finished.v1", data)
                };
                std::iter::once(told("a", 0, *failed)).chain(corrected.map(|failed| told("b", 7, failed))).collect()
            }
            Fact::Opened { id, minute, names } => {
                let mut data = serde_json::json!({"incident_id": format!("i{id}"), "service": "web", "environment": "production", "opened_at": at(*minute)});
                if let Some(named) = names {
                    data["deployment_id"] = format!("d{named}").into();
                }
                vec![(format!("i{id}"), *minute, "delivery.incident_opened.v1", data)]
            }
        }
    }

    fn failed(&self) -> bool {
        matches!(self, Fact::Finished { failed, corrected, .. } if corrected.unwrap_or(*failed))
    }
}

/// Up to 11 facts at minutes of their own, and their tellings in an order in which they arrive, some of them twice.
fn histories() -> impl Strategy<Value = (Vec<Fact>, Vec<Told>)> {
    let fact = (any::<bool>(), any::<bool>(), proptest::option::weighted(0.2, 0..12usize), proptest::option::weighted(0.3, any::<bool>()), any::<bool>());
    proptest::collection::btree_map(0..120i64, fact, 1..12)
        .prop_map(|facts| {
            let mut tellings = Vec::new();
            let fact = |(id, (minute, (is_incident, failed, names, corrected, is_told_twice)))| {
                let fact = match is_incident {
                    true => Fact::Opened { id, minute, names },
                    false => Fact::Finished { id, minute, failed, corrected },
                };
                for (event, told_at, event_type, data) in fact.tellings() {
                    if is_told_twice {
                        tellings.push((format!("{event}-again"), told_at, event_type, data.clone()));
                    }
                    tellings.push((event, told_at, event_type, data));
                }
                fact
            };
            (facts.into_iter().enumerate().map(fact).collect::<Vec<_>>(), tellings)
        })
        .prop_flat_map(|(facts, tellings)| (Just(facts), Just(tellings).prop_shuffle()))
}

/// The rollbacks that stand after the tellings. None is asked for while it stands, and none withdrawn that does not.
fn standing(tellings: &[Told]) -> BTreeSet<String> {
    let mut life = Life::default();
    let (mut standing, mut promoted) = (BTreeSet::new(), BTreeSet::new());
    for (event, told_at, event_type, data) in tellings {
        for decided in life.told(event, event_type, at(*told_at), None, data.clone()) {
            let (what, rest) = decided.split_once(' ').unwrap();
            let id = rest.split(' ').next().unwrap().to_owned();
            let is_new = match what {
                "rollback" => standing.insert(id),
                "withdrawn" => standing.remove(&id),
                _ => promoted.insert(id),
            };
            assert!(is_new, "{decided} after {standing:?}");
        }
    }
    standing
}

/// The rollbacks that the rule asks for, written from all facts at once.
fn recount(facts: &[Fact]) -> BTreeSet<String> {
    let mut wanted = BTreeSet::new();
    for fact in facts {
        match fact {
            Fact::Finished { id, .. } if fact.failed() => drop(wanted.insert(format!("d{id}"))),
            Fact::Finished { .. } => {}
            Fact::Opened { minute: opened, names, .. } => {
                let served = facts.iter().filter(|other| !other.failed()).filter_map(|other| match other {
                    Fact::Finished { id, minute, .. } if minute <= opened && names.is_none_or(|named| named == *id) => Some((*minute, *id)),
                    _ => None,
                });
                wanted.extend(served.max().filter(|(finished, _)| opened - finished <= 30).map(|(_, id)| format!("d{id}")));
            }
        }
    }
    wanted
}

proptest! {
    #[test]
    fn the_rollbacks_that_stand_equal_a_recount_in_any_order_of_arrival((facts, arrived) in histories()) {
        let mut in_order = arrived.clone();
        in_order.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        prop_assert_eq!(standing(&in_order), recount(&facts));
        prop_assert_eq!(standing(&arrived), recount(&facts));
    }
}
