#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::*;

/// A set of features and a context, from one of the specification's contexts.
struct Case {
    features: Features,
    context: String,
}

impl Case {
    fn new(context: &Json) -> Self {
        let part = |name: &str| context.get(name).cloned().unwrap_or(Json::Null).to_string();
        let (features, groups, bandits) = (part("features"), part("savedGroups"), part("contextualBandits"));
        let value = |json| Value::parse(json).unwrap();
        // serde_json sorts keys here; the cases do not depend on their order.
        Self { features: Features::compile(&value(&features), &value(&groups), &value(&bandits)), context: context.to_string() }
    }

    fn evaluate(&self, key: &str) -> Json {
        let given = Value::parse(&self.context).unwrap();
        let context = Context::of_sdk(&given);
        serde_json::from_str(&self.features.evaluate(key, &context).report().to_json()).unwrap()
    }
}

#[test]
fn the_rule_that_matches_first_gives_the_value() {
    let case = Case::new(&json!({
        "attributes": {"id": "7", "plan": "pro"},
        "features": {"f": {"defaultValue": "no", "rules": [
            {"id": "a", "force": "free", "condition": {"plan": "free"}},
            {"id": "b", "force": "yes", "condition": {"plan": {"$in": ["pro", "team"]}}}]}}}));
    assert_eq!(case.evaluate("f"), json!({"value": "yes", "on": true, "off": false, "source": "force", "ruleId": "b"}));
    assert_eq!(case.evaluate("g"), json!({"value": null, "on": false, "off": true, "source": "unknownFeature", "ruleId": ""}));
}

#[test]
fn conditions_compare_as_javascript_does() {
    let features = Features::default();
    for (condition, attributes, expected) in [
        (json!({"a": "null"}), json!({}), true),
        (json!({"a": 0}), json!({}), true),
        (json!({"a": 5}), json!({"a": "5"}), true),
        (json!({"a": "5"}), json!({"a": 5.0}), true),
        (json!({"a": {"$eq": 5}}), json!({"a": "5"}), false),
        (json!({"a": {"$regex": "^n"}}), json!({}), true),
        (json!({"a": true}), json!({"a": []}), true),
        (json!({"a.1": "x"}), json!({"a": ["y", "x"]}), true),
        (json!({"a.length": 2}), json!({"a": ["y", "x"]}), true),
        (json!({"a": {"$gt": "9"}}), json!({"a": 10}), true),
        (json!({"a": {"$gt": "9"}}), json!({"a": "10"}), false),
        (json!({"$or": []}), json!({}), true),
        (json!({"$nor": []}), json!({}), false),
        (json!({"a": {"$elemMatch": {"b": 1}}}), json!({"a": [{"b": 2}, {"b": 1}]}), true),
        (json!({"a": {"$alli": ["X"]}}), json!({"a": ["x"]}), true),
    ] {
        let (condition, attributes) = (condition.to_string(), attributes.to_string());
        let compiled = Condition::compile(&Value::parse(&condition).unwrap());
        assert_eq!(features.condition_holds(&compiled, &Value::parse(&attributes).unwrap()), expected, "{condition} {attributes}");
    }
}

