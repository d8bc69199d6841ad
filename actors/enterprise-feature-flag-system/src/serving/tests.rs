use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::DateTime;
use proptest::prelude::*;
use serde_json::{Value, json};
use tol_events::EventTime;

use super::*;
use crate::definition::{FlagDefinitions, Mode};
use crate::evaluation::Format;
use crate::evaluation::unleash::Context;
use crate::served::{Change, Served};

/// A set of what is imported, and what has changed since another.
fn set_of(flags: &FlagDefinitions, before: &FlagSet) -> (FlagSet, Changed) {
    let served = |definition: &crate::definition::Definition| {
        Arc::new(Served { definition: definition.clone(), version: 1, changed_at: EventTime::default(), stale_at: None, stale_since: None })
    };
    let mut changes: Vec<Change> = flags
        .flags
        .iter()
        .filter(|(key, definition)| before.get(key).is_none_or(|known| known.definition != **definition))
        .map(|(key, definition)| Change::Flag { key: key.clone(), served: Some(served(definition)) })
        .collect();
    let gone = before.sorted().into_iter().filter(|(key, _)| !flags.flags.contains_key(*key));
    changes.extend(gone.map(|(key, _)| Change::Flag { key: key.to_owned(), served: None }));
    for (environment, shared) in &flags.shared {
        if before.shared(environment).is_none_or(|known| **known != *shared) {
            changes.push(Change::Shared { environment: environment.clone(), shared: Arc::new(shared.clone()) });
        }
    }
    let changed = Changed::of(&changes);
    (before.with(changes), changed)
}

fn imported(imports: &[(Format, Value)]) -> (FlagDefinitions, FlagSet, Serving) {
    let mut flags = FlagDefinitions::default();
    for (format, json) in imports {
        flags.import(*format, &json.to_string(), Mode::Merge, "production").unwrap();
    }
    let (set, _) = set_of(&flags, &FlagSet::default());
    let serving = Serving::of(&set);
    (flags, set, serving)
}

fn three_families() -> Vec<(Format, Value)> {
    let unleash = json!({"features": [
        {"name": "on", "enabled": true},
        {"name": "off", "enabled": false},
        {"name": "pro", "enabled": true, "strategies": [{"name": "default", "constraints": [{"contextName": "plan", "operator": "IN", "values": ["pro"]}]}]},
        {"name": "paid", "enabled": true, "strategies": [{"name": "default", "segments": [7]}]},
        {"name": "colour", "enabled": true, "strategies": [{"name": "default"}], "variants": [
            {"name": "blue", "weight": 1, "payload": {"type": "json", "value": "{\"c\":1}"}}]}],
        "segments": [{"id": 7, "constraints": [{"contextName": "plan", "operator": "IN", "values": ["pro", "team"]}]}]});
    let growthbook = json!({"features": {
        "gb-static": {"defaultValue": 7},
        "gb-rule": {"defaultValue": "a", "rules": [{"condition": {"plan": "pro"}, "force": "b"}]},
        "gb-test": {"defaultValue": 0, "rules": [{"key": "e", "variations": [1, 2.0], "weights": [0, 1]}]}}});
    let flagd = json!({"flags": {
        "fd-static": {"state": "ENABLED", "variants": {"x": {"a": [1.0]}}, "defaultVariant": "x"},
        "fd-off": {"state": "DISABLED", "variants": {"x": 1}, "defaultVariant": "x"},
        "fd-rule": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
            "targeting": {"if": [{"==": [{"var": "plan"}, "pro"]}, "on", null]}}}});
    vec![(Format::Unleash, unleash), (Format::GrowthBook, growthbook), (Format::Flagd, flagd)]
}

fn toggles(environment: &Environment, context: &str) -> Vec<Value> {
    let context = Context::from_json(context, DateTime::UNIX_EPOCH).unwrap();
    let body: Value = serde_json::from_slice(&environment.frontend(&context, 1).0).unwrap();
    body["toggles"].as_array().unwrap().clone()
}

