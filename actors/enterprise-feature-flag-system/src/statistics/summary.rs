//! Sufficient statistics: what is added up for an arm, and the mean and variance that follow from the sums.

use serde::{Deserialize, Serialize};

use super::Error;

/// Sums of one arm. Adding up two parts of an arm is adding their numbers, in any order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Summary {
    /// Yes or no for each subject.
    Proportion {
        /// Subjects.
        subjects: u64,
        /// Those with the event.
        successes: u64,
    },
    /// A number for each subject.
    Mean {
        /// Subjects.
        subjects: u64,
        /// Σy
        sum: f64,
        /// Σy²
        sum_squares: f64,
    },
    /// Σm/Σd, both measured on each subject (revenue an order): variance by the delta method.
    Ratio {
        /// Subjects.
        subjects: u64,
        /// Σm
        sum: f64,
        /// Σm²
        sum_squares: f64,
        /// Σd
        denominator: f64,
        /// Σd²
        denominator_squares: f64,
        /// Σmd
        products: f64,
    },
    /// A number for each subject, and one measured on the same subject before the experiment: adjusted by it, the variance falls by the squared
    /// correlation (CUPED: Deng, Xu, Kohavi & Walker 2013).
    Adjusted {
        /// Subjects.
        subjects: u64,
        /// Σy
        sum: f64,
        /// Σy²
        sum_squares: f64,
        /// Σx, x measured before
        before: f64,
        /// Σx²
        before_squares: f64,
        /// Σxy
        products: f64,
        /// θ, of both arms together: [`theta`]
        theta: f64,
    },
}

/// (Σab − ΣaΣb/n) / (n−1)
fn covariance(n: f64, products: f64, a: f64, b: f64) -> f64 {
    if n > 1.0 { (products - a * b / n) / (n - 1.0) } else { 0.0 }
}

impl Summary {
    /// A proportion.
    pub fn proportion(subjects: u64, successes: u64) -> Self {
        Self::Proportion { subjects, successes }
    }

    /// Subjects in this arm.
    pub fn subjects(&self) -> u64 {
        match *self {
            Self::Proportion { subjects, .. } | Self::Mean { subjects, .. } | Self::Ratio { subjects, .. } | Self::Adjusted { subjects, .. } => subjects,
        }
    }

    /// The mean, adjusted where there is something to adjust by; 0 of nothing.
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Adjusted { before, theta, subjects, .. } if subjects > 0 => self.unadjusted_mean() - theta * before / subjects as f64,
            _ => self.unadjusted_mean(),
        }
    }

    /// The mean of what was measured: relative differences are relative to this.
    pub fn unadjusted_mean(&self) -> f64 {
        let n = self.subjects() as f64;
        match *self {
            _ if n == 0.0 => 0.0,
            Self::Proportion { successes, .. } => successes as f64 / n,
            Self::Ratio { denominator: 0.0, .. } => 0.0,
            Self::Ratio { sum, denominator, .. } => sum / denominator,
            Self::Mean { sum, .. } | Self::Adjusted { sum, .. } => sum / n,
        }
    }

    /// Variance of one subject's value: p(1−p) of a proportion, the unbiased estimate of a mean, and of a ratio by the delta method
    /// (Deng, Knoblich & Lu 2018).
    pub fn variance(&self) -> f64 {
        let n = self.subjects() as f64;
        match *self {
            Self::Proportion { .. } => self.mean() * (1.0 - self.mean()),
            Self::Mean { sum, sum_squares, .. } => covariance(n, sum_squares, sum, sum),
            Self::Ratio { denominator: 0.0, .. } => 0.0,
            Self::Ratio { sum, sum_squares, denominator, denominator_squares, products, .. } => {
                let ratio = sum / denominator;
                let spread = covariance(n, sum_squares, sum, sum) - 2.0 * ratio * covariance(n, products, sum, denominator)
                    + ratio * ratio * covariance(n, denominator_squares, denominator, denominator);
                spread * (n / denominator) * (n / denominator)
            }
            Self::Adjusted { sum, sum_squares, before, before_squares, products, theta, .. } => {
                covariance(n, sum_squares, sum, sum) + theta * theta * covariance(n, before_squares, before, before)
                    - 2.0 * theta * covariance(n, products, sum, before)
            }
        }
    }

    /// Counts that cannot be: more successes than subjects.
    ///
    /// # Errors
    /// [`Error::Counts`]
    pub fn check(&self) -> Result<(), Error> {
        match *self {
            Self::Proportion { subjects, successes } if successes > subjects => Err(Error::Counts { what: "an arm", successes, subjects }),
            _ => Ok(()),
        }
    }
}

