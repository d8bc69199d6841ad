//! Sample-ratio mismatch: arms that did not get the traffic they were meant to get are not comparable, whatever their metrics say
//! (Fabijan et al. 2019).

use serde::{Deserialize, Serialize};

use super::Error;
use super::functions::chi_square_sf;

/// Below this many subjects expected in the smallest arm, χ² is no approximation and nothing is said (Cochran's rule).
pub const LEAST_EXPECTED: f64 = 5.0;

/// What the counts say about the split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum SampleRatio {
    /// Too few subjects to tell.
    TooFew {
        /// Expected in the smallest arm.
        least_expected: f64,
    },
    /// As planned, as far as can be told.
    AsPlanned {
        /// Of Pearson's χ².
        p_value: f64,
    },
    /// Not as planned.
    Mismatch {
        /// Of Pearson's χ².
        p_value: f64,
    },
}

/// p-value of Pearson's χ² of the counts against the weights; arms of weight 0 are left out of the sum, and 1 of no subjects at all.
///
/// # Errors
/// [`Error::Lengths`] unless there is a weight for each arm; [`Error::Range`] for weights that are negative or all 0.
pub fn p_value(subjects: &[u64], weights: &[f64]) -> Result<f64, Error> {
    if subjects.len() != weights.len() {
        return Err(Error::Lengths { what: "subjects and weights", left: subjects.len(), right: weights.len() });
    }
    if let Some(&value) = weights.iter().find(|weight| !(**weight >= 0.0 && weight.is_finite())) {
        return Err(Error::Range { what: "weight", value, expected: "0 or more" });
    }
    let total = subjects.iter().sum::<u64>() as f64;
    let total_weight: f64 = weights.iter().sum();
    if total_weight <= 0.0 {
        return Err(Error::Range { what: "sum of the weights", value: total_weight, expected: "more than 0" });
    }
    if total == 0.0 {
        return Ok(1.0);
    }
    let chi_square = subjects
        .iter()
        .zip(weights)
        .filter(|(_, weight)| **weight > 0.0)
        .map(|(&seen, weight)| {
            let expected = weight / total_weight * total;
            (seen as f64 - expected) * (seen as f64 - expected) / expected
        })
        .sum();
    // gbstats counts arms of weight 0 among the degrees of freedom, too.
    Ok(chi_square_sf(chi_square, subjects.len().saturating_sub(1) as u32))
}

/// Whether the split is as planned; looked at again and again, `threshold` should be small (0.001 is usual).
///
/// # Errors
/// As [`p_value`].
pub fn check(subjects: &[u64], weights: &[f64], threshold: f64) -> Result<SampleRatio, Error> {
    let p_value = p_value(subjects, weights)?;
    let total = subjects.iter().sum::<u64>() as f64;
    let total_weight: f64 = weights.iter().sum();
    let least_expected = weights.iter().copied().filter(|weight| *weight > 0.0).fold(f64::INFINITY, f64::min) / total_weight * total;
    Ok(if least_expected < LEAST_EXPECTED {
        SampleRatio::TooFew { least_expected }
    } else if p_value < threshold {
        SampleRatio::Mismatch { p_value }
    } else {
        SampleRatio::AsPlanned { p_value }
    })
}

/// A sequential test of the split, for those who look at every moment: with `treated` of `subjects` in the treatment where `share` was planned, the
/// Beta-mixture martingale M = ∫ (q/s)^t ((1−q)/(1−s))^(n−t) dBeta(q; cs, c(1−s)) of Lindon & Malek 2022. P(ever M ≥ 1/a) ≤ a by Ville's
/// inequality, so min(1, 1/M) is a p-value at every look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitWatch {
    /// ln M; of several shares (steps of a ramp) the sum, as each step bets with what the one before left.
    log_wealth: f64,
    /// Largest ln M so far.
    log_peak: f64,
    /// Subjects since the share last changed.
    subjects: u64,
    treated: u64,
    share: f64,
    /// ln M when the share last changed.
    log_before: f64,
}

impl SplitWatch {
    /// Concentration of the mixture about the planned share: suspects deviations of a few hundredths.
    const CONCENTRATION: f64 = 200.0;

