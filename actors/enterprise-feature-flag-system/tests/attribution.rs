//! Facts about customers and services reach the flags they concern: both systems played together, partition by partition, as the runtime does.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use tol_enterprise_feature_flag_system::attribution::{Attributed, FlagAttribution};
use tol_enterprise_feature_flag_system::{EnterpriseFeatureFlagSystem, Flag};
use tol_events::{Attribute, Event, EventTime};
use tol_system::{Decision, Evolution, Input, System, contract, erase};

const HOUR: i64 = 3_600_000_000;

/// One system with the states of its subjects and the timers they asked for.
struct Play<S: System> {
    system: S,
    states: BTreeMap<String, S::State>,
    timers: BTreeMap<(EventTime, String, String), ()>,
}

impl<S: System> Play<S> {
    fn new(system: S) -> Self {
        Self { system, states: BTreeMap::new(), timers: BTreeMap::new() }
    }

    /// What an input led to.
    fn input(&mut self, input: Input<'_>) -> Vec<Event> {
        let (name, subject) = (self.system.describe().name, input.subject().to_owned());
        let state = self.states.entry(subject.clone()).or_default();
        let mut decision = Decision::new(name, "/test", "1");
        self.system.decide(state, input, &mut decision).unwrap();
        let mut told = Vec::new();
        for draft in decision.finish().unwrap() {
            let mut event = Event::new(format!("o{}", told.len()), format!("/systems/{name}"), draft.event_type, &*subject).at(input.time());
            event.data = draft.data;
            if let Some(target) = draft.target {
                event.set(Attribute::Target, target);
            }
            let encoded = event.encode();
            tol_events::registry::validate(&encoded.view()).unwrap();
            let mut evolution = Evolution::default();
            self.system.evolve(state, encoded.view(), &mut evolution).unwrap();
            for timer in evolution.timers {
                self.timers.retain(|(_, at, id), ()| (at, id) != (&subject, &timer.id));
                if let Some(due) = timer.due {
                    self.timers.insert((due, subject.clone(), timer.id), ());
                }
            }
            told.push(event);
        }
        told
    }

    fn event(&mut self, event: &Event) -> Vec<Event> {
        self.input(Input::Event(event.encode().view()))
    }

    /// Fires what is due by then.
    fn clock(&mut self, hour: i64) -> Vec<Event> {
        let mut told = Vec::new();
        while let Some(((due, subject, id), ())) =
            self.timers.first_key_value().map(|(key, ())| (key.clone(), ())).filter(|((due, ..), ())| due.as_micros() <= hour * HOUR)
        {
            self.timers.pop_first();
            told.extend(self.input(Input::Timer { id: &id, subject: &subject, due }));
        }
        told
    }
}

fn fact(event_type: &str, subject: &str, hour: i64, data: &Value) -> Event {
    let mut event = Event::new(format!("{event_type} {subject} {hour}"), "/test", event_type, subject).at(EventTime::from_micros(hour * HOUR));
    event.data = data.to_string().into_bytes();
    event
}

fn exposed(customer: &str, hour: i64, trial: &str, arm: &str) -> Event {
    let data = json!({"customer_id": customer, "key": "f", "environment": "production", "trial": trial, "arm": arm,
        "metrics": ["billing.payment_failed"], "window_millis": 24 * 3_600_000});
    fact("flags.exposure_observed.v1", &format!("customer/{customer}"), hour, &data)
}

fn failed(customer: &str, hour: i64) -> Event {
    let data = json!({"payment_id": "p", "customer_id": customer, "amount": {"minor": 1999, "currency": "EUR"}});
    fact("billing.payment_failed.v1", &format!("customer/{customer}"), hour, &data)
}

fn data(event: &Event) -> Value {
    serde_json::from_slice(&event.data).unwrap()
}

fn types(told: &[Event]) -> Vec<&str> {
    told.iter().map(|event| event.get(Attribute::Type)).collect()
}

fn attribution() -> Play<FlagAttribution> {
    Play::new(FlagAttribution)
}

