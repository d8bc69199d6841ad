//! Bad input against the real binary: each gets a clear error, and loses nothing.
//!

use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{Answer, Http, LONG, Node, event, order, run, wait};

const BATCH: &str = "application/cloudevents-batch+json";
const ONE: &str = "application/cloudevents+json";

/// A problem of that status and kind; its detail.
fn refused(answer: &Answer, status: u16, kind: &str) -> String {
    assert_eq!((answer.status, answer.problem()), (status, kind), "{}", answer.text);
    assert_eq!(answer.json["status"], status);
    assert!(answer.json["title"].as_str().is_some_and(|title| !title.is_empty()));
    answer.json["detail"].as_str().unwrap().to_owned()
}

/// Orders in the log: rows count an order once, whoever tells of it, and when its time has come.
fn facts(http: &Http) -> usize {
    http.settled();
    http.events("type=commerce.order_placed.v1").len()
}

#[test]
fn what_is_wrong_with_a_request_is_said_and_nothing_of_it_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;

    for text in ["{", "[{\"id\":", "not json", "{\"specversion\":\"1.0\",}"] {
        refused(&http.raw(ONE, text.as_bytes()), 400, "malformed-json");
        refused(&http.raw(BATCH, text.as_bytes()), 400, "malformed-json");
    }
    for content_type in ["text/plain", "application/xml", "application/cloudevents+avro"] {
        let detail = refused(&http.raw(content_type, b"{}"), 415, "unsupported-content-type");
        assert!(detail.contains(content_type), "{detail}");
    }

    for missing in ["id", "source", "type", "specversion", "subject"] {
        let mut one = order("m1", "ann", 100);
        one.as_object_mut().unwrap().remove(missing);
        let detail = refused(&http.raw(ONE, one.to_string().as_bytes()), 400, "invalid-event");
        assert!(detail.contains(missing), "{missing}: {detail}");
    }
    let binary = http
        .try_send("POST", "/events", &[("content-type", "application/json"), ("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-type", "t.t.v1")], b"{}")
        .unwrap();
    assert!(refused(&binary, 400, "invalid-event").contains("source"));

    // One bad event of a batch: nothing of it is accepted, and the error names which.
    let bad: [(Value, u16, &str); 5] = [
        (json!({"specversion": "1.0", "id": "x"}), 400, "invalid-event"),
        (event("x", "commerce.order_placed.v99", "customer/ann", "2026-01-05T10:00:00Z", json!({})), 422, "unknown-version"),
        (event("x", "commerce.order_placed.v1", "customer/ann", "2026-01-05T10:00:00Z", json!({"order_id": "x"})), 422, "invalid-data"),
        (order("x", "ann", -5), 422, "invalid-data"),
        (event("x", "tol.checkpointed.v1", "customer/ann", "2026-01-05T10:00:00Z", json!({})), 400, "invalid-event"),
    ];
    for (one, status, kind) in bad {
        let answer = http.publish(&[order("a", "ann", 100), order("b", "bob", 100), one]);
        refused(&answer, status, kind);
        assert_eq!(answer.json["index"], 2, "{}", answer.text);
    }
    let mut other_customer = order("x", "ann", 100);
    other_customer["subject"] = "customer/bob".into();
    let detail = refused(&http.publish(&[other_customer]), 422, "invalid-data");
    assert!(detail.contains("customer/ann") && detail.contains("customer/bob"), "{detail}");

    let version = refused(&http.publish(&[event("x", "commerce.order_placed.v99", "customer/ann", "2026-01-05T10:00:00Z", json!({}))]), 422, "unknown-version");
    assert!(version.contains("commerce.order_placed") && version.contains("v1"), "it says which versions there are: {version}");

    assert_eq!(facts(http), 0);
    assert_eq!(http.get("/events?subject=customer/ann").ok()["items"], json!([]));

    // What is right goes in after all that.
    http.publish(&[order("a", "ann", 100), order("b", "bob", 100)]).ok();
    assert_eq!(facts(http), 2);
    node.stop();
}

#[test]
fn an_oversize_body_is_refused_whether_or_not_it_says_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path(), &["--set", "http.body_limit_bytes=20000", "--set", "log.partitions=2"]);
    let http = &node.http;
    http.wait_until_ready();
    let mut large = order("large", "ann", 100);
    large["data"]["items"] = (0..500).map(|sku| json!({"sku": format!("sku-{sku}"), "quantity": 1, "unit_price": {"minor": 1, "currency": "USD"}})).collect();
    let answer = http.publish(&[large.clone()]);
    assert!(refused(&answer, 413, "body-too-large").contains("20000"), "{}", answer.text);
    assert_eq!(facts(http), 0);
    large["data"]["items"] = json!([]);
    http.publish(&[large]).ok();
    assert_eq!(facts(http), 1);
    node.stop();
}

