//! The flag system's own routes.

use serde_json::json;
use tol_enterprise_feature_flag_system::projections::flags::{Experiment, FlagRow};
use tol_events::Attribute;
use tol_events::id::partition_of;

use super::server::{Answer, Server, flag};

/// One that serves the flag `42`, which has an experiment.
fn serving() -> Server {
    let server = Server::new();
    server.platform.show("flags", "flag/42", flag("42"));
    let experiments = [("42".to_owned(), Experiment::default())].into();
    let row = FlagRow { version: 1, definition: Some(flag("42")["definition"].to_string()), experiments, ..FlagRow::default() };
    server.follow(vec![("flag/42".to_owned(), Some(row))], true);
    server
}

fn put(server: &Server, path: &str, body: &serde_json::Value) -> Answer {
    server.send("PUT", path, &[("content-type", "application/json")], body.to_string().as_bytes())
}

#[test]
fn flags_are_listed_from_memory() {
    let server = serving();
    let page = server.get("/flags").json();
    assert_eq!((&page["items"][0]["key"], &page["items"][0]["environments"]), (&json!("42"), &json!({"production": "on"})));
    assert_eq!((&page["next_cursor"], &page["degraded"]), (&json!(null), &json!(null)));
    assert_eq!(server.get("/flags?environment=staging").json()["items"], json!([]));
    assert_eq!(server.get("/flag-environments").json(), json!([{"name": "production", "flags": 1, "shared": {}}]));
    assert_eq!(server.platform.calls(), [""; 0], "the store is not asked");
    server.platform.set_degraded(Some("the log is away"));
    assert_eq!(server.get("/flags").json()["degraded"], "the log is away");
    assert_eq!(server.get("/flags/export?format=flagd").header("tol-flags-degraded"), Some("the log is away"));
}

#[test]
fn the_past_is_folded_from_rows() {
    let server = serving();
    assert_eq!(server.get("/flags?as_of=2026-01-31").json()["items"][0]["key"], "42");
    assert_eq!(server.platform.calls(), ["rows flags true"]);
    server.platform.set_folding(true);
    for path in [
        "/flags?as_of=2026-01-31",
        "/flags/export?format=flagd&as_of=2026-01-31",
        "/flag-environments?known_at=2026-01-31",
        "/flag-experiments?as_of=2026-01-31",
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.json()), (202, json!({"state": "running", "progress": 0.5})), "{path}");
    }
}

#[test]
fn a_flag_is_shown_with_its_history_and_rollout() {
    let server = serving();
    assert_eq!(server.get("/flags/42").json()["definition"], flag("42")["definition"]);
    assert_eq!(server.get("/flags/42/history").json(), json!([]));
    assert_eq!(server.get("/flags/42/rollout").json()["state"], "running");
    assert_eq!(server.get("/flags/42?as_of=2026-01-31").status, 200);
    assert_eq!(server.platform.calls().last().unwrap(), "row flags flag/42 true");
    assert_eq!(server.get("/flags/missing").problem("unknown-flag")["flag"], "missing");
}

#[test]
fn a_change_is_admitted_and_answered_when_it_is_served() {
    let server = serving().with_key(&[]);
    let definition = json!({"type": "boolean", "family": "flagd", "environments": {"production": {"enabled": true}}});
    assert_eq!(put(&server, "/flags/42", &json!({"definition": definition, "reason": "more"})).json()["key"], "42");
    assert_eq!(server.platform.calls(), ["admit 1", &*format!("wait flags facts.flag/{}:0", partition_of("flag/42", 8)), "row flags flag/42 false"]);
    let admitted = server.platform.admitted()[0].clone();
    let data: serde_json::Value = serde_json::from_slice(&admitted.data).unwrap();
    assert_eq!((admitted.get(Attribute::Type), admitted.get(Attribute::Subject)), ("flags.change_requested.v1", "flag/42"));
    assert_eq!((&data["by"], &data["reason"], &data["definition"]["key"]), (&json!("ada"), &json!("more"), &json!("42")));
    // Recorded, and not decided in time.
    server.platform.set_behind(true);
    let pending = put(&server, "/flags/42", &json!({"definition": definition, "reason": "more"}));
    assert_eq!((pending.status, &pending.json()["pending"]), (202, &json!(["42"])));
    server.platform.set_stopped(true);
    let pending = put(&server, "/flags/42", &json!({"definition": definition, "reason": "more"})).json();
    assert!(pending["detail"].as_str().unwrap().contains("emergency stop"), "{pending}");
}

