//! What the node does with a mounted system: settings, its port, its blobs, a person erased, and nothing where it is disabled.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tol_config::{ApiKey, Config, generate_key, hash_key};
use tol_plug::mount;
use tree_of_life::node::testing::TestNode;

use super::plug::{NAME, PLAY, PuppetPlug};
use super::system::FILED;
use super::{asking, config, events, start};
use crate::common::{Answer, Http, event, run, wait};
use crate::erasure::{files, holds};

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Why a node does not start.
fn refused(config: Config) -> String {
    format!("{:#}", TestNode::with_plugs(config, vec![mount::<PuppetPlug>()]).expect_err("it started"))
}

#[test]
fn settings_are_refused_by_name_and_a_secret_is_shown_nowhere() {
    const TOKEN: &str = "whsec_not_for_anybody";
    let folder = tempfile::tempdir().unwrap();
    let why = refused(config(folder.path(), &json!({"limitt": 3, "token": TOKEN})));
    assert!(why.contains("systems.puppet-system.settings.limitt") && why.contains("did you mean limit?") && !why.contains(TOKEN), "{why}");
    let why = refused(config(folder.path(), &json!({"limit": 0, "token": TOKEN})));
    assert!(why.contains("settings.limit = 0: must be at least 1") && !why.contains(TOKEN), "{why}");
    let why = refused(config(folder.path(), &json!({"token": [TOKEN]})));
    assert!(why.contains("settings.token") && !why.contains(TOKEN), "{why}");
    let why = refused(config(folder.path(), &json!({"listen": {"pupet": "127.0.0.1:1"}})));
    assert!(why.contains("listen.pupet"), "{why}");

    let config = config(folder.path(), &json!({"limit": 1, "token": TOKEN}));
    for printed in [format!("{config:?}"), serde_json::to_string(&config).unwrap()] {
        assert!(printed.contains("token") && !printed.contains(TOKEN), "{printed}");
    }
    let (node, http) = start(config);
    assert_eq!(http.get("/compat/puppet/hello/ann").ok(), json!({"hello": "ann", "caller": "local", "token": true}));
    let short = |id: &str| asking(id, "customer/1", "puppet.short", json!({"note": id}));
    http.publish(&[short("first"), short("second")]).ok();
    let parked = wait("the limit to be met", || http.get(&format!("/dead-letters?system={NAME}")).ok()["items"].as_array()?.first().cloned());
    assert_eq!((&parked["event_id"], parked["error"].as_str().unwrap().contains("for 1 effects")), (&json!("second"), true));
    let document = http.get("/openapi.json").ok();
    let paths = document["paths"].as_object().unwrap().keys().filter(|path| !path.contains('{') && *path != "/events/stream");
    let system = [format!("/systems/{NAME}"), format!("/systems/{NAME}?subject=customer/1")];
    for path in paths.map(String::as_str).chain(system.iter().map(String::as_str)) {
        assert!(!http.get(path).text.contains(TOKEN), "{path}");
    }
    for event in http.events("") {
        assert!(!event.to_string().contains(TOKEN), "{event}");
    }
    node.stop().unwrap();
}

/// A client of the puppet's port.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
    }
}

