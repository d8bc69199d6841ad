use super::*;

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
