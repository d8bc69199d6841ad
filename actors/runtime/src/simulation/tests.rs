use super::*;
use crate::owner::Mutation;

#[test]
fn two_hundred_seeds_break_no_rule() {
    let mut stats = Stats::default();
    for seed in 0..200 {
        match run(seed, false) {
            Ok(run) => stats += run,
            Err(failure) => panic!("{failure}"),
        }
    }
    // A simulation in which nothing happens proves nothing.
    assert!(stats.events > 200 * 20 && stats.parked > 200 && stats.redriven > 200 && stats.discarded > 20, "{stats:?}");
    assert!(stats.timers > 200 && stats.effects > 200 && stats.repeated_effects > 20 && stats.claims > 2_000 && stats.dropped > 1_000, "{stats:?}");
}

/// Seeds until a broken rule is noticed, at most.
const PATIENCE: u64 = 3_000;

#[test]
fn every_rule_that_is_left_out_is_noticed() {
    for mutation in Mutation::ALL {
        let noticed = (0..PATIENCE).find_map(|seed| run_with(seed, false, |options| Options { mutation: Some(mutation), ..options }).err());
        match noticed {
            Some(failure) => println!("{mutation:?}: {failure}"),
            None => panic!("{mutation:?} was not noticed in {PATIENCE} seeds"),
        }
    }
}
