//! The contract every system keeps: [`tol_system::contract`] over the registry, and the parts that only a running node shows:
//! metrics, and that a stop is honoured.

use serde_json::{Value, json};
use tol_config::Config;
use tol_system::contract;
use tree_of_life::node::registry;

use crate::common::{Http, Node, event, order, wait};

#[test]
fn every_registered_system_passes_the_suite() {
    let systems = registry::systems(&Config::default()).unwrap();
    assert!(systems.len() >= 5);
    for system in systems {
        let report = contract::check(&system).unwrap_or_else(|violations| panic!("{}: {violations:#?}", system.describe().name));
        assert!(report.examples > 0 && report.inputs > 0 && report.events > 0 && report.malformed > 0, "a check of nothing: {report:?}");
        assert!(report.unreached.is_empty(), "no example leads to {:?} of {}", report.unreached, report.system);
    }
}

#[test]
fn the_names_of_the_registry_are_those_of_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let running: Vec<Value> = node.http.get("/systems").ok().as_array().unwrap().iter().map(|system| system["name"].clone()).collect();
    let mut registered = registry::names();
    registered.sort();
    assert_eq!(json!(running), json!(registered));
    node.stop();
}

fn deployment(id: &str, outcome: &str) -> Value {
    let data = json!({"deployment_id": id, "service": "web", "environment": "production", "version": "1.0.0", "outcome": outcome,
        "started_at": "2026-01-05T09:55:00Z", "finished_at": "2026-01-05T10:00:00Z"});
    event(id, "delivery.deployment_finished.v1", "service/web", "2026-01-05T10:00:00Z", data)
}

fn flag(id: &str) -> Value {
    let definition = json!({"key": "new-checkout", "type": "boolean", "family": "unleash", "environments": {"production": {"enabled": true}}});
    let data = json!({"key": "new-checkout", "definition": definition, "by": "ada@example.com", "reason": "checkout on one page"});
    event(id, "flags.change_requested.v1", "flag/new-checkout", "2026-01-05T10:00:00Z", data)
}

/// A value of the text format, summed over label sets that hold `label`.
fn metric(text: &str, name: &str, label: &str) -> Option<f64> {
    let lines = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')) && line.contains(label));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).reduce(|a, b| a + b)
}

/// Events of the systems that decide about facts of tests.
fn decided(http: &Http) -> usize {
    let flags = http.events("type=flags.flag_changed.v1").len();
    let revenue = http.events("type=revenue.*").len();
    flags + revenue + http.events("type=delivery.release_promoted.v1").len() + http.events("type=delivery.rollback_requested.v1").len()
}

#[test]
fn every_system_and_projection_has_its_metrics_once_it_ran() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    http.publish(&[order("o1", "ann", 500), deployment("d1", "succeeded"), flag("f1")]).ok();
    wait("three decisions", || (decided(http) == 3).then_some(()));
    let busy = ["tree-of-life-system", "revenue-agent-system", "intelligent-ci-cd-orchestrator", "enterprise-feature-flag-system"];
    let label = |name: &str| format!("system=\"{name}\"");
    // Counters are published twice a second.
    let text = wait("the counters", || {
        let text = http.get("/metrics").text;
        let emitted = |name: &str| metric(&text, "tol_system_events_emitted_total", &label(name)).is_some_and(|count| count > 0.0);
        busy.iter().all(|name| emitted(name)).then_some(text)
    });
    for name in registry::names() {
        for gauge in ["tol_system_lag_events", "tol_system_dead_letters", "tol_system_restarts_total", "tol_system_state"] {
            assert!(metric(&text, gauge, &label(&name)).is_some(), "{gauge} of {name} is missing");
        }
    }
    // What others read, they may not have been sent.
    for name in busy.into_iter().chain(["flag-attribution"]) {
        assert!(metric(&text, "tol_system_events_consumed_total", &label(name)).is_some_and(|count| count > 0.0), "{name} consumed nothing");
        assert!(metric(&text, "tol_system_decision_seconds_count", &label(name)).is_some_and(|count| count > 0.0), "{name} measured nothing");
    }
    for name in ["customers", "revenue", "deployments", "flags"] {
        let label = format!("projection=\"{name}\"");
        for gauge in ["tol_projection_position", "tol_projection_lag_events", "tol_projection_rebuild_progress_ratio"] {
            assert!(metric(&text, gauge, &label).is_some(), "{gauge} of {name} is missing");
        }
    }
    node.stop();
}

#[test]
fn under_the_emergency_stop_nothing_is_decided_until_it_is_released_whatever_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = node.http.clone();
    http.publish(&[order("o1", "ann", 500)]).ok();
    wait("a decision before the stop", || (decided(&http) == 1).then_some(()));

    let stopped = http.post("/emergency-stop", &json!({"reason": "fire"})).ok();
    assert_eq!((&stopped["engaged"], &stopped["recorded"], &stopped["reason"]), (&json!(true), &json!(true), &json!("fire")));
    // Facts are still taken, queries still answered; nothing is decided from them.
    let before = http.events("").len();
    http.publish(&[order("o2", "ann", 300), deployment("d1", "failed")]).ok();
    assert_eq!(undecided(&http), 1);
    // Asking changes nothing.
    for _ in 0..3 {
        assert_eq!(http.get("/emergency-stop").ok()["engaged"], true);
    }
    assert!(http.events("").len() >= before + 2);
    node.kill();

    let node = Node::ready(folder.path());
    let http = node.http.clone();
    let state = http.get("/emergency-stop").ok();
    assert_eq!((&state["engaged"], &state["reason"]), (&json!(true), &json!("fire")));
    http.publish(&[order("o3", "bob", 200)]).ok();
    assert_eq!(undecided(&http), 1, "after a restart too");

    let released = http.post("/emergency-stop/release", &json!({"reason": "it is out"})).ok();
    assert_eq!(released["engaged"], false);
    wait("what waited is decided", || (decided(&http) == 4).then_some(()));
    http.settled();
    assert_eq!(decided(&http), 4);
    node.kill();

    let node = Node::ready(folder.path());
    assert_eq!(node.http.get("/emergency-stop").ok()["engaged"], false, "the release survives too");
    node.stop();
}

/// Decisions there are, once systems had every chance to make more: the projections have folded all facts, and the systems' loops have
/// turned many times (ten a second, woken or not).
fn undecided(http: &Http) -> usize {
    wait("projections at the end", || {
        let projections = http.get("/projections").ok();
        projections.as_array().unwrap().iter().all(|projection| projection["lag"] == 0).then_some(())
    });
    std::thread::sleep(std::time::Duration::from_millis(400));
    decided(http)
}
