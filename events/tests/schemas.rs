//! The checked-in schemas are those of the code, no change breaks a version, and every version's golden file still reads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tol_events::registry::{self, Validity};
use tol_events::{binding, schema, upcast};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn json_files(name: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder(name)).unwrap();
    entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".json").map(str::to_owned)).collect()
}

fn known_types() -> BTreeSet<String> {
    registry::all().iter().map(|known| known.event_type.to_owned()).collect()
}

/// `UPDATE_SCHEMAS=1` writes the files anew, but only where the change breaks nobody.
#[test]
fn checked_in_schemas_are_those_of_the_code_and_break_nobody() {
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    for known in registry::all() {
        let path = folder("schemas").join(format!("{}.json", known.event_type));
        let generated = schema::document(known);
        let Ok(checked_in) = std::fs::read_to_string(&path) else {
            assert!(update, "{} has no schema file; run the tests once with UPDATE_SCHEMAS=1", known.event_type);
            std::fs::write(&path, generated).unwrap();
            continue;
        };
        let (old, new): (Value, Value) = (serde_json::from_str(&checked_in).unwrap(), serde_json::from_str(&generated).unwrap());
        let broken = schema::incompatible_changes(&old, &new);
        assert!(broken.is_empty(), "{} changed incompatibly; add a new version and an upcaster instead: {broken:#?}", known.event_type);
        if checked_in != generated {
            assert!(update, "the schema file of {} is out of date; run the tests once with UPDATE_SCHEMAS=1", known.event_type);
            std::fs::write(&path, generated).unwrap();
        }
    }
    assert_eq!(json_files("schemas"), known_types(), "a version, once published, stays");
}

#[test]
fn every_version_has_a_golden_file_that_still_reads() {
    assert_eq!(json_files("tests/golden"), known_types());
    for known in registry::all() {
        let json = std::fs::read(folder("tests/golden").join(format!("{}.json", known.event_type))).unwrap();
        let event = binding::json::decode(&json).unwrap().encode();
        assert_eq!(event.view().event_type(), known.event_type);
        let raised = upcast::upcast(event.view()).unwrap();
        let validity = registry::validate(&raised.view()).unwrap_or_else(|error| panic!("{}: {error}", known.event_type));
        assert!(matches!(validity, Validity::Known(_)));

        let schema: Value = serde_json::from_str(&schema::document(known)).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let data: Value = event.view().data_as().unwrap();
        assert!(validator.is_valid(&data), "{}: {:?}", known.event_type, validator.iter_errors(&data).map(|e| e.to_string()).collect::<Vec<_>>());
        // What the schema requires, the code requires too.
        for field in schema["required"].as_array().unwrap() {
            let mut without = data.clone();
            without.as_object_mut().unwrap().remove(field.as_str().unwrap());
            let mut event = event.view().to_event();
            event.data = without.to_string().into_bytes();
            assert!(registry::validate(&event.encode().view()).is_err() && !validator.is_valid(&without), "{} without {field}", known.event_type);
        }
    }
}
