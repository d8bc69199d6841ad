//! `admit`: admits one fact, once for each request.
//!
//! The payload has `type`, `subject` and `data`, and may have `time` (RFC 3339), `source` (`/effects/<system>` without it) and `person`, whose key seals
//! its personal fields where that is not its subject. The fact's id is the request's key, so that a repeat is a duplicate; it keeps the request's
//! correlation and names the request as its cause. It is checked as the fact of any client.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tol_events::{Attribute, Event, EventTime, personal};
use tol_plug::{Kind, Problem};
use tol_runtime::effects::{EffectRunner, RunnerLimits};
use tol_system::{Effect, EffectInfo, Failure, OnStop};

use crate::node::Node;
use crate::node::facts::PATIENCE;
use crate::node::publish::Fact;

/// What a request's payload says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    r#type: String,
    subject: String,
    data: Box<RawValue>,
    time: Option<String>,
    source: Option<String>,
    person: Option<String>,
}

/// The platform's runner `admit`.
pub(super) fn runner(node: Weak<Node>) -> EffectRunner {
    // A partition that moves takes seconds, and an outage of the log minutes.
    let limits = RunnerLimits { at_once: 8, tries: 20, limit: 3 * PATIENCE, on_stop: OnStop::Finish };
    let run = move |effect: &Effect| {
        let node = node.upgrade().ok_or(Failure::Cancelled)?;
        admit(&node, effect)
    };
    EffectRunner { system: None, name: "admit".to_owned(), limits, run: Arc::new(run) }
}

fn admit(node: &Node, effect: &Effect) -> Result<Value, Failure> {
    let event = fact(effect.info())?;
    let admitted = json!({
        "id": event.get(Attribute::Id), "source": event.get(Attribute::Source), "type": event.get(Attribute::Type), "subject": event.get(Attribute::Subject),
    });
    let settled = node.opened().and_then(|open| open.settle(vec![Fact::sent(event)], PATIENCE));
    settled.map(|_| admitted).map_err(failure)
}

/// The fact that a request asks for.
fn fact(info: &EffectInfo) -> Result<Event, Failure> {
    let wanted: Wanted =
        serde_json::from_str(&info.payload.to_string()).map_err(|error| Failure::permanent(format!("the payload for admit is wrong: {error}")))?;
    let source = wanted.source.unwrap_or_else(|| format!("/effects/{}", info.system));
    let mut event = Event::new(info.key.as_str(), source, wanted.r#type, wanted.subject);
    if let Some(time) = wanted.time {
        let parsed = EventTime::parse(&time);
        event = event.at(parsed.ok_or_else(|| Failure::permanent(format!("time \"{time}\" in the payload for admit is no RFC 3339 time")))?);
    }
    if let Some(person) = wanted.person {
        event.extensions.insert(personal::PERSONAL_SUBJECT.to_owned(), person);
    }
    if !info.correlation.is_empty() {
        event.set(Attribute::CorrelationId, info.correlation.as_str());
    }
    event.set(Attribute::CausationId, info.key.as_str());
    event.data = wanted.data.get().as_bytes().to_vec();
    Ok(event)
}

/// What is wrong with the fact stays wrong; all else passes.
fn failure(problem: Problem) -> Failure {
    let for_good = [Kind::INVALID_EVENT, Kind::INVALID_DATA, Kind::ID_CONFLICT];
    if for_good.contains(&problem.kind) {
        return Failure::Permanent(problem.detail);
    }
    let after = problem.retry_after_s.map(|seconds| Duration::from_secs(seconds.into()));
    Failure::Retry { problem: problem.detail, after }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn info(payload: Value) -> EffectInfo {
        EffectInfo {
            key: "k".into(),
            system: "puppet-system".into(),
            partition: 0,
            subject: "customer/1".into(),
            correlation: "c".into(),
            runner: "admit".into(),
            payload,
            attempt: 1,
        }
    }

    #[test]
    fn a_fact_has_the_requests_key_and_correlation_and_its_data_as_it_was() {
        let event = fact(&info(json!({"type": "shop.thing_done.v1", "subject": "customer/2", "data": {"b": 1.50, "a": []}, "person": "customer/3"}))).unwrap();
        let got = [Attribute::Id, Attribute::Source, Attribute::CorrelationId, Attribute::CausationId].map(|attribute| event.get(attribute).to_owned());
        assert_eq!(got, ["k", "/effects/puppet-system", "c", "k"]);
        assert_eq!(personal::person_of(&event), "customer/3");
        assert_eq!(serde_json::from_slice::<Value>(&event.data).unwrap(), json!({"b": 1.5, "a": []}));
    }

    #[test]
    fn a_payload_that_is_wrong_fails_for_good() {
        let whole = json!({"type": "shop.thing_done.v1", "subject": "customer/2", "data": {}});
        for (key, wrong) in [("type", Value::Null), ("tyype", json!("x")), ("time", json!("yesterday"))] {
            let mut payload = whole.clone();
            payload[key] = wrong;
            assert!(matches!(fact(&info(payload)), Err(Failure::Permanent(_))), "{key}");
        }
        assert!(matches!(failure(Problem::unavailable("away", 3)), Failure::Retry { after: Some(after), .. } if after.as_secs() == 3));
        assert!(matches!(failure(Problem::new(Kind::ID_CONFLICT, "taken")), Failure::Permanent(_)));
    }
}
