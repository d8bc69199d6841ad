//! What an experiment has shown so far, from its counts alone.

use std::collections::BTreeMap;

use serde::Serialize;

use super::spec::{Goal, MetricSpec, Spec};
use crate::counts::{Counted, Metric, Tally};
use crate::statistics::bayesian::{self, Posterior};
use crate::statistics::correction::adjust;
use crate::statistics::frequentist::{self, Estimate, Side};
use crate::statistics::sample_ratio::{self, SampleRatio};
use crate::statistics::segments::{self, Heterogeneity};
use crate::statistics::summary::{Summary, theta};

/// Results.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Results {
    /// Subjects by variation, in the order of the experiment.
    pub subjects: BTreeMap<String, u64>,
    /// Whether the variations got the traffic they were meant to get.
    pub sample_ratio: SampleRatio,
    /// In the order of the experiment.
    pub metrics: Vec<MetricResult>,
    /// What follows.
    pub decision: Decided,
}

/// A metric in all variations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricResult {
    /// Its name.
    pub metric: String,
    /// What is better.
    pub goal: Goal,
    /// Whether it decides.
    pub primary: bool,
    /// Of the variation that the others are compared with: subjects and mean.
    pub control: Option<Arm>,
    /// The others.
    pub variations: Vec<VariationResult>,
}

/// An arm's size and mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Arm {
    /// Subjects with a known outcome.
    pub subjects: u64,
    /// Unadjusted.
    pub mean: f64,
}

/// A variation compared with the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VariationResult {
    /// Which.
    pub variation: String,
    /// Its size and mean; none where nothing was measured.
    pub arm: Option<Arm>,
    /// θ of CUPED, where there was something to adjust by.
    pub theta: Option<f64>,
    /// For one look at a horizon fixed beforehand.
    pub fixed_horizon: Option<Estimate>,
    /// Holds at every look; decisions rest on this.
    pub sequential: Option<Estimate>,
    /// Its p-value, corrected for all metrics and variations.
    pub adjusted_p_value: Option<f64>,
    /// What is believed; no rule for stopping.
    pub bayesian: Option<Posterior>,
    /// Effects in parts of the subjects: exploratory, never part of the decision.
    pub heterogeneity: Option<Heterogeneity>,
}

/// What follows from the results now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decided {
    /// Nothing can be said: the variations did not get the traffic they were meant to get.
    SampleRatioMismatch,
    /// Too few subjects in a variation, or no metric.
    Collecting {
        /// What is missing.
        missing: String,
    },
    /// A variation is better than the first in the metric that decides.
    Better {
        /// Which; of several the one with the largest effect.
        variation: String,
        /// Other metrics in which it is worse, for a person to weigh.
        worse_in: Vec<String>,
    },
    /// Every variation is worse than the first.
    Worse,
    /// Neither is shown yet.
    Undecided,
}

/// The results of what was counted. `expected` are the subjects each variation was meant to get, where a bandit changed the weights meanwhile; by the
/// weights of the experiment if empty.
pub fn results(spec: &Spec, counted: &Counted, expected: &[f64]) -> Results {
    let sample_ratio = self::sample_ratio(spec, counted, expected);
    let subjects: Vec<u64> = spec.variations.iter().map(|variation| subjects(counted, &variation.name)).collect();
    let mut metrics: Vec<MetricResult> = spec.metrics.iter().map(|metric| compare(spec, metric, counted)).collect();
    let flat = |metrics: &[MetricResult]| -> Vec<f64> {
        metrics.iter().flat_map(|metric| &metric.variations).filter_map(|variation| Some(variation.sequential?.p_value)).collect()
    };
    let mut adjusted = adjust(&flat(&metrics), spec.correction).into_iter();
    for variation in metrics.iter_mut().flat_map(|metric| &mut metric.variations) {
        variation.adjusted_p_value = variation.sequential.and_then(|_| adjusted.next());
    }
    let decision = decide(spec, &subjects, &sample_ratio, &metrics);
    let names = spec.variations.iter().map(|variation| variation.name.clone());
    Results { subjects: names.zip(subjects).collect(), sample_ratio, metrics, decision }
}

/// Whether the variations got the traffic they were meant to get; `expected` as for [`results`].
pub fn sample_ratio(spec: &Spec, counted: &Counted, expected: &[f64]) -> SampleRatio {
    let subjects: Vec<u64> = spec.variations.iter().map(|variation| subjects(counted, &variation.name)).collect();
    let weights: Vec<f64> = if expected.is_empty() { spec.variations.iter().map(|variation| variation.weight).collect() } else { expected.to_vec() };
    // A spec that was accepted has weights above 0, one for each.
    sample_ratio::check(&subjects, &weights, spec.split_threshold).unwrap_or(SampleRatio::TooFew { least_expected: 0.0 })
}

/// Those who were served a variation.
pub fn subjects(counted: &Counted, variation: &str) -> u64 {
    counted.variants.get(variation).or(counted.exposures.get(variation)).copied().unwrap_or(0)
}

