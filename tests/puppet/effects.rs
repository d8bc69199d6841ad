//! Effects of minutes: cancelled by the emergency stop and run again, killed with the node, done once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::NodeProcess;
use super::system::ENDED;
use super::{asking, config, events, start};
use crate::common::{Http, wait};

/// The effect that runs with a child process, and the numbers of its processes.
fn working(http: &Http) -> (Value, Vec<u32>) {
    wait("the child process", || {
        let effects = http.get("/effects").ok();
        let effect = effects.as_array()?.iter().find(|effect| effect["state"] == "running" && effect["progress"] == 0.5)?.clone();
        let pids: Vec<u32> = effect["text"].as_str()?.split(' ').map(|pid| pid.parse().unwrap()).collect();
        Some((effect, pids))
    })
}

/// Whether a process is there; one that ended and was not waited for is not.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn gone(pids: &[u32]) -> bool {
    !pids.iter().any(|pid| lives(*pid))
}

#[test]
fn a_stop_kills_the_child_in_two_seconds_and_the_effect_runs_again_once_with_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let until = folder.path().join("until");
    let (node, http) = start(config(folder.path(), &json!({})));
    http.publish(&[asking("work", "customer/1", "puppet.work", json!({"until": until}))]).ok();
    let (effect, pids) = working(&http);
    assert_eq!((&effect["system"], &effect["runner"], &effect["attempt"]), (&json!("puppet-system"), &json!("puppet.work"), &json!(1)));
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
    // Beside it one that a stop does not cancel.
    http.publish(&[asking("short", "customer/2", "puppet.short", json!({"note": "to its end", "wait_ms": 1_000}))]).ok();
    wait("the short one to run", || http.get("/effects").ok().as_array()?.iter().find(|effect| effect["text"] == "begun").map(drop));

    let asked = Instant::now();
    http.post("/emergency-stop", &json!({"reason": "fire"})).ok();
    wait("the end of the processes", || gone(&pids).then_some(()));
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let waiting = wait("the effect to wait", || {
        http.get("/effects").ok().as_array()?.iter().find(|other| other["key"] == effect["key"] && other["state"] == "waiting").cloned()
    });
    assert_eq!(waiting["attempt"], 1, "a try that was cancelled does not count");
    std::thread::sleep(Duration::from_millis(300));
    assert!(http.events(&format!("type={ENDED}")).is_empty(), "nothing is decided during a stop");

    http.post("/emergency-stop/release", &json!({"reason": "it is out"})).ok();
    let (again, others) = working(&http);
    assert_eq!(again["key"], effect["key"]);
    assert!(others.iter().all(|pid| !pids.contains(pid)));
    std::fs::write(&until, "").unwrap();
    let ended = events(&http, ENDED, 2);
    http.settled();
    assert_eq!(http.events(&format!("type={ENDED}")).len(), 2, "each ends once");
    let answer = |subject: &str| ended.iter().find(|event| event["subject"] == subject).map(|event| event["data"].clone());
    assert_eq!(answer("customer/1"), Some(json!({"key": effect["key"], "answer": {"output": "done"}})));
    assert_eq!(answer("customer/2").unwrap()["answer"], json!({"note": "to its end"}));
    assert!(gone(&others));
    assert_eq!(http.get("/effects").ok(), json!([]));
    node.stop().unwrap();
}

#[test]
fn a_killed_node_leaves_no_process_behind_and_its_effect_runs_again_after_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (data, until) = (folder.path().join("data"), folder.path().join("until"));
    let first = NodeProcess::start(&data, &json!({}));
    first.http.publish(&[asking("work", "customer/1", "puppet.work", json!({"until": until}))]).ok();
    let (effect, pids) = working(&first.http);
    assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
    first.kill();
    wait("the end of what the node left", || gone(&pids).then_some(()));

    let second = NodeProcess::start(&data, &json!({}));
    let (again, others) = working(&second.http);
    assert_eq!((&again["key"], &again["attempt"]), (&effect["key"], &json!(1)));
    std::fs::write(&until, "").unwrap();
    let ended = events(&second.http, ENDED, 1);
    second.http.settled();
    assert_eq!(second.http.events(&format!("type={ENDED}")).len(), 1);
    assert_eq!(ended[0]["data"], json!({"key": effect["key"], "answer": {"output": "done"}}));
    wait("the end of the second child", || gone(&others).then_some(()));
    second.kill();
}
