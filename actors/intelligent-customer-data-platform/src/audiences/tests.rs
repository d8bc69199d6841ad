use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tol_events::EventTime;

use super::{Answer, Condition, Facts, evaluate};
use crate::activity::Activity;

const DAY: i64 = 86_400_000_000;

fn at(day: i64) -> EventTime {
    EventTime::from_micros(20_000 * DAY + day * DAY)
}

/// Orders on these days, of 10 each.
fn orders(days: &[i64]) -> Facts {
    let mut activity = Activity::default();
    for (id, day) in days.iter().enumerate() {
        activity.add(at(*day).as_micros(), id as u64, &BTreeMap::from([("revenue".to_owned(), 10.0)]));
    }
    Facts { events: BTreeMap::from([("Order".to_owned(), activity)]), ..Facts::default() }
}

fn answer(condition: Value, facts: &Facts, now: EventTime) -> Answer {
    evaluate(&Condition::read(&condition).unwrap(), facts, now)
}

#[test]
fn a_window_counts_what_is_in_it_and_tells_when_that_changes() {
    let facts = orders(&[0, 5, 9]);
    let three = json!({"event": "Order", "count": {"at_least": 3}, "within": "10d"});
    assert_eq!(answer(three.clone(), &facts, at(9)), Answer { member: true, check_at: Some(at(10).plus_micros(1)) });
    assert!(answer(three.clone(), &facts, at(10)).member, "what is as old as the window is long is in it");
    assert_eq!(answer(three, &facts, at(10).plus_micros(1)), Answer { member: false, check_at: Some(at(15).plus_micros(1)) });
    let sum = json!({"event": "Order", "sum": "revenue", "is": {"above": 15}, "within": "6d"});
    assert!(answer(sum.clone(), &facts, at(10)).member && !answer(sum, &facts, at(12)).member);
    assert_eq!(answer(json!({"event": "Order", "count": {"equals": 3}}), &facts, at(99)), Answer { member: true, check_at: None });
}

#[test]
fn recency_and_negation() {
    let facts = orders(&[0]);
    let away = json!({"event": "Order", "last": {"older_than": "14d"}});
    assert_eq!(answer(away.clone(), &facts, at(14)), Answer { member: false, check_at: Some(at(14).plus_micros(1)) });
    assert_eq!(answer(away.clone(), &facts, at(14).plus_micros(1)), Answer { member: true, check_at: None });
    assert!(!answer(away, &Facts::default(), at(1)).member, "who never did it did not stop");
    let here = json!({"event": "Order", "last": {"within": "14d"}});
    assert!(answer(here.clone(), &facts, at(14)).member && answer(json!({"not": here}), &facts, at(15)).member);
}

#[test]
fn traits_and_consent_compare_by_their_type() {
    let facts = Facts {
        traits: BTreeMap::from([("plan".to_owned(), json!("pro")), ("age".to_owned(), json!(41)), ("gone".to_owned(), Value::Null)]),
        consent: BTreeMap::from([("Advertising".to_owned(), false)]),
        ..Facts::default()
    };
    let holds = |condition: Value| answer(condition, &facts, at(0)).member;
    assert!(holds(json!({"all": [{"trait": "plan", "in": ["free", "pro"]}, {"trait": "age", "at_least": 41.0}, {"trait": "age", "equals": 41.0}]})));
    assert!(
        !holds(json!({"trait": "plan", "at_least": 1}))
            && !holds(json!({"trait": "age", "contains": "4"}))
            && holds(json!({"trait": "plan", "contains": "pr"}))
    );
    assert!(holds(json!({"trait": "gone", "exists": false})) && holds(json!({"trait": "age", "exists": true})));
    assert!(holds(json!({"consent": "Advertising", "granted": false})) && !holds(json!({"consent": "Advertising"})));
    assert!(!holds(json!({"consent": "Mail", "granted": false})), "no word is neither yes nor no");
    assert!(holds(json!({"any": [{"trait": "none", "exists": true}, {"event": "Order", "count": {"at_most": 0}}]})));
}

#[test]
fn a_condition_that_does_not_read_is_named_with_its_place() {
    let problem = |condition: Value| Condition::read(&condition).unwrap_err().to_string();
    assert_eq!(problem(json!({"all": [{"trait": "a", "equals": 1}, {"trait": "a", "eqals": 1}]})).split(' ').next(), Some("where.all[1]"));
    assert!(problem(json!({"not": {"event": "x", "within": "5y"}})).starts_with("where.not .within is no time"));
    for wrong in [
        json!([]),
        json!({}),
        json!({"all": []}),
        json!({"event": "x", "sum": "y"}),
        json!({"event": "x", "count": {}}),
        json!({"event": ""}),
        json!({"trait": "a"}),
        json!({"trait": "a", "equals": {}}),
        json!({"event": "x", "last": {"within": "401d"}}),
        json!({"consent": "x", "granted": 1}),
        json!({"event": "x", "within": "-5d"}),
        json!({"event": "x", "within": "99999999999999999d"}),
        json!({"event": "x", "within": "\u{e4}"}),
    ] {
        assert!(Condition::read(&wrong).is_err(), "{wrong}");
    }
    let mut deep = json!({"event": "x"});
    for _ in 0..100 {
        deep = json!({"not": deep});
    }
    assert!(problem(deep).contains("too large"));
    assert!(problem(json!({"any": vec![json!({"event": "x"}); 300]})).contains("too large"));
}

#[test]
fn what_a_person_did_adds_up_to_the_same_in_any_order_and_for_any_split_among_devices() {
    for seed in 0..50 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut done: Vec<(i64, u64, f64)> =
            (0..200).map(|id| (random.random_range(0..500 * DAY), id, f64::from(random.random_range(0..1_000)) / 7.0)).collect();
        let add = |activity: &mut Activity, (at, id, value): (i64, u64, f64)| activity.add(at, id, &BTreeMap::from([("value".to_owned(), value)]));
        let folded = |done: &[(i64, u64, f64)]| {
            let mut activity = Activity::default();
            done.iter().for_each(|one| add(&mut activity, *one));
            activity
        };
        let first = folded(&done);
        done.shuffle(&mut random);
        assert_eq!(folded(&done), first, "seed {seed}");
        let (one, other) = done.split_at(70);
        let mut joined = folded(one);
        joined.join(&folded(other));
        assert_eq!((joined.total.clone(), joined.last), (first.total.clone(), first.last), "seed {seed}");
    }
}
