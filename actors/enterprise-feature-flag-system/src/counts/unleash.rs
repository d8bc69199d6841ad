//! An Unleash SDK's `POST /api/client/metrics` (or `/api/frontend/client/metrics`) as reports, one a flag.
//!
//! SDKs put the answer they got for the same context into a sample's labels, as `flag: variant | "enabled" | "disabled"`, so that what happened can be
//! joined with the arm without asking who it was. Samples without a flag say only that the metric is measured there.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tol_events::flags::{ArmCount, ArmMeasure, CountsReported, Unit};

/// What an SDK sends; unknown fields are left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    app_name: Option<String>,
    instance_id: Option<String>,
    sdk_version: Option<String>,
    environment: Option<String>,
    /// `null` where nothing was evaluated.
    bucket: Option<Bucket>,
    impact_metrics: Option<Vec<ImpactMetric>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Bucket {
    toggles: Option<BTreeMap<String, Toggle>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Toggle {
    yes: u64,
    no: u64,
    variants: Option<BTreeMap<String, u64>>,
}

#[derive(Clone, Debug, Deserialize)]
struct ImpactMetric {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    samples: Vec<Map<String, Value>>,
}

/// Labels that are no flags.
const STATIC_LABELS: [&str; 4] = ["appName", "environment", "featureName", "origin"];

impl Metrics {
    /// The reports, in the order of their flags. `environment` is the one of the SDK's token; `is_flag` says which labels are flags' names.
    pub fn reports(&self, environment: &str, is_flag: impl Fn(&str) -> bool) -> Vec<CountsReported<'static>> {
        let mut reports: BTreeMap<String, CountsReported<'static>> = BTreeMap::new();
        let who = [&self.sdk_version, &self.app_name, &self.instance_id].into_iter().flatten().filter(|part| !part.is_empty());
        let reporter: Vec<&str> = who.map(String::as_str).collect();
        let reporter = (!reporter.is_empty()).then(|| reporter.join("/"));
        let new = |key: &str| CountsReported {
            key: key.to_owned().into(),
            environment: Some(environment.to_owned().into()),
            reporter: reporter.clone().map(Into::into),
            unit: Unit::Evaluations,
            exposures: Vec::new(),
            variants: Vec::new(),
            measuring: Vec::new(),
            measures: Vec::new(),
        };
        let toggles = self.bucket.iter().filter_map(|bucket| bucket.toggles.as_ref()).flatten();
        for (key, toggle) in toggles.filter(|(key, _)| !key.is_empty()) {
            let report = reports.entry(key.clone()).or_insert_with(|| new(key));
            let arms = [("enabled", toggle.yes), ("disabled", toggle.no)];
            report.exposures = arms.into_iter().filter(|(_, count)| *count > 0).map(|(arm, count)| ArmCount { arm: arm.to_owned(), count }).collect();
            let served = toggle.variants.iter().flatten().filter(|(name, count)| **count > 0 && !name.is_empty());
            report.variants = served.map(|(name, count)| ArmCount { arm: name.clone(), count: *count }).collect();
        }
        let impact = self.impact_metrics.as_deref().unwrap_or_default();
        for metric in impact.iter().filter(|metric| !metric.name.is_empty()) {
            for sample in &metric.samples {
                let Some(measure) = measure(&metric.kind, sample) else { continue };
                for (flag, arm) in labels(sample).filter(|(flag, arm)| !arm.is_empty() && is_flag(flag)) {
                    let report = reports.entry(flag.to_owned()).or_insert_with(|| new(flag));
                    report.measures.push(ArmMeasure { arm: arm.to_owned(), metric: metric.name.clone(), segment: None, measure: measure.clone() });
                }
            }
        }
        let mut measuring: Vec<String> = impact.iter().map(|metric| metric.name.clone()).filter(|name| !name.is_empty()).collect();
        measuring.sort_unstable();
        measuring.dedup();
        let mut reports: Vec<_> = reports.into_values().collect();
        reports.iter_mut().for_each(|report| report.measuring.clone_from(&measuring));
        reports.retain(|report| !(report.exposures.is_empty() && report.variants.is_empty() && report.measures.is_empty()));
        reports
    }

    /// The environment the SDK names itself, where it does.
    pub fn environment(&self) -> Option<&str> {
        self.environment.as_deref()
    }
}

