//! Rollouts and experiments over HTTP.

use serde_json::{Value, json};

use super::{definition, put};
use crate::common::{Node, wait};

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

    // A node that begins knows from its store which flags have experiments, also one that is archived, and one that has no store folds it anew.
    let node = Node::ready(folder.path());
    let archived = node.http.try_send("DELETE", "/flags/other?reason=x", &[], &[]).unwrap();
    assert_eq!(archived.status, 200);
    let listed = |node: &Node| ids(node.http.get("/flag-experiments").ok()["items"].clone());
    assert_eq!(listed(&node), ["e-1", "e-2"]);
    node.stop();
    std::fs::remove_dir_all(folder.path().join("projections")).unwrap();
    let node = Node::ready(folder.path());
    wait("the experiments, folded anew", || (listed(&node) == ["e-1", "e-2"]).then_some(()));
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
