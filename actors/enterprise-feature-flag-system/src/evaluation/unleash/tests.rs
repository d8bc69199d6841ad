#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::PathBuf;

use chrono::DateTime;
use serde_json::{Value, json};

use super::*;

fn evaluate(definitions: &Value, name: &str, context: &Value) -> (bool, Option<String>, Reason) {
    let flags = CompiledFeatures::from_json(&definitions.to_string()).unwrap();
    let context = context.to_string();
    let context = Context::from_json(&context, DateTime::UNIX_EPOCH).unwrap();
    let found = flags.evaluate(name, &context, &mut Random::seeded(1));
    (found.enabled, found.variant.map(|variant| variant.name.to_string()), found.reason)
}

fn feature(strategies: Value) -> Value {
    json!({"features": [{"name": "f", "enabled": true, "strategies": strategies}]})
}

#[test]
fn one_constraint_that_has_no_form_switches_the_whole_feature_off() {
    let bad = json!({"contextName": "age", "operator": "NUM_EQ", "value": "old"});
    let definitions = feature(json!([{"name": "default"}, {"name": "default", "constraints": [bad]}]));
    assert_eq!(evaluate(&definitions, "f", &json!({})), (false, None, Reason::Broken));
    let flags = CompiledFeatures::from_json(&definitions.to_string()).unwrap();
    assert_eq!(flags.problems().map(|(name, _)| name).collect::<Vec<_>>(), ["f"]);
}

#[test]
fn a_version_with_a_leading_v_matches_nobody_even_inverted() {
    let constraint = json!({"contextName": "version", "operator": "SEMVER_EQ", "value": "v1.0.0", "inverted": true});
    let definitions = feature(json!([{"name": "default", "constraints": [constraint]}]));
    assert_eq!(evaluate(&definitions, "f", &json!({"properties": {"version": "2.0.0"}})).2, Reason::NoMatch);
}

#[test]
fn an_invalid_expression_matches_nobody_and_inverted_everybody() {
    for (inverted, enabled) in [(false, false), (true, true)] {
        let constraint = json!({"contextName": "plan", "operator": "REGEX", "value": "(", "inverted": inverted});
        let definitions = feature(json!([{"name": "default", "constraints": [constraint]}]));
        assert_eq!(evaluate(&definitions, "f", &json!({"properties": {"plan": "pro"}})).0, enabled);
    }
}

#[test]
fn a_rollout_of_more_than_everyone_is_off() {
    let definitions = feature(json!([{"name": "flexibleRollout", "parameters": {"rollout": "101", "groupId": "f"}}]));
    assert_eq!(evaluate(&definitions, "f", &json!({"userId": "1"})).2, Reason::Broken);
    let definitions = feature(json!([{"name": "flexibleRollout", "parameters": {"rollout": 100, "groupId": "f"}}]));
    assert_eq!(evaluate(&definitions, "f", &json!({"userId": "1"})).2, Reason::Match, "a number is as good as a string");
}

#[test]
fn a_person_keeps_their_bucket_as_the_percentage_grows() {
    let mut on_before = vec![false; 500];
    for percentage in 0..=100 {
        let definitions = feature(json!([{"name": "flexibleRollout", "parameters": {"rollout": percentage.to_string(), "groupId": "f"}}]));
        let flags = CompiledFeatures::from_json(&definitions.to_string()).unwrap();
        for (user, was_on) in on_before.iter_mut().enumerate() {
            let mut context = Context::at(DateTime::UNIX_EPOCH);
            context.user_id = Some(user.to_string().into());
            let on = flags.is_enabled("f", &context, &mut Random::seeded(0));
            assert!(on || !*was_on, "user {user} fell out at {percentage}%");
            *was_on = on;
        }
    }
    assert!(on_before.iter().all(|on| *on));
}

#[test]
fn the_same_seed_gives_the_same_random_rollout() {
    let definitions = feature(json!([{"name": "gradualRolloutRandom", "parameters": {"percentage": "50"}}]));
    let flags = CompiledFeatures::from_json(&definitions.to_string()).unwrap();
    let context = Context::at(DateTime::UNIX_EPOCH);
    let draw = |seed| {
        let mut random = Random::seeded(seed);
        (0..1000).map(|_| flags.is_enabled("f", &context, &mut random)).collect::<Vec<_>>()
    };
    assert_eq!(draw(3), draw(3));
    assert_ne!(draw(3), draw(4));
    let on = draw(3).into_iter().filter(|on| *on).count();
    assert!((430..570).contains(&on), "{on}");
}

#[test]
fn overrides_and_strategy_variants_are_served() {
    let definitions = json!({"features": [
        {"name": "f", "enabled": true, "variants": [
            {"name": "a", "weight": 100}, {"name": "b", "weight": 0, "overrides": [{"contextName": "userId", "values": ["7"]}]}]},
        {"name": "g", "enabled": true, "variants": [{"name": "a", "weight": 1}],
            "strategies": [{"name": "default", "variants": [{"name": "s", "weight": 1, "payload": {"type": "number", "value": 1}}]}]},
        {"name": "h", "enabled": true, "variants": [{"name": "none", "weight": 0}]}]});
    assert_eq!(evaluate(&definitions, "f", &json!({"userId": "7"})).1.as_deref(), Some("b"));
    assert_eq!(evaluate(&definitions, "f", &json!({"userId": "8"})).1.as_deref(), Some("a"));
    assert_eq!(evaluate(&definitions, "g", &json!({"userId": "8"})).1.as_deref(), Some("s"));
    assert_eq!(evaluate(&definitions, "h", &json!({"userId": "8"})), (true, None, Reason::Static));
    assert_eq!(evaluate(&definitions, "unknown", &json!({})).2, Reason::NotFound);
}

