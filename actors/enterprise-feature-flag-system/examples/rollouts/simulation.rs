//! Simulated rollouts: two arms, a rate each, a look after every so many subjects, and three rules that may roll back at any look.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Binomial, Distribution};
use tol_enterprise_feature_flag_system::statistics::frequentist::{self, Difference, Side};
use tol_enterprise_feature_flag_system::statistics::harm::{Design, HarmTest, Look};
use tol_enterprise_feature_flag_system::statistics::summary::Summary;

/// Subjects of both arms together between two looks: 100 an arm, which with 500 looks reproduces GrowthBook's published figures.
pub const SUBJECTS_A_LOOK: u64 = 200;

/// The rules compared.
pub const RULES: [&str; 3] = ["tol", "GrowthBook one-sided", "z-test at every look"];

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub control: f64,
    pub treatment: f64,
    /// Whether the share of treated grows as 1%, 5%, 25%, 50% instead of being 50%.
    pub ramp: bool,
}

/// Treatments that do nothing: every rollback is false.
pub const HARMLESS: [Scenario; 8] = [
    Scenario { name: ".01 = .01", control: 0.01, treatment: 0.01, ramp: false },
    Scenario { name: ".05 = .05", control: 0.05, treatment: 0.05, ramp: false },
    Scenario { name: ".001 = .001", control: 0.001, treatment: 0.001, ramp: false },
    Scenario { name: ".3 = .3", control: 0.3, treatment: 0.3, ramp: false },
    Scenario { name: ".99 = .99", control: 0.99, treatment: 0.99, ramp: false },
    Scenario { name: ".01 = .01, ramp", control: 0.01, treatment: 0.01, ramp: true },
    Scenario { name: ".05 = .05, ramp", control: 0.05, treatment: 0.05, ramp: true },
    Scenario { name: ".001 = .001, ramp", control: 0.001, treatment: 0.001, ramp: true },
];

/// Treatments that do harm: the three, then others that the test was not tuned on.
pub const HARMFUL: [Scenario; 8] = [
    Scenario { name: ".01 -> .015", control: 0.01, treatment: 0.015, ramp: false },
    Scenario { name: ".01 -> .02", control: 0.01, treatment: 0.02, ramp: false },
    Scenario { name: ".05 -> .055", control: 0.05, treatment: 0.055, ramp: false },
    Scenario { name: ".01 -> .10", control: 0.01, treatment: 0.10, ramp: false },
    Scenario { name: ".02 -> .025", control: 0.02, treatment: 0.025, ramp: false },
    Scenario { name: ".001 -> .002", control: 0.001, treatment: 0.002, ramp: false },
    Scenario { name: ".10 -> .11", control: 0.10, treatment: 0.11, ramp: false },
    Scenario { name: ".05 -> .06, ramp", control: 0.05, treatment: 0.06, ramp: true },
];

/// For each of [`RULES`], the look (from 1) at which it rolled back.
pub type Outcome = [Option<usize>; RULES.len()];

/// One rollout; the same seed and index give the same one on every machine.
pub fn rollout(scenario: &Scenario, looks: usize, seed: u64, index: u64, alpha: f64) -> Outcome {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    key[16..24].copy_from_slice(&scenario.control.to_bits().to_le_bytes());
    key[24..].copy_from_slice(&scenario.treatment.to_bits().to_le_bytes());
    let mut random = ChaCha8Rng::from_seed(key);
    let mut test = HarmTest::new(Design { alpha, ..Design::default() }).unwrap_or_else(|error| panic!("the design: {error}"));
    let mut total = Look::default();
    let mut outcome = Outcome::default();
    let mut draw = |subjects: u64, rate: f64| Binomial::new(subjects, rate).map_or(0, |law| law.sample(&mut random));
    for look in 0..looks {
        let treated = if scenario.ramp { [1, 5, 25, 50][4 * look / looks] } else { 50 } * SUBJECTS_A_LOOK / 100;
        let new = Look {
            control_subjects: SUBJECTS_A_LOOK - treated,
            control_events: draw(SUBJECTS_A_LOOK - treated, scenario.control),
            treatment_subjects: treated,
            treatment_events: draw(treated, scenario.treatment),
        };
        total.control_subjects += new.control_subjects;
        total.control_events += new.control_events;
        total.treatment_subjects += new.treatment_subjects;
        total.treatment_events += new.treatment_events;
        let verdicts =
            [outcome[0].is_none() && test.look(new).is_ok_and(|verdict| verdict.harmful), growthbook(&total), z_score(&total) > 1.644_853_626_951_472_2];
        for (first, harmful) in outcome.iter_mut().zip(verdicts) {
            if harmful && first.is_none() {
                *first = Some(look + 1);
            }
        }
    }
    outcome
}

/// GrowthBook's safe rollouts: one-sided asymptotic confidence sequence on the absolute difference, tuned for 5,000 subjects.
fn growthbook(total: &Look) -> bool {
    let control = Summary::proportion(total.control_subjects, total.control_events);
    let treatment = Summary::proportion(total.treatment_subjects, total.treatment_events);
    frequentist::sequential(&control, &treatment, Difference::Absolute, 0.05, 5000.0, Side::TreatmentGreater).is_some_and(|result| result.interval[0] > 0.0)
}

/// What a person does who looks every day at a test made for one look.
fn z_score(total: &Look) -> f64 {
    let (nc, nt) = (total.control_subjects as f64, total.treatment_subjects as f64);
    let (pc, pt) = (total.control_events as f64 / nc, total.treatment_events as f64 / nt);
    let error = (pc * (1.0 - pc) / nc + pt * (1.0 - pt) / nt).sqrt();
    if error > 0.0 { (pt - pc) / error } else { 0.0 }
}

/// Subjects an arm (half of all subjects) by which half of the rollouts were rolled back; none if fewer than half ever were.
pub fn median_subjects(outcomes: &[Outcome], rule: usize) -> Option<f64> {
    let mut looks: Vec<usize> = outcomes.iter().map(|outcome| outcome[rule].unwrap_or(usize::MAX)).collect();
    looks.sort_unstable();
    let (low, high) = (looks.get(looks.len().checked_sub(1)? / 2)?, looks.get(looks.len() / 2)?);
    (*high != usize::MAX).then(|| (*low as f64 + *high as f64) / 2.0 * (SUBJECTS_A_LOOK / 2) as f64)
}

/// Share of rollouts that `rule` had rolled back by `look`.
pub fn share_by(outcomes: &[Outcome], rule: usize, look: usize) -> f64 {
    outcomes.iter().filter(|outcome| outcome[rule].is_some_and(|first| first <= look)).count() as f64 / outcomes.len() as f64
}
