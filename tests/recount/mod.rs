//! Customers and revenue against an independent recount: facts that come up to three hours late and twice are decided by the revenue agent and folded, and
//! must show what a recount in order of time shows, field by field, live and rebuilt.
//!
//! * `lifecycles` — draws random lives of customers, and the order in which their facts arrive
//! * `counted` — counts them anew, from the definition alone, sharing no code with what it checks

mod counted;
mod lifecycles;

use std::collections::BTreeMap;

use serde_json::Value;
use tol_events::{Attribute, Event, EventTime};
use tol_projections::customers::Customers;
use tol_projections::revenue::RevenueByMonth;
use tol_revenue_agent_system::RevenueAgentSystem;
use tol_system::projection::{MemoryRows, NoRows, Projection, erase};
use tol_system::{Decision, Evolution, Input, System};

use lifecycles::{Fact, Rng, lifecycle};

/// A row's value by its key.
type Shown = BTreeMap<String, Value>;

/// Folds events, letting all rows go through storage after every `often`-th one.
fn fold<P: Projection>(projection: P, events: &[Event], often: usize) -> Shown {
    let projection = erase(projection);
    let (mut overlay, mut stored) = (projection.overlay(), MemoryRows::default());
    for (number, event) in events.iter().enumerate() {
        overlay.fold(event.encode().view(), &stored).unwrap();
        if number % often == often - 1 {
            stored.store(&mut *overlay).unwrap();
        }
    }
    stored.store(&mut *overlay).unwrap();
    stored.into_rows().into_iter().filter_map(|(key, row)| Some((key.clone(), projection.value(&key, &[row]).unwrap()?))).collect()
}

/// What the agent decides from facts as they arrive. Panics where its states are not those that its own events give.
fn decided(facts: &[Event]) -> Vec<Event> {
    type States = BTreeMap<String, <RevenueAgentSystem as System>::State>;
    let (mut states, mut own): (States, Vec<Event>) = (States::new(), Vec::new());
    for fact in facts {
        let encoded = fact.encode();
        let (subject, cause) = (fact.get(Attribute::Subject), fact.get(Attribute::Id));
        let state = states.entry(subject.to_owned()).or_default();
        let mut decision = Decision::new("revenue-agent-system", fact.get(Attribute::Source), cause);
        RevenueAgentSystem.decide(state, Input::Event(encoded.view()), &mut decision).unwrap();
        for (index, draft) in decision.finish().unwrap().into_iter().enumerate() {
            let time = draft.time.unwrap_or_else(|| EventTime::parse(fact.get(Attribute::Time)).unwrap());
            let mut event = Event::new(format!("{cause}/{index}"), "/systems/revenue-agent-system", draft.event_type, subject).at(time);
            event.set(Attribute::CausationId, cause);
            event.data = draft.data;
            RevenueAgentSystem.evolve(state, event.encode().view(), &mut Evolution::default()).unwrap();
            own.push(event);
        }
    }
    let mut replayed = States::new();
    for event in &own {
        let state = replayed.entry(event.get(Attribute::Subject).to_owned()).or_default();
        RevenueAgentSystem.evolve(state, event.encode().view(), &mut Evolution::default()).unwrap();
    }
    states.retain(|_, state| *state != Default::default());
    assert!(replayed == states, "replay gives other states");
    own
}

/// Compares field by field, so that a difference is named.
fn compare(what: &str, found: &Shown, expected: &Shown) {
    for (key, expected) in expected {
        let Some(found) = found.get(key) else { panic!("{what}: {key} is missing: {expected}") };
        for (field, expected) in expected.as_object().unwrap() {
            assert_eq!(&found[field], expected, "{what}: {field} of {key}");
        }
        assert_eq!(found.as_object().unwrap().len(), expected.as_object().unwrap().len(), "{what}: fields of {key}");
    }
    let more: Vec<&String> = found.keys().filter(|key| !expected.contains_key(*key)).collect();
    assert!(more.is_empty(), "{what}: nothing should be left of {more:?}: {}", found[more[0]]);
}

