//! Flags over HTTP, end to end: import, evaluation and export with each format's semantics, and what people do with them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::PathBuf;

use serde_json::{Value, json};

use common::{Answer, Http, Node, wait};

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
fn a_rollout_is_started_shown_and_rolled_back_and_nobody_else_moves_its_percentage() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let path = "/flags/new-checkout";
    put(http, path, &json!({"definition": definition(0), "reason": "one page"})).ok();
    assert_eq!(http.get(&format!("{path}/rollout")).status, 404);
    let step = |treatment: u32| json!({"treatment": treatment, "control": treatment, "minimum_millis": 3_600_000, "minimum_subjects": 500});
    let plan = json!({"steps": [step(100), step(1_000)], "guards": [{"metric": "errors", "harm": "increase", "kind": "proportion"}]});
    let start = json!({"environment": "production", "rule": 0, "plan": plan, "reason": "ready", "rollout_id": "r-1"});
    let started = http.post(&format!("{path}/rollout"), &start).ok();
    assert_eq!((&started["rollout"]["state"], &started["rollout"]["treatment"]), (&json!("running"), &json!(100)));
    assert_eq!(put(http, path, &json!({"definition": definition(50), "reason": "faster"})).problem(), "request-refused");
    assert_eq!(http.post(&format!("{path}/rollout"), &json!({"environment": "production", "plan": plan, "reason": "again"})).problem(), "request-refused");
    let stopped = http.post(&format!("{path}/rollout/stop"), &json!({"reason": "too early"})).ok();
    assert_eq!((&stopped["rollout"]["state"], &stopped["rollout"]["treatment"]), (&json!("rolled_back"), &json!(0)));
    assert_eq!(http.get(&format!("{path}/rollout")).ok()["id"], "r-1");
    assert_eq!(http.post(&format!("{path}/rollout/stop"), &json!({"reason": "x"})).problem(), "request-refused");
    node.stop();
}

