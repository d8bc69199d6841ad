//! An event that a projection cannot fold, as operators and clients of a node see it.

use serde_json::{Value, json};

use super::system::FILED;
use super::{config, start};
use crate::common::{Http, event, tol, wait};

const LIST: &str = "/projections/puppet-customers/set-aside";

fn filed(id: &str, subject: &str, data: Value) -> Value {
    event(id, FILED, subject, "2026-01-05T10:00:00Z", data)
}

/// The projection's status in `GET /projections`.
fn status(http: &Http) -> Value {
    let all = http.get("/projections").ok();
    all.as_array().unwrap().iter().find(|projection| projection["name"] == "puppet-customers").unwrap().clone()
}

fn set_aside_metric(http: &Http) -> Option<String> {
    let text = http.get("/metrics").text;
    text.lines().find_map(|line| line.strip_prefix("tol_projection_set_aside_events{projection=\"puppet-customers\"} ").map(str::to_owned))
}

#[test]
fn an_event_that_cannot_be_folded_is_said_everywhere_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (node, http) = start(config(folder.path(), &json!({})));
    let events = [
        filed("a", "customer/1", json!({})),
        filed("b", "customer/2", json!({"fold": "fails"})),
        filed("c", "customer/3", json!({"fold": "panics"})),
        filed("d", "customer/4", json!({})),
    ];
    let published = http.publish(&events).ok();
    http.settled();
    // Everything but the two is there, and positions behind them are visible.
    let positions = published["positions"].as_object().unwrap().iter().map(|(partition, position)| format!("min_position={partition}:{position}"));
    let positions = positions.collect::<Vec<_>>().join("&");
    assert_eq!(http.get(&format!("/projections/puppet-customers/customer%2F4?{positions}")).ok()["value"]["file"], true);
    assert_eq!(http.rows("/projections/puppet-customers").keys().collect::<Vec<_>>(), ["customer/1", "customer/4"]);
    let shown = status(&http);
    assert_eq!((&shown["set_aside"], &shown["lag"], &shown["failed"]), (&json!(2), &json!(0), &Value::Null));
    // The list, over HTTP and on the command line.
    let page = http.get(LIST).ok();
    let of = |id: &str| page["items"].as_array().unwrap().iter().find(|aside| aside["id"] == id).unwrap().clone();
    assert!(of("b")["problem"].as_str().unwrap().contains("does not fit"), "{page}");
    assert!(of("c")["problem"].as_str().unwrap().contains("the fold panics, as asked"), "{page}");
    assert_eq!((&of("c")["type"], &of("c")["subject"], &of("c")["source"]), (&json!(FILED), &json!("customer/3"), &json!("/test")));
    assert_eq!(http.get(&format!("/events/{}", "c")).ok()["logposition"], of("c")["position"]);
    let listed = tol(&["--url", &http.url, "set-aside", "puppet-customers"]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.status.success() && text.contains("customer/2") && text.contains("customer/3"), "{text}");
    // Ready, with a detail; a metric.
    let ready = http.get("/readyz").ok();
    let check = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "projections").unwrap().clone();
    assert_eq!((&ready["ready"], &check["ok"]), (&json!(true), &json!(true)));
    assert!(check["detail"].as_str().unwrap().contains("puppet-customers could not fold 2 events"), "{check}");
    wait("the metric", || set_aside_metric(&http).filter(|value| value == "2"));
    // A rebuild leaves out the same.
    let live = http.digest("puppet-customers");
    http.post("/projections/puppet-customers/rebuild", &json!(null));
    wait("the rebuild", || (http.get("/projections/puppet-customers/rebuild").ok()["state"] == "done").then_some(()));
    assert_eq!((http.digest("puppet-customers"), http.get(LIST).ok()), (live, page));
    node.stop().unwrap();
}
