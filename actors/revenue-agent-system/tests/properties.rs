//! Whatever comes in whatever order: what was said in the end is what would have been said in order of time, and the state is the same.

use proptest::prelude::*;
use tol_events::{Attribute, Event};

use crate::life::*;

/// Facts of one small history. Times are few, so that some are equal.
fn small_fact() -> impl Strategy<Value = Event> {
    let subscription = prop_oneof![Just("s"), Just("t")];
    let order = prop_oneof![Just("o1"), Just("o2")];
    let payment = prop_oneof![Just("p1"), Just("p2")];
    let currency = prop_oneof![4 => Just("USD"), 1 => Just("EUR")];
    (0..12u8, 0..6i64, 0..1_000u32, subscription, order, payment, (1..5i64, currency)).prop_map(
        |(kind, at, id, subscription, order, payment, (amount, currency))| {
            let (id, at, amount) = (format!("f{id}"), minute(at * 9 * 24 * 60), amount * 100);
            match kind {
                0 | 1 => subscribed(&id, "started", at, subscription, amount),
                2 | 3 => subscribed(&id, "changed", at, subscription, amount - 100),
                4 | 5 => cancelled(&id, at, subscription),
                6 | 7 => ordered(&id, at, order, amount, currency),
                8 => paid(&id, at, payment, (amount, currency), Some(order)),
                9 => paid(&id, at, payment, (amount, currency), None),
                10 => refunded_by_shop(&id, at, if amount > 200 { "r1" } else { "r2" }, order, (amount, currency)),
                _ => refunded_by_provider(&id, at, if amount > 200 { "r1" } else { "r2" }, payment, (amount, currency)),
            }
        },
    )
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for shorter in permutations(count - 1) {
        for place in 0..count {
            let mut longer = shorter.clone();
            longer.insert(place, count - 1);
            all.push(longer);
        }
    }
    all
}

/// A fact, and the day it was admitted.
fn written((fact, day): (&Event, &i64)) -> String {
    let data = String::from_utf8_lossy(&fact.data);
    format!("{} {} @{} admitted on day {day}: {data}", fact.get(Attribute::Type), fact.get(Attribute::Id), fact.get(Attribute::Time))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn every_permutation_says_the_same(facts in proptest::collection::vec(small_fact(), 1..6)) {
        let mut expected = None;
        for permutation in permutations(facts.len()) {
            let mut life = Life::default();
            permutation.iter().for_each(|place| drop(life.publish(&facts[*place])));
            let told: Vec<_> = life.sums().into_iter().filter(|(_, sum)| sum.0 != 0).collect();
            let found = (told, life.state.subscriptions.recurring(life.state.now));
            match &expected {
                None => expected = Some(found),
                Some(expected) => prop_assert_eq!(&found, expected, "in the order {:?}", permutation),
            }
        }
    }

    #[test]
    fn facts_of_the_future_end_where_facts_of_the_past_do(facts in proptest::collection::vec(small_fact(), 1..20), admitted in proptest::collection::vec(0..80i64, 20)) {
        let mut past = Life::default();
        facts.iter().for_each(|fact| drop(past.publish(fact)));
        let mut future = Life::default();
        let mut clock: Vec<i64> = admitted[..facts.len()].to_vec();
        clock.sort_unstable();
        for (fact, day) in facts.iter().zip(&clock) {
            let now = minute(day * 24 * 60);
            future.tick(now);
            future.publish_at(fact, now);
        }
        future.tick(minute(100 * 24 * 60));
        let told = |life: &Life| life.sums().into_iter().filter(|(_, sum)| sum.0 != 0).collect::<Vec<_>>();
        prop_assert_eq!(told(&future), told(&past), "{:#?}", facts.iter().zip(&clock).map(written).collect::<Vec<_>>());
        prop_assert!(future.timers.is_empty());
    }
}
