//! One customer's outcome as a report: counted once, with all that is measured of them.

use std::collections::BTreeMap;

use serde_json::json;
use tol_events::flags::{ArmCount, ArmMeasure, CountsReported, Object, Unit};

use super::Counted;

/// How a number about a customer is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// Whether it happened.
    Happened,
    /// How often.
    Times,
    /// A number for each customer.
    Number,
}

impl Measured {
    /// What the name of a metric says: a number where it ends in `.count` or is an amount, else whether it happened.
    pub fn of(metric: &str) -> Self {
        if metric.ends_with(".count") || metric.contains(".amount.") { Self::Number } else { Self::Happened }
    }

    fn measure(self, value: i64) -> Object {
        let number = value as f64;
        let measure = match self {
            Self::Happened => json!({"kind": "proportion", "subjects": 1, "successes": u64::from(value > 0)}),
            Self::Times => json!({"kind": "counter", "value": number}),
            Self::Number => json!({"kind": "mean", "subjects": 1, "sum": number, "sum_squares": number * number}),
        };
        measure.as_object().cloned().unwrap_or_default()
    }
}

impl Counted {
    /// Adds a customer in `arm`, and those of the values that `measured` knows.
    ///
    /// # Errors
    /// As [`Counted::add`].
    pub fn add_outcome(&mut self, arm: &str, values: &BTreeMap<String, i64>, measured: &dyn Fn(&str) -> Option<Measured>) -> Result<(), String> {
        let one = vec![ArmCount { arm: arm.to_owned(), count: 1 }];
        let (exposures, variants) = if matches!(arm, "enabled" | "disabled") { (one, Vec::new()) } else { (Vec::new(), one) };
        let known = values.iter().filter_map(|(metric, value)| Some((metric, measured(metric)?.measure(*value))));
        let measures: Vec<ArmMeasure> =
            known.map(|(metric, measure)| ArmMeasure { arm: arm.to_owned(), metric: metric.clone(), segment: None, measure }).collect();
        let report =
            CountsReported { key: "".into(), environment: None, reporter: None, unit: Unit::Subjects, exposures, variants, measuring: Vec::new(), measures };
        self.add(&report)
    }

    /// Adds what others counted.
    ///
    /// # Errors
    /// Where a metric is measured in another way; nothing was added then.
    pub fn merge(&mut self, more: &Self) -> Result<(), String> {
        let mut sum = self.clone();
        let plain = [(&mut sum.exposures, &more.exposures), (&mut sum.variants, &more.variants)];
        for (counts, more) in plain {
            more.iter().try_for_each(|(arm, count)| super::count(counts, arm, *count))?;
        }
        super::merge_metrics(&mut sum.metrics, &more.metrics)?;
        for (segment, metrics) in &more.segments {
            super::room(sum.segments.contains_key(segment), sum.segments.len(), "segments")?;
            super::merge_metrics(sum.segments.entry(segment.clone()).or_default(), metrics)?;
        }
        *self = sum;
        Ok(())
    }

    /// Subjects in all arms. Those that were served a variant are either among the exposed or reported without.
    pub fn subjects(&self) -> u64 {
        self.exposures.values().chain(self.variants.values()).fold(0, |sum, count| sum.saturating_add(*count))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::super::Tally;
    use super::*;
    use crate::statistics::summary::Sums;

    #[test]
    fn a_customer_counts_once_in_their_arm_with_all_that_is_measured() {
        let values: BTreeMap<String, i64> = [("a", 2), ("b", 3), ("c.amount.EUR", 500), ("d", 1)].into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
        let measured = |metric: &str| match metric {
            "b" => Some(Measured::Times),
            "d" => None,
            other => Some(Measured::of(other)),
        };
        let mut counted = Counted::default();
        counted.add_outcome("enabled", &values, &measured).unwrap();
        counted.add_outcome("disabled", &values.keys().map(|name| (name.clone(), 0)).collect(), &measured).unwrap();
        let arm = |metric: &str, arm: &str| counted.metrics[metric].arms[arm].clone();
        assert_eq!(
            (arm("a", "enabled"), arm("a", "disabled")),
            (Tally::Proportion { subjects: 1, successes: 1 }, Tally::Proportion { subjects: 1, successes: 0 })
        );
        assert_eq!((arm("b", "enabled"), counted.metrics["b"].exposed["disabled"]), (Tally::Counter { value: 3.0 }, 1));
        assert_eq!(arm("c.amount.EUR", "enabled"), Tally::Mean(Sums { subjects: 1, sum: 500.0, sum_squares: 250_000.0 }));
        assert!(!counted.metrics.contains_key("d"));
        // Twice as much, whichever is added to which.
        let mut twice = counted.clone();
        twice.merge(&counted).unwrap();
        assert_eq!((twice.subjects(), &twice.metrics["a"].arms["enabled"]), (4, &Tally::Proportion { subjects: 2, successes: 2 }));
        let mut from_nothing = Counted::default();
        from_nothing.merge(&twice).unwrap();
        assert_eq!(from_nothing, twice);
    }
}
