//! Bayesian comparison: the effect's posterior is normal, from its estimate by the delta method and a normal prior (Deng 2015; as GrowthBook does).
//! Not a rule for stopping: looked at again and again, a chance to win of 95% is reached by every other harmless change.

use serde::{Deserialize, Serialize};

use super::frequentist::{Difference, effect};
use super::functions::{normal_cdf, normal_pdf, normal_quantile, normal_sf};
use super::summary::Summary;

/// What is believed of the effect beforehand, on the scale of the difference asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prior {
    /// Mean, usually 0.
    pub mean: f64,
    /// Standard deviation, above 0; 0.3 on the relative scale says that most changes move a metric by less than 30%.
    pub standard_deviation: f64,
}

/// What is believed of the effect now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Posterior {
    /// Mean of the effect.
    pub effect: f64,
    /// Its standard deviation.
    pub standard_deviation: f64,
    /// Equal-tailed interval that holds 1 − α of the posterior.
    pub credible_interval: [f64; 2],
    /// Probability that the treatment is the better one.
    pub chance_to_win: f64,
    /// What is lost on average by choosing the control, on the scale of the effect.
    pub loss_of_control: f64,
    /// What is lost on average by choosing the treatment.
    pub loss_of_treatment: f64,
}

/// The posterior; without a prior, flat. `lower_is_better` for metrics such as errors. None where there is nothing to compare, as in [`effect`],
/// or the prior has no spread.
pub fn posterior(control: &Summary, treatment: &Summary, difference: Difference, prior: Option<Prior>, alpha: f64, lower_is_better: bool) -> Option<Posterior> {
    let (estimate, variance) = effect(control, treatment, difference)?;
    // Precisions add (normal likelihood, normal prior: Gelman et al. 2013, ch. 2).
    let (precision, weighted) = match prior {
        None => (1.0 / variance, estimate / variance),
        Some(Prior { mean, standard_deviation }) if standard_deviation > 0.0 => {
            let belief = 1.0 / (standard_deviation * standard_deviation);
            (1.0 / variance + belief, estimate / variance + mean * belief)
        }
        Some(_) => return None,
    };
    let (mean, deviation) = (weighted / precision, libm::sqrt(1.0 / precision));
    let z = mean / deviation;
    // E[max(D, 0)] = μ Φ(μ/σ) + σ φ(μ/σ), and E[max(−D, 0)] likewise.
    let gain = mean * normal_cdf(z) + deviation * normal_pdf(z);
    let loss = gain - mean;
    let width = normal_quantile(1.0 - 0.5 * alpha) * deviation;
    let (loss_of_control, loss_of_treatment) = if lower_is_better { (loss, gain) } else { (gain, loss) };
    Some(Posterior {
        effect: mean,
        standard_deviation: deviation,
        credible_interval: [mean - width, mean + width],
        chance_to_win: if lower_is_better { normal_sf(z) } else { normal_cdf(z) },
        loss_of_control,
        loss_of_treatment,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn check(got: Option<Posterior>, expected: [f64; 6]) {
        let got = got.unwrap();
        let values = [got.chance_to_win, got.effect, got.credible_interval[0], got.credible_interval[1], got.loss_of_control, got.loss_of_treatment];
        for (value, expected) in values.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-9, "{got:?}, expected {expected}");
        }
    }

    /// Values of gbstats 0.8.0's `EffectBayesianABTest`.
    #[test]
    fn agrees_with_gbstats() {
        let arm = Summary::proportion;
        check(
            posterior(&arm(1000, 100), &arm(1000, 130), Difference::Relative, None, 0.05, false),
            [0.9672763417294536, 0.3, -0.019179397713587232, 0.6191793977135871, 0.30208906485859227, 0.002089064858592275],
        );
        check(
            posterior(&arm(1000, 100), &arm(900, 80), Difference::Absolute, None, 0.05, true),
            [0.7962227606698739, -0.011111111111111113, -0.03740578534025048, 0.015183563118028244, 0.012645168377913874, 0.0015340572668027601],
        );
        let prior = Prior { mean: 0.05, standard_deviation: 0.1 };
        check(
            posterior(&arm(1000, 100), &arm(1000, 130), Difference::Relative, Some(prior), 0.05, false),
            [0.9177450714054552, 0.11845564074479735, -0.04856473887495584, 0.2854760203645505, 0.12164937433799829, 0.0031937335932009456],
        );
    }

    #[test]
    fn nothing_to_compare_is_no_belief() {
        let (nothing, some) = (Summary::proportion(0, 0), Summary::proportion(10, 5));
        assert_eq!(posterior(&nothing, &some, Difference::Relative, None, 0.05, false), None);
        let certain = Prior { mean: 0.0, standard_deviation: 0.0 };
        assert_eq!(posterior(&some, &some, Difference::Relative, Some(certain), 0.05, false), None);
    }
}