#[test]
fn a_saved_group_that_refers_to_itself_holds_for_nobody() {
    let groups = r#"{"a": {"type": "condition", "condition": {"$savedGroup": {"id": "b"}}}, "b": {"type": "condition", "condition": {"$savedGroup": {"id": "a"}}},
        "c": {"type": "list", "attributeKey": "id", "values": ["1"]}}"#;
    let features = Features::compile(&Value::Null, &Value::parse(groups).unwrap(), &Value::Null);
    for (id, expected) in [("a", false), ("c", true), ("unknown", false)] {
        let condition = format!(r#"{{"$savedGroup": {{"id": "{id}"}}}}"#);
        let compiled = Condition::compile(&Value::parse(&condition).unwrap());
        assert_eq!(features.condition_holds(&compiled, &Value::parse(r#"{"id": "1"}"#).unwrap()), expected, "{id}");
    }
}

#[test]
fn a_chain_of_prerequisites_ends() {
    let mut features = serde_json::Map::new();
    for step in 0..1000 {
        let parent = format!("f{}", step + 1);
        features.insert(
            format!("f{step}"),
            json!({"defaultValue": true, "rules": [{"parentConditions": [{"id": parent, "condition": {}, "gate": true}], "force": true}]}),
        );
    }
    let case = Case::new(&json!({"attributes": {}, "features": features}));
    assert_eq!(case.evaluate("f0")["source"], "cyclicPrerequisite");
    assert_eq!(case.evaluate("f950")["source"], "force");
}

#[test]
fn an_earlier_assignment_is_kept_and_a_blocked_one_leaves_out() {
    let rule = |extra: Json| {
        let mut rule = json!({"key": "exp", "variations": ["a", "b"], "meta": [{"key": "0"}, {"key": "1"}], "hashAttribute": "deviceId", "fallbackAttribute": "id", "bucketVersion": 1});
        rule.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"f": {"defaultValue": "no", "rules": [rule]}})
    };
    let documents = |version: u32| json!({"id||7": {"attributeName": "id", "attributeValue": "7", "assignments": {format!("exp__{version}"): "1"}}});
    let run = |extra: Json, documents: Json| {
        let case = Case::new(&json!({"attributes": {"id": "7"}, "features": rule(extra), "stickyBucketAssignmentDocs": documents}));
        let given = Value::parse(&case.context).unwrap();
        let context = Context::of_sdk(&given);
        let mut assignments = Vec::new();
        let found = case.features.evaluate_sticky("f", &context, &mut assignments);
        let (value, sticky) = (found.value.as_str().unwrap().to_owned(), found.experiment.as_ref().is_some_and(|(_, result)| result.sticky_used));
        (value, sticky, assignments)
    };
    let nobody = json!({"coverage": 0});
    assert_eq!(run(nobody.clone(), documents(1)), ("b".to_owned(), true, vec![]), "kept though the experiment now lets nobody in");
    assert_eq!(run(nobody, documents(0)), ("no".to_owned(), false, vec![]));
    assert_eq!(run(json!({"minBucketVersion": 1}), documents(0)).0, "no", "assigned in a version that is blocked");
    let (value, sticky, assignments) = run(json!({}), json!({}));
    assert!(!sticky && value != "no");
    let variation = if value == "a" { "0" } else { "1" };
    assert_eq!(assignments, [Assignment { attribute: "id".into(), value: "7".into(), experiment: "exp__1".into(), variation: variation.into() }]);
}

/// What `@growthbook/growthbook` 1.8.0 answers to the same.
#[test]
fn fields_of_another_form_are_taken_as_javascript_takes_them() {
    let experiment = |extra: Json| {
        let mut rule = json!({"variations": ["a", "b"]});
        rule.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        rule
    };
    for (rule, expected) in [
        (experiment(json!({"coverage": "1"})), "b"),
        (experiment(json!({"coverage": "abc"})), "no"),
        (experiment(json!({"coverage": null})), "no"),
        (experiment(json!({"weights": [null, true]})), "b"),
        (experiment(json!({"weights": []})), "b"),
        (experiment(json!({"ranges": [["0", "0"], ["0", 1]]})), "b"),
        (experiment(json!({"ranges": [[0.5], [null, 1]]})), "b"),
        (experiment(json!({"ranges": 5})), "no"),
        (experiment(json!({"namespace": ["ns", 0]})), "no"),
        (experiment(json!({"namespace": ["ns", null, "1"]})), "b"),
        (experiment(json!({"namespace": []})), "no"),
        (experiment(json!({"condition": "abc"})), "no"),
        (experiment(json!({"condition": []})), "b"),
        (experiment(json!({"hashAttribute": 5})), "a"),
        (json!({"force": "yes", "condition": {"$or": "  "}}), "no"),
        (json!({"force": "yes", "condition": {"$or": ""}}), "yes"),
        (json!({"force": "yes", "range": ["0", "1"]}), "yes"),
        (json!({"force": "yes", "range": [null]}), "no"),
        (json!({"force": "yes", "coverage": true}), "yes"),
        (json!({"force": "yes", "filters": [{"seed": "f", "ranges": [[null, "1"]]}]}), "yes"),
    ] {
        let case = Case::new(&json!({"attributes": {"id": "1", "5": "3"}, "features": {"f": {"defaultValue": "no", "rules": [rule]}}}));
        assert_eq!(case.evaluate("f")["value"], expected, "{rule}");
    }
    let meta = experiment(json!({"meta": [{"key": 5, "name": 1}, {"key": 5, "name": 1}]}));
    let case = Case::new(&json!({"attributes": {"id": "1"}, "features": {"f": {"rules": [meta]}}}));
    assert_eq!(case.evaluate("f")["experimentResult"]["key"], "5");
}

#[test]
fn a_context_overrides_attributes_groups_and_experiments() {
    let features =
        json!({"f": {"defaultValue": "no", "rules": [{"force": "listed", "condition": {"id": {"$inGroup": "g"}}}, {"key": "e", "variations": ["a", "b"]}]}});
    let text = json!({"features": features, "savedGroups": {"g": ["2"]}}).to_string();
    let features = Features::from_json(&text).unwrap();
    for (context, expected) in [
        (json!({"id": "2"}), "listed"),
        (json!({"attributes": {"id": "1"}}), "a"),
        (json!({"attributes": {"id": "1"}, "attributeOverrides": {"id": "2"}}), "listed"),
        (json!({"attributeOverrides": {"id": "2"}}), "listed"),
        (json!({"attributes": {"id": "1"}, "savedGroups": {"g": ["1"]}}), "listed"),
        (json!({"attributes": {"id": "1"}, "forcedVariations": {"e": 1}}), "b"),
        (json!({"attributes": {"id": "1"}, "forcedVariations": {"e": "1"}}), "b"),
        (json!({"attributes": {"id": "1"}, "forcedFeatures": [["f", "x"], ["g", 1]]}), "x"),
        (json!({"attributes": {"id": "1"}, "forcedFeatureValues": {"f": "x"}}), "x"),
        (json!({"attributes": {"id": "1"}, "url": "https://example.com/?e=1"}), "b"),
        (json!({"attributes": {"id": "1"}, "overrides": {"e": {"weights": [0, 1]}}}), "b"),
        (json!({"attributes": {"id": "1"}, "overrides": {"e": {"force": 1}}}), "b"),
        (json!({"attributes": {"id": "1"}, "overrides": {"e": {"status": "draft"}}}), "no"),
        (json!({"attributes": {"id": "1"}, "overrides": {"e": {"condition": {"id": "7"}}}}), "no"),
        (json!({"attributes": {"id": "1"}, "overrides": {"e": {"groups": ["beta"]}}}), "no"),
        (json!({"attributes": {"id": "1"}, "groups": {"beta": true}, "overrides": {"e": {"groups": ["beta"]}}}), "a"),
        (json!({"attributes": {"id": "1"}, "overrides": {"e": {"url": "^/shop"}}}), "no"),
        (json!({"attributes": {"id": "1"}, "url": "https://example.com/shop", "overrides": {"e": {"url": "^/shop"}}}), "a"),
        (json!({"attributes": {"id": "1"}, "overrides": {"e": {"url": "("}}}), "a"),
        (json!({"attributes": {"id": "1"}, "overrides": {"other": {"status": "draft"}}}), "a"),
    ] {
        let text = context.to_string();
        let given = Value::parse(&text).unwrap();
        let changed = given.get("overrides").and_then(Value::as_object).map(|overrides| features.overridden(overrides));
        let context = Context::of_sdk(&given);
        assert_eq!(changed.as_ref().unwrap_or(&features).evaluate("f", &context).value.as_str(), Some(expected), "{text}");
    }
}

#[test]
fn a_variation_passed_through_is_kept_for_the_next_rule_of_the_same_experiment() {
    let meta = json!([{"key": "0", "passthrough": true}, {"key": "1", "passthrough": true}]);
    let rules = json!([{"key": "e", "variations": ["a", "b"], "meta": meta}, {"key": "e", "variations": ["c", "d"], "coverage": 0, "meta": [{"key": "0"}, {"key": "1"}]}]);
    let features = json!({"f": {"defaultValue": "no", "rules": rules}});
    let value = |context: Json| Case::new(&context).evaluate("f")["value"].clone();
    assert_eq!(value(json!({"attributes": {"id": "1"}, "features": features})), "no");
    assert_eq!(value(json!({"attributes": {"id": "1"}, "features": features, "stickyBucketAssignmentDocs": {}})), "c");
}

/// All cases of the SDK specification, where the data is.
#[test]
fn conforms_to_growthbooks_sdk_cases() {
    let root = std::env::var_os("TOL_DATA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(root.join("feature-flags/growthbook-cases.json")) else {
        println!("skipped: no GrowthBook cases in {}", root.display());
        return;
    };
    let cases: Json = serde_json::from_str(&text).unwrap();
    let mut failures = Vec::new();
    let mut counts = Vec::new();
    for kind in ["evalCondition", "hash", "feature", "run"] {
        let cases = cases[kind].as_array().unwrap();
        counts.push(cases.len());
        for case in cases {
            let (found, expected) = match kind {
                "evalCondition" => {
                    let (condition, attributes) = (case[1].to_string(), case[2].to_string());
                    let set = Case::new(&json!({"savedGroups": case.get(4).cloned().unwrap_or_default()}));
                    let compiled = Condition::compile(&Value::parse(&condition).unwrap());
                    (json!(set.features.condition_holds(&compiled, &Value::parse(&attributes).unwrap())), case[3].clone())
                }
                "hash" => (json!(hash::hash(case[0].as_str().unwrap(), case[1].as_str().unwrap(), case[2].as_f64().unwrap())), case[3].clone()),
                "feature" => (normal(&Case::new(&case[1]).evaluate(case[2].as_str().unwrap())), normal(&case[3])),
                _ => {
                    let set = Case::new(&case[1]);
                    let experiment = case[2].to_string();
                    let experiment = Experiment::compile(&Value::parse(&experiment).unwrap()).unwrap();
                    let given = Value::parse(&set.context).unwrap();
                    let context = Context::of_sdk(&given);
                    let found = set.features.run(&experiment, &context, &mut Vec::new());
                    let value: Json = serde_json::from_str(&found.value.to_json()).unwrap();
                    (normal(&json!([value, found.in_experiment, found.hash_used])), normal(&json!([case[3], case[4], case[5]])))
                }
            };
            if found != expected {
                failures.push(format!("{kind} {}: expected {expected}, found {found}", case[0]));
            }
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(counts, [248, 15, 55, 73]);
}

/// Numbers as doubles, so that 1 and 1.0 are one.
fn normal(json: &Json) -> Json {
    match json {
        Json::Number(number) => json!(number.as_f64()),
        Json::Array(items) => items.iter().map(normal).collect(),
        Json::Object(object) => Json::Object(object.iter().map(|(key, value)| (key.clone(), normal(value))).collect()),
        other => other.clone(),
    }
}
