//! What SDKs count and measure, as facts: `flags.counts_reported.v1` a flag and `flags.metric_reported.v1` a metric and set of labels.
//!
//! A report with a time of its own (its bucket) gets ids made from what it says, so that it counts once however often it is sent. One without has
//! nothing to tell it from the next: it gets new ids, and what says nothing (a counter that did not move) is left out.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use serde::Deserialize;
use serde_json::Value;
use tol_events::flags::{MetricBucket, MetricKind, MetricReported};
use tol_events::{Attribute, DomainEvent, Event, EventTime};
use tol_plug::{Kind, Outcome, Problem};
use uuid::Uuid;

use super::environment_of;
use crate::Request;
use crate::counts::unleash::Metrics;

/// What admission may answer to a report.
pub(super) const PROBLEMS: &[&Kind] = &[Kind::INVALID_EVENT, Kind::INVALID_DATA, Kind::ID_CONFLICT, Kind::UNAVAILABLE, Kind::DISK_FULL, Kind::EMERGENCY_STOP];

const SOURCE: &str = "/sdks/unleash";
/// Samples of one report; the rest is refused as a mistake.
const MOST_SAMPLES: usize = 10_000;

/// What an SDK sends beside the counts of flags.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sent {
    app_name: Option<String>,
    instance_id: Option<String>,
    sdk_version: Option<String>,
    /// `null` where nothing was evaluated.
    bucket: Option<Bucket>,
    impact_metrics: Option<Vec<Metric>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Bucket {
    start: Option<Value>,
    stop: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Metric {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    samples: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    #[serde(default)]
    labels: BTreeMap<String, Value>,
    value: Option<f64>,
    count: Option<u64>,
    sum: Option<f64>,
    #[serde(default)]
    buckets: Vec<SampleBucket>,
}

#[derive(Debug, Deserialize)]
struct SampleBucket {
    /// A number, or `+Inf`.
    le: Value,
    count: u64,
}

/// Takes an Unleash SDK's metrics; answers when they are durable.
pub(super) async fn take(request: Request, payload: Payload) -> Outcome {
    let body = request.body(payload).await?;
    let refused = |error: serde_json::Error| Problem::new(if error.is_data() { Kind::INVALID_BODY } else { Kind::MALFORMED_JSON }, error.to_string());
    let sent: Sent = serde_json::from_slice(&body).map_err(&refused)?;
    let counts: Metrics = serde_json::from_slice(&body).map_err(&refused)?;
    let environment = environment_of(&request)?;
    let samples: usize = sent.impact_metrics.iter().flatten().map(|metric| metric.samples.len()).sum();
    if samples > MOST_SAMPLES {
        return Err(Problem::new(Kind::INVALID_BODY, format!("the report has {samples} samples; at most {MOST_SAMPLES} are taken")));
    }
    let mut writer = Writer::of(&sent, &body, request.platform().now());
    counts.reports(environment.name(), |label| environment.contains(label)).iter().for_each(|report| writer.put(report));
    sent.measured(environment.name()).into_iter().for_each(|metric| writer.put(&metric));
    if !writer.events.is_empty() {
        request.platform().admit(writer.events).await?;
    }
    Ok(HttpResponse::Accepted().finish())
}

impl Sent {
    fn reporter(&self) -> Option<String> {
        let who = [&self.sdk_version, &self.app_name, &self.instance_id].into_iter().flatten().filter(|part| !part.is_empty());
        let who: Vec<&str> = who.map(String::as_str).collect();
        (!who.is_empty()).then(|| who.join("/"))
    }

    /// When it was counted, if it says so.
    fn counted_at(&self) -> Option<EventTime> {
        let moment = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).and_then(EventTime::parse);
        let bucket = self.bucket.as_ref()?;
        moment(&bucket.start)?;
        moment(&bucket.stop)
    }

    fn measured(&self, environment: &str) -> Vec<MetricReported<'static>> {
        let reporter = self.reporter();
        let mut found = Vec::new();
        for metric in self.impact_metrics.iter().flatten().filter(|metric| !metric.name.is_empty() && !metric.name.contains('\0')) {
            let kind = match metric.kind.as_str() {
                "counter" => MetricKind::Counter,
                "gauge" => MetricKind::Gauge,
                "histogram" => MetricKind::Histogram,
                // What a later SDK may know.
                _ => continue,
            };
            for sample in metric.samples.iter().filter(|sample| sample.says_something(kind)) {
                let labels = sample.labels.iter().map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
                let buckets = sample.buckets.iter().map(|bucket| MetricBucket { at_most: bucket.le.as_f64(), count: bucket.count });
                let of_histogram = kind == MetricKind::Histogram;
                found.push(MetricReported {
                    name: metric.name.clone().into(),
                    kind,
                    environment: environment.to_owned().into(),
                    reporter: reporter.clone().map(Into::into),
                    labels: labels.take(1_000).collect(),
                    value: sample.value.filter(|_| !of_histogram),
                    count: sample.count.filter(|_| of_histogram),
                    sum: sample.sum.filter(|_| of_histogram),
                    buckets: buckets.filter(|_| of_histogram).take(1_000).collect(),
                });
            }
        }
        found
    }
}

