//! Effects by segment. Whoever looks at twenty segments finds one that differs: what comes from here is a question for the next experiment, never an
//! answer of this one, and says so in its type.

use serde::{Deserialize, Serialize};

use super::correction::{Correction, adjust};
use super::frequentist::{Difference, Estimate, two_sided};
use super::functions::chi_square_sf;
use super::summary::Summary;

/// Marks a result that was found by looking for it; there is no other value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// To be tested again with fresh subjects before it is believed.
    #[default]
    Exploratory,
}

/// The effect in one segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentEffect {
    /// Which.
    pub segment: String,
    /// The effect there.
    pub estimate: Estimate,
    /// Its p-value, adjusted for the number of segments by Holm's method.
    pub adjusted_p_value: f64,
}

/// Effects in all segments that have enough subjects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heterogeneity {
    /// Exploratory, always.
    pub status: Status,
    /// In the order given.
    pub segments: Vec<SegmentEffect>,
    /// Segments with too few subjects in an arm, or nothing that varies.
    pub left_out: Vec<String>,
    /// Of the hypothesis that the effect is the same everywhere: Cochran's Q = Σ (dᵢ − d̄)²/σᵢ² against χ² (Cochran 1954). None for fewer than two.
    pub p_value: Option<f64>,
}

/// Compares the effect among segments; those with fewer than `least_subjects` in an arm are left out.
pub fn compare(segments: &[(String, Summary, Summary)], difference: Difference, alpha: f64, least_subjects: u64) -> Heterogeneity {
    let mut found = Vec::new();
    let mut left_out = Vec::new();
    for (segment, control, treatment) in segments {
        let enough = control.subjects().min(treatment.subjects()) >= least_subjects;
        match two_sided(control, treatment, difference, alpha).filter(|_| enough) {
            Some(estimate) => found.push((segment.clone(), estimate)),
            None => left_out.push(segment.clone()),
        }
    }
    let p_values: Vec<f64> = found.iter().map(|(_, estimate)| estimate.p_value).collect();
    let precision = |estimate: &Estimate| 1.0 / (estimate.standard_error * estimate.standard_error);
    let total: f64 = found.iter().map(|(_, estimate)| precision(estimate)).sum();
    let mean = found.iter().map(|(_, estimate)| precision(estimate) * estimate.effect).sum::<f64>() / total;
    let spread: f64 = found.iter().map(|(_, estimate)| precision(estimate) * (estimate.effect - mean) * (estimate.effect - mean)).sum();
    let p_value = (found.len() > 1).then(|| chi_square_sf(spread, found.len() as u32 - 1));
    let adjusted = adjust(&p_values, Correction::HolmBonferroni);
    let segments =
        found.into_iter().zip(adjusted).map(|((segment, estimate), adjusted_p_value)| SegmentEffect { segment, estimate, adjusted_p_value }).collect();
    Heterogeneity { status: Status::Exploratory, segments, left_out, p_value }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn segment(name: &str, control: u64, treatment: u64) -> (String, Summary, Summary) {
        (name.into(), Summary::proportion(10_000, control), Summary::proportion(10_000, treatment))
    }

    #[test]
    fn the_same_effect_everywhere_is_not_heterogeneous() {
        let result = compare(&[segment("a", 500, 550), segment("b", 500, 550), segment("c", 500, 550)], Difference::Absolute, 0.05, 100);
        assert!((result.p_value.unwrap() - 1.0).abs() < 1e-12 && result.status == Status::Exploratory);
        assert!(result.segments.iter().all(|segment| (segment.adjusted_p_value - (3.0 * segment.estimate.p_value).min(1.0)).abs() < 1e-12));
    }

    #[test]
    fn opposite_effects_are() {
        let result = compare(&[segment("a", 500, 600), segment("b", 500, 400)], Difference::Absolute, 0.05, 100);
        // Q = 21.0748 by scipy.
        assert!((result.p_value.unwrap() - 4.416_952_710e-6).abs() < 1e-12, "{result:?}");
        assert!(serde_json::to_string(&result).unwrap().contains(r#""status":"exploratory""#));
    }

    #[test]
    fn small_segments_are_named_not_shown() {
        let small = ("small".to_owned(), Summary::proportion(10, 1), Summary::proportion(10_000, 900));
        let result = compare(&[segment("a", 500, 600), small], Difference::Absolute, 0.05, 100);
        assert_eq!((result.left_out.as_slice(), result.segments.len(), result.p_value), (["small".to_owned()].as_slice(), 1, None));
    }
}
