//! One graph, whatever the order; and a merge that is undone is as one that never was.

use rand::seq::SliceRandom;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tol_events::cdp::UnmergeRequested;
use tol_events::{DomainEvent as _, Event, EventTime};

use super::world::{Outcome, Said, World, calls, fact};

fn facts(said: &[Said]) -> Vec<Event> {
    said.iter().enumerate().map(|(number, said)| fact(number, said)).collect()
}

fn played(said: &[Said], random: &mut StdRng) -> World {
    played_with(said, random, false)
}

fn played_with(said: &[Said], random: &mut StdRng, overtaking: bool) -> World {
    let mut world = World::with(overtaking);
    let mut facts = facts(said);
    facts.shuffle(random);
    world.play(facts, random);
    world
}

#[test]
fn a_thousand_orders_of_calls_and_messages_give_one_graph() {
    let (mut merges, mut refused) = (0, 0);
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let said = calls(&mut random, 30);
        let first = played(&said, &mut random).outcome();
        for order in 0..50 {
            let overtaking = order % 2 == 0;
            let world = played_with(&said, &mut random, overtaking);
            assert_eq!(world.outcome(), first, "seed {seed}, order {order}: {said:?}");
            if !overtaking {
                let stand: std::collections::BTreeSet<String> = first.merges.iter().map(|(merge, ..)| merge.clone()).collect();
                assert_eq!(world.told(), stand, "each merge that stands was told once, and no other one stands");
            }
        }
        merges += first.merges.len();
        refused += first.refused.len();
    }
    assert!(merges > 50 && refused > 50, "a check of nothing: {merges} merges, {refused} refused");
}

#[test]
fn all_that_belongs_together_ends_at_one_home_and_it_is_the_smallest() {
    for seed in 0..40 {
        let mut random = StdRng::seed_from_u64(seed);
        let said = calls(&mut random, 25);
        let world = played(&said, &mut random);
        for said in &said {
            for other in said.with.iter().filter(|other| **other != said.me) {
                assert_eq!(world.home_of(said.me), world.home_of(other), "seed {seed}");
            }
            let home = world.home_of(said.me);
            assert!(home <= tol_intelligent_customer_data_platform::graph::profile_of(said.me));
        }
    }
}

/// The calls without what they say about these pairs.
fn without(said: &[Said], pairs: &[(String, String)]) -> Vec<Said> {
    let parted = |one: &str, other: &str| pairs.iter().any(|(a, b)| (a == one && b == other) || (a == other && b == one));
    said.iter()
        .map(|said| {
            let with: Vec<&'static str> = said.with.iter().copied().filter(|other| !parted(said.me, other)).collect();
            // An alias call that says nothing is an ordinary call.
            Said { alias: said.alias && said.with.first().is_some_and(|first| with.first() == Some(first)), with, ..said.clone() }
        })
        .collect()
}

#[test]
fn undoing_a_merge_leaves_what_would_be_had_it_never_happened() {
    let mut undone = 0;
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let said = calls(&mut random, 25);
        let mut world = played(&said, &mut random);
        let before: Outcome = world.outcome();
        let merges: Vec<_> = before.merges.iter().cloned().collect();
        if merges.is_empty() {
            continue;
        }
        let (merge_id, kept, _) = merges[random.random_range(0..merges.len())].clone();
        // The request goes to the profile, whichever home its graph has.
        let asked = UnmergeRequested { profile_id: kept.into(), merge_id: merge_id.clone().into(), by: "ops".into() };
        world.play(vec![asked.to_event("undo", "/ops").unwrap().at(EventTime::from_secs(1_800_000_000))], &mut random);
        let after = world.outcome();
        assert!(!after.merges.iter().any(|(merge, ..)| *merge == merge_id) && after != before, "seed {seed}");
        let voided: Vec<(String, String)> = world
            .states
            .values()
            .flat_map(|state| &state.home.graph.links)
            .filter(|link| link.voided_at.is_some())
            .map(|link| (link.a.clone(), link.b.clone()))
            .collect();
        assert!(!voided.is_empty());
        let never = played(&without(&said, &voided), &mut random).outcome();
        assert_eq!((&after.profiles, &after.merges), (&never.profiles, &never.merges), "seed {seed}: without {voided:?} of {said:?}");
        undone += 1;
    }
    assert!(undone > 20, "a check of nothing: {undone}");
}

