//! Frequentist comparison of two arms: Welch's t at a horizon fixed beforehand, and GrowthBook's sequential intervals that hold at every look.
//! Agrees with gbstats 0.8.0 to 1e-6 (`tests/reference_values.rs`).

use serde::{Deserialize, Serialize};

use super::functions::{student_quantile, student_sf};
use super::summary::Summary;

/// What the effect is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// (treatment − control) / control
    Relative,
    /// treatment − control
    Absolute,
}

/// Which deviations count against "no effect".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Both.
    TwoSided,
    /// The treatment's mean is larger; the interval has no upper end.
    TreatmentGreater,
    /// The treatment's mean is smaller; the interval has no lower end.
    TreatmentLesser,
}

/// An effect, how sure it is, and where it may lie.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The point estimate.
    pub effect: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// Lower and upper end; ±∞ on the open side of a one-sided interval.
    pub interval: [f64; 2],
    /// p-value of "no effect"; of a sequential interval, one that holds at every look.
    pub p_value: f64,
}

/// Point estimate and its variance. Relative: by the delta method, var(b/a − 1) = σb²/(nb a²) + σa² b²/(na a⁴), with unadjusted means a and b
/// (Deng, Knoblich & Lu 2018). None where the baseline is 0 or nothing varies: no comparison can be made of that.
pub fn effect(control: &Summary, treatment: &Summary, difference: Difference) -> Option<(f64, f64)> {
    let (a, b) = (control.unadjusted_mean(), treatment.unadjusted_mean());
    let (var_a, var_b) = (control.variance(), treatment.variance());
    // As gbstats does: one arm that does not vary is too little data, whichever it is.
    if var_a <= 0.0 || var_b <= 0.0 {
        return None;
    }
    let (na, nb) = (control.subjects() as f64, treatment.subjects() as f64);
    let change = treatment.mean() - control.mean();
    match difference {
        Difference::Relative if a == 0.0 || control.mean() == 0.0 => None,
        Difference::Relative => Some((change / a, var_b / (a * a * nb) + var_a * b * b / (a * a * a * a * na))),
        Difference::Absolute => Some((change, var_b / nb + var_a / na)),
    }
}

/// Welch's t-test, two-sided. The degrees of freedom are Welch–Satterthwaite's of the absolute difference, as gbstats takes them for both scales.
pub fn two_sided(control: &Summary, treatment: &Summary, difference: Difference, alpha: f64) -> Option<Estimate> {
    if control.subjects() < 2 || treatment.subjects() < 2 {
        return None;
    }
    let (effect, variance) = effect(control, treatment, difference)?;
    let standard_error = libm::sqrt(variance);
    let share = |arm: &Summary| (arm.variance() / arm.subjects() as f64, arm.subjects() as f64 - 1.0);
    let ((va, fa), (vb, fb)) = (share(control), share(treatment));
    let freedom = (va + vb) * (va + vb) / (va * va / fa + vb * vb / fb);
    let width = student_quantile(1.0 - 0.5 * alpha, freedom) * standard_error;
    Some(Estimate {
        effect,
        standard_error,
        interval: [effect - width, effect + width],
        p_value: 2.0 * student_sf(libm::fabs(effect / standard_error), freedom),
    })
}

/// Asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2021, arXiv 2103.06476v7): eq. 9 two-sided with its p-value
/// eq. 155, one-sided the mixture over positive effects alone (gbstats 0.8.0 has only the two-sided one), and ρ tuned to be narrowest at `tuning_subjects` of both arms (eq. 161).
/// For people and for comparison with GrowthBook; a rollback is decided by [`super::harm`], whose error is exact at low rates, too.
pub fn sequential(control: &Summary, treatment: &Summary, difference: Difference, alpha: f64, tuning_subjects: f64, side: Side) -> Option<Estimate> {
    let (effect, variance) = effect(control, treatment, difference)?;
    let n = (control.subjects() + treatment.subjects()) as f64;
    let two_sided_alpha = if side == Side::TwoSided { alpha } else { 2.0 * alpha };
    let log_alpha = -2.0 * libm::log(two_sided_alpha);
    let tuned = (log_alpha + libm::log(log_alpha + 1.0)) / tuning_subjects;
    let growth = n * tuned + 1.0;
    // z² = effect²/variance is compared with 2 (nρ²+1)/(nρ²) · ln(…).
    let scale = 2.0 * growth / (n * tuned);
    let z_square = effect * effect / variance;
    let (width, p_value) = match side {
        Side::TwoSided => {
            let log_e = z_square / scale - 0.5 * libm::log(growth);
            (libm::sqrt(variance * scale * libm::log(libm::sqrt(growth) / alpha)), libm::exp(-log_e).min(1.0))
        }
        Side::TreatmentGreater | Side::TreatmentLesser => {
            let towards = (effect > 0.0) == (side == Side::TreatmentGreater);
            let p_value = if towards { (libm::sqrt(growth) / (2.0 * libm::expm1(z_square / scale))).min(1.0) } else { 1.0 };
            (libm::sqrt(variance * scale * libm::log1p(libm::sqrt(growth) / two_sided_alpha)), p_value)
        }
    };
    let interval = match side {
        Side::TwoSided => [effect - width, effect + width],
        Side::TreatmentGreater => [effect - width, f64::INFINITY],
        Side::TreatmentLesser => [f64::NEG_INFINITY, effect + width],
    };
    Some(Estimate { effect, standard_error: libm::sqrt(variance), interval, p_value })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::summary::Sums;
    use super::*;

    #[test]
    fn two_means_worked_by_hand() {
        // Means 3 and 5, variances 2 and 2, five subjects each: standard error √0.8, 8 degrees of freedom, t = 2.236…, p = 0.0557….
        let control = Summary::Mean(Sums { subjects: 5, sum: 15.0, sum_squares: 53.0 });
        let treatment = Summary::Mean(Sums { subjects: 5, sum: 25.0, sum_squares: 133.0 });
        let estimate = two_sided(&control, &treatment, Difference::Absolute, 0.05).unwrap();
        assert_eq!(estimate.effect, 2.0);
        assert!((estimate.standard_error - 0.8f64.sqrt()).abs() < 1e-12);
        assert!((estimate.p_value - 0.055_767).abs() < 1e-6, "{estimate:?}");
        // t(0.975; 8) = 2.306004.
        assert!((estimate.interval[1] - (2.0 + 2.306_004_135 * 0.8f64.sqrt())).abs() < 1e-6);
    }

    #[test]
    fn swapping_the_arms_turns_the_absolute_interval_round() {
        let (a, b) = (Summary::proportion(1000, 100), Summary::proportion(900, 120));
        let there = sequential(&a, &b, Difference::Absolute, 0.05, 5000.0, Side::TwoSided).unwrap();
        let back = sequential(&b, &a, Difference::Absolute, 0.05, 5000.0, Side::TwoSided).unwrap();
        assert!((there.interval[0] + back.interval[1]).abs() < 1e-15 && (there.p_value - back.p_value).abs() < 1e-12);
    }

    #[test]
    fn one_sided_p_value_is_alpha_where_the_interval_touches_zero() {
        // Move the effect until the lower end is at 0: p must then be alpha.
        let control = Summary::Mean(Sums { subjects: 1000, sum: 0.0, sum_squares: 999.0 });
        let at = |mean: f64| Summary::Mean(Sums { subjects: 1000, sum: mean * 1000.0, sum_squares: 999.0 + mean * mean * 1000.0 });
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..80 {
            let middle = 0.5 * (low + high);
            let estimate = sequential(&control, &at(middle), Difference::Absolute, 0.05, 5000.0, Side::TreatmentGreater).unwrap();
            if estimate.interval[0] > 0.0 { high = middle } else { low = middle }
        }
        let estimate = sequential(&control, &at(high), Difference::Absolute, 0.05, 5000.0, Side::TreatmentGreater).unwrap();
        assert!((estimate.p_value - 0.05).abs() < 1e-9, "{estimate:?}");
        let lesser = sequential(&control, &at(high), Difference::Absolute, 0.05, 5000.0, Side::TreatmentLesser).unwrap();
        assert_eq!(lesser.p_value, 1.0);
    }

    #[test]
    fn no_variance_is_no_estimate() {
        for (a, b) in [((10, 0), (10, 3)), ((10, 10), (10, 3)), ((0, 0), (10, 3))] {
            let (a, b) = (Summary::proportion(a.0, a.1), Summary::proportion(b.0, b.1));
            assert_eq!(two_sided(&a, &b, Difference::Relative, 0.05), None);
            assert_eq!(sequential(&a, &b, Difference::Absolute, 0.05, 5000.0, Side::TwoSided), None);
        }
    }
}
