//! The emergency stop with effects under load: none starts after its answer, and it survives the end of the node.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tol_config::Config;
use tree_of_life::node::testing::TestNode;

use crate::common::systems::{Behaviour, registered};
use crate::common::{Http, order, wait};

/// Answers every request with 200 and counts them by idempotency key.
#[derive(Clone, Default)]
struct Sink {
    calls: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Sink {
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/call", listener.local_addr().unwrap());
        let sink = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sink = sink.clone();
                std::thread::spawn(move || sink.serve(stream));
            }
        });
        url
    }

    fn serve(&self, mut stream: std::net::TcpStream) {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&bytes).contains("order_id") {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            }
        }
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        let key = text.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap().to_owned();
        *self.calls.lock().unwrap().entry(key).or_default() += 1;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
    }

    fn count(&self) -> usize {
        self.calls.lock().unwrap().values().sum()
    }
}

fn node(folder: &Path, behaviour: &Arc<Behaviour>) -> (TestNode, Http) {
    let mut config = Config::default();
    config.node.data = folder.to_path_buf();
    config.http.listen = "127.0.0.1:0".to_owned();
    config.log.partitions = 2;
    config.effects.allow = vec!["http://127.0.0.1:".to_owned()];
    let node = TestNode::start(config, vec![registered("test-caller", behaviour)]).unwrap();
    let http = Http::new(node.url());
    http.wait_until_ready();
    (node, http)
}

/// A folder with nothing but the log and the keys of another.
fn moved(folder: &Path) -> tempfile::TempDir {
    let moved = tempfile::tempdir().unwrap();
    for part in ["log", "keys"] {
        assert!(std::process::Command::new("cp").arg("-r").args([folder.join(part), moved.path().join(part)]).status().unwrap().success());
    }
    moved
}

#[test]
fn no_effect_starts_after_the_answer_and_the_stop_outlives_the_node() {
    let sink = Sink::default();
    let behaviour = Arc::new(Behaviour::default());
    behaviour.calls(&sink.start());
    let folder = tempfile::tempdir().unwrap();
    let (first, http) = node(folder.path(), &behaviour);
    let publishing = Arc::new(AtomicBool::new(true));
    let (publisher, goes_on) = (http.clone(), publishing.clone());
    let load = std::thread::spawn(move || {
        let mut number = 0;
        while goes_on.load(Ordering::SeqCst) {
            let orders: Vec<_> = (number..number + 50).map(|number| order(&format!("o{number}"), &format!("c{}", number % 40), 1)).collect();
            publisher.publish(&orders).ok();
            number += 50;
        }
        number
    });
    for round in 1..=3 {
        let before = sink.count();
        wait("effects under way", || (sink.count() > before + 20).then_some(()));
        let stopped = http.post("/emergency-stop", &json!({"reason": format!("round {round}")})).ok();
        assert_eq!((&stopped["engaged"], &stopped["recorded"], &stopped["still_deciding"]), (&json!(true), &json!(true), &json!([])), "{stopped}");
        assert_eq!(stopped["effects_running"], 0, "calls of this machine end at once");
        let (after, decided) = (sink.count(), behaviour.decided.load(Ordering::SeqCst));
        // Facts still come in and are waited for, which takes a while, and nothing is done about them.
        let seen = http.publish(&[order(&format!("while-stopped-{round}"), "c1", 1)]).ok();
        assert_eq!(seen["accepted"], 1);
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!((sink.count(), behaviour.decided.load(Ordering::SeqCst)), (after, decided), "round {round}");
        if round < 3 {
            http.post("/emergency-stop/release", &json!({"reason": "go on"})).ok();
        }
    }
    publishing.store(false, Ordering::SeqCst);
    let orders = load.join().unwrap() + 3;
    first.stop().unwrap();

    // Another node with nothing but the log: still stopped; released, it does what is left, each with its own key.
    let called = sink.count();
    let moved = moved(folder.path());
    let (second, http) = node(moved.path(), &behaviour);
    let state = http.get("/emergency-stop").ok();
    assert_eq!((&state["engaged"], &state["reason"]), (&json!(true), &json!("round 3")));
    assert_eq!(http.post("/dead-letters/redrive", &json!({})).problem(), "emergency-stop");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(sink.count(), called);
    http.post("/emergency-stop/release", &json!({"reason": "all is well"})).ok();
    wait("a call an order", || (sink.calls.lock().unwrap().len() == orders).then_some(()));
    second.stop().unwrap();
}

#[test]
fn a_stop_that_another_node_tells_is_recorded_here_when_that_node_does_not_and_holds_once() {
    let behaviour = Arc::new(Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let (node, http) = node(folder.path(), &behaviour);
    let engaged = |http: &Http| http.get("/emergency-stop").ok()["engaged"] == true;
    let recorded = |http: &Http| http.events("type=tree.emergency_stop_engaged.v1");
    let telling = json!({"stop": {"id": "told", "node": "gone", "reason": "fire", "by": "ann", "time": "2026-01-01T00:00:00Z"}});
    http.post("/nodes/ask", &telling).ok();
    assert!(engaged(&http));
    let record = wait("its record", || recorded(&http).pop());
    assert_eq!((&record["id"], &record["source"], &record["data"]["by"]), (&json!("told"), &json!("/nodes/gone"), &json!("ann")));
    http.post("/emergency-stop/release", &json!({"reason": "over"})).ok();
    // Told late, or once more: it was read, and released since.
    http.post("/nodes/ask", &telling).ok();
    assert!(!engaged(&http));
    http.publish(&[order("after", "c1", 1)]).ok();
    wait("a decision", || (behaviour.decided.load(Ordering::SeqCst) > 0).then_some(()));
    node.stop().unwrap();
}

#[test]
fn a_paused_system_decides_nothing_also_on_a_node_that_starts_later_until_it_is_resumed() {
    const SYSTEM: &str = "/systems/test-caller";
    let behaviour = Arc::new(Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let decided = || behaviour.decided.load(Ordering::SeqCst);
    let state = |http: &Http| http.get(SYSTEM).ok()["state"].clone();
    let (first, http) = node(folder.path(), &behaviour);
    http.publish(&[order("before", "c1", 1)]).ok();
    wait("the first decision", || (decided() == 1).then_some(()));
    assert_eq!(http.post(&format!("{SYSTEM}/resume"), &json!({})).problem(), "wrong-state");
    assert_eq!(http.post(&format!("{SYSTEM}/pause"), &json!({})).ok()["state"], "paused");
    http.publish(&[order("while-paused", "c1", 1)]).ok();
    let said = wait("the pause among the events", || http.events("type=tree.system_paused.v1").pop());
    assert_eq!((&said["subject"], &said["data"]["by"]), (&json!("system/test-caller"), &json!("local")));
    first.stop().unwrap();

    let moved = moved(folder.path());
    let (second, http) = node(moved.path(), &behaviour);
    http.publish(&[order("later", "c2", 1)]).ok();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!((state(&http), decided()), (json!("paused"), 1));
    assert_eq!(http.post(&format!("{SYSTEM}/resume"), &json!({})).ok()["state"], "running");
    wait("what was left is decided", || (decided() == 3).then_some(()));
    second.stop().unwrap();
}
