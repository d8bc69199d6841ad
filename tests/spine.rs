//! The spine: facts go in, systems decide, state is queried, rebuilt and seen as of any moment, by the real binary on the embedded log.

mod business;
mod recount;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::common::{Http, Node, event, order, tol, wait};
use recount::{Purchases, Rng};

/// `tol import` of a CDNOW-like file; what it printed.
fn import(http: &Http, file: &Path) -> Value {
    let mapping = concat!(env!("CARGO_MANIFEST_DIR"), "/config/imports/cdnow.toml");
    let state = file.with_extension("state");
    let arguments = ["--url", &http.url, "--output", "json", "import", file.to_str().unwrap(), "--mapping", mapping, "--state", state.to_str().unwrap()];
    let output = tol(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn rebuild(http: &Http, projection: &str) {
    let started = http.try_send("POST", &format!("/projections/{projection}/rebuild"), &[], &[]).unwrap();
    assert!(started.status < 300, "{}", started.text);
    wait("the rebuild", || {
        let status = http.get(&format!("/projections/{projection}/rebuild")).ok();
        assert_ne!(status["state"], "failed", "{status}");
        (status["state"] == "done").then_some(())
    });
}

/// Waits until the revenue agent has decided everything: it recognised so much, and not a cent more.
fn wait_for_recognized(http: &Http, minor: i64) {
    wait("the revenue of all orders", || {
        let row = http.get("/projections/revenue/current%2FUSD");
        let recognized = row.json["value"]["recognized"]["minor"].as_i64().unwrap_or(0);
        assert!(recognized <= minor, "more than there is: {recognized}");
        (recognized == minor).then_some(())
    });
}

#[test]
fn an_import_equals_an_independent_recount_however_it_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let purchases = Purchases::draw(20_260_105, 3_000, 700);
    let file = folder.path().join("cdnow.txt");
    std::fs::write(&file, purchases.to_text()).unwrap();

    let node = Node::ready(&data);
    let http = node.http.clone();
    let said = import(&http, &file);
    assert_eq!((&said["accepted"], &said["duplicates"]), (&json!(3_000), &json!(0)), "{said}");
    let digest = http.digest("customers");
    assert_eq!(http.rows("/projections/customers"), purchases.customers(|_| true));

    let again = import(&http, &file);
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(3_000)), "{again}");
    assert_eq!(http.digest("customers"), digest, "importing again changes nothing");

    wait_for_recognized(&http, purchases.total(|_| true));
    let revenue = http.digest("revenue");
    for projection in ["customers", "revenue"] {
        rebuild(&http, projection);
    }
    assert_eq!((http.digest("customers"), http.digest("revenue")), (digest.clone(), revenue.clone()), "rebuilt");

    // As of the end of a day in the middle: the whole projection, and single customers.
    let middle = "1997-06-30";
    let until_then = purchases.customers(|day| day <= 19_970_630);
    assert!(!until_then.is_empty() && until_then != purchases.customers(|_| true));
    assert_eq!(http.rows(&format!("/projections/customers?as_of={middle}")), until_then);
    for customer in until_then.keys().take(20) {
        let row = http.get(&format!("/projections/customers/{customer}?as_of={middle}")).ok();
        assert_eq!(row["value"], until_then[customer]);
    }
    assert_eq!(http.digest("customers"), digest, "a look at the past leaves the present as it is");
    node.stop();

    // RocksDB holds caches only.
    std::fs::remove_dir_all(data.join("projections")).unwrap();
    let node = Node::ready(&data);
    assert_eq!((node.http.digest("customers"), node.http.digest("revenue")), (digest, revenue), "from the log alone");
    assert_eq!(import(&node.http, &file)["accepted"], 0, "admission remembers from the log alone");
    node.stop();
}

