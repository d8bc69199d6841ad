//! How many subjects, and how many days, before an effect of a given size is found.

use serde::{Deserialize, Serialize};

use super::Error;
use super::functions::normal_quantile;

/// Subjects an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subjects {
    /// Control and treatment alike.
    pub each_arm: u64,
}

impl Subjects {
    /// Days until both arms have them, with so many subjects a day in both together. None without traffic.
    pub fn days(&self, daily: u64) -> Option<u64> {
        (daily > 0).then(|| (2 * self.each_arm).div_ceil(daily))
    }
}

fn count(value: f64) -> Result<Subjects, Error> {
    // 2^53: beyond, a float does not count any more.
    if value.is_finite() && value < 9.0e15 {
        Ok(Subjects { each_arm: libm::ceil(value) as u64 })
    } else {
        Err(Error::Range { what: "subjects", value, expected: "fewer than 9e15; ask for a larger effect" })
    }
}

fn within(what: &'static str, value: f64) -> Result<f64, Error> {
    if value > 0.0 && value < 1.0 { Ok(value) } else { Err(Error::Range { what, value, expected: "between 0 and 1" }) }
}

/// For one two-sided test of two proportions at the end: n = (z₁₋α⁄₂ √(2p̄q̄) + z₁₋β √(p₁q₁ + p₂q₂))² / (p₂ − p₁)² (Fleiss, Levin & Paik 2003, ch. 4).
///
/// # Errors
/// [`Error::Range`] for rates, α or power outside (0, 1), or equal rates.
pub fn proportions(control: f64, treatment: f64, alpha: f64, power: f64) -> Result<Subjects, Error> {
    let (p1, p2) = (within("control rate", control)?, within("treatment rate", treatment)?);
    let (level, goal) = (normal_quantile(1.0 - 0.5 * within("alpha", alpha)?), normal_quantile(within("power", power)?));
    let mean = 0.5 * (p1 + p2);
    let root = level * libm::sqrt(2.0 * mean * (1.0 - mean)) + goal * libm::sqrt(p1 * (1.0 - p1) + p2 * (1.0 - p2));
    count(root * root / ((p2 - p1) * (p2 - p1)))
}

/// For one two-sided test of two means: n = 2 σ² (z₁₋α⁄₂ + z₁₋β)² / δ².
///
/// # Errors
/// [`Error::Range`] as above, or for no effect.
pub fn means(standard_deviation: f64, effect: f64, alpha: f64, power: f64) -> Result<Subjects, Error> {
    let sum = normal_quantile(1.0 - 0.5 * within("alpha", alpha)?) + normal_quantile(within("power", power)?);
    let ratio = standard_deviation * sum / effect;
    count(2.0 * ratio * ratio)
}

/// For a guarded rollout with 1:1 allocation: subjects by which [`super::harm`] has found harm of just the smallest size in half, and in nine of ten
/// rollouts. On its clock ι that was measured at 5.3 and 12.6 for very different rates (`examples/rollouts`); n = 2 p̄q̄ ι / δ².
///
/// # Errors
/// [`Error::Range`] for rates outside (0, 1), or no harm.
pub fn guarded(control: f64, treatment: f64) -> Result<(Subjects, Subjects), Error> {
    let mean = 0.5 * (within("control rate", control)? + within("treatment rate", treatment)?);
    let unit = 2.0 * mean * (1.0 - mean) / ((treatment - control) * (treatment - control));
    Ok((count(5.3 * unit)?, count(12.6 * unit)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_published_tables() {
        // Fleiss's formula, 0.10 against 0.15 at 5% and 80%: 686 an arm; a standardised mean difference of 0.5: 63.
        assert_eq!(proportions(0.10, 0.15, 0.05, 0.8).unwrap().each_arm, 686);
        assert_eq!(means(1.0, 0.5, 0.05, 0.8).unwrap().each_arm, 63);
    }

    #[test]
    fn days_are_whole() {
        assert_eq!(Subjects { each_arm: 686 }.days(100), Some(14));
        assert_eq!(Subjects { each_arm: 686 }.days(0), None);
    }

    #[test]
    fn no_effect_needs_more_subjects_than_there_are() {
        assert!(proportions(0.1, 0.1, 0.05, 0.8).is_err() && means(1.0, 0.0, 0.05, 0.8).is_err() && guarded(0.1, 0.1).is_err());
        assert!(proportions(0.0, 0.1, 0.05, 0.8).is_err() && proportions(0.1, 0.2, 0.05, 1.0).is_err());
    }

    #[test]
    fn guarded_rollouts_need_what_the_simulation_measured() {
        let (half, most) = guarded(0.05, 0.055).unwrap();
        assert!((20_000..22_000).contains(&half.each_arm) && (49_000..51_000).contains(&most.each_arm), "{half:?} {most:?}");
    }
}
