//! Flags over HTTP, end to end: import, evaluation and export with each format's semantics, and what people do with them.

mod trials;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::{Answer, Http, Node, wait};

/// A file of the shared data, where it is.
fn data(path: &str) -> Option<String> {
    let root = std::env::var_os("TOL_DATA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let found = std::fs::read_to_string(root.join("feature-flags").join(path)).ok();
    if found.is_none() {
        println!("skipped: no {path} in {}", root.display());
    }
    found
}

fn put(http: &Http, path: &str, body: &Value) -> Answer {
    http.try_send("PUT", path, &[("content-type", "application/json")], body.to_string().as_bytes()).expect("an answer to PUT")
}

fn import(http: &Http, format: &str, mode: &str, definitions: &Value) -> Value {
    http.post(&format!("/flags/import?format={format}&mode={mode}"), definitions).ok()
}

fn evaluate(http: &Http, format: &str, context: &Value, flag: &str) -> Value {
    http.post("/flags/evaluate", &json!({"format": format, "context": context, "flags": [flag]})).ok()[flag].clone()
}

#[test]
fn unleashs_and_growthbooks_cases_hold_over_http_after_an_import() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    if let Some(index) = data("unleash-client-specification/specifications/index.json") {
        unleashs_cases(&node.http, &index);
    }
    if let Some(text) = data("growthbook-cases.json") {
        growthbooks_cases(&node.http, &serde_json::from_str(&text).unwrap());
    }
    node.stop();
}