#[test]
fn killed_while_publishing_nothing_acknowledged_is_lost_and_nothing_counts_twice() {
    const BATCHES: u64 = 60;
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng(4_711);
    let mut node = Some(Node::ready(folder.path()));
    let url = Arc::new(Mutex::new(node.as_ref().unwrap().http.url.clone()));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let batch = |number: u64| -> Vec<Value> {
        (0..50).map(|one| order(&format!("k-{number}-{one}"), &format!("c{}", (number * 7 + one) % 40), (number + one) as i64)).collect()
    };
    let publisher = {
        let (url, acknowledged) = (url.clone(), acknowledged.clone());
        std::thread::spawn(move || {
            for number in 0..BATCHES {
                let body = json!(batch(number)).to_string();
                // The same batch until it is acknowledged, as a client with retries does.
                wait("an acknowledgement", || {
                    let http = Http::new(&url.lock().unwrap().clone());
                    http.try_send("POST", "/events", &[("content-type", "application/cloudevents-batch+json")], body.as_bytes())
                        .filter(|answer| answer.status == 200)
                });
                acknowledged.store(number + 1, Ordering::SeqCst);
            }
        })
    };
    for kill in 1..=3u64 {
        let moment = kill * BATCHES / 4 + rng.below(8);
        wait("the moment", || (acknowledged.load(Ordering::SeqCst) >= moment).then_some(()));
        std::thread::sleep(std::time::Duration::from_micros(rng.below(3_000)));
        let before = acknowledged.load(Ordering::SeqCst);
        node.take().unwrap().kill();
        let started = Node::ready(folder.path());
        // Every order that was acknowledged is there.
        for number in 0..before {
            for one in [0, 49] {
                let id = format!("k-{number}-{one}");
                wait("the index", || (started.http.get(&format!("/events/{id}")).status == 200).then_some(()));
            }
        }
        *url.lock().unwrap() = started.http.url.clone();
        node = Some(started);
    }
    publisher.join().unwrap();
    let node = node.unwrap();
    let http = &node.http;
    let digest = http.digest("customers");
    let rows = http.rows("/projections/customers");
    let (mut orders, mut spent) = (0, 0);
    for row in rows.values() {
        orders += row["orders"].as_u64().unwrap();
        spent += row["spent"][0]["minor"].as_i64().unwrap();
    }
    let expected: i64 = (0..BATCHES as i64).flat_map(|number| (0..50).map(move |one| number + one)).sum();
    assert_eq!((orders, spent), (BATCHES * 50, expected));
    // The system decided each once.
    wait_for_recognized(http, expected);
    // One order costs nothing, and nothing is recognised for it.
    assert_eq!(http.events("type=revenue.recognized.v1").len() as u64, BATCHES * 50 - 1);
    rebuild(http, "customers");
    assert_eq!(http.digest("customers"), digest);
    node.stop();
}

#[test]
fn a_small_business_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    // One request a step: what follows sees its own writes at once, in the projections of facts and of decisions.
    for step in business::steps() {
        let published = http.publish(&step).ok();
        for (partition, position) in published["positions"].as_object().unwrap() {
            let projections: &[&str] = if partition.starts_with("facts.customer") { &["customers", "revenue"] } else { &["deployments"] };
            for projection in projections {
                let answer = http.get(&format!("/projections/{projection}?min_position={partition}:{position}"));
                assert_eq!(answer.status, 200, "{}", answer.text);
            }
        }
    }
    let revenue = http.rows("/projections/revenue");
    for (key, expected) in business::revenue() {
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&revenue[key][field], value, "{field} of {key}: {}", revenue[key]);
        }
    }
    assert_eq!(revenue.len(), business::revenue().len(), "{:?}", revenue.keys());
    let deployments = http.rows("/projections/deployments");
    for (key, expected) in business::deployments() {
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&deployments[key]["windows"]["all"][field], value, "{field} of {key}: {}", deployments[key]);
        }
        assert_eq!((&deployments[key]["version"], &deployments[key]["open_incidents"]), (&json!("4"), &json!(0)));
    }
    let asked = || -> Vec<Value> { http.events("type=delivery.rollback_requested.v1").iter().map(|event| event["data"]["deployment_id"].clone()).collect() };
    wait("two rollbacks", || (asked().len() == 2).then_some(()));
    assert_eq!(asked(), [json!("d2"), json!("d3")]);
    let promoted = || -> Vec<Value> { http.events("type=delivery.release_promoted.v1").iter().map(|event| event["data"]["deployment_id"].clone()).collect() };
    wait("three promotions", || (promoted().len() == 3).then_some(()));
    assert_eq!(promoted(), [json!("d1"), json!("d3"), json!("d4")]);

    // The tree of causes, over HTTP and on the command line.
    let failed = http.get("/events/ship-2").ok();
    let correlation = failed["correlationid"].as_str().unwrap();
    let trace = http.get(&format!("/trace/{correlation}")).ok();
    let child = &trace["roots"][0]["children"][0]["event"];
    assert_eq!((&trace["roots"][0]["event"]["id"], &child["type"]), (&json!("ship-2"), &json!("delivery.rollback_requested.v1")));
    assert_eq!((&child["causationid"], &child["correlationid"]), (&json!("ship-2"), &json!(correlation)));
    let printed = tol(&["--url", &http.url, "trace", correlation]).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains("delivery.deployment_finished.v1") && printed.contains("delivery.rollback_requested.v1"), "{printed}");
    let timeline = http.get("/subjects/service%2Fweb/timeline").ok();
    assert!(timeline["items"].as_array().unwrap().len() >= 6, "{timeline}");
    node.stop();
}

