use proptest::prelude::*;

use super::*;

fn look(control_subjects: u64, control_events: u64, treatment_subjects: u64, treatment_events: u64) -> Look {
    Look { control_subjects, control_events, treatment_subjects, treatment_events }
}

fn choose(n: u64, k: u64) -> f64 {
    (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64)
}

#[test]
fn the_law_is_fishers() {
    // 8 control, 5 treated, 6 events: P(k) = C(5,k) C(8,6−k) ωᵏ / Σ.
    for odds in [1.0, 1.7] {
        let law = treated_events(&look(8, 4, 5, 2), odds);
        let weights: Vec<f64> = (0..=5).map(|k| choose(5, k) * choose(8, 6 - k) * odds.powi(k as i32)).collect();
        let total: f64 = weights.iter().sum();
        assert_eq!(law.first, 0);
        for (mass, weight) in law.mass.iter().zip(&weights) {
            assert!((mass - weight / total).abs() < 1e-15);
        }
        if odds == 1.0 {
            assert!((law.mean - 6.0 * 5.0 / 13.0).abs() < 1e-14);
            // x nt nc (n−x) / (n² (n−1))
            assert!((law.variance - 6.0 * 5.0 * 8.0 * 7.0 / (169.0 * 12.0)).abs() < 1e-14);
        }
    }
}

#[test]
fn a_single_look_is_fishers_exact_test() {
    // All ten events in the treatment: P = C(100,10)/C(200,10) = 0.00077… is rejected only if the budget at that ι covers it.
    let mut test = HarmTest::new(Design { smallest_harm: SmallestHarm::Difference(0.5), ..Design::default() }).unwrap();
    let verdict = test.look(look(100, 0, 100, 10)).unwrap();
    let tail = choose(100, 10) / choose(200, 10);
    assert!(verdict.harmful && verdict.boundary.unwrap() <= 10);
    assert!(verdict.spent <= 0.04 && verdict.spent >= tail);
    // The boundary is the least count whose tail fits into the budget.
    let tail_from = |least: u64| (least..=10).map(|k| choose(100, k) * choose(100, 10 - k) / choose(200, 10)).sum::<f64>();
    let boundary = verdict.boundary.unwrap();
    assert!((tail_from(boundary) - verdict.spent).abs() < 1e-12);
    assert!(tail_from(boundary - 1) > 0.04 * share_of_budget(verdict.information));
}

/// P(ever rejected) by walking through every outcome of three looks, each with its hypergeometric weight.
#[test]
fn the_error_is_what_is_said_to_be_spent() {
    let looks = [(12, 8, 5), (10, 10, 6), (7, 13, 4)];
    let design = Design { alpha: 0.3, smallest_harm: SmallestHarm::Difference(0.5), ..Design::default() };
    let mut paths = vec![(HarmTest::new(design).unwrap(), 1.0, 0.0)];
    for (control, treated, events) in looks {
        paths = paths
            .into_iter()
            .flat_map(|(test, weight, _)| {
                let total = choose(control + treated, events);
                (events.saturating_sub(control)..=events.min(treated)).map(move |k| {
                    let mut test = test.clone();
                    let spent = test.look(look(control, events - k, treated, k)).unwrap().spent;
                    (test, weight * choose(treated, k) * choose(control, events - k) / total, spent)
                })
            })
            .collect();
    }
    let rejected: f64 = paths.iter().filter(|(test, ..)| test.harmful).map(|&(_, weight, _)| weight).sum();
    let spent = paths.iter().filter(|(test, ..)| !test.harmful).map(|&(.., spent)| spent).fold(0.0, f64::max);
    assert!((rejected - spent).abs() < 1e-12, "{rejected} {spent}");
    assert!(rejected > 0.05 && rejected <= 0.3);
}

#[test]
fn a_look_with_one_arm_waits_for_the_other() {
    let mut apart = HarmTest::new(Design::default()).unwrap();
    assert_eq!(apart.look(look(1000, 10, 0, 0)).unwrap().boundary, None);
    apart.look(look(0, 0, 1000, 40)).unwrap();
    let mut together = HarmTest::new(Design::default()).unwrap();
    together.look(look(1000, 10, 1000, 40)).unwrap();
    assert_eq!(apart, together);
    assert!(together.harmful);
}