fn labels(sample: &Map<String, Value>) -> impl Iterator<Item = (&str, &str)> {
    let labels = sample.get("labels").and_then(Value::as_object).into_iter().flatten();
    labels.filter(|(name, _)| !STATIC_LABELS.contains(&name.as_str())).filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}

/// None of what is no number: a client's mistake must not cost the rest.
fn measure(kind: &str, sample: &Map<String, Value>) -> Option<Map<String, Value>> {
    let measure = match kind {
        "counter" | "gauge" => json!({"kind": kind, "value": sample.get("value")?.as_f64()?}),
        "histogram" => json!({"kind": kind, "count": sample.get("count")?.as_u64()?, "sum": sample.get("sum")?.as_f64()?, "buckets": sample.get("buckets")?}),
        _ => return None,
    };
    let tally: super::Tally = serde_json::from_value(measure.clone()).ok()?;
    match (tally.problem(), measure) {
        (None, Value::Object(measure)) => Some(measure),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn reports(body: &Value) -> Vec<CountsReported<'static>> {
        serde_json::from_value::<Metrics>(body.clone()).unwrap().reports("development", |key| key == "demo")
    }

    #[test]
    fn an_sdks_metrics_become_a_report_a_flag() {
        // The shape recorded from UnleashClient 6.9, with a flag among the labels as its `MetricFlagContext` puts it there.
        let body = json!({"appName": "trace", "instanceId": "unleash-python-sdk", "sdkVersion": "unleash-python-sdk:6.9.1",
            "bucket": {"start": "2026-11-22T14:28:39Z", "stop": "2026-11-22T14:28:40Z", "toggles": {"demo": {"no": 1, "yes": 2, "variants": {"disabled": 1}}}},
            "impactMetrics": [
                {"name": "purchases", "help": "n", "type": "counter", "samples": [
                    {"labels": {"appName": "trace", "environment": "development", "demo": "enabled"}, "value": 3}, {"labels": {}, "value": 1}]},
                {"name": "latency", "help": "n", "type": "histogram", "samples": [{"labels": {"demo": "disabled"}, "count": 2, "sum": 0.3,
                    "buckets": [{"le": 0.1, "count": 1}, {"le": "+Inf", "count": 2}]}]},
                {"name": "errors", "help": "n", "type": "counter", "samples": [{"labels": {}, "value": 0}]}]});
        let reports = reports(&body);
        let [report] = reports.as_slice() else { panic!("{reports:?}") };
        let written = serde_json::to_value(report).unwrap();
        assert_eq!(written["exposures"], json!([{"arm": "enabled", "count": 2}, {"arm": "disabled", "count": 1}]));
        assert_eq!(written["measuring"], json!(["errors", "latency", "purchases"]));
        assert_eq!(written["measures"][0], json!({"arm": "enabled", "metric": "purchases", "measure": {"kind": "counter", "value": 3.0}}));
        assert_eq!(written["measures"][1]["arm"], "disabled");
        assert_eq!(written["reporter"], "unleash-python-sdk:6.9.1/trace/unleash-python-sdk");
        let mut counted = super::super::Counted::default();
        counted.add(report).unwrap();
        assert_eq!(counted.metrics["errors"].exposed["enabled"], 2, "nothing went wrong, and somebody looked");
    }

    #[test]
    fn nothing_evaluated_is_no_report_and_a_broken_sample_costs_only_itself() {
        assert!(
            reports(&json!({"bucket": null, "impactMetrics": [{"name": "purchases", "type": "counter", "samples": [{"labels": {}, "value": 0}]}]})).is_empty()
        );
        assert!(reports(&json!({})).is_empty());
        let broken = json!({"bucket": {"toggles": {"demo": {"yes": 1, "no": 0}}}, "impactMetrics": [{"name": "a", "type": "counter",
            "samples": [{"labels": {"demo": "enabled"}, "value": -4}, {"labels": {"demo": "enabled"}, "value": 2}]}]});
        assert_eq!(reports(&broken)[0].measures.len(), 1);
    }
}
