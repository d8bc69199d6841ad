//! Bandit allocation: more subjects to the arms that do better, with the probability of each assignment known exactly, so that what was learnt can be
//! weighted back (inverse propensities) later.
//!
//! Thompson sampling gives each arm the probability that it is the best (Thompson 1933; Russo et al. 2018). That is computed by quadrature, not
//! estimated by sampling: the propensity that is logged is the one that was used. Only the assignment draws a random number.

use rand::RngCore;
use serde::{Deserialize, Serialize};

use super::Error;
use super::functions::beta_cdf;

/// What an arm has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// Subjects whose outcome is known.
    pub subjects: u64,
    /// Those with the wanted outcome.
    pub successes: u64,
}

/// How subjects are allocated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Policy {
    /// By the probability of being the best, uniform priors.
    Thompson {
        /// Every arm gets at least this share divided by the number of arms, in [0, 1].
        floor: f64,
    },
    /// The best so far, but for a share that explores evenly.
    EpsilonGreedy {
        /// That share, in [0, 1].
        epsilon: f64,
    },
}

/// Points about each arm's mean, over ± [`SPAN`] standard deviations, at which the integrals are evaluated.
const POINTS: u32 = 400;
const SPAN: f64 = 8.0;

/// The probability of each arm; they add up to 1.
///
/// # Errors
/// [`Error::Counts`] for more successes than subjects, [`Error::Range`] for a share outside [0, 1] or no arms.
pub fn propensities(arms: &[Arm], policy: Policy) -> Result<Vec<f64>, Error> {
    if arms.is_empty() {
        return Err(Error::Range { what: "arms", value: 0.0, expected: "at least 1" });
    }
    if let Some(&Arm { subjects, successes }) = arms.iter().find(|arm| arm.successes > arm.subjects) {
        return Err(Error::Counts { what: "an arm", successes, subjects });
    }
    let (best, explored) = match policy {
        Policy::Thompson { floor } => (best_probabilities(arms), floor),
        Policy::EpsilonGreedy { epsilon } => (greedy(arms), epsilon),
    };
    if !(0.0..=1.0).contains(&explored) {
        return Err(Error::Range { what: "explored share", value: explored, expected: "between 0 and 1" });
    }
    Ok(best.into_iter().map(|share| (1.0 - explored) * share + explored / arms.len() as f64).collect())
}