#[test]
fn an_experiment_is_started_counted_shown_with_its_results_and_concluded() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let path = "/flags/new-checkout";
    let details = json!({"variations": ["disabled", "enabled"], "metrics": [{"name": "purchases", "primary": true}, "errors"], "environment": "production"});
    let start = json!({"experiment_id": "e-1", "statement": "people buy more", "details": details});
    assert_eq!(http.post(&format!("{path}/experiments"), &start).problem(), "unknown-flag");
    put(http, path, &json!({"definition": definition(50), "reason": "one page"})).ok();
    assert_eq!(http.get(&format!("{path}/experiments")).ok(), json!([]));
    assert_eq!(http.get(&format!("{path}/experiments/e-1")).problem(), "not-found");
    let started = http.post(&format!("{path}/experiments"), &start).ok();
    assert_eq!((&started["state"], &started["by"], &started["environment"]), (&json!("running"), &json!("local"), &json!("production")));
    assert_eq!(started["results"]["decision"], json!({"decision": "collecting", "missing": "100 more subjects in a variation"}));
    // The same again is the same; something else under its id is refused, as is what cannot be.
    assert_eq!(http.post(&format!("{path}/experiments"), &start).ok()["began_at"], started["began_at"]);
    let other = http.post(&format!("{path}/experiments"), &json!({"experiment_id": "e-1", "statement": "they stay", "details": details}));
    assert_eq!((other.status, other.problem()), (422, "request-refused"));
    let alone = http.post(&format!("{path}/experiments"), &json!({"statement": "x", "details": {"variations": ["enabled"]}}));
    assert!(alone.problem() == "request-refused" && alone.json["detail"].as_str().unwrap().contains("variations must be 2 to 20"), "{}", alone.text);
    assert_eq!(http.post(&format!("{path}/experiments"), &json!({"statement": " ", "details": details})).problem(), "invalid-body");

    // What is counted shows in its results; an earlier moment knew nothing of it.
    let before = chrono::Utc::now();
    let measure = |arm: &str, value: u32| json!({"arm": arm, "metric": "purchases", "measure": {"kind": "counter", "value": value}});
    let data = json!({"key": "new-checkout", "environment": "production", "exposures": [{"arm": "enabled", "count": 5_000}, {"arm": "disabled", "count": 5_000}],
        "measuring": ["purchases"], "measures": [measure("enabled", 700), measure("disabled", 500)]});
    let report = json!({"specversion": "1.0", "id": "counts-1", "source": "/shop", "type": "flags.counts_reported.v1", "subject": "flag/new-checkout",
        "time": chrono::Utc::now().to_rfc3339(), "data": data});
    http.publish(&[report]).ok();
    let shown = || http.get(&format!("{path}/experiments/e-1")).ok();
    let seen = wait("the counts", || Some(shown()).filter(|one| one["results"]["subjects"]["enabled"] == 5_000));
    assert_eq!(seen["results"]["decision"], json!({"decision": "better", "variation": "enabled", "worse_in": []}), "{seen}");
    let purchases = &seen["results"]["metrics"][0]["variations"][0];
    assert!(["fixed_horizon", "sequential", "bayesian"].iter().all(|result| purchases[result].is_object()), "{purchases}");
    assert!(purchases["adjusted_p_value"].as_f64().unwrap() < 0.01 && purchases["heterogeneity"].is_null(), "{purchases}");
    let then = before.format("%Y-%m-%dT%H:%M:%S%.6fZ");
    assert_eq!(http.get(&format!("{path}/experiments/e-1?as_of={then}")).ok()["results"]["subjects"]["enabled"], 0);
    assert_eq!(http.get(&format!("{path}/experiments/e-1?as_of=2020-01-01")).problem(), "unknown-flag");

    // Lists: of the flag, of all, of an environment, by state, page by page.
    put(http, "/flags/other", &json!({"definition": definition(50), "reason": "x"})).ok();
    http.post("/flags/other/experiments", &json!({"experiment_id": "e-2", "statement": "everywhere", "details": {}})).ok();
    let ids = |answer: Value| answer.as_array().unwrap().iter().map(|one| one["experiment_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(http.get(&format!("{path}/experiments?state=running")).ok()), ["e-1"]);
    let all = |query: &str| http.get(&format!("/flag-experiments{query}")).ok();
    assert_eq!(ids(all("")["items"].clone()), ["e-1", "e-2"]);
    assert_eq!(ids(all("?environment=staging")["items"].clone()), ["e-2"], "one that names no environment runs in all");
    let first = all("?limit=1");
    assert_eq!((ids(first["items"].clone()), first["items"][0]["results"].is_null()), (vec!["e-1".to_owned()], true));
    let next: String = first["next_cursor"].as_str().unwrap().bytes().map(|byte| format!("%{byte:02X}")).collect();
    let second = all(&format!("?limit=1&cursor={next}"));
    assert_eq!((ids(second["items"].clone()), &second["next_cursor"]), (vec!["e-2".to_owned()], &Value::Null));
    assert_eq!(http.get("/flag-experiments?cursor=x").problem(), "invalid-cursor");
    let past = |query: &str| wait("the past", || Some(http.get(&format!("/flag-experiments{query}"))).filter(|answer| answer.status != 202)).ok();
    assert_eq!(past(&format!("?as_of={then}"))["items"].as_array().unwrap().len(), 1);

    // It ends once, by somebody, for what was learned, with the results as they are then.
    let concluded = http.post(&format!("{path}/experiments/e-1/conclude"), &json!({"reason": "they do"})).ok();
    assert_eq!(
        (&concluded["state"], &concluded["conclusion"]["statement"], &concluded["conclusion"]["by"]),
        (&json!("concluded"), &json!("they do"), &json!("local"))
    );
    assert_eq!(concluded["results"], seen["results"]);
    assert_eq!(concluded["statement"], "people buy more");
    assert_eq!(http.post(&format!("{path}/experiments/e-1/conclude"), &json!({"reason": "again"})).problem(), "request-refused");
    assert_eq!(http.post(&format!("{path}/experiments/e-9/conclude"), &json!({"reason": "x"})).problem(), "not-found");
    assert_eq!(ids(all("?state=concluded")["items"].clone()), ["e-1"]);
    node.stop();
}

#[test]
fn a_rollout_takes_itself_back_from_exposures_and_payments_alone() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let path = "/flags/new-checkout";
    let mut half = definition(1);
    half["services"] = json!(["web"]);
    put(http, path, &json!({"definition": half, "reason": "one page"})).ok();
    let seen = |customer: u32, treated: bool| json!({"flag": "new-checkout", "customer_id": customer.to_string(), "enabled": treated, "at": chrono::Utc::now().to_rfc3339()});
    let nobody = http.post("/flag-exposures", &json!({"exposures": [seen(0, true), {"flag": "nobody", "customer_id": "0", "enabled": true}]})).ok();
    assert_eq!((&nobody["recorded"], &nobody["ignored"]), (&json!(0), &json!(2)), "nothing measures them");

    let step = |treatment: u32| json!({"treatment": treatment, "control": 10_000 - treatment, "minimum_millis": 3_600_000, "minimum_subjects": 100});
    let guard = json!({"metric": "billing.payment_failed", "harm": "increase", "kind": "proportion"});
    let plan = json!({"steps": [step(5_000), step(9_000)], "guards": [guard], "outcome_window_millis": 5_000});
    http.post(&format!("{path}/rollout"), &json!({"environment": "production", "plan": plan, "reason": "ready", "rollout_id": "r-1"})).ok();

    // A deployment of the flag's service is known to the rollout without anybody telling the flag.
    let event = |id: String, event_type: &str, subject: String, data: Value| json!({"specversion": "1.0", "id": id, "source": "/shop", "type": event_type, "subject": subject, "time": chrono::Utc::now().to_rfc3339(), "data": data});
    let deployment = json!({"deployment_id": "d-7", "service": "web", "environment": "production", "version": "7", "started_at": "2026-01-01T02:00:00Z"});
    http.publish(&[event("d-7".into(), "delivery.deployment_started.v1", "service/web".into(), deployment)]).ok();
    wait("the deployment to be noted", || (!http.events("subject=flag/new-checkout&type=flags.deployment_noted.v1").is_empty()).then_some(()));

    let treated = |customer: u32| customer.is_multiple_of(2);
    let exposures: Vec<Value> = (0..400).map(|customer| seen(customer, treated(customer))).collect();
    let recorded = http.post("/flag-exposures", &json!({"exposures": exposures})).ok();
    assert_eq!((&recorded["recorded"], &recorded["ignored"]), (&json!(400), &json!(0)));
    http.post("/flag-exposures", &json!({"exposures": exposures[..10]})).ok();
    // Half of the treated fail to pay, and one in twenty of the others.
    let failing = (0..400).filter(|customer| if treated(*customer) { customer % 4 == 0 } else { customer % 40 == 1 });
    let failed: Vec<Value> = failing
        .map(|customer| {
            let data = json!({"payment_id": format!("p-{customer}"), "customer_id": customer.to_string(), "amount": {"minor": 1999, "currency": "EUR"}});
            event(format!("p-{customer}"), "billing.payment_failed.v1", format!("customer/{customer}"), data)
        })
        .collect();
    http.publish(&failed).ok();
    let rollout = wait("the rollback", || Some(http.get(&format!("{path}/rollout")).ok()).filter(|rollout| rollout["state"] == "rolled_back"));
    assert_eq!((&rollout["treatment"], &rollout["evidence"]["metric"]), (&json!(0), &json!("billing.payment_failed")));
    assert_eq!(http.events("type=flags.exposure_observed.v1").len(), 400, "what is sent again is known");
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
