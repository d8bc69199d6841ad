#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
//! The orchestrator's rules on hand-made and random histories, and the contract suite.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tol_events::{Event, EventTime};
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
}

impl Life {
    /// Publishes a fact; what was decided besides notes, as "promoted d1" or "rollback d1 reason incident".
    fn fact(&mut self, event_type: &str, data: serde_json::Value) -> Vec<String> {
        self.facts += 1;
        let mut fact = Event::new(format!("f{}", self.facts), "/test", event_type, "service/web").at(at(100_000)); // arrives long after what it tells
        fact.data = data.to_string().into_bytes();
        let mut decision = Decision::new("intelligent-ci-cd-orchestrator", "/test", &self.facts.to_string());
        IntelligentCiCdOrchestrator.decide(&self.state, Input::Event(fact.encode().view()), &mut decision).unwrap();
        let mut decided = Vec::new();
        for draft in decision.finish().unwrap() {
            let mut own = Event::new("own", "/systems/intelligent-ci-cd-orchestrator", draft.event_type, "service/web").at(at(100_000));
            own.data = draft.data;
            IntelligentCiCdOrchestrator.evolve(&mut self.state, own.encode().view(), &mut Evolution::default()).unwrap();
            let data: serde_json::Value = own.data_as().unwrap();
            let text = |field: &str| data[field].as_str().unwrap_or("-").to_owned();
            match draft.event_type {
                "delivery.release_promoted.v1" => decided.push(format!("promoted {}", text("deployment_id"))),
                "delivery.rollback_requested.v1" => decided.push(format!("rollback {} {} {}", text("deployment_id"), text("reason"), text("incident_id"))),
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
    assert!(life.finished("d1", 0, "succeeded").is_empty());
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
    assert!(life.incident("i1", 7).is_empty());
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
}

#[derive(Clone, Debug)]
enum Fact {
    Finished { id: usize, minute: i64, failed: bool },
    Opened { id: usize, minute: i64, names: Option<usize> },
}

impl Fact {
    fn minute(&self) -> i64 {
        match self {
            Fact::Finished { minute, .. } | Fact::Opened { minute, .. } => *minute,
        }
    }
}

/// Up to 12 facts at minutes of their own, in the order of time, and an order in which they arrive.
fn histories() -> impl Strategy<Value = (Vec<Fact>, Vec<Fact>)> {
    proptest::collection::btree_map(0..120i64, (any::<bool>(), any::<bool>(), proptest::option::weighted(0.2, 0..12usize)), 1..12)
        .prop_map(|facts| {
            let fact = |(id, (minute, (is_incident, failed, names)))| match is_incident {
                true => Fact::Opened { id, minute, names },
                false => Fact::Finished { id, minute, failed },
            };
            facts.into_iter().enumerate().map(fact).collect::<Vec<_>>()
        })
        .prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle()))
}

fn decisions(facts: &[Fact]) -> Vec<String> {
    let mut life = Life::default();
    let publish = |fact: &Fact| match fact {
        Fact::Finished { id, minute, failed } => life.finished(&format!("d{id}"), *minute, if *failed { "failed" } else { "succeeded" }),
        Fact::Opened { id, minute, names } => life.incident_at(&format!("i{id}"), at(*minute), names.map(|id| format!("d{id}")).as_deref()),
    };
    facts.iter().flat_map(publish).collect()
}

/// The rollbacks that the rule of the issue asks for, written from all facts at once.
fn recount(facts: &[Fact]) -> BTreeSet<String> {
    let mut wanted = BTreeSet::new();
    for fact in facts {
        match fact {
            Fact::Finished { id, failed: true, .. } => drop(wanted.insert(format!("d{id}"))),
            Fact::Finished { .. } => {}
            Fact::Opened { minute: opened, names, .. } => {
                let served = facts.iter().filter_map(|other| match other {
                    Fact::Finished { id, minute, failed: false } if minute <= opened && names.is_none_or(|named| named == *id) => Some((*minute, *id)),
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
    fn rollbacks_equal_a_recount_and_none_is_missed_in_any_order_of_arrival((facts, shuffled) in histories()) {
        prop_assert!(facts.is_sorted_by_key(Fact::minute));
        let rollbacks = |decided: &[String]| decided.iter().filter_map(|text| text.strip_prefix("rollback ")?.split(' ').next().map(str::to_owned)).collect::<Vec<_>>();
        let in_order = rollbacks(&decisions(&facts));
        let as_set: BTreeSet<String> = in_order.iter().cloned().collect();
        prop_assert_eq!(as_set.len(), in_order.len(), "a deployment was asked back twice");
        prop_assert_eq!(&as_set, &recount(&facts));

        let decided = decisions(&shuffled);
        let out_of_order = rollbacks(&decided);
        let found: BTreeSet<String> = out_of_order.iter().cloned().collect();
        prop_assert_eq!(found.len(), out_of_order.len(), "a deployment was asked back twice");
        prop_assert!(found.is_superset(&as_set), "{:?} misses some of {:?}", found, as_set);
        let promoted: Vec<&String> = decided.iter().filter(|text| text.starts_with("promoted")).collect();
        prop_assert_eq!(promoted.iter().collect::<BTreeSet<_>>().len(), promoted.len());
    }
}
