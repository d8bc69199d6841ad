//! What SDKs and analytics count, added up, and as a rollout or an experiment reads it.
//!
//! * [`Tally`] — a metric's sums in one arm
//! * [`Counted`] — the fold of reports: exposures and metrics by arm
//! * [`observation`] — the look that a rollout takes at them
//! * `outcome` — one customer's outcome, and sums of sums
//! * [`unleash`] — an Unleash SDK's metrics as reports
//!
//! What can be joined honestly: a metric belongs to an arm because its sender says so, who evaluated the flag for the same subject. A counter is
//! compared with the exposures of those senders only who measure it. Counts of evaluations take each for a subject of its own.

mod observation;
mod outcome;
mod tally;
pub mod unleash;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tol_events::flags::CountsReported;

pub use observation::{Arms, arms_of, observation};
pub use outcome::Measured;
pub use tally::{Bucket, Tally};

/// Arms, metrics and segments of each kind that are kept; more are refused, as they are a mistake and the state has to end somewhere.
const MOST: usize = 200;

/// The fold of reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// Exposed, by arm: `enabled`, `disabled`.
    #[serde(default)]
    pub exposures: BTreeMap<String, u64>,
    /// Served, by variant.
    #[serde(default)]
    pub variants: BTreeMap<String, u64>,
    /// By name.
    #[serde(default)]
    pub metrics: BTreeMap<String, Metric>,
    /// By segment, then name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub segments: BTreeMap<String, BTreeMap<String, Metric>>,
}

/// A metric in all arms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Those exposed where it is measured, by arm or variant.
    #[serde(default)]
    pub exposed: BTreeMap<String, u64>,
    /// Its sums, by arm or variant.
    #[serde(default)]
    pub arms: BTreeMap<String, Tally>,
}

impl Counted {
    /// Adds a report.
    ///
    /// # Errors
    /// What is wrong with it; nothing of it was added then.
    pub fn add(&mut self, report: &CountsReported<'_>) -> Result<(), String> {
        let mut sum = self.clone();
        sum.add_all(report)?;
        *self = sum;
        Ok(())
    }

    fn add_all(&mut self, report: &CountsReported<'_>) -> Result<(), String> {
        for exposed in &report.exposures {
            count(&mut self.exposures, &exposed.arm, exposed.count)?;
        }
        for served in &report.variants {
            count(&mut self.variants, &served.arm, served.count)?;
        }
        // Whoever measures it measures it for all who were exposed there.
        let measured = report.measures.iter().filter(|measure| measure.segment.is_none()).map(|measure| measure.metric.as_str());
        let measuring: BTreeSet<&str> = report.measuring.iter().map(String::as_str).chain(measured).collect();
        for name in measuring {
            room(self.metrics.contains_key(name), self.metrics.len(), "metrics")?;
            let metric = self.metrics.entry(name.to_owned()).or_default();
            for exposed in report.exposures.iter().chain(&report.variants) {
                count(&mut metric.exposed, &exposed.arm, exposed.count)?;
            }
        }
        for measure in &report.measures {
            let tally: Tally = serde_json::from_value(Value::Object(measure.measure.clone())).map_err(|problem| format!("{}: {problem}", measure.metric))?;
            if let Some(problem) = tally.problem() {
                return Err(format!("{} in {}: {problem}", measure.metric, measure.arm));
            }
            let metrics = match &measure.segment {
                None => &mut self.metrics,
                Some(segment) => {
                    room(self.segments.contains_key(segment), self.segments.len(), "segments")?;
                    self.segments.entry(segment.clone()).or_default()
                }
            };
            room(metrics.contains_key(&measure.metric), metrics.len(), "metrics")?;
            let arms = &mut metrics.entry(measure.metric.clone()).or_default().arms;
            add_arm(arms, &measure.metric, &measure.arm, &tally)?;
        }
        Ok(())
    }
}