/// One subject's arm, and the propensity to log with it. The generator is the caller's: seeded by the subject, the same subject gets the same arm.
pub fn assign(propensities: &[f64], random: &mut impl RngCore) -> Option<(usize, f64)> {
    // 53 bits, as many as a float holds.
    let mut point = (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * propensities.iter().sum::<f64>();
    let last = propensities.iter().rposition(|share| *share > 0.0)?;
    for (index, share) in propensities.iter().enumerate() {
        // Rounding may leave a little beyond the last arm that can be had.
        if point < *share || index == last {
            return Some((index, *share));
        }
        point -= share;
    }
    None
}

/// Ties share: counting from the first would prefer it for no reason.
fn greedy(arms: &[Arm]) -> Vec<f64> {
    // Laplace's rule, so that an arm without subjects is neither the best nor the worst.
    let rate = |arm: &Arm| (arm.successes + 1) as f64 / (arm.subjects + 2) as f64;
    let most = arms.iter().map(rate).fold(0.0, f64::max);
    let tied = arms.iter().filter(|arm| rate(arm) == most).count() as f64;
    arms.iter().map(|arm| if rate(arm) == most { 1.0 / tied } else { 0.0 }).collect()
}

/// P(i is best) = ∫ Π_{j≠i} F_j dF_i with F the posterior Beta(successes + 1, failures + 1).
fn best_probabilities(arms: &[Arm]) -> Vec<f64> {
    let posterior: Vec<(f64, f64)> = arms.iter().map(|arm| ((arm.successes + 1) as f64, (arm.subjects - arm.successes + 1) as f64)).collect();
    let mut points = vec![0.0, 1.0];
    for &(a, b) in &posterior {
        let (mean, sum) = (a / (a + b), a + b);
        let deviation = libm::sqrt(mean * (1.0 - mean) / (sum + 1.0));
        points.extend((0..=POINTS).map(|i| (mean + SPAN * deviation * (2.0 * f64::from(i) / f64::from(POINTS) - 1.0)).clamp(0.0, 1.0)));
    }
    points.sort_by(f64::total_cmp);
    points.dedup();
    let below: Vec<Vec<f64>> = posterior.iter().map(|&(a, b)| points.iter().map(|&x| beta_cdf(x, a, b)).collect()).collect();
    let mut shares: Vec<f64> = (0..arms.len())
        .map(|arm| {
            let others = |at: usize| (0..arms.len()).filter(|&other| other != arm).map(|other| below[other][at]).product::<f64>();
            (1..points.len()).map(|at| (below[arm][at] - below[arm][at - 1]) * 0.5 * (others(at) + others(at - 1))).sum()
        })
        .collect();
    let total: f64 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= total);
    shares
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn arm(subjects: u64, successes: u64) -> Arm {
        Arm { subjects, successes }
    }

    const THREE_ARMS: [f64; 3] = [0.042_062_131_1, 0.737_725_230_6, 0.220_212_638_2];

    #[test]
    fn thompson_gives_each_arm_the_probability_that_it_is_best() {
        // Beta(31, 71), Beta(41, 61), Beta(36, 66), integrated by scipy's quad.
        let got = propensities(&[arm(100, 30), arm(100, 40), arm(100, 35)], Policy::Thompson { floor: 0.0 }).unwrap();
        for (got, expected) in got.iter().zip(THREE_ARMS) {
            assert!((got - expected).abs() < 1e-4, "{got}, expected {expected}");
        }
        assert!((got.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn arms_alike_are_allocated_alike_and_a_floor_is_kept() {
        let even = propensities(&[arm(0, 0), arm(0, 0)], Policy::Thompson { floor: 0.0 }).unwrap();
        assert!((even[0] - 0.5).abs() < 1e-12);
        let floored = propensities(&[arm(10_000, 5000), arm(10_000, 100), arm(10, 0)], Policy::Thompson { floor: 0.3 }).unwrap();
        assert!(floored.iter().all(|share| *share >= 0.1 - 1e-12));
    }

    #[test]
    fn a_wide_arm_beside_a_narrow_one_is_integrated_well() {
        // Against a rate known to be ½, Beta(2, 2) is better every other time.
        let got = propensities(&[arm(2, 1), arm(2_000_000, 1_000_000)], Policy::Thompson { floor: 0.0 }).unwrap();
        assert!((got[0] - 0.5).abs() < 1e-6, "{got:?}");
    }

    #[test]
    fn greedy_takes_the_best_and_shares_ties() {
        let policy = Policy::EpsilonGreedy { epsilon: 0.1 };
        let got = propensities(&[arm(100, 10), arm(100, 20)], policy).unwrap();
        assert!((got[0] - 0.05).abs() < 1e-12 && (got[1] - 0.95).abs() < 1e-12);
        let tied = propensities(&[arm(100, 20), arm(100, 20), arm(100, 1)], Policy::EpsilonGreedy { epsilon: 0.0 }).unwrap();
        assert_eq!(tied, [0.5, 0.5, 0.0]);
    }

    #[test]
    fn assignments_follow_the_propensities_they_log() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let shares = [0.2, 0.0, 0.8];
        let mut counts = [0u32; 3];
        for _ in 0..10_000 {
            let (index, share) = assign(&shares, &mut random).unwrap();
            assert_eq!(share, shares[index]);
            counts[index] += 1;
        }
        // Standard deviation 40.
        assert!(counts[1] == 0 && (1800..2200).contains(&counts[0]), "{counts:?}");
        let again = assign(&shares, &mut ChaCha8Rng::seed_from_u64(9));
        assert_eq!(again, assign(&shares, &mut ChaCha8Rng::seed_from_u64(9)));
        assert_eq!(assign(&[], &mut random), None);
    }

    #[test]
    fn impossible_arms_are_refused() {
        assert!(propensities(&[], Policy::Thompson { floor: 0.0 }).is_err());
        assert!(propensities(&[arm(1, 2)], Policy::Thompson { floor: 0.0 }).is_err());
        assert!(propensities(&[arm(1, 1)], Policy::EpsilonGreedy { epsilon: 1.5 }).is_err());
    }
}