fn check(facts: &[Fact]) -> usize {
    let mut arriving: Vec<&Fact> = facts.iter().collect();
    arriving.sort_by_key(|fact| (fact.arrives, &fact.id));
    let late = arriving.windows(2).filter(|pair| pair[0].subject == pair[1].subject && pair[0].at > pair[1].at).count();
    let arriving: Vec<Event> = arriving.into_iter().map(Fact::to_event).collect();
    let own = decided(&arriving);
    let (revenue, customers) = (counted::revenue(facts), counted::customers(facts));
    compare("revenue, live", &fold(RevenueByMonth, &own, 7), &revenue);
    compare("revenue, rebuilt", &fold(RevenueByMonth, &own, usize::MAX), &revenue);
    compare("customers, live", &fold(Customers, &arriving, 7), &customers);
    compare("customers, rebuilt", &fold(Customers, &arriving, usize::MAX), &customers);
    late
}

fn seed() -> u64 {
    let seed = std::env::var("TOL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(13);
    println!("TOL_SEED={seed}");
    seed
}

#[test]
fn an_order_of_the_future_is_shown_apart_until_its_time() {
    let order = Fact {
        id: "f1".to_owned(),
        source: "/shop",
        kind: "commerce.order_placed.v1",
        subject: "customer/1".to_owned(),
        at: 200,
        arrives: 100,
        data: serde_json::json!({"order_id": "o", "customer_id": "1", "total": {"minor": 5, "currency": "USD"}}),
    };
    let projection = erase(Customers);
    let mut overlay = projection.overlay();
    overlay.fold(order.to_event().encode().view(), &NoRows).unwrap();
    let mut row = Vec::new();
    overlay.drain(&mut |_, bytes| row = bytes.unwrap().to_vec()).unwrap();
    let at = |secs: i64| {
        let value = projection.value_at("1", std::slice::from_ref(&row), EventTime::from_secs(secs)).unwrap().unwrap();
        (value["orders"].clone(), value["orders_scheduled"].clone(), value["spent"].clone(), value["spent_scheduled"].clone())
    };
    let (none, five) = (serde_json::json!([]), serde_json::json!([{"minor": 5, "currency": "USD"}]));
    assert_eq!(at(199), (0.into(), 1.into(), none.clone(), five.clone()));
    assert_eq!(at(200), (1.into(), 0.into(), five, none));
    assert_eq!(projection.value("1", &[row]).unwrap().unwrap()["orders"], 0, "the digest is of what has come by the latest fact");
}

#[test]
fn amounts_beyond_64_bits_show_saturated_and_stop_nothing() {
    let order = |number: i64| Fact {
        id: format!("f{number}"),
        source: "/shop",
        kind: "commerce.order_placed.v1",
        subject: format!("customer/{}", number % 2),
        at: 1_767_225_600 + number,
        arrives: 1_767_225_600 + number,
        data: serde_json::json!({"order_id": format!("o{number}"), "customer_id": (number % 2).to_string(), "total": {"minor": i64::MAX, "currency": "USD"}}),
    };
    let facts: Vec<Event> = (0..4).map(|number| order(number).to_event()).collect();
    let most = serde_json::json!({"minor": i64::MAX, "currency": "USD", "saturated": true});
    let revenue = fold(RevenueByMonth, &decided(&facts), 1);
    assert_eq!((&revenue["2026-01/USD"]["recognized"], &revenue["current/USD"]["recognized"]), (&most, &most));
    assert_eq!(fold(Customers, &facts, 1)["1"]["spent"], serde_json::json!([most]));
}

#[test]
fn two_thousand_lifecycles_up_to_three_hours_late_and_told_twice_equal_a_recount() {
    let mut rng = Rng(seed());
    let facts: Vec<Fact> = (0..2_000).flat_map(|customer| lifecycle(&mut rng, customer)).collect();
    let late = check(&facts);
    assert!(facts.len() > 20_000 && late > 100, "{} facts, {late} late: a check of little", facts.len());
}

#[test]
fn each_lifecycle_alone_equals_a_recount() {
    // As above, but a difference cannot hide in a sum over customers.
    let mut rng = Rng(seed() ^ 0x5eed);
    for customer in 0..150 {
        let facts = lifecycle(&mut rng, customer);
        check(&facts);
    }
}

#[test]
fn one_customer_with_a_long_history_up_to_three_hours_late_equals_a_recount() {
    let mut rng = Rng(seed() ^ 0x10e6);
    let facts = lifecycles::long(&mut rng, 3_000);
    assert!(check(&facts) > 500);
}
