//! Sufficient statistics: what is added up for an arm, and the mean and variance that follow from the sums.

use serde::{Deserialize, Serialize};

use super::Error;

/// Sums of one number a subject. Adding up two parts of an arm is adding their numbers, in any order; so it is with [`RatioSums`] and [`Covariate`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    /// Subjects.
    pub subjects: u64,
    /// Σy
    pub sum: f64,
    /// Σy²
    pub sum_squares: f64,
}

/// Sums of two numbers a subject, m and d.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RatioSums {
    /// Subjects.
    pub subjects: u64,
    /// Σm
    pub sum: f64,
    /// Σm²
    pub sum_squares: f64,
    /// Σd
    pub denominator: f64,
    /// Σd²
    pub denominator_squares: f64,
    /// Σmd
    pub products: f64,
}

/// Sums of one number a subject and of one measured on the same subject before the experiment: what CUPED needs of one arm before θ is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Covariate {
    /// Subjects.
    pub subjects: u64,
    /// Σy
    pub sum: f64,
    /// Σy²
    pub sum_squares: f64,
    /// Σx, x measured before
    pub before: f64,
    /// Σx²
    pub before_squares: f64,
    /// Σxy
    pub products: f64,
}

impl Sums {
    /// Adds another part of the arm.
    pub fn add(&mut self, more: &Self) {
        self.subjects = self.subjects.saturating_add(more.subjects);
        self.sum += more.sum;
        self.sum_squares += more.sum_squares;
    }
}

impl RatioSums {
    /// Adds another part of the arm.
    pub fn add(&mut self, more: &Self) {
        self.subjects = self.subjects.saturating_add(more.subjects);
        self.sum += more.sum;
        self.sum_squares += more.sum_squares;
        self.denominator += more.denominator;
        self.denominator_squares += more.denominator_squares;
        self.products += more.products;
    }
}

impl Covariate {
    /// Adds another part of the arm.
    pub fn add(&mut self, more: &Self) {
        self.subjects = self.subjects.saturating_add(more.subjects);
        self.sum += more.sum;
        self.sum_squares += more.sum_squares;
        self.before += more.before;
        self.before_squares += more.before_squares;
        self.products += more.products;
    }

    /// Without what was measured before.
    pub fn sums(&self) -> Sums {
        Sums { subjects: self.subjects, sum: self.sum, sum_squares: self.sum_squares }
    }
}

/// What is known of one arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Summary {
    /// Yes or no for each subject.
    Proportion {
        /// Subjects.
        subjects: u64,
        /// Those with the event.
        successes: u64,
    },
    /// A number for each subject.
    Mean(Sums),
    /// Σm/Σd, both measured on each subject (revenue an order): variance by the delta method.
    Ratio(RatioSums),
    /// A number for each subject, and one measured on the same subject before the experiment: adjusted by it, the variance falls by the squared
    /// correlation (CUPED: Deng, Xu, Kohavi & Walker 2013).
    Adjusted {
        /// The arm.
        arm: Covariate,
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
        match self {
            Self::Proportion { subjects, .. } => *subjects,
            Self::Mean(arm) => arm.subjects,
            Self::Ratio(arm) => arm.subjects,
            Self::Adjusted { arm, .. } => arm.subjects,
        }
    }

    /// The mean, adjusted where there is something to adjust by; 0 of nothing.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Adjusted { arm, theta } if arm.subjects > 0 => self.unadjusted_mean() - theta * arm.before / arm.subjects as f64,
            _ => self.unadjusted_mean(),
        }
    }

    /// The mean of what was measured: relative differences are relative to this.
    pub fn unadjusted_mean(&self) -> f64 {
        let n = self.subjects() as f64;
        match self {
            _ if n == 0.0 => 0.0,
            Self::Proportion { successes, .. } => *successes as f64 / n,
            Self::Ratio(arm) if arm.denominator == 0.0 => 0.0,
            Self::Ratio(arm) => arm.sum / arm.denominator,
            Self::Mean(arm) => arm.sum / n,
            Self::Adjusted { arm, .. } => arm.sum / n,
        }
    }

    /// Variance of one subject's value: p(1−p) of a proportion, the unbiased estimate of a mean, and of a ratio by the delta method
    /// (Deng, Knoblich & Lu 2018).
    pub fn variance(&self) -> f64 {
        let n = self.subjects() as f64;
        match *self {
            Self::Proportion { .. } => self.mean() * (1.0 - self.mean()),
            Self::Mean(Sums { sum, sum_squares, .. }) => covariance(n, sum_squares, sum, sum),
            Self::Ratio(RatioSums { denominator: 0.0, .. }) => 0.0,
            Self::Ratio(RatioSums { sum, sum_squares, denominator, denominator_squares, products, .. }) => {
                let ratio = sum / denominator;
                let spread = covariance(n, sum_squares, sum, sum) - 2.0 * ratio * covariance(n, products, sum, denominator)
                    + ratio * ratio * covariance(n, denominator_squares, denominator, denominator);
                spread * (n / denominator) * (n / denominator)
            }
            Self::Adjusted { arm: Covariate { sum, sum_squares, before, before_squares, products, .. }, theta } => {
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
    let adjusted = |arm: &Covariate| Summary::Adjusted { arm: *arm, theta };
    (adjusted(control), adjusted(treatment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_variance_of_four_numbers() {
        // 1, 2, 3, 6: mean 3, squared deviations 4 + 1 + 0 + 9 = 14, over 3.
        let summary = Summary::Mean(Sums { subjects: 4, sum: 12.0, sum_squares: 50.0 });
        assert_eq!(summary.mean(), 3.0);
        assert!((summary.variance() - 14.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn ratio_with_a_constant_denominator_is_the_mean_divided() {
        let mean = Summary::Mean(Sums { subjects: 4, sum: 12.0, sum_squares: 50.0 });
        let ratio = Summary::Ratio(RatioSums { subjects: 4, sum: 12.0, sum_squares: 50.0, denominator: 8.0, denominator_squares: 16.0, products: 24.0 });
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
        for summary in [Summary::proportion(0, 0), Summary::Mean(Sums { subjects: 0, sum: 0.0, sum_squares: 0.0 })] {
            assert_eq!((summary.mean(), summary.variance()), (0.0, 0.0));
        }
    }
}