/// A flag with a rollout of a half against a half that measures failed payments, begun at hour 1.
fn rolled_out(services: &Value) -> Play<EnterpriseFeatureFlagSystem> {
    let mut flags = Play::new(EnterpriseFeatureFlagSystem);
    let definition = json!({"key": "f", "type": "boolean", "family": "unleash", "services": services, "environments": {"production": {"enabled": true, "rules": [
        {"kind": "targeted", "share": {"part": 5_000, "salt": "f"}, "serve": {"serve": "on"}}]}}});
    flags.event(&fact("flags.change_requested.v1", "flag/f", 0, &json!({"key": "f", "definition": definition, "by": "ada", "reason": "new"})));
    let step = |treatment: u32| json!({"treatment": treatment, "control": 10_000 - treatment, "minimum_millis": 3_600_000, "minimum_subjects": 100});
    let plan = json!({"steps": [step(5_000), step(9_000)], "guards": [{"metric": "billing.payment_failed", "harm": "increase", "kind": "proportion"}]});
    let rollout = json!({"key": "f", "rollout_id": "r", "environment": "production", "rule": 0, "plan": plan, "by": "ada", "reason": "ready"});
    assert_eq!(types(&flags.event(&fact("flags.rollout_requested.v1", "flag/f", 1, &rollout))), ["flags.rollout_advanced.v1"]);
    flags
}

fn flag(flags: &Play<EnterpriseFeatureFlagSystem>) -> &Flag {
    &flags.states["flag/f"]
}

#[test]
fn passes_the_contract() {
    let report = contract::check(&erase(FlagAttribution)).unwrap_or_else(|violations| panic!("{violations:#?}"));
    assert_eq!(report.unreached, [""; 0]);
    assert!(report.timers > 0, "{report:?}");
}

#[test]
fn a_customer_is_reported_once_with_what_happened_while_it_counts() {
    let mut play = attribution();
    assert_eq!(types(&play.event(&failed("1", 0))), [""; 0], "nobody asked");
    assert_eq!(types(&play.event(&exposed("1", 1, "rollout/r", "enabled"))), ["flags.exposure_followed.v1"]);
    assert_eq!(types(&play.event(&exposed("1", 2, "rollout/r", "enabled"))), [""; 0], "the first counts");
    assert_eq!(types(&play.event(&failed("1", 3))), ["flags.outcome_noted.v1"]);
    assert_eq!(types(&play.event(&failed("1", 0))), [""; 0], "before the exposure");
    assert_eq!(types(&play.event(&failed("1", 26))), [""; 0], "after what counts");
    assert_eq!(types(&play.event(&failed("2", 3))), [""; 0], "another customer");
    // A fact may be an hour late.
    assert_eq!(types(&play.clock(25)), [""; 0]);
    assert_eq!(types(&play.event(&failed("1", 25))), ["flags.outcome_noted.v1"]);
    let told = play.clock(26);
    assert_eq!(types(&told), ["flags.outcome_attributed.v1"]);
    assert_eq!((told[0].get(Attribute::Subject), told[0].get(Attribute::Target)), ("customer/1", "flag/f"));
    assert_eq!((&data(&told[0])["values"], data(&told[0]).get("excluded")), (&json!({"billing.payment_failed": 2}), None));
    // Met again it is not counted again, until it is forgotten.
    assert_eq!(types(&play.event(&exposed("1", 27, "rollout/r", "disabled"))), [""; 0]);
    assert_eq!(types(&play.clock(26 + 90 * 24)), ["flags.exposure_forgotten.v1"]);
    assert_eq!(play.states["customer/1"], Attributed::default());
}

#[test]
fn who_met_two_arms_counts_in_none_and_what_is_too_much_is_told() {
    let mut play = attribution();
    play.event(&exposed("1", 1, "rollout/r", "enabled"));
    assert_eq!(types(&play.event(&exposed("1", 2, "rollout/r", "disabled"))), ["flags.outcome_noted.v1"]);
    assert_eq!(types(&play.event(&exposed("1", 3, "rollout/r", "disabled"))), [""; 0], "told once");
    assert_eq!(data(&play.clock(30)[0])["excluded"], "crossed");
    for trial in 1..64 {
        assert_eq!(types(&play.event(&exposed("1", 31, &format!("experiment/{trial}"), "enabled"))), ["flags.exposure_followed.v1"]);
    }
    let dropped = play.event(&exposed("1", 31, "experiment/64", "enabled"));
    assert_eq!(
        (types(&dropped), &data(&dropped[0])["excluded"], dropped[0].get(Attribute::Target)),
        (vec!["flags.outcome_attributed.v1"], &json!("dropped"), "flag/f")
    );
}