/// Opens a stream; the reader stands after the head.
fn stream(http: &Http, query: &str, resume: Option<&str>) -> BufReader<TcpStream> {
    let address = http.url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(crate::common::LONG)).unwrap();
    let resume = resume.map_or(String::new(), |token| format!("last-event-id: {token}\r\n"));
    write!(connection, "GET /events/stream?{query} HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n{resume}\r\n").unwrap();
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    while !line.starts_with(": following") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended");
        assert!(!line.starts_with("HTTP/1.1 4"), "{line}");
    }
    reader
}

/// The next event of a stream, with its token.
fn next(reader: &mut BufReader<TcpStream>) -> (String, Value) {
    let (mut token, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ended");
        if let Some(id) = line.strip_prefix("id: ") {
            token = id.trim_end().to_owned();
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return (token, serde_json::from_str(data).unwrap());
        }
    }
}

#[test]
fn a_stream_brings_what_is_appended_and_goes_on_where_it_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = node.http.clone();
    http.publish(&[order("before", "ann", 1)]).ok();
    let mut first = stream(&http, "type=commerce.order_placed.v1", None);
    let mut untouched = String::new();
    stream(&http, "type=commerce.order_placed.v1", None).read_line(&mut untouched).unwrap();
    http.publish(&[order("s1", "ann", 1), order("s2", "ann", 2), order("s3", "ann", 3)]).ok();
    let (token, one) = next(&mut first);
    assert_eq!(one["id"], "s1", "what was there before the stream is not in it");
    drop(first);
    http.publish(&[order("s4", "ann", 4)]).ok();
    node.kill();

    let node = Node::ready(folder.path());
    let mut resumed = stream(&node.http, "type=commerce.order_placed.v1", Some(&token));
    let ids: Vec<Value> = (0..3).map(|_| next(&mut resumed).1["id"].clone()).collect();
    assert_eq!(ids, ["s2", "s3", "s4"], "none left out, none twice, across a crash");
    let mut from_its_head = stream(&node.http, "type=commerce.order_placed.v1", Some(untouched.strip_prefix("id: ").unwrap().trim_end()));
    let ids: Vec<Value> = (0..4).map(|_| next(&mut from_its_head).1["id"].clone()).collect();
    assert_eq!(ids, ["s1", "s2", "s3", "s4"], "a stream that broke off before its first event misses none");
    node.http.publish(&[order("s5", "bob", 5)]).ok();
    assert_eq!(next(&mut resumed).1["id"], "s5");
    // Decisions come as well, with what they were decided from.
    wait("the decisions so far", || (node.http.events("type=revenue.*").len() == 6).then_some(()));
    let mut decisions = stream(&node.http, "type=revenue.*", None);
    node.http.publish(&[order("s6", "bob", 6)]).ok();
    let (_, decision) = next(&mut decisions);
    assert_eq!((&decision["type"], &decision["causationid"]), (&json!("revenue.recognized.v1"), &json!("s6")));
    node.stop();
}

