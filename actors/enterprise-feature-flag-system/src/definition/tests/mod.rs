#![allow(clippy::unwrap_used, clippy::expect_used)]

mod random;

use std::fs;
use std::path::PathBuf;

use chrono::DateTime;
use serde_json::{Value, json};

use super::*;
use crate::evaluation::{Answer, Format, Set, growthbook, unleash, value};

const FORMATS: [Format; 3] = [Format::Unleash, Format::GrowthBook, Format::Flagd];

fn imported(format: Format, json: &Value) -> (FlagDefinitions, Imported) {
    let mut flags = FlagDefinitions::default();
    let imported = flags.import(format, &json.to_string(), Mode::Replace, "production").unwrap();
    (flags, imported)
}

/// Import and export, then the same written from the common model alone, without the texts that were kept.
fn round_trips(format: Format, json: &Value) -> [Value; 2] {
    let (mut flags, _) = imported(format, json);
    let exact = flags.export(format, "production");
    assert_eq!(exact.problems, [], "{json}");
    for flag in flags.flags.values_mut() {
        flag.environments.values_mut().for_each(|environment| environment.source = None);
    }
    // What an event carries is the definition as JSON.
    let written = serde_json::to_string(&flags).unwrap();
    let again: FlagDefinitions = serde_json::from_str(&written).unwrap();
    assert_eq!(again, flags);
    [exact.definitions, flags.export(format, "production").definitions]
}

fn ask(format: Format, definitions: &Value, context: &Value, flag: &str) -> Answer {
    let set = Set::compile(format, &definitions.to_string()).unwrap();
    set.evaluate(&context.to_string(), &[flag], DateTime::UNIX_EPOCH, 1).unwrap().remove(0)
}

/// The context of one person in each format's words.
fn context(format: Format, id: &str, attributes: &Value) -> Value {
    let mut all = attributes.as_object().unwrap().clone();
    match format {
        Format::Unleash => json!({"userId": id, "properties": all}),
        Format::GrowthBook => {
            all.insert("id".into(), id.into());
            Value::Object(all)
        }
        Format::Flagd => {
            all.insert("targetingKey".into(), id.into());
            Value::Object(all)
        }
    }
}