#[test]
fn outcomes_are_looked_at_by_the_hundred_or_the_hour_and_harm_rolls_back() {
    let mut flags = rolled_out(&json!([]));
    let mut play = attribution();
    let mut looks = 0;
    for customer in 0..400 {
        let (id, treated) = (format!("{customer}"), customer % 2 == 0);
        play.event(&exposed(&id, 1, "rollout/r", if treated { "enabled" } else { "disabled" }));
        if customer % if treated { 4 } else { 40 } == u32::from(!treated) {
            play.event(&failed(&id, 2));
        }
    }
    for attributed in play.clock(26) {
        let told = flags.event(&attributed);
        looks += types(&told).iter().filter(|name| **name == "flags.rollout_observed.v1").count();
    }
    assert!((1..=4).contains(&looks), "{looks}");
    let results = flag(&flags).results(None);
    assert_eq!(
        (&results["rollout"]["phase"], &results["rollout"]["evidence"]["metric"]),
        (&json!("rolled_back"), &json!("billing.payment_failed")),
        "{results}"
    );
}

#[test]
fn few_outcomes_are_looked_at_after_an_hour_and_who_does_not_count_is_counted() {
    let mut flags = rolled_out(&json!([]));
    let mut play = attribution();
    for customer in ["1", "2", "3"] {
        play.event(&exposed(customer, 1, "rollout/r", "enabled"));
    }
    play.event(&exposed("3", 2, "rollout/r", "disabled"));
    let told: Vec<Event> = play.clock(26).iter().flat_map(|attributed| flags.event(attributed)).collect();
    assert_eq!(types(&told), ["flags.outcome_counted.v1"; 3]);
    let rollout = flag(&flags).results(None)["rollout"].clone();
    assert_eq!((&rollout["waiting"], &rollout["excluded"]), (&json!(2), &json!({"crossed": 1})));
    let told = flags.clock(27);
    assert!(types(&told).contains(&"flags.rollout_observed.v1"), "{told:?}");
    let rollout = flag(&flags).results(None)["rollout"].clone();
    assert_eq!(
        (&rollout["waiting"], &rollout["treatment_subjects"], &rollout["metrics"]["billing.payment_failed"]["treatment"]["subjects"]),
        (&json!(0), &json!(2), &json!(2))
    );
    // Who met it before the rollout's step was split by another share.
    let early = exposed("9", 0, "rollout/r", "enabled");
    play.event(&early);
    let told: Vec<Event> = play.clock(30).iter().flat_map(|attributed| flags.event(attributed)).collect();
    assert_eq!(data(&told[0])["excluded"], "earlier_step");
}

#[test]
fn an_experiment_takes_customers_in_and_its_conclusion_has_those_that_wait() {
    let mut flags = rolled_out(&json!([]));
    let details = json!({"variations": ["disabled", "enabled"], "metrics": ["billing.payment_failed"], "minimum_subjects": 1});
    let request = |action: &str| json!({"key": "f", "experiment_id": "e", "action": action, "statement": "x", "details": details, "by": "ada"});
    flags.event(&fact("flags.experiment_requested.v1", "flag/f", 0, &request("start")));
    let mut play = attribution();
    for customer in 0..150 {
        play.event(&exposed(&format!("{customer}"), 1, "experiment/e", if customer % 2 == 0 { "enabled" } else { "disabled" }));
    }
    let told: Vec<Event> = play.clock(26).iter().flat_map(|attributed| flags.event(attributed)).collect();
    assert_eq!(types(&told).iter().filter(|name| **name == "flags.experiment_observed.v1").count(), 1);
    assert_eq!(flag(&flags).results(Some("e"))["experiments"][0]["waiting"], 50);
    let told = flags.event(&fact("flags.experiment_requested.v1", "flag/f", 27, &request("conclude")));
    assert_eq!(data(&told[0])["details"]["results"]["subjects"], json!({"enabled": 75, "disabled": 75}));
}

