//! What must survive the end of a node and its next start: blobs and backups, a person erased, a system disabled and enabled again, the port.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Client, free_port};
use super::plug::NAME;
use super::process::NodeProcess;
use super::system::FILED;
use super::{asking, events};
use crate::common::{Answer, Http, event, run};
use crate::erasure::{files, holds};

#[test]
fn the_port_survives_garbage_and_a_thousand_connections_and_ends_with_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let node = NodeProcess::start(folder.path(), &json!({}));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "no port without the setting");
    node.stop();
    let node = NodeProcess::start(folder.path(), &json!({"listen": {"puppet": format!("127.0.0.1:{port}")}}));
    assert_eq!(Client::connect(port).ask("PING"), "PONG");

    let mut garbage: Vec<u8> = (0..64 * 1_024u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for newlines in [true, false] {
        if !newlines {
            garbage.retain(|byte| *byte != b'\n');
        }
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // It may be cut off before it has taken all.
        let _ = client.write_all(&garbage);
        let _ = client.shutdown(std::net::Shutdown::Write);
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let ended = client.read_to_end(&mut Vec::new());
        assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "the connection hangs");
    }

    let mut clients: Vec<Client> = (0..1_000).map(|_| Client::connect(port)).collect();
    clients.iter_mut().for_each(|client| client.say("PING"));
    assert!(clients.iter_mut().all(|client| client.hear() == "PONG"));
    assert_eq!(clients[0].ask("POKE"), "ERROR unknown");

    let stopping = Instant::now();
    node.stop();
    assert!(stopping.elapsed() < Duration::from_secs(8), "open connections do not hold the node: {:?}", stopping.elapsed());
    assert!(clients.iter_mut().all(|client| client.hear().is_empty()), "each is closed");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

fn put_file(http: &Http, subject: &str, content: &[u8]) -> Value {
    let answer = http.try_send("POST", &format!("/puppet/files/{subject}"), &[("content-type", "application/octet-stream")], content).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json
}

/// The file, once the projection has it.
fn file(http: &Http, subject: &str) -> Answer {
    http.settled();
    http.get(&format!("/puppet/files/{subject}"))
}