#[test]
fn impossible_counts_change_nothing() {
    let mut test = HarmTest::new(Design::default()).unwrap();
    let before = test.clone();
    assert_eq!(test.look(look(10, 11, 10, 0)), Err(Error::Counts { what: "control", successes: 11, subjects: 10 }));
    assert_eq!(test, before);
    for design in [Design { alpha: 0.0, ..Design::default() }, Design { tolerated_odds_ratio: 0.9, ..Design::default() }] {
        assert!(HarmTest::new(design).is_err());
    }
}

#[test]
fn a_coarser_lattice_decides_alike() {
    // 3 million events: the law is wider than CELLS, and compared with the normal one.
    let mut test = HarmTest::new(Design { smallest_harm: SmallestHarm::Difference(0.0004), ..Design::default() }).unwrap();
    let mut verdict = None;
    for _ in 0..6 {
        verdict = Some(test.look(look(1_000_000, 250_000, 1_000_000, 250_000)).unwrap());
    }
    let verdict = verdict.unwrap();
    assert!(test.unit > 1 && test.mass.len() <= CELLS + 2);
    let mean: f64 = test.mass.iter().enumerate().map(|(i, mass)| mass * ((test.first + i as u64) * test.unit) as f64).sum::<f64>();
    let kept: f64 = test.mass.iter().sum();
    assert!((kept + verdict.spent - 1.0).abs() < 1e-9);
    // Only the upper tail was cut off, so the mean is a little below.
    assert!((mean / kept - verdict.expected).abs() < 0.1 * 612.0 && mean / kept < verdict.expected);
    let z = (verdict.boundary.unwrap() as f64 - verdict.expected) / test.variance.sqrt();
    assert!((2.0..4.5).contains(&z), "{z}");
}

#[test]
fn tolerated_harm_is_not_harm() {
    let tolerant = Design { tolerated_odds_ratio: 1.5, ..Design::default() };
    let (mut strict, mut lenient) = (HarmTest::new(Design::default()).unwrap(), HarmTest::new(tolerant).unwrap());
    for _ in 0..20 {
        strict.look(look(1000, 20, 1000, 29)).unwrap();
        lenient.look(look(1000, 20, 1000, 29)).unwrap();
    }
    assert!(strict.harmful && !lenient.harmful);
}

#[test]
fn the_budget_grows_to_one_and_never_shrinks() {
    let shares: Vec<f64> = (0..4000).map(|i| share_of_budget(0.01 * f64::from(i))).collect();
    assert!(shares.windows(2).all(|pair| pair[0] <= pair[1]) && shares[0] == 0.0);
    assert!((share_of_budget(1e12) - 1.0).abs() < 1e-9);
}

proptest! {
    #[test]
    fn mass_is_conserved_and_the_budget_kept(looks in prop::collection::vec((1u64..200, 0u64..20, 1u64..200, 0u64..20), 1..40)) {
        let mut test = HarmTest::new(Design::default()).unwrap();
        let mut harmful = false;
        for (control, a, treated, b) in looks {
            let verdict = test.look(look(control, a.min(control), treated, b.min(treated))).unwrap();
            prop_assert!(verdict.spent <= 0.04 + 1e-12);
            prop_assert!(verdict.harmful || !harmful, "a rejection was taken back");
            harmful = verdict.harmful;
            if !harmful {
                prop_assert!((test.mass.iter().sum::<f64>() + test.spent - 1.0).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn a_state_read_back_goes_on_alike(looks in prop::collection::vec((1u64..200, 0u64..20, 1u64..200, 0u64..20), 2..12)) {
        let mut test = HarmTest::new(Design::default()).unwrap();
        let mut copy = test.clone();
        for (control, a, treated, b) in looks {
            let next = look(control, a.min(control), treated, b.min(treated));
            prop_assert_eq!(test.look(next).unwrap(), copy.look(next).unwrap());
            copy = serde_json::from_str(&serde_json::to_string(&test).unwrap()).unwrap();
        }
        prop_assert_eq!(&test, &copy);
    }
}

#[test]
fn harm_that_begins_late_is_found_at_once() {
    let look = |control_events: u64, treatment_events: u64| Look { control_subjects: 200, control_events, treatment_subjects: 200, treatment_events };
    let mut test = HarmTest::new(Design::default()).unwrap();
    for quiet in [look(2, 1), look(1, 2), look(1, 1), look(1, 1)] {
        assert!(!test.look(quiet).unwrap().harmful);
    }
    // The pooled rate is five times what it was: at this rate a smaller part of the budget would be due than was spent already.
    assert!(test.look(look(2, 80)).unwrap().harmful);
}