/// What CUPED needs of one arm before θ is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Covariate {
    /// Subjects.
    pub subjects: u64,
    /// Σy
    pub sum: f64,
    /// Σy²
    pub sum_squares: f64,
    /// Σx
    pub before: f64,
    /// Σx²
    pub before_squares: f64,
    /// Σxy
    pub products: f64,
}

/// θ = cov(y, x) / var(x) over both arms together (Deng et al. 2013): one θ, or the adjustment would move the difference.
/// 0, that is no adjustment, where one of the two does not vary.
pub fn theta(control: &Covariate, treatment: &Covariate) -> f64 {
    let n = (control.subjects + treatment.subjects) as f64;
    let (sum, before) = (control.sum + treatment.sum, control.before + treatment.before);
    let spread = covariance(n, control.before_squares + treatment.before_squares, before, before);
    let outcome_spread = covariance(n, control.sum_squares + treatment.sum_squares, sum, sum);
    if spread == 0.0 || outcome_spread == 0.0 { 0.0 } else { covariance(n, control.products + treatment.products, sum, before) / spread }
}

/// Both arms adjusted by their joint θ.
pub fn adjust(control: &Covariate, treatment: &Covariate) -> (Summary, Summary) {
    let theta = theta(control, treatment);
    let adjusted = |arm: &Covariate| Summary::Adjusted {
        subjects: arm.subjects,
        sum: arm.sum,
        sum_squares: arm.sum_squares,
        before: arm.before,
        before_squares: arm.before_squares,
        products: arm.products,
        theta,
    };
    (adjusted(control), adjusted(treatment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_variance_of_four_numbers() {
        // 1, 2, 3, 6: mean 3, squared deviations 4 + 1 + 0 + 9 = 14, over 3.
        let summary = Summary::Mean { subjects: 4, sum: 12.0, sum_squares: 50.0 };
        assert_eq!(summary.mean(), 3.0);
        assert!((summary.variance() - 14.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn ratio_with_a_constant_denominator_is_the_mean_divided() {
        let mean = Summary::Mean { subjects: 4, sum: 12.0, sum_squares: 50.0 };
        let ratio = Summary::Ratio { subjects: 4, sum: 12.0, sum_squares: 50.0, denominator: 8.0, denominator_squares: 16.0, products: 24.0 };
        assert_eq!(ratio.mean(), mean.mean() / 2.0);
        assert!((ratio.variance() - mean.variance() / 4.0).abs() < 1e-12);
    }

    #[test]
    fn a_covariate_that_is_the_outcome_leaves_no_variance() {
        let arm = Covariate { subjects: 4, sum: 12.0, sum_squares: 50.0, before: 12.0, before_squares: 50.0, products: 50.0 };
        let (adjusted, _) = adjust(&arm, &arm);
        assert!(adjusted.variance().abs() < 1e-12);
        assert!((theta(&arm, &arm) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_covariate_that_does_not_vary_adjusts_nothing() {
        let arm = Covariate { subjects: 4, sum: 12.0, sum_squares: 50.0, before: 8.0, before_squares: 16.0, products: 24.0 };
        assert_eq!(theta(&arm, &arm), 0.0);
    }

    #[test]
    fn nothing_measured_has_no_mean_and_no_variance() {
        for summary in [Summary::proportion(0, 0), Summary::Mean { subjects: 0, sum: 0.0, sum_squares: 0.0 }] {
            assert_eq!((summary.mean(), summary.variance()), (0.0, 0.0));
        }
    }
}