#[test]
fn a_blob_is_there_before_its_fact_after_a_restart_and_in_a_backup() {
    let (folder, content) = (tempfile::tempdir().unwrap(), "a file that is too large for an event\n".repeat(5_000));
    let data = folder.path().join("data");
    let node = NodeProcess::start(&data, &json!({}));
    let http = node.http.clone();
    let stored = put_file(&http, "customer/1", content.as_bytes());
    assert_eq!(stored["bytes"], content.len());
    let fact = events(&http, FILED, 1).remove(0);
    assert_eq!(fact["data"], stored);
    let name = stored["sha256"].as_str().unwrap();
    let lies_in = |folder: &Path| files(&folder.join("blobs")).iter().any(|(path, _)| path.ends_with(name));
    assert!(lies_in(&data), "{stored}");
    assert_eq!(file(&http, "customer/1").text, content);
    node.stop();
    let node = NodeProcess::start(&data, &json!({}));
    let http = node.http.clone();
    assert_eq!(file(&http, "customer/1").text, content);
    // While the node runs.
    let (backup, restored) = (folder.path().join("backup"), folder.path().join("restored"));
    let tol = |arguments: &[&Path]| {
        let arguments: Vec<&str> = arguments.iter().map(|argument| argument.to_str().unwrap()).collect();
        let output = run(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    tol(&["backup".as_ref(), &backup, "--data".as_ref(), &data]);
    node.stop();
    assert!(lies_in(&backup));
    tol(&["restore".as_ref(), &backup, "--data".as_ref(), &restored]);
    assert!(std::process::Command::new("cp").arg("-r").args([data.join("keys"), restored.join("keys")]).status().unwrap().success());
    let node = NodeProcess::start(&restored, &json!({}));
    let http = node.http.clone();
    assert_eq!(file(&http, "customer/1").text, content);
    node.stop();
}

fn registration(number: u32) -> Value {
    let data = json!({"customer_id": number.to_string(), "name": format!("Zephyrine Quillfeather-{number:05}")});
    event(&format!("reg-{number}"), "commerce.customer_registered.v1", &format!("customer/{number}"), "2026-01-05T10:00:00Z", data)
}

#[test]
fn an_erased_person_is_gone_from_memory_rows_blobs_and_every_byte_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let node = NodeProcess::start(folder.path(), &json!({}));
    let http = node.http.clone();
    http.publish(&[registration(1), registration(2), registration(3)]).ok();
    let content = |number: u32| format!("the diary of Zephyrine Quillfeather-{number:05}");
    for number in 1..=3 {
        put_file(&http, &format!("customer/{number}"), content(number).as_bytes());
    }
    http.settled();
    let name = |http: &Http, number: u32| {
        let answer = http.get(&format!("/puppet/customers/customer/{number}"));
        (answer.status, answer.json["name"].clone())
    };
    for number in 1..=3 {
        assert_eq!(name(&http, number), (200, json!(format!("Zephyrine Quillfeather-{number:05}"))));
        assert_eq!(file(&http, &format!("customer/{number}")).text, content(number));
    }
    http.post("/puppet/notes/customer/2", &json!({"note": "to be forgotten"})).ok();

    http.post("/subjects/customer/2/erase", &json!({"reason": "asked for it"})).ok();
    assert_eq!(name(&http, 2).0, 404, "what was kept in memory is forgotten");
    assert_eq!(http.post("/puppet/notes/customer/2", &json!({"note": "new"})).ok()["notes"], json!(["new"]));
    assert_eq!(http.get("/events/reg-2").ok()["data"]["name"], Value::Null);
    for number in [1, 3] {
        assert_eq!(name(&http, number).1, json!(format!("Zephyrine Quillfeather-{number:05}")));
        assert_eq!(file(&http, &format!("customer/{number}")).text, content(number));
    }
    node.stop();
    let on_disk = files(folder.path());
    assert!(on_disk.iter().any(|(_, bytes)| holds(bytes, "customer/2")), "what is not personal is found");
    for (path, bytes) in &on_disk {
        assert!(!holds(bytes, "Quillfeather-00002"), "{}", path.display());
    }
    let blobs = |number: u32| on_disk.iter().any(|(_, bytes)| holds(bytes, &content(number)));
    assert!(!blobs(1) && !blobs(2), "files are sealed");

    let node = NodeProcess::start(folder.path(), &json!({}));
    let http = node.http.clone();
    http.settled();
    assert_eq!((name(&http, 2).0, name(&http, 3).1), (404, json!("Zephyrine Quillfeather-00003")));
    assert_eq!((file(&http, "customer/2").status, file(&http, "customer/3").text), (404, content(3)));
    node.stop();
}

#[test]
fn a_disabled_system_answers_503_decides_nothing_and_opens_no_port() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let settings = json!({"listen": {"puppet": format!("127.0.0.1:{port}")}});
    let node = NodeProcess::with_puppet_disabled(folder.path(), &settings);
    let http = node.http.clone();
    for path in ["/puppet/customers/customer/1", "/puppet/files/customer/1"] {
        let answer = http.get(path);
        assert_eq!((answer.status, answer.problem()), (503, "system-disabled"), "{path}");
    }
    assert_eq!(http.post("/puppet/notes/customer/1", &json!({"note": 1})).problem(), "system-disabled");
    let hello = http.get("/compat/puppet/hello/ann");
    assert_eq!((hello.status, hello.text.as_str()), (503, "system-disabled"));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "its port is closed");
    http.publish(&[asking("one", "customer/1", "puppet.short", json!({"note": "later"}))]).ok();
    http.settled();
    assert_eq!(
        (http.get(&format!("/systems/{NAME}")).problem(), http.get("/projections/puppet-customers").problem()),
        ("unknown-system", "unknown-projection")
    );
    assert!(http.events("type=puppet.effect_requested.v1").is_empty() && http.get("/effects").ok() == json!([]));
    node.stop();

    // Enabled again, it decides what came meanwhile.
    let node = NodeProcess::start(folder.path(), &settings);
    let http = node.http.clone();
    assert_eq!(events(&http, super::system::ENDED, 1)[0]["data"]["answer"], json!({"note": "later"}));
    assert_eq!(Client::connect(port).ask("PING"), "PONG");
    node.stop();
}
