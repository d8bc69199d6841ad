//! Several metrics at once: p-values adjusted so that they may be compared with the same α as one alone.

use serde::{Deserialize, Serialize};

/// Which error is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// The probability of a single false finding, under any dependence (Holm 1979).
    HolmBonferroni,
    /// The expected share of false ones among the findings, for independent or positively dependent metrics (Benjamini & Hochberg 1995).
    BenjaminiHochberg,
}

/// The adjusted p-values, in the order of the given ones.
pub fn adjust(p_values: &[f64], correction: Correction) -> Vec<f64> {
    let count = p_values.len();
    let mut ranked: Vec<usize> = (0..count).collect();
    ranked.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; count];
    match correction {
        Correction::HolmBonferroni => {
            let mut largest: f64 = 0.0;
            for (rank, &index) in ranked.iter().enumerate() {
                largest = largest.max((count - rank) as f64 * p_values[index]).min(1.0);
                adjusted[index] = largest;
            }
        }
        Correction::BenjaminiHochberg => {
            let mut least: f64 = 1.0;
            for (rank, &index) in ranked.iter().enumerate().rev() {
                least = least.min(count as f64 / (rank + 1) as f64 * p_values[index]);
                adjusted[index] = least;
            }
        }
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: &[f64], expected: &[f64]) {
        assert!(got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?}, expected {expected:?}");
    }

    #[test]
    fn four_metrics_worked_by_hand() {
        let p_values = [0.01, 0.04, 0.03, 0.005];
        // Sorted .005 .01 .03 .04: times 4, 3, 2, 1 and never falling.
        near(&adjust(&p_values, Correction::HolmBonferroni), &[0.03, 0.06, 0.06, 0.02]);
        // times 4/1, 4/2, 4/3, 4/4 and never falling from above.
        near(&adjust(&p_values, Correction::BenjaminiHochberg), &[0.02, 0.04, 0.04, 0.02]);
    }

    #[test]
    fn adjusted_values_stay_probabilities_and_one_metric_is_not_adjusted() {
        near(&adjust(&[0.6, 0.7], Correction::HolmBonferroni), &[1.0, 1.0]);
        near(&adjust(&[0.04], Correction::BenjaminiHochberg), &[0.04]);
        near(&adjust(&[], Correction::HolmBonferroni), &[]);
    }
}
