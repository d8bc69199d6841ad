//! What an application measured of its own business, as its SDK sends it beside the counts of flags.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{FieldError, domain_event, filled, filled_if_present};

/// Labels and buckets of one report: events are bounded.
const MOST: usize = 1_000;

/// `flags.metric_reported.v1`: a metric of an application since its last report, under one set of labels. What it says about a flag's arm is in
/// `flags.counts_reported.v1` as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricReported<'a> {
    /// The metric.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// What it is.
    pub kind: MetricKind,
    /// The environment of the SDK's key.
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// Who measured: an SDK with its application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reporter: Option<Cow<'a, str>>,
    /// What it was told apart by; among it flags, with the variant that was served, `enabled` or `disabled`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How much was added to a counter, or what a gauge shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Observations of a histogram.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Their sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<f64>,
    /// How many were at most so much, in order; the last bound is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<MetricBucket>,
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// It only grows; a report says by how much.
    Counter,
    /// It goes up and down; a report says where it stands.
    Gauge,
    /// It is observed now and then; a report says how often, and how large.
    Histogram,
}

/// Observations up to a bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricBucket {
    /// The bound; the last bucket has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// How many.
    pub count: u64,
}

domain_event!(MetricReported, "flags.metric_reported.v1", "metric" / name, |this| {
    filled("environment", &this.environment)?;
    filled_if_present("reporter", this.reporter.as_deref())?;
    if this.labels.len() > MOST || this.buckets.len() > MOST {
        return Err(FieldError::new("labels", format!("or buckets are more than {MOST}; send fewer")));
    }
    let complete = match this.kind {
        MetricKind::Counter | MetricKind::Gauge => this.value.is_some(),
        MetricKind::Histogram => this.count.is_some() && this.sum.is_some(),
    };
    if !complete {
        return Err(FieldError::new("value", "is missing: a counter and a gauge have a value, a histogram a count and a sum"));
    }
});