#[test]
fn the_port_survives_garbage_and_a_thousand_connections_and_ends_with_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let (node, http) = start(config(folder.path(), &json!({})));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "no port without the setting");
    node.stop().unwrap();
    let (node, _) = start(config(folder.path(), &json!({"listen": {"puppet": format!("127.0.0.1:{port}")}})));
    drop(http);
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
    node.stop().unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(8), "open connections do not hold the node: {:?}", stopping.elapsed());
    assert!(clients.iter_mut().all(|client| client.hear().is_empty()), "each is closed");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn beyond_this_machine_the_port_opens_with_keys_only_and_asks_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut config = config(folder.path(), &json!({"listen": {"puppet": format!("0.0.0.0:{port}")}}));
    let why = refused(config.clone());
    assert!(why.contains("listen.puppet") && why.contains("loopback"), "{why}");

    let (player, reader) = (generate_key().unwrap(), generate_key().unwrap());
    config.security.api_keys =
        vec![ApiKey::new("player", hash_key(player.expose()), &[PLAY.0]), ApiKey::new("reader", hash_key(reader.expose()), &[tol_config::scope::READ])];
    let (node, http) = start(config);
    let mut client = Client::connect(port);
    assert_eq!(client.ask("PING"), "ERROR key");
    assert_eq!(client.ask(&format!("AUTH {}", reader.expose())), "ERROR key");
    assert_eq!(client.ask(&format!("AUTH {}", player.expose())), "HELLO player");
    assert_eq!(client.ask("PING"), "PONG");
    // The protocol over HTTP: its own header, its own form of errors.
    let hello = |key: &str| {
        let answer = http.try_send("GET", "/compat/puppet/hello/ann", &[("x-puppet-key", key)], &[]).unwrap();
        (answer.status, answer.text)
    };
    assert_eq!(hello(reader.expose()), (403, "missing-scope".to_owned()));
    assert_eq!(hello("tol_wrong"), (401, "invalid-key".to_owned()));
    let (status, text) = hello(player.expose());
    assert!(status == 200 && text.contains("\"player\""), "{text}");
    node.stop().unwrap();
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
    let (node, http) = start(config(&data, &json!({})));
    let stored = put_file(&http, "customer/1", content.as_bytes());
    assert_eq!(stored["bytes"], content.len());
    let fact = events(&http, FILED, 1).remove(0);
    assert_eq!(fact["data"], stored);
    let name = stored["sha256"].as_str().unwrap();
    let lies_in = |folder: &Path| files(&folder.join("blobs")).iter().any(|(path, _)| path.ends_with(name));
    assert!(lies_in(&data), "{stored}");
    assert_eq!(file(&http, "customer/1").text, content);
    node.stop().unwrap();
    let (node, http) = start(config(&data, &json!({})));
    assert_eq!(file(&http, "customer/1").text, content);
    // While the node runs.
    let (backup, restored) = (folder.path().join("backup"), folder.path().join("restored"));
    let tol = |arguments: &[&Path]| {
        let arguments: Vec<&str> = arguments.iter().map(|argument| argument.to_str().unwrap()).collect();
        let output = run(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    tol(&["backup".as_ref(), &backup, "--data".as_ref(), &data]);
    node.stop().unwrap();
    assert!(lies_in(&backup));
    tol(&["restore".as_ref(), &backup, "--data".as_ref(), &restored]);
    assert!(std::process::Command::new("cp").arg("-r").args([data.join("keys"), restored.join("keys")]).status().unwrap().success());
    let (node, http) = start(config(&restored, &json!({})));
    assert_eq!(file(&http, "customer/1").text, content);
    node.stop().unwrap();
}

fn registration(number: u32) -> Value {
    let data = json!({"customer_id": number.to_string(), "name": format!("Zephyrine Quillfeather-{number:05}")});
    event(&format!("reg-{number}"), "commerce.customer_registered.v1", &format!("customer/{number}"), "2026-01-05T10:00:00Z", data)
}

#[test]
fn an_erased_person_is_gone_from_memory_rows_blobs_and_every_byte_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (node, http) = start(config(folder.path(), &json!({})));
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
    node.stop().unwrap();
    let on_disk = files(folder.path());
    assert!(on_disk.iter().any(|(_, bytes)| holds(bytes, "customer/2")), "what is not personal is found");
    for (path, bytes) in &on_disk {
        assert!(!holds(bytes, "Quillfeather-00002"), "{}", path.display());
    }
    let blobs = |number: u32| on_disk.iter().any(|(_, bytes)| holds(bytes, &content(number)));
    assert!(!blobs(1) && !blobs(2), "files are sealed");

    let (node, http) = start(config(folder.path(), &json!({})));
    http.settled();
    assert_eq!((name(&http, 2), name(&http, 3).1), ((200, Value::Null), json!("Zephyrine Quillfeather-00003")));
    assert_eq!((file(&http, "customer/2").status, file(&http, "customer/3").text), (404, content(3)));
    node.stop().unwrap();
}

#[test]
fn a_disabled_system_answers_503_decides_nothing_and_opens_no_port() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let settings = json!({"listen": {"puppet": format!("127.0.0.1:{port}")}});
    let mut disabled = config(folder.path(), &settings);
    disabled.systems.get_mut(NAME).unwrap().enabled = false;
    let (node, http) = start(disabled);
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
    node.stop().unwrap();

    // Enabled again, it decides what came meanwhile.
    let (node, http) = start(config(folder.path(), &settings));
    assert_eq!(events(&http, super::system::ENDED, 1)[0]["data"]["answer"], json!({"note": "later"}));
    assert_eq!(Client::connect(port).ask("PING"), "PONG");
    node.stop().unwrap();
}
