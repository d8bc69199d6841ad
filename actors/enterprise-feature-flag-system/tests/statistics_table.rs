//! The README's table, with fewer rollouts: bounds are exact binomial ones, so that a right program fails once in ten thousand seeds.
//! The whole table: `cargo run --release -p tol-enterprise-feature-flag-system --example rollouts`.

#[path = "../examples/rollouts/simulation.rs"]
mod simulation;

use simulation::{HARMFUL, HARMLESS, Outcome, RULES, SUBJECTS_A_LOOK, Scenario};
use tol_enterprise_feature_flag_system::statistics::harm::Design;

const LOOKS: usize = 500;
const ROLLOUTS: u64 = 400;

fn simulate(scenario: &Scenario, rollouts: u64) -> Vec<Outcome> {
    (0..rollouts).map(|index| simulation::rollout(scenario, LOOKS, 20_261_122, index, Design::default().alpha)).collect()
}

/// P(Binomial(n, p) ≥ k).
fn at_least(k: u64, n: u64, p: f64) -> f64 {
    let mut term = (1.0 - p).powi(n as i32);
    let mut below = 0.0;
    for i in 0..k {
        below += term;
        term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
    }
    1.0 - below
}

#[test]
fn harmless_treatments_are_rarely_rolled_back_however_often_one_looks() {
    for scenario in &HARMLESS {
        let outcomes = simulate(scenario, ROLLOUTS);
        // What was rolled back stays so: the last look has the largest share.
        let rolled_back = (simulation::share_by(&outcomes, 0, LOOKS) * ROLLOUTS as f64).round() as u64;
        let chance = at_least(rolled_back, ROLLOUTS, 0.04);
        assert!(chance > 1e-4, "{}: {rolled_back} of {ROLLOUTS} rolled back; with an error of 4% the chance of that is {chance:e}", scenario.name);
    }
}

#[test]
fn harm_is_found_with_fewer_subjects_than_the_issue_asks_for() {
    for (scenario, most, power) in [(&HARMFUL[0], 5500.0, 0.99), (&HARMFUL[1], 1700.0, 0.99), (&HARMFUL[2], 22_000.0, 0.88)] {
        let outcomes = simulate(scenario, ROLLOUTS);
        // A median is above `most` only if fewer than half were found by then: as improbable as that may be.
        let by = (most / (SUBJECTS_A_LOOK / 2) as f64) as usize;
        let missed = ROLLOUTS - (simulation::share_by(&outcomes, 0, by) * ROLLOUTS as f64).round() as u64;
        assert!(at_least(missed, ROLLOUTS, 0.5) > 1e-4, "{}: {missed} of {ROLLOUTS} not found by {most} subjects an arm", scenario.name);
        let lost = ROLLOUTS - (simulation::share_by(&outcomes, 0, LOOKS) * ROLLOUTS as f64).round() as u64;
        assert!(at_least(lost, ROLLOUTS, 1.0 - power) > 1e-4, "{}: {lost} of {ROLLOUTS} never found", scenario.name);
        let ours = simulation::median_subjects(&outcomes, 0).expect("found in most");
        let theirs = simulation::median_subjects(&outcomes, 1).expect("found in most");
        assert!(ours < theirs, "{}: {} needs {ours} subjects, {} {theirs}", scenario.name, RULES[0], RULES[1]);
    }
}

#[test]
fn looking_every_day_at_a_test_for_one_look_rolls_back_two_of_five() {
    let share = simulation::share_by(&simulate(&HARMLESS[0], ROLLOUTS), 2, LOOKS);
    assert!((0.31..0.51).contains(&share), "{share}");
}
