//! The flag system under a seed: nothing breaks its rules, and the model notices when something does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use tol_flag_simulation::{Broken, FlagGuest};
use tol_runtime::simulation::{Guest, run_with};

#[test]
fn two_hundred_seeds_break_no_rule() {
    let flags = Arc::new(FlagGuest::default());
    let guest: Arc<dyn Guest> = flags.clone();
    for seed in 0..200 {
        if let Err(failure) = run_with(seed, false, Some(&guest)) {
            panic!("{failure}");
        }
    }
    // A simulation in which nothing happens proves nothing.
    let told = flags.told();
    for (kind, least) in [
        ("flag_changed", 1_000),
        ("flag_killed", 150),
        ("flag_stale", 30),
        ("request_refused", 1_000),
        ("rollout_advanced", 300),
        ("rollout_held", 200),
        ("rollout_observed", 200),
        ("rollout_rolled_back", 25),
        ("sample_ratio_mismatch_detected", 50),
        ("experiment_started", 150),
        ("experiment_observed", 200),
        ("experiment_concluded", 12),
        ("bandit_allocated", 25),
        ("deployment_noted", 25),
        ("shared_changed", 200),
    ] {
        assert!(told.get(kind).is_some_and(|count| *count >= least), "{kind}: {told:?}");
    }
}

#[test]
fn a_seed_does_the_same_each_time() {
    let guest: Arc<dyn Guest> = Arc::new(FlagGuest::default());
    for seed in 0..5 {
        assert_eq!(run_with(seed, false, Some(&guest)).unwrap(), run_with(seed, false, Some(&guest)).unwrap());
    }
}

/// Seeds until a broken rule is noticed, at most.
const PATIENCE: u64 = 1_000;

#[test]
fn every_rule_that_is_left_out_is_noticed() {
    let mut missed = Vec::new();
    for broken in Broken::ALL {
        let guest: Arc<dyn Guest> = Arc::new(FlagGuest::without(broken));
        match (0..PATIENCE).find_map(|seed| run_with(seed, false, Some(&guest)).err()) {
            Some(failure) => {
                let text = failure.to_string();
                let what: String = text.chars().rev().take(120).collect::<Vec<_>>().into_iter().rev().collect();
                println!("{broken:?}: seed {} … {what}", failure.seed);
            }
            None => missed.push(broken),
        }
    }
    assert!(missed.is_empty(), "{missed:?} were not noticed in {PATIENCE} seeds");
}