fn data(path: &str) -> Option<String> {
    let root = std::env::var_os("TOL_DATA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let found = fs::read_to_string(root.join("feature-flags").join(path)).ok();
    if found.is_none() {
        println!("skipped: no {path} in {}", root.display());
    }
    found
}

#[test]
fn unleashs_whole_specification_holds_after_import_and_export() {
    const FOLDER: &str = "unleash-client-specification/specifications";
    let Some(index) = data(&format!("{FOLDER}/index.json")) else { return };
    let mut cases = 0;
    for file in serde_json::from_str::<Vec<String>>(&index).unwrap() {
        let specification: Value = serde_json::from_str(&data(&format!("{FOLDER}/{file}")).unwrap()).unwrap();
        for (how, definitions) in ["exact", "anew"].into_iter().zip(round_trips(Format::Unleash, &specification["state"])) {
            let flags = unleash::CompiledFeatures::from_json(&definitions.to_string()).unwrap();
            let all = ["tests", "variantTests"].iter().flat_map(|kind| specification[kind].as_array().into_iter().flatten().map(move |case| (*kind, case)));
            for (kind, case) in all {
                cases += 1;
                let text = case["context"].to_string();
                let context = unleash::Context::from_json(&text, chrono::Utc::now()).unwrap();
                let found = flags.evaluate(case["toggleName"].as_str().unwrap(), &context, &mut crate::evaluation::random::Random::seeded(1));
                let expected = &case["expectedResult"];
                let right = if kind == "tests" {
                    *expected == found.enabled
                } else {
                    let payload = found.variant.and_then(|variant| variant.payload.as_ref()).map_or(Value::Null, |one| serde_json::to_value(one).unwrap());
                    let same_payload = match (expected.get("payload"), how) {
                        (None, _) => payload.is_null(),
                        (Some(expected), "exact") => *expected == payload,
                        // Written anew, a payload's text may have other spaces, and `csv` is a text.
                        (Some(expected), _) => {
                            let read = |payload: &Value| payload["value"].as_str().map(|text| serde_json::from_str(text).unwrap_or(Value::from(text)));
                            read(expected) == read(&payload)
                        }
                    };
                    expected["name"] == found.variant.map_or("disabled", |variant| &variant.name)
                        && same_payload
                        && expected["enabled"] == found.variant.is_some()
                };
                assert!(right, "{how} {file}: {}: expected {expected}, found {found:?}", case["description"]);
            }
        }
    }
    assert_eq!(cases, 2 * 279);
}

#[test]
fn growthbooks_feature_cases_hold_after_import_and_export() {
    let Some(text) = data("growthbook-cases.json") else { return };
    let all: Value = serde_json::from_str(&text).unwrap();
    let mut cases = 0;
    for case in all["feature"].as_array().unwrap() {
        let (name, source, key, expected) = (&case[0], &case[1], case[2].as_str().unwrap(), &case[3]);
        let mut payload = json!({"features": source.get("features").cloned().unwrap_or(json!({}))});
        for shared in ["savedGroups", "contextualBandits"] {
            if let Some(value) = source.get(shared) {
                payload[shared] = value.clone();
            }
        }
        for definitions in round_trips(Format::GrowthBook, &payload) {
            cases += 1;
            let features = growthbook::Features::from_json(&definitions.to_string()).unwrap();
            let text = source.to_string();
            let parsed = value::Value::parse(&text).unwrap();
            let context = growthbook::Context::of_sdk(&parsed);
            let found: Value = serde_json::from_str(&features.evaluate(key, &context).report().to_json()).unwrap();
            for (field, wanted) in expected.as_object().unwrap() {
                let number = |value: &Value| value.as_f64().map_or_else(|| value.clone(), Value::from);
                if field != "experiment" && field != "experimentResult" {
                    assert_eq!(number(&found[field]), number(wanted), "{name}: {field} of {definitions}");
                }
            }
            assert_eq!(found["experimentResult"]["variationId"], expected["experimentResult"]["variationId"], "{name}");
        }
    }
    assert_eq!(cases, 2 * 55);
}

#[test]
fn what_the_common_model_cannot_say_is_kept_and_named() {
    let json = json!({"savedGroups": {"g": ["1"]}, "features": {"f": {"defaultValue": false, "note": "kept", "rules": [
        {"force": true, "namespace": ["n", 0, 0.5], "coverage": 0.5},
        {"force": true, "coverage": 0.123_456},
        {"force": true, "condition": {"plan": "pro"}, "coverage": 0.25, "hashAttribute": "company"}]}}});
    let (mut flags, imported) = imported(Format::GrowthBook, &json);
    let named: Vec<&str> = imported.problems.iter().map(|problem| problem.problem.as_str()).collect();
    assert!(matches!(named.as_slice(), [first, second] if first.contains("namespace") && second.contains("coverage")), "{named:?}");
    assert!(imported.problems.iter().all(|problem| problem.flag == "f" && problem.effect == Effect::Kept));
    assert_eq!(flags.export(Format::GrowthBook, "production").definitions, json);
    let elsewhere = flags.export(Format::Unleash, "production");
    assert_eq!(elsewhere.definitions["features"], json!([]));
    assert!(elsewhere.problems.iter().any(|problem| problem.effect == Effect::LeftOut && problem.problem.contains("namespace")));
    // A change of one rule leaves what nobody changed as it was.
    let Rule::Targeted(rule) = &mut flags.flags.get_mut("f").unwrap().environments.get_mut("production").unwrap().rules[2] else { panic!("targeted") };
    rule.share.as_mut().unwrap().part = 5_000;
    let mut changed = json.clone();
    changed["features"]["f"]["rules"][2]["coverage"] = json!(0.5);
    assert_eq!(flags.export(Format::GrowthBook, "production").definitions, changed);
}

#[test]
fn a_killed_flag_is_off_in_every_format() {
    let json = json!({"features": [{"name": "f", "enabled": true, "strategies": [{"name": "default"}]}], "version": 1});
    let (mut flags, _) = imported(Format::Unleash, &json);
    assert!(ask(Format::Unleash, &flags.export(Format::Unleash, "production").definitions, &json!({}), "f").enabled);
    flags.flags.get_mut("f").unwrap().environments.get_mut("production").unwrap().killed = true;
    for format in FORMATS {
        let exported = flags.export(format, "production");
        assert!(!ask(format, &exported.definitions, &context(format, "1", &json!({})), "f").enabled, "{format:?}");
        assert_eq!(exported.problems.len(), usize::from(format == Format::GrowthBook), "{:?}", exported.problems);
    }
}

#[test]
fn replace_takes_away_what_is_not_named_and_merge_does_not() {
    let file = |key: &str, on: bool| json!({"features": [{"name": key, "enabled": on}]}).to_string();
    let mut flags = FlagDefinitions::default();
    let mut import = |key: &str, on: bool, mode: Mode, environment: &str| {
        flags.import(Format::Unleash, &file(key, on), mode, environment).unwrap();
        let names = |environment: &str| {
            let all = flags.export(Format::Unleash, environment).definitions;
            all["features"].as_array().unwrap().iter().map(|flag| flag["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        (names("production"), names("staging"))
    };
    let names = |production: &[&str], staging: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        (owned(production), owned(staging))
    };
    assert_eq!(import("a", true, Mode::Replace, "production"), names(&["a"], &[]));
    assert_eq!(import("b", true, Mode::Merge, "production"), names(&["a", "b"], &[]));
    assert_eq!(import("a", false, Mode::Replace, "staging"), names(&["a", "b"], &["a"]));
    assert_eq!(import("c", true, Mode::Replace, "production"), names(&["c"], &["a"]));
    let refused = flags.import(Format::Unleash, "[]", Mode::Replace, "production");
    assert!(refused.is_err() && flags.flags.len() == 2, "nothing changes when an import is refused");
}

#[test]
fn what_is_imported_into_one_environment_never_changes_another() {
    let file = |value: &str, segment: &str| {
        let constraint = json!({"contextName": "plan", "operator": "IN", "values": [segment]});
        json!({"version": 2, "segments": [{"id": 1, "constraints": [constraint]}], "features": [
            {"name": "f", "enabled": true, "strategies": [{"name": "default", "segments": [1], "parameters": {}, "constraints": []}],
                "variants": [{"name": "v", "weight": 1, "payload": {"type": "string", "value": value}}]}]})
    };
    let mut flags = FlagDefinitions::default();
    for mode in [Mode::Merge, Mode::Replace] {
        for (environment, value, segment) in [("production", "a", "pro"), ("staging", "b", "free")] {
            flags.import(Format::Unleash, &file(value, segment).to_string(), mode, environment).unwrap();
        }
        assert_eq!(flags.export(Format::Unleash, "production").definitions, file("a", "pro"), "{mode:?}");
        assert_eq!(flags.export(Format::Unleash, "staging").definitions, file("b", "free"), "{mode:?}");
        assert_eq!(flags.flags["f"].problems(), [""; 0]);
    }
    let imported = flags.import(Format::Flagd, r#"{"flags": {"f": {"state": "ENABLED", "variants": {}}}}"#, Mode::Replace, "staging").unwrap();
    assert!(imported.flags.is_empty() && imported.problems[0].effect == Effect::LeftOut, "{imported:?}");
    assert_eq!(flags.export(Format::Unleash, "production").definitions, file("a", "pro"));
}

#[test]
fn an_import_keeps_what_its_format_cannot_say() {
    let json = json!({"features": [{"name": "f", "enabled": true}]});
    for mode in [Mode::Merge, Mode::Replace] {
        let (mut flags, _) = imported(Format::Unleash, &json);
        let flag = flags.flags.get_mut("f").unwrap();
        flag.owner = Some("payments".into());
        flag.environments.get_mut("production").unwrap().killed = true;
        let imported = flags.import(Format::Unleash, &json.to_string(), mode, "production").unwrap();
        assert!(imported.problems[0].problem.contains("kill switch"), "{imported:?}");
        assert!(flags.flags["f"].owner.is_some() && !flags.flags["f"].environments["production"].is_live());
    }
}

#[test]
fn a_flag_of_another_format_is_named_when_an_import_takes_its_place() {
    let (mut flags, _) = imported(Format::Unleash, &json!({"features": [{"name": "f", "enabled": true}]}));
    let imported = flags.import(Format::GrowthBook, r#"{"f": {"defaultValue": true}}"#, Mode::Merge, "production").unwrap();
    assert!(imported.problems.len() == 1 && imported.problems[0].problem.contains("change sides"), "{imported:?}");
}

#[test]
fn what_a_format_has_no_place_for_is_named() {
    let json = json!({"features": [{"name": "f", "enabled": true, "description": "d", "project": "p", "type": "release"}]});
    let (mut flags, _) = imported(Format::Unleash, &json);
    let flag = flags.flags.get_mut("f").unwrap();
    (flag.owner, flag.tags) = (Some("payments".into()), ["a".to_owned()].into());
    flag.environments.get_mut("production").unwrap().schedule.push(Scheduled { at: tol_events::EventTime::from_secs(1), enabled: false });
    for (format, fields) in
        FORMATS.into_iter().zip(["owner tags schedule", "description owner project purpose tags schedule", "owner project purpose tags schedule"])
    {
        let exported = flags.export(format, "production");
        let named: Vec<&str> = exported.problems.iter().map(|problem| problem.problem.rsplit(' ').next().unwrap()).collect();
        assert_eq!(named.join(" "), fields, "{format:?}");
        assert!(exported.problems.iter().all(|problem| problem.flag == "f" && problem.effect == Effect::Omitted));
    }
    assert_eq!(flags.export(Format::Flagd, "production").definitions["flags"]["f"]["metadata"]["description"], "d");
}

#[test]
fn what_another_format_cannot_say_leaves_the_flag_out_with_the_place() {
    let cases = [
        (Format::Unleash, Format::GrowthBook, json!([{"name": "default", "segments": [1]}]), "segments"),
        (Format::Unleash, Format::Flagd, json!([{"name": "flexibleRollout", "parameters": {"rollout": 5}}, {"name": "default"}]), "next rule"),
        (Format::Unleash, Format::Flagd, json!([{"name": "userWithId", "parameters": {"userIds": "1"}}]), "userWithId"),
        (Format::Unleash, Format::Flagd, json!([{"name": "flexibleRollout", "parameters": {"rollout": 5, "stickiness": "random"}}]), "anew"),
        (
            Format::Unleash,
            Format::GrowthBook,
            json!([{"name": "default", "constraints": [{"contextName": "id", "operator": "IN", "values": ["1"]}]}]),
            "subject",
        ),
    ];
    for (from, to, strategies, place) in cases {
        let (flags, _) = imported(from, &json!({"features": [{"name": "f", "enabled": true, "strategies": strategies}]}));
        let exported = flags.export(to, "production");
        assert_eq!(Set::compile(to, &exported.definitions.to_string()).unwrap().names(), [""; 0]);
        assert!(
            exported.problems.iter().any(|problem| problem.effect == Effect::LeftOut && problem.problem.contains(place)),
            "{place}: {:?}",
            exported.problems
        );
    }
    let rules = json!([{"force": false, "condition": {"plan": "free"}}]);
    let (flags, _) = imported(Format::GrowthBook, &json!({"features": {"f": {"defaultValue": true, "rules": rules}}}));
    let exported = flags.export(Format::Unleash, "production");
    assert!(exported.problems[0].problem.contains("switches off") && exported.problems[0].effect == Effect::LeftOut, "{exported:?}");
}

/// Answers of a flag for many people in every format; what its values are differs only in form.
fn shares(flags: &FlagDefinitions, flag: &str, attributes: &Value) -> [(usize, std::collections::BTreeMap<String, usize>); 3] {
    FORMATS.map(|format| {
        let exported = flags.export(format, "production");
        let set = Set::compile(format, &exported.definitions.to_string()).unwrap();
        let (mut on, mut values) = (0, std::collections::BTreeMap::new());
        for person in 0..4_000 {
            let context = context(format, &format!("person-{person}"), attributes);
            let answer = set.evaluate(&context.to_string(), &[flag], DateTime::UNIX_EPOCH, 1).unwrap().remove(0);
            assert_eq!(answer.error, None, "{format:?} {:?} {}", exported.problems, exported.definitions);
            let value = serde_json::to_value(&answer.value).unwrap();
            on += usize::from(answer.enabled && value != json!(false));
            *values.entry(value.as_str().map_or_else(|| value.to_string(), str::to_owned)).or_default() += 1;
        }
        (on, values)
    })
}

fn near(count: usize, share: f64) -> bool {
    // 5 standard deviations of 4,000 draws.
    let expected = 4_000.0 * share;
    (count as f64 - expected).abs() <= 5.0 * (expected * (1.0 - share)).sqrt()
}

#[test]
fn percentages_and_weights_are_kept_in_other_formats() {
    let (flags, _) = imported(
        Format::Unleash,
        &json!({"features": [{"name": "f", "enabled": true,
            "strategies": [{"name": "flexibleRollout", "parameters": {"rollout": "30", "groupId": "f", "stickiness": "default"}, "constraints": []}],
            "variants": [{"name": "a", "weight": 250, "payload": {"type": "string", "value": "A"}}, {"name": "b", "weight": 750, "payload": {"type": "string", "value": "B"}}]}]}),
    );
    for (index, (_, values)) in shares(&flags, "f", &json!({})).into_iter().enumerate() {
        let of = |name: &str| values.get(name).copied().unwrap_or(0);
        // Unleash serves a variant to those who are in; GrowthBook's coverage takes its part of each variation, flagd's buckets too.
        assert!(near(of("A"), 0.075) && near(of("B"), 0.225), "{:?}: {values:?}", FORMATS[index]);
    }
    let (flags, _) = imported(
        Format::GrowthBook,
        &json!({"features": {"f": {"defaultValue": "x", "rules": [{"variations": ["a", "b", "c"], "weights": [0.5, 0.3, 0.2], "key": "e"}]}}}),
    );
    for (format, (_, values)) in FORMATS.into_iter().zip(shares(&flags, "f", &json!({}))) {
        let of = |name: &str| values.get(name).copied().unwrap_or(0);
        assert!(near(of("a"), 0.5) && near(of("b"), 0.3) && near(of("c"), 0.2), "{format:?}: {values:?}");
    }
}
