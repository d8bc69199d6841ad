//! What operators see and do, with the real program as a child: refused records of Kafka's inbox, the emergency stop, the types of events, the version.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::common::{Http, Node, TOL, order, run, tol, wait};

const STRUCTURED: &str = "application/cloudevents+json";

/// Writes records to partition 0 of `inbox`, in this order.
fn write_to_inbox(broker: &Broker, records: &[(Option<&str>, &[u8])]) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", broker.address()).create().unwrap();
    for (content_type, value) in records {
        let mut record = BaseRecord::<(), [u8]>::to("inbox").partition(0).payload(value);
        if let Some(content_type) = content_type {
            record = record.headers(OwnedHeaders::new().insert(Header { key: "content-type", value: Some(*content_type) }));
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

fn on_kafka(broker: &Broker, folder: &Path) -> Node {
    let node = Node::start(folder, &["--kafka", &broker.address(), "--set", "log.partitions=2"]);
    node.http.wait_until_ready();
    node
}

fn letters(http: &Http, query: &str) -> Vec<Value> {
    http.get(&format!("/dead-letters?{query}")).ok()["items"].as_array().unwrap().clone()
}

/// Ids of refused records, a page a record.
fn refused_by_pages(http: &Http) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = http.get(&format!("/dead-letters?limit=1{cursor}")).ok();
        ids.extend(page["items"].as_array().unwrap().iter().map(|letter| letter["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

fn metric(http: &Http, name: &str) -> Option<f64> {
    let text = http.get("/metrics").text;
    let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '{'])?.rsplit(' ').next()?.parse::<f64>().ok());
    values.reduce(|a, b| a + b)
}

#[test]
fn records_that_the_inbox_refused_are_listed_shown_mended_and_redriven() {
    let Some(broker) = Broker::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let node = on_kafka(&broker, folder.path());
    let http = node.http.clone();
    http.publish(&[order("taken", "1", 100)]).ok();
    let text = |event: &Value| event.to_string().into_bytes();
    let mut typo = order("typo", "2", 200);
    typo["data"]["total"]["currency"] = json!("usd");
    let mut personal = json!({"specversion": "1.0", "id": "person", "source": "/crm", "type": "commerce.customer_registered.v1", "subject": "customer/3"});
    personal["data"] = json!({"name": "Ada Lovelace"});
    let records = [
        (Some(STRUCTURED), text(&order("good", "1", 1))),
        (Some(STRUCTURED), text(&typo)),
        (None, b"\xff\xfe garbage".to_vec()),
        (Some(STRUCTURED), text(&order("taken", "1", 999))),
        (Some(STRUCTURED), text(&personal)),
        (Some(STRUCTURED), text(&order("good-2", "1", 2))),
    ];
    write_to_inbox(&broker, &records.iter().map(|(content_type, value)| (*content_type, value.as_slice())).collect::<Vec<_>>());

    // All that is good is taken, all else is told, in the order in which it came.
    let refused = wait("four refused records", || Some(letters(&http, "system=tree-of-life-system")).filter(|letters| letters.len() == 4));
    wait("the good ones", || (http.get("/events/good-2").status == 200).then_some(()));
    let about = |field: &str| refused.iter().map(|letter| letter[field].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(about("kind"), ["refused"; 4]);
    assert_eq!(about("id"), ["inbox-0-1", "inbox-0-2", "inbox-0-3", "inbox-0-4"]);
    assert_eq!(about("position"), ["inbox/0:1", "inbox/0:2", "inbox/0:3", "inbox/0:4"]);
    assert_eq!(about("event_id"), ["typo", "", "taken", "person"]);
    for (error, part) in about("error").iter().zip(["ISO 4217", "content-type", "other content", "customer_id"]) {
        assert!(error.contains(part) && !error.starts_with("event 0"), "{error}");
    }
    assert!(refused.iter().all(|letter| letter["parked_at"].is_string()), "{refused:?}");
    assert_eq!(refused_by_pages(&http), about("id"));
    assert_eq!(letters(&http, "type=commerce.customer*").len(), 1);
    assert_eq!(letters(&http, "system=revenue-agent-system"), Vec::<Value>::new());
    let listed = run(&["--url", &http.url, "dead-letters", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("inbox-0-1") && listed.contains("refused"), "{listed}");
    wait("the gauge", || (metric(&http, "tol_inbox_refused_waiting") == Some(4.0)).then_some(()));
    assert_eq!((metric(&http, "tol_inbox_refused_total"), metric(&http, "tol_facts_refused_total")), (Some(4.0), Some(4.0)));

    // Shown as they were written; what may be personal lies in the inbox alone.
    let show = |id: &str| http.get(&format!("/dead-letters/{id}")).ok();
    assert_eq!(show("inbox-0-1")["event"]["data"]["total"]["currency"], "usd");
    assert_eq!(show("inbox-0-1")["record"]["headers"]["content-type"], STRUCTURED);
    assert_eq!((&show("inbox-0-2")["event"], &show("inbox-0-2")["record"]["value_base64"]), (&Value::Null, &json!("//4gZ2FyYmFnZQ==")));
    assert_eq!(show("inbox-0-4")["event"]["data"]["name"], "Ada Lovelace");
    assert_eq!(http.get("/dead-letters/inbox-0-99").problem(), "unknown-dead-letter");

    // As it is, it stays refused; mended, it is a fact like any other.
    let redrive = |id: &str, body: Value| http.post(&format!("/dead-letters/{id}/redrive"), &body);
    assert_eq!(redrive("inbox-0-1", json!({})).problem(), "wrong-state");
    let all = http.post("/dead-letters/redrive", &json!({"system": "tree-of-life-system", "error": "other content"})).ok();
    assert_eq!((&all["selected"], &all["redriven"], all["failed"].as_array().unwrap().len()), (&json!(1), &json!(0), 1), "{all}");
    let mut wrong = typo.clone();
    wrong["data"] = json!({});
    assert_eq!(redrive("inbox-0-1", json!({"event": wrong})).problem(), "invalid-data");
    let shown = folder.path().join("mended.json");
    typo["data"]["total"]["currency"] = json!("USD");
    std::fs::write(&shown, typo.to_string()).unwrap();
    let mended = run(&["--url", &http.url, "dead-letters", "redrive", "inbox-0-1", "--event", shown.to_str().unwrap(), "--reason", "typo"]);
    assert!(mended.status.success(), "{}", String::from_utf8_lossy(&mended.stderr));
    wait("the mended fact", || (http.get("/events/typo").status == 200).then_some(()));
    assert_eq!(http.get("/dead-letters/inbox-0-1").status, 404);
    assert_eq!(redrive("inbox-0-1", json!({})).problem(), "unknown-dead-letter");
    let given_up = http.post("/dead-letters/inbox-0-2/discard", &json!({"reason": "test data"})).ok();
    assert_eq!(given_up["kind"], "refused");

    // The log tells what is left, also to a node that knows nothing yet.
    node.stop();
    let other = tempfile::tempdir().unwrap();
    let node = on_kafka(&broker, other.path());
    let left = wait("what is left", || Some(letters(&node.http, "")).filter(|letters| letters.len() == 2));
    assert_eq!(left.iter().map(|letter| &letter["id"]).collect::<Vec<_>>(), ["inbox-0-3", "inbox-0-4"]);
    let dry = node.http.post("/dead-letters/redrive", &json!({"dry_run": true})).ok();
    assert_eq!(dry["ids"], json!(["inbox-0-3", "inbox-0-4"]));
    node.stop();
}

#[test]
fn the_emergency_stop_shows_wherever_an_operator_looks_and_keeps_its_first_reason() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let check = || -> Value {
        let checks = http.get("/readyz").ok()["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["name"] == "emergency stop").unwrap()
    };
    let states = || -> BTreeMap<String, String> {
        let all = http.get("/systems").ok();
        all.as_array().unwrap().iter().map(|system| (system["name"].as_str().unwrap().to_owned(), system["state"].as_str().unwrap().to_owned())).collect()
    };
    assert_eq!((check()["detail"].as_str().unwrap(), metric(http, "tol_emergency_stop")), ("not engaged", Some(0.0)));
    let first = http.post("/emergency-stop", &json!({"reason": "wrong prices"})).ok();
    let second = http.post("/emergency-stop", &json!({"reason": "somebody else"})).ok();
    assert_eq!((&second["reason"], &second["since"]), (&json!("wrong prices"), &first["since"]));
    assert_eq!(http.get("/emergency-stop").ok()["reason"], "wrong prices");

    assert!(states().values().all(|state| state == "halted"), "{:?}", states());
    let system = http.get("/systems/revenue-agent-system").ok();
    assert!(system["reason"].as_str().unwrap().contains("wrong prices"), "{system}");
    // The node takes facts and answers, so it is ready; the check says what it does not do.
    assert!(check()["ok"] == true && check()["detail"].as_str().unwrap().contains("wrong prices"), "{}", check());
    assert_eq!(metric(http, "tol_emergency_stop"), Some(1.0));
    assert!(metric(http, "tol_emergency_stop_start_time_seconds").unwrap() > 1.7e9);
    let listed = run(&["--url", &http.url, "systems"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("halted") && String::from_utf8_lossy(&listed.stderr).contains("wrong prices"), "{listed:?}");

    http.post("/emergency-stop/release", &json!({"reason": "mended"})).ok();
    wait("all to run", || states().values().all(|state| state == "running").then_some(()));
    assert_eq!((check()["detail"].as_str().unwrap(), metric(http, "tol_emergency_stop")), ("not engaged", Some(0.0)));
    node.stop();
}

#[test]
fn every_known_type_is_listed_with_an_example_that_is_admitted() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let types = http.get("/schemas").ok();
    let types = types.as_array().unwrap();
    assert!(types.len() > 50 && types.iter().all(|known| !known["description"].as_str().unwrap().is_empty()), "{}", types.len());
    let examples: Vec<Value> = types.iter().map(|known| known["example"].clone()).collect();
    assert_eq!(http.publish(&examples).ok()["accepted"], types.len());
    assert_eq!(http.get(types[0]["schema"].as_str().unwrap()).status, 200);

    let listed = run(&["--url", &http.url, "types", "commerce"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("commerce.order_placed.v1"), "{listed:?}");
    let schema = run(&["--url", &http.url, "schema", "commerce.order_placed.v1"]);
    assert_eq!(String::from_utf8(schema.stdout).unwrap(), http.get("/schemas/commerce.order_placed.v1.json").text, "the node's bytes");
    let example = run(&["--url", &http.url, "schema", "commerce.order_placed.v1", "--example"]);
    let mut publishing = tol(&["--url", &http.url, "--output", "json", "publish"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    publishing.stdin.take().unwrap().write_all(&example.stdout).unwrap();
    let published: Value = serde_json::from_slice(&publishing.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(published["duplicates"], 1, "it was published with the others");
    assert_eq!(run(&["--url", &http.url, "schema", "commerce.order_palced.v1"]).status.code(), Some(5));

    // JSON is the node's very text, and tables are for people.
    http.settled();
    let customer = run(&["--url", &http.url, "--output", "json", "query", "customers", "42"]);
    assert_eq!(String::from_utf8(customer.stdout).unwrap().trim_end(), http.get("/projections/customers/42").text.trim_end());
    node.stop();
}

#[test]
fn the_version_names_the_commit_that_the_build_wrote_behind_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let plain = run(&["--version"]);
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert_eq!(plain.trim(), format!("tol {}", env!("CARGO_PKG_VERSION")));
    let copy = folder.path().join("tol");
    std::fs::copy(TOL, &copy).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&copy).unwrap();
    file.write_all(b"\ntol-commit:28368b8d5e1f0c2d3e4b5a69788796a5b4c3d2e1-dirty\n").unwrap();
    drop(file);
    let version = std::process::Command::new(&copy).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8(version.stdout).unwrap().trim(), format!("{} (28368b8d5e1f-dirty)", plain.trim()));
}