fn compare(spec: &Spec, metric: &MetricSpec, counted: &Counted) -> MetricResult {
    let sums = counted.metrics.get(&metric.name);
    let Some((first, others)) = spec.variations.split_first() else {
        return MetricResult { metric: metric.name.clone(), goal: metric.goal, primary: false, control: None, variations: Vec::new() };
    };
    let shown = |summary: Summary| Arm { subjects: summary.subjects(), mean: summary.unadjusted_mean() };
    let control = sums.and_then(|sums| summary(sums, &first.name, metric.above, 0.0)).map(shown);
    let variations = others
        .iter()
        .map(|variation| {
            let pair = sums.and_then(|sums| pair(sums, &first.name, &variation.name, metric.above));
            let arm = sums.and_then(|sums| summary(sums, &variation.name, metric.above, 0.0)).map(shown);
            let lower = metric.goal == Goal::Decrease;
            let (a, b) = (spec.alpha, spec.difference);
            VariationResult {
                variation: variation.name.clone(),
                arm,
                theta: pair.and_then(|(_, _, theta)| theta),
                fixed_horizon: pair.and_then(|(control, treatment, _)| frequentist::two_sided(&control, &treatment, b, a)),
                sequential: pair.and_then(|(control, treatment, _)| frequentist::sequential(&control, &treatment, b, a, spec.tuning_subjects, Side::TwoSided)),
                adjusted_p_value: None,
                bayesian: pair.and_then(|(control, treatment, _)| bayesian::posterior(&control, &treatment, b, spec.prior, a, lower)),
                heterogeneity: by_segment(spec, metric, counted, &first.name, &variation.name),
            }
        })
        .collect();
    let primary = spec.primary().is_some_and(|primary| primary.name == metric.name);
    MetricResult { metric: metric.name.clone(), goal: metric.goal, primary, control, variations }
}

fn by_segment(spec: &Spec, metric: &MetricSpec, counted: &Counted, control: &str, treatment: &str) -> Option<Heterogeneity> {
    let found = counted.segments.iter().filter_map(|(segment, metrics)| {
        let (control, treatment, _) = pair(metrics.get(&metric.name)?, control, treatment, metric.above)?;
        Some((segment.clone(), control, treatment))
    });
    let found: Vec<_> = found.collect();
    (!found.is_empty()).then(|| segments::compare(&found, spec.difference, spec.alpha, spec.minimum_subjects))
}

fn summary(sums: &Metric, arm: &str, above: Option<f64>, theta: f64) -> Option<Summary> {
    let exposed = sums.exposed.get(arm).copied().unwrap_or(0);
    match (sums.arms.get(arm), above) {
        (Some(tally), Some(_)) => {
            let (subjects, successes) = tally.proportion(exposed, above)?;
            Some(Summary::proportion(subjects, successes))
        }
        (Some(tally), None) => tally.summary(exposed, theta),
        // Counted where nothing happened yet.
        (None, _) if exposed > 0 && sums.arms.values().all(|tally| matches!(tally, Tally::Counter { .. })) => Some(Summary::proportion(exposed, 0)),
        (None, _) => None,
    }
}

/// Both arms, adjusted by one θ where both have something to adjust by.
fn pair(sums: &Metric, control: &str, treatment: &str, above: Option<f64>) -> Option<(Summary, Summary, Option<f64>)> {
    let covariate = |arm: &str| match sums.arms.get(arm) {
        Some(Tally::Adjusted(arm)) => Some(*arm),
        _ => None,
    };
    let theta = covariate(control).zip(covariate(treatment)).map(|(a, b)| theta(&a, &b));
    let by = theta.unwrap_or(0.0);
    Some((summary(sums, control, above, by)?, summary(sums, treatment, above, by)?, theta))
}

fn decide(spec: &Spec, subjects: &[u64], sample_ratio: &SampleRatio, metrics: &[MetricResult]) -> Decided {
    if matches!(sample_ratio, SampleRatio::Mismatch { .. }) {
        return Decided::SampleRatioMismatch;
    }
    let Some(primary) = metrics.iter().find(|metric| metric.primary) else {
        return Decided::Collecting { missing: "a metric".to_owned() };
    };
    let fewest = subjects.iter().copied().min().unwrap_or(0);
    if fewest < spec.minimum_subjects {
        return Decided::Collecting { missing: format!("{} more subjects in a variation", spec.minimum_subjects - fewest) };
    }
    // Positive where it is better, in the metrics that show anything.
    let shown = |metric: &MetricResult, variation: &VariationResult| {
        let sign = if metric.goal == Goal::Increase { 1.0 } else { -1.0 };
        let estimate = variation.sequential.filter(|_| variation.adjusted_p_value.is_some_and(|p_value| p_value < spec.alpha))?;
        Some(sign * estimate.effect)
    };
    let best = primary.variations.iter().filter_map(|variation| Some((variation, shown(primary, variation)?))).filter(|(_, effect)| *effect > 0.0);
    if let Some((best, _)) = best.max_by(|a, b| a.1.total_cmp(&b.1)) {
        let worse = |metric: &&MetricResult| {
            let same = metric.variations.iter().find(|variation| variation.variation == best.variation);
            same.and_then(|variation| shown(metric, variation)).is_some_and(|effect| effect < 0.0)
        };
        let worse_in = metrics.iter().filter(worse).map(|metric| metric.metric.clone()).collect();
        return Decided::Better { variation: best.variation.clone(), worse_in };
    }
    let all_worse = primary.variations.iter().all(|variation| shown(primary, variation).is_some_and(|effect| effect < 0.0));
    if all_worse { Decided::Worse } else { Decided::Undecided }
}