fn add_arm(arms: &mut BTreeMap<String, Tally>, metric: &str, arm: &str, tally: &Tally) -> Result<(), String> {
    room(arms.contains_key(arm), arms.len(), "arms")?;
    match arms.get_mut(arm) {
        Some(sum) => sum.add(tally).map_err(|problem| format!("{metric} in {arm}: {problem}"))?,
        None => drop(arms.insert(arm.to_owned(), tally.clone())),
    }
    Ok(())
}

fn merge_metrics(metrics: &mut BTreeMap<String, Metric>, more: &BTreeMap<String, Metric>) -> Result<(), String> {
    for (name, more) in more {
        room(metrics.contains_key(name), metrics.len(), "metrics")?;
        let metric = metrics.entry(name.clone()).or_default();
        more.exposed.iter().try_for_each(|(arm, exposed)| count(&mut metric.exposed, arm, *exposed))?;
        more.arms.iter().try_for_each(|(arm, tally)| add_arm(&mut metric.arms, name, arm, tally))?;
    }
    Ok(())
}

fn count(counts: &mut BTreeMap<String, u64>, arm: &str, more: u64) -> Result<(), String> {
    room(counts.contains_key(arm), counts.len(), "arms")?;
    let sum = counts.entry(arm.to_owned()).or_default();
    *sum = sum.saturating_add(more);
    Ok(())
}

fn room(known: bool, there: usize, what: &str) -> Result<(), String> {
    if known || there < MOST { Ok(()) } else { Err(format!("more than {MOST} {what}; is a name made of an id?")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(value: &Value) -> CountsReported<'static> {
        serde_json::from_str(value.to_string().leak()).unwrap()
    }

    #[test]
    fn reports_add_up_the_same_in_any_order() {
        let reports: Vec<Value> = (0..6)
            .map(|i| {
                json!({"key": "f", "exposures": [{"arm": "enabled", "count": 10 + i}, {"arm": "disabled", "count": 90}], "measuring": ["errors"],
                    "measures": [{"arm": "enabled", "metric": "errors", "measure": {"kind": "counter", "value": i}},
                        {"arm": "enabled", "metric": "errors", "segment": "country=DE", "measure": {"kind": "counter", "value": 1}}]})
            })
            .collect();
        let fold = |order: &mut dyn Iterator<Item = &Value>| {
            let mut counted = Counted::default();
            order.for_each(|value| counted.add(&report(value)).unwrap());
            counted
        };
        let forwards = fold(&mut reports.iter());
        assert_eq!(forwards, fold(&mut reports.iter().rev()));
        assert_eq!((forwards.exposures["enabled"], forwards.metrics["errors"].exposed["disabled"]), (75, 540));
        assert_eq!(forwards.metrics["errors"].arms["enabled"], Tally::Counter { value: 15.0 });
        assert_eq!(forwards.segments["country=DE"]["errors"].arms["enabled"], Tally::Counter { value: 6.0 });
    }

    #[test]
    fn a_metric_is_compared_only_with_those_who_were_exposed_where_it_is_measured() {
        let mut counted = Counted::default();
        let exposures = json!([{"arm": "enabled", "count": 10}]);
        counted.add(&report(&json!({"key": "f", "exposures": exposures}))).unwrap();
        counted.add(&report(&json!({"key": "f", "exposures": exposures, "measuring": ["errors"]}))).unwrap();
        assert_eq!((counted.exposures["enabled"], counted.metrics["errors"].exposed["enabled"]), (20, 10));
    }

    #[test]
    fn a_report_that_is_refused_adds_nothing() {
        let mut counted = Counted::default();
        let wrong = json!({"key": "f", "exposures": [{"arm": "enabled", "count": 10}],
            "measures": [{"arm": "enabled", "metric": "errors", "measure": {"kind": "counter", "value": -1}}]});
        assert!(counted.add(&report(&wrong)).unwrap_err().contains("errors in enabled"));
        let ids: Vec<Value> = (0..201).map(|i| json!({"arm": format!("a{i}"), "count": 1})).collect();
        assert!(counted.add(&report(&json!({"key": "f", "exposures": ids}))).unwrap_err().contains("more than 200 arms"));
        assert_eq!(counted, Counted::default());
    }
}
