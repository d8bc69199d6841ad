//! Harm in a mean (revenue a subject, seconds a request): one-sided and sequential, asymptotic.
//!
//! Of a mean without a bound nothing can be proven without assumptions; this holds when each stratum's mean is nearly normal, which heavy tails
//! need many subjects for. Where the harm can be stated as yes or no (slower than a second?), [`super::harm`] is exact.
//!
//! Each step of a ramp is a stratum, and strata are combined by inverse variance: with pooled sums, a trend over time would look like an effect as
//! soon as the share of treated changes (Simpson's paradox).

use serde::{Deserialize, Serialize};

use super::summary::{Summary, Sums};

/// What a look at a mean showed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DriftVerdict {
    /// Whether harm is shown (and stays so).
    pub harmful: bool,
    /// treatment − control, strata combined, in the direction of harm.
    pub effect: f64,
    /// Its lower confidence limit at every look at once; harm is shown when it is above what is tolerated.
    pub at_least: f64,
}

/// The test between two looks: cumulated sums by stratum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftTest {
    alpha: f64,
    /// Δ, the smallest harm worth a rollback: the interval is narrowest about where Δ is found.
    smallest_harm: f64,
    tolerated: f64,
    /// (control, treatment) of each step so far.
    strata: Vec<(Sums, Sums)>,
    harmful: bool,
}

/// Subjects an arm below which a stratum's mean is not taken for normal.
const LEAST_SUBJECTS: u64 = 100;
/// (Δ/standard error)² for which the mixture is tuned: where a test of Δ with 80% power stands.
const TUNED_FOR: f64 = 6.0;

impl DriftTest {
    /// A test with error `alpha` for harm beyond `tolerated` (absolute, 0 or more), tuned for `smallest_harm` (absolute, above 0).
    ///
    /// # Errors
    /// [`super::Error::Range`] for numbers outside these ranges.
    pub fn new(alpha: f64, smallest_harm: f64, tolerated: f64) -> Result<Self, super::Error> {
        for (what, value, fits, expected) in [
            ("alpha", alpha, alpha > 0.0 && alpha < 0.5, "between 0 and 0.5"),
            ("smallest_harm", smallest_harm, smallest_harm > 0.0 && smallest_harm.is_finite(), "above 0"),
            ("tolerated", tolerated, tolerated >= 0.0 && tolerated.is_finite(), "0 or more"),
        ] {
            if !fits {
                return Err(super::Error::Range { what, value, expected });
            }
        }
        Ok(Self { alpha, smallest_harm, tolerated, strata: Vec::new(), harmful: false })
    }

    /// What came in since the last look, while the ramp stood at `step`; harm is a larger mean (pass negated sums for the opposite).
    pub fn look(&mut self, step: usize, control: Sums, treatment: Sums) -> Option<DriftVerdict> {
        if self.strata.len() <= step {
            self.strata.resize(step + 1, <(Sums, Sums)>::default());
        }
        let stratum = &mut self.strata[step];
        stratum.0.add(&control);
        stratum.1.add(&treatment);
        let verdict = self.verdict();
        self.harmful |= verdict.is_some_and(|verdict| verdict.harmful);
        verdict
    }

    /// None while there is too little to say anything.
    pub fn verdict(&self) -> Option<DriftVerdict> {
        let (mut weight, mut weighted) = (0.0, 0.0);
        for (control, treatment) in &self.strata {
            let (a, b) = (Summary::Mean(*control), Summary::Mean(*treatment));
            let variance = a.variance() / control.subjects.max(1) as f64 + b.variance() / treatment.subjects.max(1) as f64;
            if control.subjects.min(treatment.subjects) >= LEAST_SUBJECTS && variance > 0.0 {
                weight += 1.0 / variance;
                weighted += (b.mean() - a.mean()) / variance;
            }
        }
        if weight == 0.0 {
            return None;
        }
        let effect = weighted / weight;
        // One-sided normal mixture (Robbins 1970; Waudby-Smith et al. 2021) on the clock ι = Δ² · information, instead of on subjects.
        let log_alpha = -2.0 * libm::log(2.0 * self.alpha);
        let tuned = (log_alpha + libm::log(log_alpha + 1.0)) / TUNED_FOR;
        let clock = self.smallest_harm * self.smallest_harm * weight * tuned;
        let growth = clock + 1.0;
        let width = libm::sqrt(2.0 * growth / clock * libm::log1p(libm::sqrt(growth) / (2.0 * self.alpha)) / weight);
        let at_least = effect - width;
        Some(DriftVerdict { harmful: self.harmful || at_least > self.tolerated, effect, at_least })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn sums(subjects: u64, mean: f64, variance: f64) -> Sums {
        let n = subjects as f64;
        Sums { subjects, sum: n * mean, sum_squares: (n - 1.0) * variance + n * mean * mean }
    }

    #[test]
    fn a_trend_over_time_is_no_effect_when_the_share_changes() {
        // The mean falls from 10 to 5 for everybody while the ramp goes from 1% to 50%: pooled, the treatment would look far better or worse.
        let mut test = DriftTest::new(0.04, 0.5, 0.0).unwrap();
        test.look(0, sums(9900, 5.0, 4.0), sums(100, 5.0, 4.0));
        let verdict = test.look(1, sums(5000, 10.0, 4.0), sums(5000, 10.0, 4.0)).unwrap();
        assert!(!verdict.harmful && verdict.effect.abs() < 1e-9, "{verdict:?}");
    }

    #[test]
    fn harm_is_shown_and_stays_shown() {
        let mut test = DriftTest::new(0.04, 0.5, 0.0).unwrap();
        assert_eq!(test.look(0, sums(50, 5.0, 4.0), sums(50, 9.0, 4.0)), None);
        assert!(test.look(0, sums(1000, 5.0, 4.0), sums(1000, 5.6, 4.0)).unwrap().harmful);
        assert!(test.look(0, sums(9000, 5.0, 4.0), sums(9000, 4.9, 4.0)).unwrap().harmful);
    }

    #[test]
    fn tolerated_harm_is_not_harm() {
        let mut test = DriftTest::new(0.04, 0.5, 1.0).unwrap();
        assert!(!test.look(0, sums(5000, 5.0, 4.0), sums(5000, 5.6, 4.0)).unwrap().harmful);
        assert!(DriftTest::new(0.04, 0.0, 0.0).is_err() && DriftTest::new(0.6, 1.0, 0.0).is_err() && DriftTest::new(0.04, 1.0, -1.0).is_err());
    }
}