#[test]
fn what_was_undone_stays_apart_for_calls_and_comes_together_for_a_later_alias() {
    let mut random = StdRng::seed_from_u64(1);
    let visit = Said { me: "a1", with: vec![], at: 0, alias: false };
    let both = Said { me: "u1", with: vec!["a1"], at: 5, alias: false };
    let mut world = played(&[visit, both.clone()], &mut random);
    let (merge_id, kept, _) = world.outcome().merges.into_iter().next().unwrap();
    let undo = |number: i64| {
        let asked = UnmergeRequested { profile_id: kept.clone().into(), merge_id: merge_id.clone().into(), by: "ops".into() };
        asked.to_event(format!("undo-{number}"), "/ops").unwrap().at(EventTime::from_secs(1_767_268_800 + number))
    };
    world.play(vec![undo(10)], &mut random);
    assert!(world.outcome().profiles.is_empty());
    world.play(vec![fact(90, &Said { at: 20, ..both.clone() })], &mut random);
    assert!(world.outcome().profiles.is_empty(), "the same call again does not merge what a person parted");
    world.play(vec![fact(91, &Said { at: 30, alias: true, ..both })], &mut random);
    assert_eq!(world.outcome().profiles.len(), 1);
    world.play(vec![undo(40), undo(41)], &mut random);
    assert!(world.outcome().profiles.is_empty(), "undoing what is undone changes nothing");
}

#[test]
fn a_shared_device_belongs_to_who_used_it_first_and_late_news_corrects_that() {
    let mut random = StdRng::seed_from_u64(2);
    let second = Said { me: "u2", with: vec!["a1"], at: 20, alias: false };
    let mut world = played(std::slice::from_ref(&second), &mut random);
    assert_eq!(world.outcome().profiles.len(), 1);
    world.play(vec![fact(70, &Said { me: "u1", with: vec!["a1"], at: 10, alias: false })], &mut random);
    let outcome = world.outcome();
    let ids: Vec<Vec<String>> = outcome.profiles.into_iter().map(|(_, ids)| ids).collect();
    assert_eq!(ids, [["u1".to_owned(), "a1".to_owned()]]);
    assert_eq!(outcome.refused.len(), 1);
}

#[test]
fn alias_loops_end_and_their_names_count_once() {
    let mut random = StdRng::seed_from_u64(3);
    let alias = |me: &'static str, other: &'static str, at: i64| Said { me, with: vec![other], at, alias: true };
    let ring = [alias("u0", "u1", 1), alias("u1", "u2", 2), alias("u2", "u0", 3)];
    let world = played(&ring, &mut random);
    let outcome = world.outcome();
    assert_eq!(outcome.profiles.iter().map(|(_, ids)| ids.len()).collect::<Vec<_>>(), [3]);
    assert_eq!(outcome.merges.len(), 2);
    let many: Vec<Said> = (0..5).map(|at| alias(["u0", "u1", "u2", "u3", "u4"][at], ["u1", "u2", "u3", "u4", "u5"][at], at as i64)).collect();
    let outcome = played(&many, &mut random).outcome();
    assert!(outcome.profiles.iter().all(|(_, ids)| ids.len() <= 5), "one person has so many names: {outcome:?}");
    assert_eq!(outcome.refused.len(), 1);
}

#[test]
fn a_thousand_devices_on_one_person_leave_five_and_the_graph_small() {
    let mut random = StdRng::seed_from_u64(4);
    let names: Vec<&'static str> = (0..1_000).map(|number| &*format!("a{number}").leak()).collect();
    let said: Vec<Said> = names.iter().enumerate().map(|(at, name)| Said { me: "u1", with: vec![name], at: at as i64, alias: false }).collect();
    let world = played(&said, &mut random);
    let outcome = world.outcome();
    let ids: Vec<Vec<String>> = outcome.profiles.into_iter().map(|(_, ids)| ids).collect();
    assert_eq!(ids.len(), 1);
    let mut ids = ids[0].clone();
    ids.sort();
    assert_eq!(ids, ["a0", "a1", "a2", "a3", "a4", "u1"], "the earliest stay");
    let state = &world.states["identifier/u1"].identifier;
    assert!(state.links.len() <= 24, "{}", state.links.len());
}