    /// New subjects of both arms while `share` of them was meant to be treated; subjects of a share of 0 or 1 say nothing.
    pub fn observe(&mut self, control: u64, treated: u64, share: f64) {
        if share <= 0.0 || share >= 1.0 {
            return;
        }
        if share != self.share {
            *self = Self { log_before: self.log_wealth, share, subjects: 0, treated: 0, ..*self };
        }
        self.subjects += control + treated;
        self.treated += treated;
        let (n, t) = (self.subjects as f64, self.treated as f64);
        let (a, b) = (Self::CONCENTRATION * share, Self::CONCENTRATION * (1.0 - share));
        let log_mixture = super::functions::ln_beta(a + t, b + n - t) - super::functions::ln_beta(a, b);
        self.log_wealth = self.log_before + log_mixture - t * libm::log(share) - (n - t) * libm::log1p(-share);
        self.log_peak = self.log_peak.max(self.log_wealth);
    }

    /// Holds at every look at once.
    pub fn p_value(&self) -> f64 {
        libm::exp(-self.log_peak).min(1.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn two_arms_worked_by_hand() {
        // 60 and 40 of 100: χ² = 4 with one degree of freedom.
        assert!((p_value(&[60, 40], &[0.5, 0.5]).unwrap() - 0.045_500_263_896_358_4).abs() < 1e-12);
        assert!((p_value(&[60, 40], &[3.0, 3.0]).unwrap() - 0.045_500_263_896_358_4).abs() < 1e-12);
    }

    #[test]
    fn three_arms_have_two_degrees_of_freedom() {
        // 40, 30, 20 of 90: χ² = (100 + 0 + 100)/30 = 6.67, p = exp(−3.33).
        assert!((p_value(&[40, 30, 20], &[1.0, 1.0, 1.0]).unwrap() - (-10.0f64 / 3.0).exp()).abs() < 1e-9);
    }

    #[test]
    fn says_nothing_of_too_few() {
        assert!(matches!(check(&[9, 0], &[0.5, 0.5], 0.001).unwrap(), SampleRatio::TooFew { .. }));
        assert!(matches!(check(&[100, 0], &[0.99, 0.01], 0.001).unwrap(), SampleRatio::TooFew { .. }));
        assert!(matches!(check(&[1000, 0], &[0.99, 0.01], 0.001).unwrap(), SampleRatio::AsPlanned { .. }));
        assert!(matches!(check(&[5000, 5500], &[0.5, 0.5], 0.001).unwrap(), SampleRatio::Mismatch { .. }));
    }

    #[test]
    fn weights_must_fit() {
        assert!(matches!(p_value(&[1, 2], &[1.0]), Err(Error::Lengths { .. })));
        assert!(matches!(p_value(&[1, 2], &[0.0, 0.0]), Err(Error::Range { .. })));
        assert!(matches!(p_value(&[1, 2], &[-1.0, 2.0]), Err(Error::Range { .. })));
    }

    #[test]
    fn the_watch_finds_a_split_that_is_off_and_leaves_one_that_is_not() {
        let (mut good, mut bad) = (SplitWatch::default(), SplitWatch::default());
        for _ in 0..100 {
            good.observe(99, 1, 0.01);
            bad.observe(110, 90, 0.5);
        }
        for _ in 0..100 {
            good.observe(50, 50, 0.5);
        }
        assert!(good.p_value() > 0.5 && bad.p_value() < 0.001, "{} {}", good.p_value(), bad.p_value());
    }

    #[test]
    fn the_watch_is_a_fair_bet_when_the_split_is_as_planned() {
        // E[M] over every outcome of 12 subjects at share 0.3, in looks of 5 and 7, must be 1.
        let choose = |n: u64, k: u64| (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64);
        let weight = |n: u64, k: u64| choose(n, k) * 0.3f64.powi(k as i32) * 0.7f64.powi((n - k) as i32);
        let mut mean = 0.0;
        for a in 0..=5 {
            for b in 0..=7 {
                let mut watch = SplitWatch::default();
                watch.observe(5 - a, a, 0.3);
                watch.observe(7 - b, b, 0.3);
                mean += weight(5, a) * weight(7, b) * watch.log_wealth.exp();
            }
        }
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
    }
}