#[test]
fn a_dependency_needs_its_parent_as_it_says_and_parents_have_no_parents() {
    let definitions = json!({"features": [
        {"name": "on", "enabled": true, "variants": [{"name": "v", "weight": 1}]}, {"name": "off", "enabled": false},
        {"name": "needs on", "enabled": true, "dependencies": [{"feature": "on"}]},
        {"name": "needs off", "enabled": true, "dependencies": [{"feature": "off", "enabled": false}]},
        {"name": "needs v", "enabled": true, "dependencies": [{"feature": "on", "variants": ["v"]}]},
        {"name": "needs w", "enabled": true, "dependencies": [{"feature": "on", "variants": ["w"]}]},
        {"name": "needs a child", "enabled": true, "dependencies": [{"feature": "needs on"}]},
        {"name": "needs itself", "enabled": true, "dependencies": [{"feature": "needs itself"}]},
        {"name": "needs nothing there", "enabled": true, "dependencies": [{"feature": "gone", "enabled": false}]}]});
    for (name, enabled) in [
        ("needs on", true),
        ("needs off", true),
        ("needs v", true),
        ("needs w", false),
        ("needs a child", false),
        ("needs itself", false),
        ("needs nothing there", false),
    ] {
        assert_eq!(evaluate(&definitions, name, &json!({})).0, enabled, "{name}");
    }
}

#[test]
fn deltas_add_change_and_remove() {
    let mut definitions = Definitions::from_json(&feature(json!([])).to_string()).unwrap();
    let constraint = json!({"contextName": "userId", "operator": "IN", "values": ["1"]});
    let delta = json!({"events": [
        {"type": "feature-updated", "eventId": 1, "feature": {"name": "g", "enabled": true, "strategies": [{"name": "default", "segments": [1]}]}},
        {"type": "segment-updated", "eventId": 2, "segment": {"id": 1, "constraints": [constraint]}},
        {"type": "feature-removed", "eventId": 3, "featureName": "f", "project": "default"}]});
    definitions.apply(serde_json::from_value(delta).unwrap());
    let flags = CompiledFeatures::compile(&definitions);
    assert_eq!(flags.iter().map(Flag::name).collect::<Vec<_>>(), ["g"]);
    let context = Context::from_json(r#"{"userId": "1"}"#, DateTime::UNIX_EPOCH).unwrap();
    assert!(flags.is_enabled("g", &context, &mut Random::seeded(0)));
    definitions.apply(serde_json::from_value(json!({"events": [{"type": "segment-removed", "eventId": 4, "segmentId": 1}]})).unwrap());
    assert!(!CompiledFeatures::compile(&definitions).is_enabled("g", &context, &mut Random::seeded(0)), "a strategy without its segment matches nobody");
}

/// The whole client specification, where the data is.
#[test]
fn conforms_to_unleashs_client_specification() {
    let root = std::env::var_os("TOL_DATA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let folder = root.join("feature-flags/unleash-client-specification/specifications");
    let Ok(index) = fs::read_to_string(folder.join("index.json")) else {
        println!("skipped: no Unleash client specification in {}", folder.display());
        return;
    };
    let (mut cases, mut failures) = (0, Vec::new());
    for file in serde_json::from_str::<Vec<String>>(&index).unwrap() {
        let specification: Value = serde_json::from_str(&fs::read_to_string(folder.join(&file)).unwrap()).unwrap();
        let flags = CompiledFeatures::from_json(&specification["state"].to_string()).unwrap();
        for (kind, case) in ["tests", "variantTests"].iter().flat_map(|kind| specification[kind].as_array().into_iter().flatten().map(move |case| (kind, case)))
        {
            cases += 1;
            let text = case["context"].to_string();
            let context = Context::from_json(&text, chrono::Utc::now()).unwrap();
            let found = flags.evaluate(case["toggleName"].as_str().unwrap(), &context, &mut Random::seeded(1));
            let expected = &case["expectedResult"];
            let right = if *kind == "tests" {
                *expected == found.enabled
            } else {
                let payload = found.variant.and_then(|variant| variant.payload.as_ref()).map_or(Value::Null, |payload| serde_json::to_value(payload).unwrap());
                let enabled = expected.get("feature_enabled").or_else(|| expected.get("featureEnabled"));
                expected["name"] == found.variant.map_or("disabled", |variant| &variant.name)
                    && expected.get("payload").unwrap_or(&Value::Null) == &payload
                    && expected["enabled"] == found.variant.is_some()
                    && enabled.is_none_or(|enabled| *enabled == found.enabled)
            };
            if !right {
                failures.push(format!("{file}: {}: expected {expected}, found {found:?}", case["description"]));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {cases}:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(cases, 279);
}