fn names(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[test]
fn the_frontend_is_told_what_is_on_with_variants() {
    let (_, _, serving) = imported(&three_families()[..1]);
    let environment = serving.environment("production").unwrap();
    let found = toggles(environment, r#"{"userId": "1", "properties": {"plan": "team"}}"#);
    assert_eq!(names(&found), ["colour", "on", "paid"]);
    let variant = json!({"name": "blue", "payload": {"type": "json", "value": "{\"c\":1}"}, "enabled": true, "feature_enabled": true, "featureEnabled": true});
    assert_eq!(found[0], json!({"name": "colour", "enabled": true, "variant": variant, "impressionData": false}));
    assert_eq!(found[1]["variant"]["enabled"], false);
    assert_eq!(names(&toggles(environment, r#"{"properties": {"plan": "pro"}}"#)), ["colour", "on", "paid", "pro"]);
}

#[test]
fn a_query_is_a_context_whose_brackets_are_properties() {
    let pairs = [("userId", "7"), ("properties[plan]", "pro"), ("region", "eu"), ("currentTime", "2020-01-01T00:00:00Z")];
    let context = context_of(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())), DateTime::UNIX_EPOCH);
    assert_eq!((context.user_id.as_deref(), context.property("plan"), context.property("region")), (Some("7"), Some("pro"), Some("eu")));
}

#[test]
fn old_clients_get_segments_as_constraints() {
    let (_, _, serving) = imported(&three_families()[..1]);
    let environment = serving.environment("production").unwrap();
    let parse = |text: &Text| serde_json::from_slice::<Value>(&text.body).unwrap();
    let (new, old) = (environment.features(true), environment.features(false));
    assert_ne!(new.tag, old.tag);
    let paid = |body: &Value| body["features"].as_array().unwrap().iter().find(|feature| feature["name"] == "paid").unwrap().clone();
    assert_eq!(paid(&parse(new))["strategies"][0]["segments"], json!([7]));
    assert_eq!(parse(new)["segments"][0]["id"], 7);
    assert_eq!(paid(&parse(old))["strategies"][0]["constraints"][0]["values"], json!(["pro", "team"]));
    assert!(parse(old).get("segments").is_none() && paid(&parse(old))["strategies"][0].get("segments").is_none());
}

/// What OFREP answers, as `value variant reason` or an error.
fn ofrep(environment: &Environment, key: &str, context: &Value) -> String {
    let body = json!({"context": context}).to_string();
    let context = ofrep::Context::of_request(&body, environment, DateTime::UNIX_EPOCH).unwrap();
    let (_, answer) = environment.ofrep(key, &context, 1);
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["key"], key);
    let all: Value = serde_json::from_slice(&environment.ofrep_all(&context, 1)).unwrap();
    if let Some(same) = all["flags"].as_array().unwrap().iter().find(|flag| flag["key"] == key) {
        assert_eq!(*same, answer);
    }
    format!("{} {} {}", answer["value"], answer["variant"], answer.get("reason").unwrap_or(&answer["errorCode"]))
}

#[test]
fn ofrep_answers_with_the_semantics_of_each_family() {
    let (_, _, serving) = imported(&three_families());
    let environment = serving.environment("production").unwrap();
    let (pro, other) = (json!({"targetingKey": "u", "plan": "pro"}), json!({"targetingKey": "u", "plan": "x"}));
    for (key, context, expected) in [
        ("on", &pro, r#"true "enabled" "STATIC""#),
        ("off", &pro, r#"false "disabled" "DISABLED""#),
        ("pro", &pro, r#"true "enabled" "TARGETING_MATCH""#),
        ("pro", &other, r#"false "disabled" "UNKNOWN""#),
        ("colour", &other, r#"{"c":1} "blue" "TARGETING_MATCH""#),
        ("gb-static", &pro, r#"7 "7" "STATIC""#),
        ("gb-rule", &pro, r#""b" "b" "TARGETING_MATCH""#),
        ("gb-rule", &other, r#""a" "a" "UNKNOWN""#),
        ("gb-test", &other, r#"2.0 "1" "SPLIT""#),
        ("fd-static", &other, r#"{"a":[1.0]} "x" "STATIC""#),
        ("fd-off", &other, r#"null "disabled" "DISABLED""#),
        ("fd-rule", &pro, r#"true "on" "TARGETING_MATCH""#),
        ("fd-rule", &other, r#"false "off" "UNKNOWN""#),
        ("nope", &other, r#"null null "FLAG_NOT_FOUND""#),
    ] {
        assert_eq!(ofrep(environment, key, context), expected, "{key}");
    }
}

#[test]
fn the_targeting_key_is_the_subject_of_every_family() {
    let unleash = json!({"features": [{"name": "half", "enabled": true, "strategies": [
        {"name": "flexibleRollout", "parameters": {"rollout": "50", "stickiness": "userId", "groupId": "g"}}]}]});
    let growthbook = json!({"features": {"gb-half": {"defaultValue": 0, "rules": [{"force": 1, "coverage": 0.5}]}}});
    let (_, _, serving) = imported(&[(Format::Unleash, unleash), (Format::GrowthBook, growthbook)]);
    let environment = serving.environment("production").unwrap();
    for user in 0..40 {
        let user = format!("u{user}");
        assert_eq!(ofrep(environment, "half", &json!({"targetingKey": user})), ofrep(environment, "half", &json!({"targetingKey": "x", "userId": user})));
        assert_eq!(ofrep(environment, "gb-half", &json!({"targetingKey": user})), ofrep(environment, "gb-half", &json!({"targetingKey": "x", "id": user})));
    }
}

#[test]
fn what_is_no_request_is_refused_with_openfeatures_words() {
    let (_, _, serving) = imported(&three_families());
    let environment = serving.environment("production").unwrap();
    for (body, code) in
        [("{", "PARSE_ERROR"), ("{}", "INVALID_CONTEXT"), (r#"{"context": 1}"#, "INVALID_CONTEXT"), (r#"{"context": {"targetingKey": 1}}"#, "INVALID_CONTEXT")]
    {
        let refused = ofrep::Context::of_request(body, environment, DateTime::UNIX_EPOCH).err().unwrap();
        assert_eq!(refused.code(), code, "{body}");
    }
    assert!(ofrep::Context::of_request(r#"{"context": {}}"#, environment, DateTime::UNIX_EPOCH).is_ok());
}

#[test]
fn a_delta_tells_what_has_changed_since_and_else_everything() {
    let (mut flags, set, serving) = imported(&three_families());
    let before = serving.environment("production").unwrap();
    let tag = before.delta_tag();
    assert_eq!(before.since(Some(&tag)), Since::Nothing);
    flags.flags.remove("pro");
    let on = flags.flags.get_mut("on").unwrap().environments.get_mut("production").unwrap();
    on.enabled = false;
    let (set, changed) = set_of(&flags, &set);
    let next = serving.next(&set, &changed);
    let after = next.environment("production").unwrap();
    let Since::Changes(delta) = after.since(Some(&tag)) else { panic!("{:?}", after.since(Some(&tag))) };
    let delta: Value = serde_json::from_slice(&delta.body).unwrap();
    let kinds: Vec<&str> = delta["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["feature-updated", "feature-removed"]);
    assert_eq!((&delta["events"][0]["feature"]["enabled"], &delta["events"][1]["featureName"]), (&json!(false), &json!("pro")));
    for unknown in [None, Some("\"1:00\""), Some("nonsense")] {
        let Since::Everything(all) = after.since(unknown) else { panic!("{unknown:?}") };
        let all: Value = serde_json::from_slice(&all.body).unwrap();
        assert_eq!((&all["events"][0]["type"], &all["events"][0]["segments"][0]["id"]), (&json!("hydration"), &json!(7)));
    }
    // Unleash's own semantics take the delta for what it says.
    let mut known = crate::evaluation::unleash::Definitions::from_json(std::str::from_utf8(&before.features(true).body).unwrap()).unwrap();
    known.apply(serde_json::from_value(delta).unwrap());
    let now: Value = serde_json::from_slice(&after.features(true).body).unwrap();
    let names: BTreeSet<&str> = known.features.iter().map(|feature| feature.name.as_str()).collect();
    assert_eq!(names, now["features"].as_array().unwrap().iter().map(|feature| feature["name"].as_str().unwrap()).collect());
}

/// Everything that an environment answers to some contexts.
fn answers(serving: &Serving) -> BTreeMap<String, Vec<Vec<u8>>> {
    let of = |environment: &Arc<Environment>| {
        let mut all = vec![
            environment.features(true).body.to_vec(),
            environment.features(true).tag.clone().into_bytes(),
            environment.features(false).body.to_vec(),
            environment.growthbook_payload().body.to_vec(),
        ];
        for context in [json!({"targetingKey": "u", "plan": "pro"}), json!({"targetingKey": "v", "plan": "x"})] {
            let body = json!({"context": context}).to_string();
            let asked = ofrep::Context::of_request(&body, environment, DateTime::UNIX_EPOCH).unwrap();
            all.push(environment.ofrep_all(&asked, 1));
            all.push(environment.frontend(&Context::from_json(&context.to_string(), DateTime::UNIX_EPOCH).unwrap(), 1).0);
        }
        (environment.name().to_owned(), all)
    };
    serving.environments().map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn following_changes_serves_what_starting_anew_serves(
        steps in proptest::collection::vec((0..11_usize, 0..4_u8, prop_oneof![Just("production"), Just("staging")]), 1..12),
    ) {
        let mut flags = FlagDefinitions::default();
        let (mut set, mut serving) = (FlagSet::default(), Serving::default());
        let sources = three_families();
        for (number, action, environment) in steps {
            let keys: Vec<String> = flags.flags.keys().cloned().collect();
            match (action, keys.get(number)) {
                (0, Some(key)) => drop(flags.flags.remove(key)),
                (1, Some(key)) => flags.flags.get_mut(key).unwrap().environments.values_mut().for_each(|one| one.enabled = !one.enabled),
                (2, Some(key)) => flags.flags.get_mut(key).unwrap().environments.values_mut().for_each(|one| one.killed = true),
                _ => {
                    let (format, json) = &sources[number % sources.len()];
                    flags.import(*format, &json.to_string(), Mode::Merge, environment).unwrap();
                }
            }
            let changed;
            (set, changed) = set_of(&flags, &set);
            serving = serving.next(&set, &changed);
            prop_assert_eq!(answers(&serving), answers(&Serving::of(&set)));
        }
    }
}

#[test]
fn an_event_of_a_stream_is_written_once_for_all_who_follow() {
    let (mut flags, set, serving) = imported(&three_families());
    let before = serving.environment("production").unwrap().clone();
    flags.import(Format::Unleash, &json!({"features": [{"name": "on", "enabled": false}]}).to_string(), Mode::Merge, "production").unwrap();
    let (set, changed) = set_of(&flags, &set);
    let serving = serving.next(&set, &changed);
    let environment = serving.environment("production").unwrap();
    let told = before.delta_tag();
    for kind in [EventKind::UnleashConnected, EventKind::UnleashUpdated, EventKind::GrowthBook] {
        for told in [None, Some(told.as_str()), Some("\"0:0\"")] {
            let (one, other) = (environment.event(kind, told).unwrap(), environment.event(kind, told).unwrap());
            assert_eq!(one.as_ptr(), other.as_ptr(), "{kind:?}");
            let (head, data) = std::str::from_utf8(&one).unwrap().split_once("\ndata: ").unwrap();
            assert_eq!(head, format!("event: {}\nid: {}", kind.name(), environment.delta_tag().trim_matches('"')));
            let expected = match environment.since(told) {
                _ if kind == EventKind::GrowthBook => environment.growthbook_payload().clone(),
                Since::Changes(text) | Since::Everything(text) => text,
                Since::Nothing => unreachable!("it has changed"),
            };
            assert_eq!(data.strip_suffix("\n\n").unwrap().as_bytes(), expected.body, "{kind:?}");
        }
        assert_eq!(environment.event(kind, Some(&environment.delta_tag())), None);
    }
}

#[test]
fn the_frontend_s_hash_tells_answers_apart_and_is_the_same_for_the_same() {
    let (_, _, serving) = imported(&three_families());
    let (_, _, again) = imported(&three_families());
    let answer = |serving: &Serving, context: &str| {
        let context = Context::from_json(context, DateTime::UNIX_EPOCH).unwrap();
        serving.environment("production").unwrap().frontend(&context, 1)
    };
    let mut hashes = BTreeMap::new();
    for context in ["{}", r#"{"userId": "1"}"#, r#"{"properties": {"plan": "team"}}"#, r#"{"properties": {"plan": "pro"}}"#] {
        let (body, hash) = answer(&serving, context);
        assert_eq!(answer(&again, context), (body.clone(), hash));
        assert_eq!(hashes.insert(body, hash).unwrap_or(hash), hash, "{context}");
    }
    assert_eq!(hashes.values().collect::<BTreeSet<_>>().len(), 3, "of nobody, of a team, of pro");
}
