use std::collections::BTreeMap;

use tol_events::{Event, binding};
use tol_system::projection::{MemoryRows, erase};

use super::*;

fn golden(name: &str) -> Event {
    let file = format!("{}/../../events/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    binding::json::decode(&std::fs::read(file).unwrap()).unwrap()
}

/// The rows after events, each of which went through storage.
fn folded(events: &[Event]) -> BTreeMap<String, Value> {
    let (projection, mut stored) = (erase(FlagsProjection), MemoryRows::default());
    for event in events {
        let mut overlay = projection.overlay();
        overlay.fold(event.encode().view(), &stored).unwrap();
        stored.store(&mut *overlay).unwrap();
    }
    stored.into_rows().into_iter().map(|(key, row)| (key.clone(), projection.value(&key, &[row]).unwrap().unwrap())).collect()
}

#[test]
fn every_event_of_the_flag_system_is_in_its_row() {
    let names = ["flag_changed", "request_refused", "flag_stale", "rollout_advanced", "rollout_held", "sample_ratio_mismatch_detected"];
    let more =
        ["rollout_rolled_back", "experiment_started", "experiment_observed", "bandit_allocated", "experiment_concluded", "flag_killed", "shared_changed"];
    let events: Vec<Event> = names.iter().chain(&more).map(|name| golden(&format!("flags.{name}.v1"))).collect();
    let rows = folded(&events);
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["flag-set/production", "flag/new-checkout"]);
    let flag = &rows["flag/new-checkout"];
    assert_eq!((&flag["key"], &flag["stale"], &flag["definition"]["key"]), (&json!("new-checkout"), &json!(true), &json!("new-checkout")));
    let what: Vec<&str> = flag["changes"].as_array().unwrap().iter().map(|change| change["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["flag_changed", "rollout_advanced", "rollout_rolled_back", "flag_killed"]);
    let rollout = &flag["rollout"];
    assert!(rollout["state"] == "rolled_back" && rollout["treatment"] == 0 && rollout["held"].is_object() && rollout["mismatch"].is_number(), "{rollout}");
    assert_eq!(flag["refused"].as_array().unwrap().len(), 1);
    let experiment = &flag["experiments"]["e-1"];
    let asked = (&experiment["statement"], &experiment["state"], &experiment["began_at"], &experiment["version"]);
    assert_eq!(asked, (&json!("people buy more with one page"), &json!("concluded"), &json!("2026-01-31T12:00:00Z"), &json!(2)));
    assert_eq!((&experiment["counted"]["exposures"]["enabled"], &experiment["expected"]), (&json!(1000), &json!([500.0, 500.0])));
    assert_eq!((&experiment["conclusion"]["statement"], &experiment["conclusion"]["details"]), (&json!("they do"), &json!({"lift": 0.04})));
    assert!(experiment["propensities"][0]["probability"].is_number(), "{experiment}");
    assert!(rows["flag-set/production"]["shared"]["unleash"]["segments"].is_array());
    assert!(erase(FlagsProjection).overlay().fold(Event::new("1", "/s", "flags.flag_changed.v2", "flag/a").encode().view(), &MemoryRows::default()).is_err());
}

#[test]
fn examples_are_valid_and_cover_what_the_fold_reads() {
    let examples = FlagsProjection.examples();
    for example in &examples {
        let validity = tol_events::registry::validate(&example.encode().view());
        assert!(matches!(validity, Ok(tol_events::registry::Validity::Known(_))), "{example:?}: {validity:?}");
    }
    let types: std::collections::BTreeSet<&str> = examples.iter().map(|example| example.get(tol_events::Attribute::Type)).collect();
    assert_eq!(types, KNOWN.into_iter().collect());
    let rows = folded(&examples);
    assert_eq!((&rows["flag/new-checkout"]["version"], &rows["flag/new-checkout"]["rollout"]["state"]), (&json!(4), &json!("rolled_back")));
    assert_eq!(&rows["flag/new-checkout"]["experiments"]["e-1"]["state"], "concluded");
}

#[test]
fn a_row_stays_small_however_long_a_flag_lives() {
    let mut events = Vec::new();
    for _ in 0..60 {
        events.extend([golden("flags.flag_changed.v1"), golden("flags.request_refused.v1")]);
    }
    let flag = &folded(&events)["flag/new-checkout"];
    assert_eq!((flag["changes"].as_array().unwrap().len(), flag["refused"].as_array().unwrap().len()), (HISTORY, REFUSED));
}
