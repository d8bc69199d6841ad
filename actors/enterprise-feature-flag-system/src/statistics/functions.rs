//! Special functions on `libm` (by the crate `special`), so that two machines never decide differently.

use special::{Beta, Error as _, Gamma};

/// Standard normal distribution function Φ(x).
pub fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / core::f64::consts::SQRT_2)
}

/// Upper tail 1 − Φ(x), exact where the difference would be rounded away.
pub fn normal_sf(x: f64) -> f64 {
    normal_cdf(-x)
}

/// Standard normal density φ(x).
pub fn normal_pdf(x: f64) -> f64 {
    libm::exp(-0.5 * x * x) / libm::sqrt(2.0 * core::f64::consts::PI)
}

/// Quantile of the standard normal, p in (0, 1); ±∞ at the ends.
pub fn normal_quantile(p: f64) -> f64 {
    if p > 0.5 {
        return -normal_quantile(1.0 - p);
    }
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    let start = core::f64::consts::SQRT_2 * (2.0 * p - 1.0).max(-1.0 + 1e-15).inv_error();
    // In the far tail 2p − 1 has lost p's digits: Newton on ln Φ gives them back.
    (0..8).fold(start, |x, _| {
        let cdf = normal_cdf(x);
        if cdf <= 0.0 { x } else { x - cdf * libm::log(cdf / p) / normal_pdf(x) }
    })
}

/// Upper tail of Student's t with `dof` degrees of freedom: P(T > t) = ½ I(ν/(ν+t²); ν/2, ½) for t ≥ 0 (Abramowitz & Stegun, ch. 26).
pub fn student_sf(t: f64, dof: f64) -> f64 {
    if t < 0.0 {
        return 1.0 - student_sf(-t, dof);
    }
    // I(x; a, b) = 1 − I(1−x; b, a): of the two forms, the one whose argument keeps its digits.
    let square = t * t;
    let half = 0.5 * dof;
    let tail = if square < dof {
        1.0 - (square / (dof + square)).inc_beta(0.5, half, ln_beta(0.5, half))
    } else {
        (dof / (dof + square)).inc_beta(half, 0.5, ln_beta(half, 0.5))
    };
    0.5 * tail
}

/// Quantile of Student's t. `special`'s inverse of the incomplete beta function is off by 3e-6 at 200,000 degrees of freedom, hence Newton's steps
/// on [`student_sf`] from the normal quantile (which is below the root, where the tail is convex, so that the steps never overshoot).
pub fn student_quantile(p: f64, dof: f64) -> f64 {
    if p < 0.5 {
        return -student_quantile(1.0 - p, dof);
    }
    let target = 1.0 - p;
    let log_density = -libm::log(dof) * 0.5 - ln_beta(0.5 * dof, 0.5);
    (0..100)
        .try_fold(normal_quantile(p), |t, _| {
            let density = libm::exp(log_density - 0.5 * (dof + 1.0) * libm::log1p(t * t / dof));
            let step = (student_sf(t, dof) - target) / density;
            if libm::fabs(step) <= 1e-13 * (1.0 + t) { Err(t + step) } else { Ok(t + step) }
        })
        .unwrap_or_else(|converged| converged)
}

/// Upper tail of χ² with `dof` degrees of freedom: Q(dof/2, x/2) (Abramowitz & Stegun, ch. 26).
pub fn chi_square_sf(x: f64, dof: u32) -> f64 {
    if x <= 0.0 || dof == 0 {
        return 1.0;
    }
    if dof == 1 {
        return libm::erfc(libm::sqrt(0.5 * x));
    }
    (1.0 - (0.5 * x).inc_gamma(0.5 * f64::from(dof))).clamp(0.0, 1.0)
}

/// ln B(a, b).
pub fn ln_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

/// Distribution function of Beta(a, b) at x.
pub fn beta_cdf(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        0.0
    } else if x >= 1.0 {
        1.0
    } else {
        x.inc_beta(a, b, ln_beta(a, b)).clamp(0.0, 1.0)
    }
}

/// ln Σ exp(xᵢ), without overflow; −∞ for an empty list.
pub fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + libm::log(values.map(|value| libm::exp(value - largest)).sum())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn near(got: f64, expected: f64, relative: f64) {
        assert!((got - expected).abs() <= relative * expected.abs().max(1e-300), "got {got}, expected {expected}");
    }

    #[test]
    fn normal_agrees_with_published_values() {
        near(normal_cdf(1.0), 0.841_344_746_068_542_9, 1e-14);
        near(normal_sf(6.0), 9.865_876_450_376_98e-10, 1e-12);
        near(normal_quantile(0.975), 1.959_963_984_540_054, 1e-14);
        near(normal_quantile(1e-12), -7.034_483_825_301_131, 1e-12);
        assert_eq!(normal_quantile(0.5), 0.0);
    }

    #[test]
    fn student_is_exact_where_it_has_a_closed_form() {
        // Two degrees of freedom: P(T > t) = ½ (1 − t / √(2 + t²)).
        for t in [0.0, 0.1, 1.0, 3.0, 40.0] {
            near(student_sf(t, 2.0), 0.5 * (2.0 / (2.0 + t * t)) / (1.0 + t / libm::sqrt(2.0 + t * t)), 1e-10);
        }
        // One: quantile is the tangent.
        near(student_quantile(0.975, 1.0), 12.706_204_736_174_7, 1e-9);
        // scipy's t.ppf, where special's inverse is wrong in the sixth digit.
        near(student_quantile(0.975, 2e5), 1.959_975_845_966_768, 1e-9);
        near(student_quantile(0.025, 10.0), -2.228_138_851_964_939, 1e-9);
    }

    #[test]
    fn chi_square_is_exact_where_it_has_a_closed_form() {
        // Two degrees of freedom: exp(−x/2).
        for x in [0.1, 1.0, 7.0, 20.0] {
            near(chi_square_sf(x, 2), libm::exp(-0.5 * x), 1e-9);
        }
        near(chi_square_sf(3.841_458_820_694_124, 1), 0.05, 1e-12);
    }

    #[test]
    fn sum_of_exponentials_does_not_overflow() {
        near(log_sum_exp([1000.0, 1000.0].into_iter()), 1000.0 + core::f64::consts::LN_2, 1e-15);
        assert_eq!(log_sum_exp(core::iter::empty()), f64::NEG_INFINITY);
    }
}