#[test]
fn requests_become_facts_of_their_own_types() {
    let server = serving();
    let asked = |path: &str, body: serde_json::Value| {
        let answer = server.post_json(path, &body.to_string());
        assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        server.platform.admitted().pop().unwrap().get(Attribute::Type).to_owned()
    };
    assert_eq!(asked("/flags/42/kill", json!({"reason": "harm"})), "flags.kill_requested.v1");
    assert_eq!(asked("/flags/42/restore", json!({"reason": "mended", "environment": "production"})), "flags.change_requested.v1");
    let schedule = json!({"reason": "sale", "environment": "production", "schedule": [{"at": "2026-12-01T00:00:00Z", "enabled": true}]});
    assert_eq!(asked("/flags/42/schedule", schedule), "flags.change_requested.v1");
    assert_eq!(asked("/flags/42/rollout", json!({"reason": "try", "environment": "production", "plan": {"steps": []}})), "flags.rollout_requested.v1");
    assert_eq!(asked("/flags/42/rollout/stop", json!({"reason": "harm"})), "flags.rollback_requested.v1");
    assert_eq!(asked("/flags/42/experiments/42/conclude", json!({"reason": "they do"})), "flags.experiment_requested.v1");
    let exposure = json!({"exposures": [{"flag": "42", "customer_id": "7", "enabled": true}]});
    assert_eq!(asked("/flag-exposures", exposure), "flags.exposure_observed.v1");
    let archived = server.send("DELETE", "/flags/42?reason=over", &[], b"");
    assert_eq!(archived.status, 200);
    server.send("DELETE", "/flags/42", &[], b"").problem("invalid-parameter");
    server.post_json("/flags/42/kill", r#"{"reason": " "}"#).problem("invalid-body");
    server.post_json("/flags/42/restore", r#"{"reason": "x", "environment": "nowhere"}"#).problem("request-refused");
    server.post_json("/flags/unknown/kill", r#"{"reason": "harm"}"#).problem("unknown-flag");
}

#[test]
fn an_import_asks_for_each_flag_and_an_evaluation_for_none() {
    let server = serving();
    let file = r#"{"flags":{"x":{"state":"ENABLED","defaultVariant":"on","variants":{"on":true}}}}"#;
    // What was asked for never shows on this node, so it is asked for until it gives up.
    server.post_json("/flags/import?format=flagd", file).problem("version-conflict");
    assert!(server.platform.admitted().iter().all(|event| event.get(Attribute::Subject) == "flag/x"));
    server.post_json("/flags/import?format=flagd", "[]").problem("invalid-definitions");
    server.post_json("/flags/import?format=flagd", "{").problem("invalid-definitions");
    server.post_json("/flags/import", file).problem("invalid-parameter");
    server.platform.calls();
    let found = server.post_json("/flags/evaluate", r#"{"format":"flagd","context":{}}"#).json();
    assert!(found["42"].is_object(), "{found}");
    server.post_json("/flags/evaluate", r#"{"format":"other","context":{}}"#).problem("invalid-body");
    assert_eq!(server.platform.calls(), [""; 0]);
}

#[test]
fn experiments_of_all_flags_are_found_without_a_look_at_flags_that_have_none() {
    let server = serving();
    let rows = |flags: std::ops::Range<u32>, row: &FlagRow| flags.map(|flag| (format!("flag/{flag:03}"), Some(row.clone()))).collect();
    let with_experiment = FlagRow { experiments: [("42".to_owned(), Experiment::default())].into(), ..FlagRow::default() };
    server.follow(rows(0..400, &FlagRow::default()), false);
    server.follow(rows(100..103, &with_experiment), false);
    (100..103).for_each(|key| server.platform.show("flags", &format!("flag/{key}"), flag(&key.to_string())));
    let shown = |query: &str| {
        let answer = server.get(&format!("/flag-experiments{query}")).json();
        let flags: Vec<String> = answer["items"].as_array().unwrap().iter().map(|one| one["flag"].as_str().unwrap().to_owned()).collect();
        (flags.join(" "), answer["next_cursor"].as_str().map(str::to_owned), server.platform.calls().join(", "))
    };
    let row = |flag: &str| format!("row flags flag/{flag} false");
    let all: Vec<String> = ["100", "101", "102", "42"].map(row).into();
    assert_eq!(shown(""), ("100 101 102 42".to_owned(), None, all.join(", ")));
    // Nor at more of those that have than fill the page.
    let (first, cursor, asked) = shown("?limit=1");
    assert_eq!((first.as_str(), asked), ("100", all[..2].join(", ")));
    let cursor: String = cursor.unwrap().bytes().map(|byte| format!("%{byte:02X}")).collect();
    let (second, _, asked) = shown(&format!("?limit=1&cursor={cursor}"));
    assert_eq!((second.as_str(), asked), ("101", all[..3].join(", ")));
    assert_eq!(shown("?state=concluded"), (String::new(), None, all.join(", ")));
}