#[test]
fn duplicates_are_counted_and_the_same_id_with_other_content_conflicts_even_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let first = node.http.publish(&[order("o1", "ann", 100), order("o2", "bob", 200)]).ok();
    assert_eq!((&first["accepted"], &first["duplicates"]), (&json!(2), &json!(0)));

    let check = |http: &Http| {
        let again = http.publish(&[order("o1", "ann", 100), order("o2", "bob", 200)]).ok();
        assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(2)));
        assert_eq!(again["positions"], first["positions"], "a duplicate is answered with the first's position");
        let conflict = http.publish(&[order("o3", "cid", 300), order("o1", "ann", 999)]);
        let detail = refused(&conflict, 409, "id-conflict");
        assert!(conflict.json["index"] == 1 && conflict.json["id"] == "o1" && detail.contains("o1"), "{}", conflict.text);
        // Of another source, the same id is another event; within one request, the second is the duplicate.
        assert_eq!(facts(http), 2, "nothing of a request with a conflict is accepted");
    };
    check(&node.http);
    node.kill();
    let node = Node::ready(folder.path());
    check(&node.http);
    let twice = node.http.publish(&[order("o4", "dan", 1), order("o4", "dan", 1)]).ok();
    assert_eq!((&twice["accepted"], &twice["duplicates"]), (&json!(1), &json!(1)));
    let mut elsewhere = order("o1", "ann", 7);
    elsewhere["source"] = "/another-shop".into();
    assert_eq!(node.http.publish(&[elsewhere]).ok()["accepted"], 1);
    assert_eq!(facts(&node.http), 4);
    node.stop();
}

#[test]
fn the_far_future_is_accepted_and_flagged() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let mut future = order("f1", "ann", 100);
    future["time"] = "9000-01-01T00:00:00Z".into();
    assert_eq!(node.http.publish(&[future, order("f2", "ann", 100)]).ok()["accepted"], 2);
    assert_eq!(facts(&node.http), 2);
    let shown = |id: &str| wait("the event", || Some(node.http.get(&format!("/events/{id}"))).filter(|answer| answer.status == 200)).ok();
    assert_eq!((&shown("f1")["timeflag"], &shown("f1")["time"]), (&json!("future"), &json!("9000-01-01T00:00:00Z")));
    assert_eq!(shown("f2").get("timeflag"), None);
    node.stop();
}

#[test]
fn a_second_process_on_the_same_folder_is_told_so_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let data = folder.path().to_str().unwrap();
    let second = run(&["run", "--data", data, "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("is in use by another tol") && said.contains(data) && said.contains("--data"), "{said}");
    node.http.publish(&[order("o1", "ann", 100)]).ok();
    assert_eq!(facts(&node.http), 1);
    node.stop();
    // A folder that was left is free.
    Node::ready(folder.path()).stop();
}

#[test]
fn an_address_in_use_and_a_wrong_flag_end_the_process_with_their_codes() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = folder.path().to_str().unwrap();
    let in_use = run(&["run", "--data", data, "--listen", &address]);
    assert_eq!(in_use.status.code(), Some(1));
    assert!(String::from_utf8(in_use.stderr).unwrap().contains(&address));
    let unknown = run(&["run", "--data", data, "--set", "http.lissten=127.0.0.1:0"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("http.listen"));
    let open = run(&["run", "--data", data, "--listen", "0.0.0.0:0"]);
    assert_eq!(open.status.code(), Some(2), "without a key it listens on loopback only");
}

#[test]
fn with_the_broker_down_the_process_lives_and_says_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    // A port that nobody listens on: bound once, then let go.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut node = Node::start(folder.path(), &["--kafka", &closed]);
    let answer = wait("readyz to say so", || {
        let answer = node.http.get("/readyz");
        answer.text.contains(&closed).then_some(answer)
    });
    assert_eq!(answer.status, 503);
    assert_eq!(node.http.get("/livez").status, 200);
    let publish = node.http.publish(&[order("o1", "ann", 100)]);
    assert_eq!((publish.status, publish.problem()), (503, "not-ready"), "nothing is acknowledged");
    assert!(node.child.try_wait().unwrap().is_none(), "it lives");
    // Told to stop, it stops, although the broker never came.
    let pid = node.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let until = std::time::Instant::now() + LONG;
    while node.child.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < until, "it does not stop while it waits for Kafka");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