#[test]
fn a_service_that_a_flag_names_holds_its_rollout_while_it_is_deployed() {
    let mut flags = Play::new(EnterpriseFeatureFlagSystem);
    let change = |services: Value| {
        let definition = json!({"key": "f", "type": "boolean", "family": "unleash", "services": services, "environments": {"production": {"enabled": true}}});
        fact("flags.change_requested.v1", "flag/f", 0, &json!({"key": "f", "definition": definition, "by": "ada", "reason": "x"}))
    };
    let mut play = attribution();
    let told = flags.event(&change(json!(["web", "db"])));
    assert_eq!(types(&told), ["flags.flag_changed.v1", "flags.service_named.v1", "flags.service_named.v1"]);
    assert_eq!(told[1].get(Attribute::Target), "service/db");
    told.iter().skip(1).for_each(|named| drop(play.event(named)));
    let told = flags.event(&change(json!(["web"])));
    assert_eq!((types(&told), &data(&told[1])["named"]), (vec!["flags.flag_changed.v1", "flags.service_named.v1"], &json!(false)));
    play.event(&told[1]);
    assert_eq!((play.states["service/web"].flags.len(), play.states["service/db"].flags.len()), (1, 0));

    let mut flags = rolled_out(&json!(["web"]));
    let deployed = json!({"deployment_id": "d-7", "service": "web", "environment": "production", "version": "7", "started_at": "2026-01-01T02:00:00Z"});
    let told = play.event(&fact("delivery.deployment_started.v1", "service/web", 1, &deployed));
    assert_eq!((types(&told), told[0].get(Attribute::Target)), (vec!["flags.deployment_attributed.v1"], "flag/f"));
    assert_eq!(types(&flags.event(&told[0]))[0], "flags.deployment_noted.v1");
    assert_eq!(flag(&flags).rollout.as_ref().unwrap().troubles["web"], "it is being deployed (d-7)");
    let mut finished = deployed.clone();
    finished["outcome"] = "succeeded".into();
    finished["finished_at"] = "2026-01-01T02:05:00Z".into();
    let told = play.event(&fact("delivery.deployment_finished.v1", "service/web", 2, &finished));
    flags.event(&told[0]);
    assert!(flag(&flags).rollout.as_ref().unwrap().troubles.is_empty());
    assert_eq!(
        types(&play.event(&fact(
            "delivery.deployment_started.v1",
            "service/db",
            1,
            &json!({"deployment_id": "d", "service": "db", "environment": "p", "version": "1", "started_at": "2026-01-01T02:00:00Z"})
        ))),
        [""; 0]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Customers lie in several partitions, whose facts reach the systems in any order between them, and what they lead to reaches the flag in any order.
    #[test]
    fn the_order_between_partitions_does_not_change_what_was_counted(
        histories in prop::collection::vec(prop::collection::vec((0i64..20, 0u8..3), 1..6), 1..40),
        (order, arrival) in (any::<u64>(), any::<u64>()),
    ) {
        // Each customer's own facts keep their order.
        let facts: Vec<Vec<Event>> = histories.iter().enumerate().map(|(customer, history)| {
            let id = customer.to_string();
            history.iter().map(|(hour, what)| match what {
                0 => exposed(&id, *hour, "rollout/r", "enabled"),
                1 => exposed(&id, *hour, "rollout/r", "disabled"),
                _ => failed(&id, *hour),
            }).collect()
        }).collect();
        let count = |order: u64, arrival: u64| {
            let (mut play, mut flags) = (attribution(), rolled_out(&json!([])));
            let mut random = order;
            let mut next = move |bound: usize| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) as usize % bound.max(1)
            };
            let mut waiting: Vec<std::slice::Iter<'_, Event>> = facts.iter().map(|facts| facts.iter()).collect();
            while !waiting.is_empty() {
                let at = next(waiting.len());
                match waiting[at].next() {
                    Some(fact) => drop(play.event(fact)),
                    None => drop(waiting.swap_remove(at)),
                }
            }
            let mut attributed = play.clock(48);
            let length = attributed.len().max(1);
            attributed.rotate_left(arrival as usize % length);
            attributed.iter().for_each(|one| drop(flags.event(one)));
            let ramp = flag(&flags).rollout.clone().unwrap();
            (ramp.waiting, ramp.excluded)
        };
        prop_assert_eq!(count(0, 0), count(order, arrival));
    }
}
