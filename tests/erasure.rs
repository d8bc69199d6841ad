//! A person is erased: of ten thousand customers one, and nothing of that one is left in any byte the node keeps.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tol_kafka::{EmbeddedLog, EmbeddedOptions, EventLog, TopicPartition};
use tol_projections::{RocksStore, StoreOptions};
use tol_runtime::store::{Store, Table};

use crate::common::{Http, Node, event, wait};

const CUSTOMERS: usize = 10_000;
const ERASED: usize = 4_711;

/// A name, an address and a number that nobody else has.
fn person(number: usize) -> [String; 3] {
    [format!("Zephyrine Quillfeather-{number:05}"), format!("zq{number:05}@quillfeather.example"), format!("+49-555-{number:05}-77")]
}

fn registration(number: usize) -> Value {
    let [name, email, phone] = person(number);
    let data = json!({"customer_id": format!("c{number:05}"), "name": name, "email": email, "phone": phone, "tier": "gold"});
    event(&format!("reg-{number}"), "commerce.customer_registered.v1", &format!("customer/c{number:05}"), "2026-01-05T10:00:00Z", data)
}

/// Every byte below a folder, file by file.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![(path.clone(), std::fs::read(&path).unwrap())] }).collect()
}

/// Every record of every topic, as a consumer sees it: uncompressed.
fn dump(log: &dyn EventLog) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (topic, partitions) in log.topics().unwrap() {
        for partition in 0..partitions {
            let of = TopicPartition::new(topic.as_str(), partition);
            let mut position = log.bounds(&of).unwrap().earliest;
            while let Some(batches) = Some(log.read(&of, position, 1 << 20).unwrap()).filter(|batches| !batches.is_empty()) {
                for batch in batches {
                    position = batch.end();
                    for record in batch.records().unwrap() {
                        bytes.extend(record.headers.iter().flat_map(|(name, value)| [name.as_bytes(), value]).flatten());
                        bytes.extend_from_slice(record.value);
                    }
                }
            }
        }
    }
    bytes
}

/// Every row of the caches, uncompressed.
fn rows(store: &RocksStore) -> Vec<u8> {
    let scanned = Table::ALL.iter().flat_map(|table| store.scan(*table, b"", None, usize::MAX / 2).unwrap());
    scanned.flat_map(|(key, value)| [key, value]).flatten().collect()
}

/// Whether the bytes hold a text.
pub fn holds(bytes: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    let Some(first) = text.first() else { return false };
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| byte == first) {
        if bytes[from + at..].starts_with(text) {
            return true;
        }
        from += at + 1;
    }
    false
}

/// What of a person is looked for: each value, and its base64 at each of three places a byte may have in it.
fn traces(number: usize) -> Vec<String> {
    use base64::Engine as _;
    let encoded = |text: &String| {
        let at = |skip: usize| {
            let whole = base64::engine::general_purpose::STANDARD.encode(&text.as_bytes()[skip..]);
            whole[..whole.len() / 4 * 4 - 4].to_owned()
        };
        [at(0), at(1), at(2)]
    };
    let plain = person(number);
    plain.iter().cloned().chain(plain.iter().flat_map(encoded).collect::<Vec<_>>()).collect()
}