#[test]
fn a_stream_begins_at_the_start_and_a_token_ahead_of_the_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = node.http.clone();
    http.publish(&[order("one", "ann", 1)]).ok();
    http.publish(&[order("two", "bob", 2)]).ok();
    let mut all = stream(&http, "type=commerce.order_placed.v1&from=start", None);
    let (first, second) = (next(&mut all), next(&mut all));
    let mut ids = [first.1["id"].clone(), second.1["id"].clone()];
    ids.sort_by_key(Value::to_string);
    assert_eq!(ids, ["one", "two"]);
    // As a browser does it: the URL as it was, and what it saw last, here as a parameter.
    let mut rest = stream(&http, &format!("type=commerce.order_placed.v1&from=start&last_event_id={}", first.0), None);
    assert_eq!(next(&mut rest).1["id"], second.1["id"]);
    let mut later = stream(&http, "type=commerce.order_placed.v1&from=2100-01-01", Some("start"));
    assert_eq!(next(&mut later).1["id"], first.1["id"], "the header wins");
    for token in ["at:1,facts.customer/0:999999", "at:1,facts.nothing/0:3", "facts.customer/0:999999", "at:99999999999999"] {
        let answer = http.try_send("GET", "/events/stream", &[("last-event-id", token)], &[]).unwrap();
        assert_eq!((answer.status, answer.problem()), (410, "stream-ahead"), "{token}");
    }
    node.stop();
}

#[test]
fn what_was_acknowledged_is_found_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = node.http.clone();
    for number in 0..30 {
        let (id, customer) = (format!("o{number}"), format!("c{number}"));
        let published = http.publish(&[order(&id, &customer, 1)]).ok();
        let (partition, position) = published["positions"].as_object().unwrap().iter().next().unwrap();
        let visible = format!("min_position={partition}:{position}");
        assert_eq!(http.get(&format!("/events/{id}?{visible}")).ok()["id"], json!(id));
        for path in [format!("/events?subject=customer/{customer}&{visible}"), format!("/subjects/customer/{customer}/timeline?{visible}")] {
            assert_eq!(http.get(&path).ok()["items"][0]["id"], json!(id), "{path}");
        }
        assert_eq!(http.get(&format!("/trace/{id}?{visible}")).ok()["roots"][0]["event"]["id"], json!(id));
    }
    let nothing = http.get("/events/nothing");
    assert_eq!((nothing.status, nothing.problem(), nothing.json["index_lag"].is_u64()), (404, "event-not-found", true));
    let late = http.get("/events/o1?min_position=facts.customer/0:99999&timeout_ms=20");
    assert_eq!((late.status, late.problem()), (504, "not-visible-yet"));
    for wrong in ["facts.customer/99:1", "clock/0:1"] {
        assert_eq!(http.get(&format!("/events/o1?min_position={wrong}")).problem(), "invalid-parameter", "{wrong}");
    }
    node.stop();
}

#[test]
fn personal_data_is_readable_for_those_who_may_ask_and_for_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let data = json!({"customer_id": "p1", "name": "Persephone Quillfeather", "email": "persephone@quillfeather.example"});
    let registered = event("reg-1", "commerce.customer_registered.v1", "customer/p1", "2026-01-05T10:00:00Z", data.clone());
    node.http.publish(&[registered.clone(), order("o1", "p1", 100)]).ok();
    let shown = wait("the event", || Some(node.http.get("/events/reg-1")).filter(|answer| answer.status == 200)).ok();
    assert_eq!(shown["data"], data);
    assert_eq!(node.http.events("subject=customer/p1&type=commerce.customer_registered.v1")[0]["data"], data);
    // Sent again it is a duplicate, although what lies in the log is sealed.
    assert_eq!(node.http.publish(&[registered]).ok()["duplicates"], 1);
    // What is not personal can be found in the files, so that finding nothing says something.
    node.http.publish(&[event("note-1", "notes.note_taken.v1", "note/1", "2026-01-05T10:00:00Z", json!({"text": "Xylophonist"}))]).ok();
    node.http.settled();
    node.stop();
    assert!(files_with(folder.path(), b"Xylophonist") > 0);
    for text in [&b"Persephone"[..], b"quillfeather", b"Quillfeather"] {
        assert_eq!(files_with(folder.path(), text), 0, "{} lies on the disk in plain text", String::from_utf8_lossy(text));
    }
}

/// Files below `folder` that hold `text`.
fn files_with(folder: &Path, text: &[u8]) -> usize {
    let found = |path: &Path| {
        let mut bytes = Vec::new();
        std::fs::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        usize::from(bytes.windows(text.len()).any(|window| window == text))
    };
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| if path.is_dir() { files_with(&path, text) } else { found(&path) }).sum()
}