fn unleashs_cases(http: &Http, index: &str) {
    let (mut cases, mut failures) = (0, Vec::new());
    for file in serde_json::from_str::<Vec<String>>(index).unwrap() {
        let specification: Value = serde_json::from_str(&data(&format!("unleash-client-specification/specifications/{file}")).unwrap()).unwrap();
        import(http, "unleash", "replace", &specification["state"]);
        for kind in ["tests", "variantTests"] {
            for case in specification[kind].as_array().into_iter().flatten() {
                cases += 1;
                let found = evaluate(http, "unleash", &case["context"], case["toggleName"].as_str().unwrap());
                let expected = &case["expectedResult"];
                let right = if kind == "tests" {
                    found["enabled"] == *expected
                } else {
                    let enabled = expected.get("feature_enabled").or_else(|| expected.get("featureEnabled"));
                    found["variant"] == expected["name"]
                        && expected.get("payload").is_none_or(|payload| payload["value"] == found["value"])
                        && expected["enabled"] == (found["variant"] != "disabled")
                        && enabled.is_none_or(|enabled| *enabled == found["enabled"])
                };
                if !right {
                    failures.push(format!("{file}: {}: expected {expected}, found {found}", case["description"]));
                }
            }
        }
        let exported = http.get("/flags/export?format=unleash").ok();
        let names = |definitions: &Value| -> Vec<String> {
            let mut names: Vec<String> = definitions["features"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
            names.sort();
            names
        };
        if specification["state"]["features"].is_array() {
            assert_eq!(names(&exported), names(&specification["state"]), "{file}: replaced, and nothing lost");
        }
    }
    assert!(failures.is_empty(), "{} of {cases}:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(cases, 279);
}

fn growthbooks_cases(http: &Http, all: &Value) {
    let number = |value: &Value| value.as_f64().map_or_else(|| value.clone(), Value::from);
    let mut failures = Vec::new();
    let cases = all["feature"].as_array().unwrap();
    for case in cases {
        let (name, source, key, expected) = (&case[0], &case[1], case[2].as_str().unwrap(), &case[3]);
        let mut definitions = json!({"features": source.get("features").cloned().unwrap_or(json!({}))});
        for shared in ["savedGroups", "contextualBandits"] {
            if let Some(value) = source.get(shared) {
                definitions[shared] = value.clone();
            }
        }
        import(http, "growthbook", "replace", &definitions);
        // As the SDKs have it: attributes beside what is forced.
        let mut context = source.clone();
        context.as_object_mut().unwrap().remove("features");
        context["attributes"] = source.get("attributes").cloned().unwrap_or(json!({}));
        let found = evaluate(http, "growthbook", &context, key);
        let right = number(&found["value"]) == number(&expected["value"]) && found["enabled"] == expected["on"] && found["reason"] == expected["source"];
        if !right {
            failures.push(format!("{name}: expected {expected}, found {found}"));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert_eq!(cases.len(), 55);
}

#[test]
fn an_import_replaces_or_merges_an_environment_and_says_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let flag = |on: &str| json!({"state": "ENABLED", "defaultVariant": on, "variants": {"on": true, "off": false}});
    let done = import(http, "flagd", "merge", &json!({"flags": {"a": flag("on"), "b": flag("off")}}));
    assert_eq!((&done["flags"], &done["changed"], &done["removed"]), (&json!(2), &json!(2), &json!(0)));
    assert_eq!(evaluate(http, "flagd", &json!({}), "a"), json!({"enabled": true, "value": true, "variant": "on", "reason": "STATIC"}));
    // The same again changes nothing, and another environment has its own.
    assert_eq!(import(http, "flagd", "merge", &json!({"flags": {"a": flag("on")}}))["changed"], 0);
    http.post("/flags/import?format=flagd&environment=staging", &json!({"flags": {"a": flag("off"), "c": flag("on")}})).ok();
    assert_eq!(evaluate(http, "flagd", &json!({}), "a")["variant"], "on");
    let staging = http.post("/flags/evaluate", &json!({"format": "flagd", "context": {}, "environment": "staging"})).ok();
    assert_eq!((&staging["a"]["variant"], &staging["c"]["variant"], staging.as_object().unwrap().len()), (&json!("off"), &json!("on"), 2));
    // Replaced, b is nowhere; a of another format in its place.
    let done = import(http, "growthbook", "replace", &json!({"d": {"defaultValue": 5}}));
    assert_eq!((&done["flags"], &done["changed"], &done["removed"]), (&json!(1), &json!(2), &json!(1)), "a left this environment, b all of them");
    assert_eq!(http.get("/flags/export?format=growthbook").ok(), json!({"features": {"d": {"defaultValue": 5}}}));
    let listed = http.get("/flags?limit=2").ok();
    let keys: Vec<&str> = listed["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect();
    assert_eq!((keys, &listed["degraded"]), (vec!["a", "c"], &Value::Null));
    assert_eq!(http.get("/flags?limit=2&cursor=c").ok()["items"][0]["key"], "d");
    assert_eq!(http.get("/flags?environment=staging").ok()["items"].as_array().unwrap().len(), 2);
    // A flag of one format in another's words, and a family that changes.
    let done = import(http, "flagd", "replace", &json!({"flags": {"d": flag("on")}}));
    assert!(done["problems"][0]["problem"].as_str().unwrap().contains("growthbook"), "{done}");
    assert_eq!(evaluate(http, "unleash", &json!({}), "d")["enabled"], true);
    // What is wrong is refused by name, and changes nothing.
    let wrong = http.post("/flags/import?format=unleash", &json!({"features": 3}));
    assert_eq!((wrong.status, wrong.problem()), (422, "invalid-definitions"));
    assert_eq!(http.post("/flags/import?format=launchdarkly", &json!({})).problem(), "invalid-parameter");
    assert_eq!(http.post("/flags/import", &json!({})).problem(), "invalid-parameter");
    assert_eq!(http.post("/flags/evaluate", &json!({"format": "unleash", "context": []})).problem(), "invalid-body");
    assert_eq!(evaluate(http, "flagd", &json!({}), "nobody")["errorCode"], "FLAG_NOT_FOUND");
    node.stop();
}

#[test]
fn a_segment_is_changed_alone_and_the_flags_that_use_it_follow() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let segment = |plan: &str| json!({"segments": [{"id": 1, "constraints": [{"contextName": "plan", "operator": "IN", "values": [plan]}]}]});
    let feature = json!({"name": "f", "enabled": true, "strategies": [{"name": "default", "segments": [1]}]});
    import(http, "unleash", "replace", &json!({"version": 2, "features": [feature], "segments": segment("pro")["segments"]}));
    let is_on = || evaluate(http, "unleash", &json!({"properties": {"plan": "team"}}), "f")["enabled"].clone();
    assert_eq!(is_on(), false);
    let changed = put(http, "/flag-environments/production/unleash", &json!({"shared": segment("team"), "reason": "teams too"})).ok();
    assert_eq!((&changed["flags"], &changed["shared"]["unleash"], is_on()), (&json!(1), &segment("team"), json!(true)));
    assert_eq!(http.get("/flag-environments").ok()[0]["name"], "production");
    assert_eq!(put(http, "/flag-environments/production/moon", &json!({"shared": {}, "reason": "x"})).status, 404);
    node.stop();
}

fn definition(percent: u32) -> Value {
    let rule = json!({"kind": "targeted", "share": {"part": percent * 100, "by": "userId", "salt": "new-checkout"}, "serve": {"serve": "on"}});
    json!({"type": "boolean", "family": "unleash", "environments": {"production": {"enabled": true, "rules": [rule]}}})
}

#[test]
fn people_change_kill_restore_schedule_and_archive_a_flag_and_see_who_did_what() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let path = "/flags/new-checkout";
    assert_eq!(http.get(path).problem(), "unknown-flag");
    let made = put(http, path, &json!({"definition": definition(100), "reason": "one page"})).ok();
    assert_eq!((&made["version"], &made["by"], &made["reason"]), (&json!(1), &json!("local"), &json!("one page")));
    let is_on = || evaluate(http, "unleash", &json!({"userId": "7"}), "new-checkout")["enabled"].clone();
    assert_eq!(is_on(), true);
    let before_the_kill = chrono::Utc::now();

    let killed = http.post(&format!("{path}/kill"), &json!({"reason": "payments fail"})).ok();
    assert_eq!((&killed["version"], &killed["definition"]["environments"]["production"]["killed"], is_on()), (&json!(2), &json!(true), json!(false)));
    assert_eq!(http.get("/flags").ok()["items"][0]["environments"]["production"], "killed");
    assert_eq!(http.post(&format!("{path}/restore"), &json!({"reason": "mended"})).ok()["version"], 3);
    assert_eq!(is_on(), true);

    // A change of an old version is a conflict, and one that breaks a rule is refused; neither changes anything.
    let conflict = put(http, path, &json!({"definition": definition(50), "base_version": 1, "reason": "half"}));
    assert_eq!((conflict.status, conflict.problem(), &conflict.json["version"]), (409, "version-conflict", &json!(3)));
    let refused = put(http, path, &json!({"definition": definition(200), "base_version": 3, "reason": "twice"}));
    assert_eq!((refused.status, refused.problem()), (422, "request-refused"), "{}", refused.text);
    assert!(refused.json["detail"].as_str().unwrap().contains("at most the whole"), "{}", refused.text);
    let mut circle = definition(50);
    circle["environments"]["production"]["prerequisites"] = json!([{"flag": "nobody", "enabled": true}]);
    assert!(put(http, path, &json!({"definition": circle, "reason": "x"})).json["detail"].as_str().unwrap().contains("nobody"));
    assert_eq!(put(http, path, &json!({"definition": definition(50), "reason": " "})).problem(), "invalid-body");
    assert_eq!(http.post("/flags/nobody/kill", &json!({"reason": "x"})).problem(), "unknown-flag");
    assert_eq!(http.post(&format!("{path}/kill"), &json!({"reason": "x", "environment": "moon"})).problem(), "request-refused");

    let at = json!([{"at": "2099-01-01T00:00:00Z", "enabled": false}]);
    let scheduled = http.post(&format!("{path}/schedule"), &json!({"environment": "production", "schedule": at, "reason": "the sale ends"})).ok();
    assert_eq!(scheduled["definition"]["environments"]["production"]["schedule"], at);

    // What has outlived its purpose is reported.
    assert_eq!(http.get("/flags?stale=true").ok()["items"], json!([]));
    put(http, path, &json!({"definition": definition(100), "reason": "for a day", "stale_at": "2026-01-01T00:00:00Z"})).ok();
    let stale = wait("the flag to be stale", || Some(http.get("/flags?stale=true").ok()).filter(|page| page["items"][0]["key"] == "new-checkout"));
    assert_eq!(stale["items"].as_array().unwrap().len(), 1);
    assert!(http.get(path).ok()["stale_since"].is_string());

    // Any past moment can be seen and served.
    let then = before_the_kill.format("%Y-%m-%dT%H:%M:%S%.6fZ");
    assert_eq!(http.get(&format!("{path}?as_of={then}")).ok()["version"], 1);
    let past = |path: &str, body: &Value| wait("the past", || Some(http.post(path, body)).filter(|answer| answer.status != 202)).ok();
    let asked = json!({"format": "unleash", "context": {"userId": "7"}, "flags": ["new-checkout"]});
    assert_eq!(past(&format!("/flags/evaluate?as_of={then}"), &asked)["new-checkout"]["enabled"], true);
    assert_eq!(past("/flags/evaluate?as_of=2020-01-01", &asked)["new-checkout"]["errorCode"], "FLAG_NOT_FOUND");

    http.get("/compat/unleash/api/frontend").ok();
    assert!(http.get("/metrics").text.contains(r#"tol_http_requests_total{method="GET",route="/compat/unleash/api/frontend",status="200"} 1"#));

    // A key may be what is done with all flags.
    import(http, "unleash", "merge", &json!({"features": [{"name": "export", "enabled": true}]}));
    assert_eq!(evaluate(http, "unleash", &json!({}), "export")["enabled"], true);
    let mut export = http.get("/flags/key/export").ok();
    assert_eq!(export["key"], "export");
    export["definition"]["environments"]["production"]["enabled"] = json!(false);
    put(http, "/flags/key/export", &json!({"definition": export["definition"], "reason": "off"})).ok();
    assert_eq!(evaluate(http, "unleash", &json!({}), "export")["enabled"], false);
    http.try_send("DELETE", "/flags/key/export?reason=done", &[], &[]).unwrap().ok();
    assert_eq!(http.get("/flags/key/new-checkout").status, 404);

    let archived = http.try_send("DELETE", &format!("{path}?reason=done"), &[], &[]).unwrap().ok();
    assert_eq!(archived["definition"]["environments"], json!({}));
    assert_eq!(http.get("/flags").ok()["items"], json!([]));
    let what: Vec<Value> = http.get(&format!("{path}/history")).ok().as_array().unwrap().iter().map(|change| change["reason"].clone()).collect();
    assert_eq!(what, ["one page", "payments fail", "mended", "the sale ends", "for a day", "done"]);
    node.stop();
}

#[test]
fn ten_thousand_flags_are_imported_changed_and_served_again_after_a_restart_and_a_rebuild() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let feature = |number: u32| json!({"name": format!("flag-{number:05}"), "enabled": true, "strategies": [{"name": "flexibleRollout", "parameters": {"rollout": "100", "stickiness": "userId", "groupId": "g"}}]});
    let all = json!({"version": 2, "features": (0..10_000).map(feature).collect::<Vec<_>>()});
    let done = import(http, "unleash", "replace", &all);
    assert_eq!((&done["flags"], &done["changed"]), (&json!(10_000), &json!(10_000)));
    let on = |http: &Http, flag: &str| evaluate(http, "unleash", &json!({"userId": "1"}), flag)["enabled"].clone();
    assert_eq!((on(http, "flag-00000"), on(http, "flag-09999")), (json!(true), json!(true)));
    http.post("/flags/flag-00007/kill", &json!({"reason": "x"})).ok();
    assert_eq!(on(http, "flag-00007"), false);
    let exported = http.get("/flags/export?format=unleash").ok();
    assert_eq!(exported["features"].as_array().unwrap().len(), 10_000);
    let digest = http.digest("flags");
    node.stop();

    let node = Node::ready(folder.path());
    let http = &node.http;
    assert_eq!((on(http, "flag-00007"), on(http, "flag-00008")), (json!(false), json!(true)));
    http.try_send("POST", "/projections/flags/rebuild", &[], &[]).unwrap();
    wait("the rebuild", || (http.get("/projections/flags/rebuild").ok()["state"] == "done").then_some(()));
    assert_eq!(http.digest("flags"), digest);
    http.post("/flags/flag-00007/restore", &json!({"reason": "x"})).ok();
    assert_eq!(on(http, "flag-00007"), true);
    let check = http.get("/readyz").ok()["checks"].as_array().unwrap().iter().find(|check| check["name"] == "flags").unwrap().clone();
    assert_eq!(check["detail"], "10000 flags");
    node.stop();
}