#[test]
fn of_an_erased_person_no_byte_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let everybody: Vec<Value> = (0..CUSTOMERS).map(registration).collect();
    for batch in everybody.chunks(1_000) {
        assert_eq!(http.publish(batch).ok()["accepted"], batch.len());
    }
    http.settled();
    let read = |http: &Http, number: usize| wait("the event", || Some(http.get(&format!("/events/reg-{number}"))).filter(|answer| answer.status == 200)).ok();
    let before = read(http, ERASED);
    assert_eq!(before["data"]["name"], person(ERASED)[0], "it can be read by those who may");
    let (digest, count) = http.digest("customers");
    assert!(count as usize >= CUSTOMERS);

    let subject = format!("customer/c{ERASED:05}");
    let erase = |subject: &str, reason: &str| http.post(&format!("/subjects/{subject}/erase"), &json!({"reason": reason})).status;
    assert_eq!((erase("nobody", "asked"), erase(&subject, "")), (400, 400));
    assert_eq!((erase(&subject, "asked for it"), erase(&subject, "asked again")), (200, 200));

    let after = read(http, ERASED);
    assert_eq!((&after["data"]["name"], &after["data"]["email"], &after["data"]["erased"]), (&Value::Null, &Value::Null, &json!(true)));
    assert_eq!((&after["data"]["tier"], &after["logposition"]), (&json!("gold"), &before["logposition"]), "the log stays as it is");
    assert_eq!(read(http, ERASED + 1)["data"]["name"], person(ERASED + 1)[0], "everybody else is there");
    let timeline = http.events(&format!("subject={subject}"));
    let last = timeline.iter().find(|event| event["type"] == "tree.subject_erased.v1").expect("the record is in the person's history");
    assert_eq!((&last["data"]["by"], &last["data"]["reason"]), (&json!("local"), &json!("asked for it")));

    // A repeat is one; what comes late of the erased person comes without what is personal.
    assert_eq!(http.publish(&[registration(ERASED)]).ok()["duplicates"], 1);
    let mut late = registration(ERASED);
    late["id"] = json!("late");
    assert_eq!(http.publish(&[late]).ok()["accepted"], 1);
    http.settled();
    let late = wait("the late event", || Some(http.get("/events/late")).filter(|answer| answer.status == 200)).ok();
    assert_eq!((&late["data"]["phone"], &late["data"]["erased"]), (&Value::Null, &json!(true)));
    let (digest_after, _) = http.digest("customers");
    assert!(http.post("/projections/customers/rebuild", &json!({})).status < 300);
    wait("the rebuild", || (http.get("/projections/customers/rebuild").ok()["state"] == "done").then_some(()));
    assert_eq!(http.digest("customers").0, digest_after);
    assert_ne!(digest, "", "there was something to compare");
    node.stop();

    // What is not personal is found, so that finding nothing says something; compressed files are read as rows and records, too.
    let customer = format!("c{ERASED:05}");
    let log = EmbeddedLog::open(folder.path().join("log"), EmbeddedOptions::default()).unwrap().0;
    let store = RocksStore::open(&folder.path().join("projections"), &StoreOptions::default()).unwrap();
    let (records, cached) = (dump(log.as_ref()), rows(&store));
    log.close();
    drop(store);
    assert!(holds(&records, &customer) && holds(&cached, &customer));
    let on_disk = files(folder.path());
    assert!(on_disk.iter().any(|(_, bytes)| holds(bytes, &customer)));
    for trace in traces(ERASED) {
        assert!(!holds(&records, &trace), "{trace} is in the topics");
        assert!(!holds(&cached, &trace), "{trace} is in the caches");
        for (path, bytes) in &on_disk {
            assert!(!holds(bytes, &trace), "{trace} is in {}", path.display());
        }
    }

    // From zero, with nothing but the log: the same, and nobody comes back.
    std::fs::remove_dir_all(folder.path().join("projections")).unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    assert_eq!(http.digest("customers").0, digest_after);
    assert_eq!(read(http, ERASED)["data"]["name"], Value::Null);
    assert_eq!(read(http, 1)["data"]["name"], person(1)[0]);
    node.stop();
}

#[test]
fn a_key_store_restored_from_a_copy_brings_nobody_back() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys/keys.log");
    let node = Node::ready(folder.path());
    let http = &node.http;
    http.publish(&[registration(1), registration(2)]).ok();
    http.settled();
    let copy = std::fs::read(&keys).unwrap();
    assert_eq!(http.post("/subjects/customer/c00001/erase", &json!({"reason": "asked for it"})).status, 200);
    node.stop();
    std::fs::write(&keys, copy).unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let name = |id: &str| wait("the event", || Some(http.get(id)).filter(|answer| answer.status == 200)).ok()["data"]["name"].clone();
    assert_eq!((name("/events/reg-1"), name("/events/reg-2")), (Value::Null, json!(person(2)[0])));
    node.stop();
}
