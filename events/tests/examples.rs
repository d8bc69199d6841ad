//! The example of each type is admitted, fits its schema, and stands on the page of all types.

use std::path::Path;

use serde_json::Value;
use tol_events::registry::{self, Validity};
use tol_events::{binding, example, schema};

#[test]
fn each_example_is_admitted_and_fits_its_schema() {
    for known in registry::all() {
        let example = example::example(known);
        let event = binding::json::decode(example.to_string().as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", known.event_type)).encode();
        let validity = registry::validate(&event.view()).unwrap_or_else(|error| panic!("{}: {error} in {example:#}", known.event_type));
        assert!(matches!(validity, Validity::Known(found) if found.event_type == known.event_type));
        let schema: Value = serde_json::from_str(&schema::document(known)).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> = validator.iter_errors(&example["data"]).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?} in {example:#}", known.event_type);
        assert!(!example::description(known).is_empty(), "{}", known.event_type);
    }
}

/// `UPDATE_SCHEMAS=1` writes the page anew.
#[test]
fn the_page_of_all_types_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md");
    let page = example::page(registry::all());
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(checked_in == page, "docs/events.md is out of date; run the tests once with UPDATE_SCHEMAS=1");
    for known in registry::all() {
        assert!(page.contains(&format!("\n### {}\n", known.event_type)), "{}", known.event_type);
    }
    assert!(!page.contains("| [] |") && !page.contains("|  |\n"), "each domain is described");
}