impl Sample {
    fn says_something(&self, kind: MetricKind) -> bool {
        match kind {
            MetricKind::Counter => self.value.is_some_and(|value| value != 0.0),
            MetricKind::Gauge => self.value.is_some(),
            MetricKind::Histogram => self.count.is_some_and(|count| count > 0) && self.sum.is_some(),
        }
    }
}

/// Makes events of a report.
struct Writer {
    /// What the ids are made from; `None` where each is new.
    content: Option<Uuid>,
    time: EventTime,
    events: Vec<Event>,
}

impl Writer {
    fn of(sent: &Sent, body: &[u8], now: EventTime) -> Self {
        let counted_at = sent.counted_at();
        let content = counted_at.map(|_| Uuid::new_v5(&Uuid::NAMESPACE_URL, body));
        Self { content, time: counted_at.unwrap_or(now), events: Vec::new() }
    }

    fn put<E: DomainEvent + serde::Serialize>(&mut self, data: &E) {
        let id = match self.content {
            Some(content) => Uuid::new_v5(&content, self.events.len().to_string().as_bytes()),
            None => Uuid::new_v4(),
        };
        let subject = format!("{}/{}", E::SUBJECT_KIND, data.subject_id());
        let mut event = Event::new(id.to_string(), SOURCE, E::TYPE, subject);
        event.set(Attribute::Time, self.time.to_string());
        event.set(Attribute::DataContentType, "application/json");
        event.data = serde_json::to_vec(data).unwrap_or_default();
        self.events.push(event);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn events(body: &Value) -> Vec<Event> {
        let text = body.to_string();
        let sent: Sent = serde_json::from_str(&text).unwrap();
        let mut writer = Writer::of(&sent, text.as_bytes(), EventTime::from_secs(0));
        sent.measured("production").into_iter().for_each(|metric| writer.put(&metric));
        for event in &writer.events {
            tol_events::registry::validate(&event.encode().view()).unwrap();
        }
        writer.events
    }

    /// As UnleashClient 6.9 was seen to send them.
    fn recorded(bucket: &Value, value: u32) -> Value {
        json!({"appName": "trace", "instanceId": "unleash-python-sdk", "yggdrasilVersion": null, "bucket": bucket, "impactMetrics": [
            {"name": "purchases", "help": "n", "type": "counter", "samples": [{"labels": {"appName": "trace", "environment": "development"}, "value": value}]},
            {"name": "latency", "help": "n", "type": "histogram", "samples": [{"labels": {}, "count": 2, "sum": 0.3,
                "buckets": [{"le": 0.1, "count": 1}, {"le": "+Inf", "count": 2}]}]}]})
    }

    #[test]
    fn metrics_with_a_time_of_their_own_have_ids_of_what_they_say() {
        let bucket = json!({"start": "2026-11-22T14:28:39.511676351Z", "stop": "2026-11-22T14:28:40.551539244Z", "toggles": {}});
        let (first, again, other) = (events(&recorded(&bucket, 3)), events(&recorded(&bucket, 3)), events(&recorded(&bucket, 4)));
        assert_eq!(first, again);
        assert_eq!(first.len(), 2);
        assert_ne!(first[0].get(Attribute::Id), other[0].get(Attribute::Id));
        assert_eq!((first[0].get(Attribute::Subject), first[0].get(Attribute::Time)), ("metric/purchases", "2026-11-22T14:28:40.551539Z"));
        let data: Value = serde_json::from_slice(&first[0].data).unwrap();
        assert_eq!((&data["value"], &data["labels"]["appName"], &data["reporter"]), (&json!(3.0), &json!("trace"), &json!("trace/unleash-python-sdk")));
        let data: Value = serde_json::from_slice(&first[1].data).unwrap();
        assert_eq!(data["buckets"], json!([{"at_most": 0.1, "count": 1}, {"count": 2}]));
    }

    #[test]
    fn without_a_bucket_each_is_new_and_a_counter_that_stands_still_says_nothing() {
        let (first, again) = (events(&recorded(&Value::Null, 3)), events(&recorded(&Value::Null, 3)));
        assert_ne!(first[0].get(Attribute::Id), again[0].get(Attribute::Id));
        assert_eq!(events(&recorded(&Value::Null, 0)).len(), 1, "the histogram alone");
        assert!(events(&json!({})).is_empty());
        assert!(events(&json!({"bucket": null, "impactMetrics": null})).is_empty());
    }
}
