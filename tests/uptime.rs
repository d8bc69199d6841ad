//! The hub's uptime ledger over ends of the process: a crash is downtime, a stop is planned.

use serde_json::Value;

use crate::common::{Http, Node, wait};

/// The revenue agent's ledger once it has seen so many starts.
fn ledger(http: &Http, starts: usize) -> Value {
    wait("the ledger", || {
        let events = http.events("subject=system/revenue-agent-system&type=tree.system_started.v1");
        (events.len() == starts).then(|| http.get("/systems/revenue-agent-system").ok()["uptime_ledger"].clone()).filter(|ledger| ledger["phase"] == "up")
    })
}

fn start(data: &std::path::Path) -> Node {
    let node = Node::start(data, &["--set", "log.partitions=2", "--set", "clock.tick_ms=20"]);
    node.http.wait_until_ready();
    node
}

#[test]
fn a_crash_is_downtime_since_the_last_tick_and_a_stop_is_planned() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path());
    let first = ledger(&node.http, 1);
    assert_eq!((&first["total"]["down"], &first["incidents"]), (&Value::from(0), &Value::from(0)));
    // Twenty-five ticks' time: that there is one is all that counts.
    std::thread::sleep(std::time::Duration::from_millis(500));
    node.kill();

    let node = start(folder.path());
    let crashed = ledger(&node.http, 2);
    let down = crashed["total"]["down"].as_i64().unwrap();
    assert!(down > 0 && crashed["incidents"] == 1 && crashed["unobserved_stops"] == 1, "{crashed}");
    assert_eq!(crashed["total"]["planned_down"], 0);
    let started = node.http.events("subject=system/revenue-agent-system&type=tree.system_started.v1");
    assert!(started.iter().any(|event| event["data"]["down_since"].is_string()), "{started:?}");
    node.stop();

    let node = start(folder.path());
    let stopped = ledger(&node.http, 3);
    assert!(stopped["total"]["planned_down"].as_i64().unwrap() > 0, "{stopped}");
    assert_eq!((&stopped["total"]["down"], &stopped["incidents"]), (&Value::from(down), &Value::from(1)));
    node.stop();
}
