//! The CloudEvents specification's own data: its Kafka conformance cases and its JSON Schema.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tol_events::{Attribute, Event, EventTime, binding};

/// A file of the specification's data: below TOL_DATA, else in ../shared/data beside the checkout.
fn spec(name: &str) -> Option<Value> {
    let data = std::env::var_os("TOL_DATA").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = data.join("cloudevents").join(name);
    let text = std::fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: {} is not there", path.display());
    }
    text.map(|text| serde_json::from_str(&text).unwrap())
}

#[test]
fn kafka_conformance_cases() {
    let Some(cases) = spec("kafka_binding_dev.json") else { return };
    for case in cases["cases"].as_array().unwrap() {
        let headers: Vec<(&str, &[u8])> =
            case["headers"].as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap().as_bytes())).collect();
        let event = binding::kafka::decode(headers.into_iter(), case["value"].as_str().unwrap().as_bytes(), None).unwrap();
        let tree = event.to_json();
        for (name, value) in case["expect"]["attributes"].as_object().unwrap() {
            assert_eq!(&tree[name], value, "{}: {name}", case["name"]);
        }
        assert_eq!(tree["data"], case["expect"]["data"]);
    }
}

#[test]
fn what_is_written_fits_the_specifications_schema() {
    let Some(schema) = spec("cloudevents.schema.json") else { return };
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut event = Event::new("1", "/shop", "commerce.order_placed.v1", "customer/42").at(EventTime::from_millis(1_700_000_000_123));
    event.set(Attribute::CorrelationId, "c");
    for data in [b"".as_slice(), b"{\"a\":1}", b"\xff"] {
        event.data = data.to_vec();
        let written: Value = serde_json::from_slice(&binding::json::encode(&event)).unwrap();
        assert!(validator.is_valid(&written), "{written}");
        assert!(validator.is_valid(&event.to_json()), "{}", event.to_json());
    }
}
