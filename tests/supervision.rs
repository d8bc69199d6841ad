//! Systems that misbehave, in a real node next to the real ones: what fails is parked, replaced or degraded, and the others go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tol_config::Config;
use tol_runtime::supervision::Registered;
use tree_of_life::node::testing::TestNode;

use crate::common::systems::{Behaviour, SEEN, TestSystem, registered};
use crate::common::{Http, order, wait};

const PARTITIONS: u32 = 2;

/// A node with small limits and these systems beside the real ones.
fn node(more: Vec<Registered>, change: impl FnOnce(&mut Config)) -> (TestNode, Http, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = test_config(&folder);
    change(&mut config);
    let node = TestNode::start(config, more).unwrap();
    let http = Http::new(node.url());
    http.wait_until_ready();
    (node, http, folder)
}

fn test_config(folder: &tempfile::TempDir) -> Config {
    let mut config = Config::default();
    config.node.data = folder.path().to_path_buf();
    config.http.listen = "127.0.0.1:0".to_owned();
    config.log.partitions = PARTITIONS;
    config.supervision.restart_limit = 3;
    config.supervision.backoff_initial_ms = 20;
    // A degraded system is not probed while a test looks.
    config.supervision.backoff_max_ms = 3_600_000;
    config
}

fn system(http: &Http, name: &str) -> Value {
    http.get(&format!("/systems/{name}")).ok()
}

fn wait_for_state(http: &Http, name: &str, state: &str) -> Value {
    wait(&format!("{name} to be {state}"), || Some(system(http, name)).filter(|system| system["state"] == state))
}

/// Publishes, and waits until the revenue agent's decisions about it are in the projection: it goes on as if nothing were.
fn publish_and_see_revenue(http: &Http, events: &[Value]) {
    let published = http.publish(events).ok();
    for (partition, position) in published["positions"].as_object().unwrap() {
        http.get(&format!("/projections/revenue?min_position={partition}:{position}")).ok();
    }
}

/// Order ids that `system` decided about, in the order of its log.
fn seen(http: &Http, system: &str, customer: &str) -> Vec<String> {
    let mut events = http.events(&format!("type={SEEN}&subject=customer/{customer}"));
    events.retain(|event| event["source"] == format!("/systems/{system}"));
    let position = |event: &Value| event["logposition"].as_str().unwrap().rsplit_once(':').unwrap().1.parse::<u64>().unwrap();
    events.sort_by_key(position);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["data"]["number"], json!(index + 1), "the state is the fold of what it wrote: {events:?}");
    }
    events.iter().map(|event| event["data"]["order_id"].as_str().unwrap().to_owned()).collect()
}

/// Types of what the hub wrote about a system.
fn hub_on(http: &Http, name: &str) -> Vec<String> {
    let events = http.events(&format!("subject=system/{name}&type=tree.*"));
    events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// Another customer of the same partition as `customer`, so that its events lie between the others.
fn neighbour_of(customer: &str) -> String {
    let partition = |customer: &str| tol_events::id::partition_of(&format!("customer/{customer}"), PARTITIONS);
    (0..).map(|number| format!("good-{number}")).find(|other| partition(other) == partition(customer)).unwrap()
}

#[test]
fn a_panic_parks_its_subject_in_order_and_a_redrive_heals_it() {
    let panics = Arc::new(Behaviour::default());
    let fails = Arc::new(Behaviour::default());
    panics.panics_on("customer/bad");
    fails.fails_to_start(true);
    let (node, http, _folder) = node(vec![registered("test-panicker", &panics), registered("test-neighbour", &fails)], |_| {});
    let good = neighbour_of("bad");
    let orders = [order("b1", "bad", 100), order("g1", &good, 10), order("b2", "bad", 200), order("g2", &good, 20), order("b3", "bad", 300)];
    publish_and_see_revenue(&http, &orders);
    let parked = wait("three parked inputs", || {
        let page = http.get("/dead-letters?system=test-panicker").ok();
        Some(page["items"].as_array().unwrap().clone()).filter(|items| items.len() == 3)
    });
    let about = |field: &str| parked.iter().map(|letter| letter[field].clone()).collect::<Vec<_>>();
    assert_eq!(about("event_id"), ["b1", "b2", "b3"]);
    assert_eq!(about("subject"), ["customer/bad"; 3]);
    assert_eq!(about("waiting"), [2, 1, 0]);
    assert!(parked[0]["error"].as_str().unwrap().contains("panicked: no luck with customer/bad"), "{parked:?}");
    assert!(parked[0]["attempts"].as_u64().unwrap() > 1 && parked[1]["attempts"] == 0, "{parked:?}");
    assert_eq!(parked[0]["type"], "commerce.order_placed.v1");

    // The other subject of the same partition, and the other systems, go on; the system itself never failed.
    wait("the other subject's decisions", || (seen(&http, "test-panicker", &good) == ["g1", "g2"]).then_some(()));
    assert_eq!(seen(&http, "test-panicker", "bad"), [""; 0]);
    let status = system(&http, "test-panicker");
    assert_eq!((&status["state"], &status["restarts"], &status["dead_letters"]), (&json!("running"), &json!(0), &json!(3)));
    let revenue = http.get("/projections/revenue/current%2FUSD").ok();
    assert_eq!(revenue["value"]["recognized"], json!({"minor": 630, "currency": "USD"}));

    // Not healed: a redrive says so, and nothing moves.
    let redrive = |index: usize| http.post(&format!("/dead-letters/{}/redrive", parked[index]["id"].as_str().unwrap()), &json!({}));
    let refused = redrive(0);
    assert_eq!((refused.status, refused.problem()), (409, "wrong-state"));
    assert_eq!(http.get("/dead-letters?system=test-panicker").ok()["items"].as_array().unwrap().len(), 3);

    // Healed: all of the subject, in its order, even with another system down.
    wait_for_state(&http, "test-neighbour", "degraded");
    panics.heal();
    let redriven = redrive(0).ok();
    assert_eq!((&redriven["redriven"], redriven["ids"].as_array().unwrap().len()), (&json!(3), 3));
    publish_and_see_revenue(&http, &[order("b4", "bad", 400)]);
    wait("the subject's decisions in order", || (seen(&http, "test-panicker", "bad") == ["b1", "b2", "b3", "b4"]).then_some(()));
    assert_eq!(http.get("/dead-letters?system=test-panicker").ok()["items"], json!([]));
    assert_eq!(redrive(0).status, 404);
    node.stop().unwrap();
}

#[test]
fn a_discarded_input_is_given_up_and_those_behind_it_are_not() {
    let behaviour = Arc::new(Behaviour::default());
    behaviour.panics_on("customer/bad");
    let (node, http, _folder) = node(vec![registered("test-discarder", &behaviour)], |_| {});
    publish_and_see_revenue(&http, &[order("d1", "bad", 1), order("d2", "bad", 2)]);
    let parked = wait("two parked inputs", || {
        let page = http.get("/dead-letters?system=test-discarder&subject=customer/bad").ok();
        Some(page["items"].as_array().unwrap().clone()).filter(|items| items.len() == 2)
    });
    let first = parked[0]["id"].as_str().unwrap();
    let given_up = http.post(&format!("/dead-letters/{first}/discard"), &json!({"reason": "sent by mistake"})).ok();
    assert_eq!(given_up["event_id"], "d1");
    behaviour.heal();
    let redriven = http.post("/dead-letters/redrive", &json!({"system": "test-discarder"})).ok();
    assert_eq!(redriven["redriven"], 1);
    wait("the decision on the second", || (seen(&http, "test-discarder", "bad") == ["d2"]).then_some(()));
    node.stop().unwrap();
}

#[test]
fn a_discard_releases_what_only_waited_behind_it_and_a_dead_letter_shows_its_input() {
    let behaviour = Arc::new(Behaviour::default());
    behaviour.panics_on("customer/bad");
    let (node, http, _folder) = node(vec![registered("test-releaser", &behaviour)], |_| {});
    publish_and_see_revenue(&http, &[order("r1", "bad", 1), order("r2", "bad", 2), order("r3", "bad", 3)]);
    let parked = wait("three parked inputs", || Some(letters(&http, "system=test-releaser")).filter(|letters| letters.len() == 3));
    let id = |index: usize| parked[index]["id"].as_str().unwrap();
    let shown = http.get(&format!("/dead-letters/{}", id(0))).ok();
    assert_eq!((&shown["event"]["id"], &shown["event"]["data"]["order_id"]), (&json!("r1"), &json!("r1")));
    assert_eq!((&shown["kind"], &shown["waiting"], &shown["error"]), (&json!("parked"), &json!(2), &parked[0]["error"]));
    assert_eq!(http.post(&format!("/dead-letters/{}/redrive", id(0)), &json!({"event": order("r1", "bad", 9)})).problem(), "wrong-state");

    // One from the middle: the others wait for the first, which failed.
    behaviour.heal();
    let middle = http.post(&format!("/dead-letters/{}/discard", id(1)), &json!({"reason": "twice"})).ok();
    assert_eq!((&middle["event_id"], middle.get("released")), (&json!("r2"), None));
    assert_eq!(letters(&http, "system=test-releaser").len(), 2);
    let first = http.post(&format!("/dead-letters/{}/discard", id(0)), &json!({"reason": "sent by mistake"})).ok();
    assert_eq!((&first["event_id"], &first["released"]), (&json!("r1"), &json!(1)));
    wait("the decision on what waited", || (seen(&http, "test-releaser", "bad") == ["r3"]).then_some(()));
    assert_eq!(letters(&http, "system=test-releaser"), Vec::<Value>::new());
    publish_and_see_revenue(&http, &[order("r4", "bad", 4)]);
    wait("later inputs", || (seen(&http, "test-releaser", "bad") == ["r3", "r4"]).then_some(()));
    node.stop().unwrap();
}

/// Dead letters of a system that match, up to 1,000.
fn letters(http: &Http, query: &str) -> Vec<Value> {
    http.get(&format!("/dead-letters?limit=1000&{query}")).ok()["items"].as_array().unwrap().clone()
}

#[test]
fn a_bulk_redrive_is_in_order_and_exactly_once_though_system_and_node_restart_meanwhile() {
    const NAME: &str = "test-bulk";
    let behaviour = Arc::new(Behaviour::default());
    behaviour.refuses(true);
    let once = |config: &mut Config| {
        config.systems.entry(NAME.to_owned()).or_default().retry_attempts = 1;
    };
    let (first, http, folder) = node(vec![registered(NAME, &behaviour)], once);
    // 20 customers with 15 orders each, in turn.
    let orders: Vec<Value> = (0..300).map(|number| order(&format!("o{number}"), &format!("c{}", number % 20), 1)).collect();
    publish_and_see_revenue(&http, &orders);
    let parked = wait("all to be parked", || Some(letters(&http, &format!("system={NAME}"))).filter(|letters| letters.len() == 300));
    assert!(parked.iter().all(|letter| letter["parked_at"].as_str() > letter["time"].as_str()), "parked when it was parked");
    // Each filter, and nothing is done by a dry run. What came behind follows; the error of the first says why.
    let ask = |http: &Http, body: Value| http.post("/dead-letters/redrive", &body).ok();
    assert_eq!(letters(&http, "error=no%20rate").len(), 20);
    for (filter, count) in [("error", "no rate for customer/c7"), ("subject", "customer/c7")].map(|filter| (filter, 15)) {
        let told = ask(&http, json!({"system": NAME, filter.0: filter.1, "dry_run": true}));
        assert_eq!((&told["redriven"], &told["dry_run"]), (&json!(count), &json!(true)), "{told}");
    }
    for nothing in [json!({"type": "billing.*"}), json!({"to": "2026-01-06T00:00:00Z"}), json!({"system": "revenue-agent-system"})] {
        assert_eq!(ask(&http, nothing)["selected"], 0);
    }
    assert_eq!(letters(&http, &format!("system={NAME}")).len(), 300);

    // Nothing is mended: one failure a subject, none tried twice, counted.
    let in_vain = ask(&http, json!({"system": NAME, "reason": "hope"}));
    assert_eq!((&in_vain["redriven"], in_vain["failed"].as_array().unwrap().len()), (&json!(0), 20), "{in_vain}");
    assert_eq!(behaviour.decided.load(Ordering::SeqCst), 40);
    // The index of events follows the log by itself.
    let failures = wait("the failure's event", || Some(http.events("type=tol.redrive_failed.v1&subject=customer/c7")).filter(|found| !found.is_empty()));
    assert_eq!((failures.len(), &failures[0]["data"]["by"], &failures[0]["data"]["reason"]), (1, &json!("local"), &json!("hope")));

    // Mended but for one customer. The system is restarted in the middle, and the redrive goes on.
    behaviour.refuses(false);
    behaviour.panics_on("customer/c3");
    behaviour.is_slow();
    let started = ask_for_202(&http, &json!({"system": NAME, "reason": "rates are there", "background": true}));
    wait("the redrive to be under way", || (behaviour.decided.load(Ordering::SeqCst) > 80).then_some(()));
    http.try_send("POST", &format!("/systems/{NAME}/restart"), &[], &[]).unwrap();
    let status = format!("/dead-letters/redrives/{}", started["id"].as_str().unwrap());
    let ended = wait("the redrive's end", || Some(http.get(&status).ok()).filter(|redrive| redrive["state"] != "running"));
    assert_eq!((&ended["state"], &ended["redriven"], ended["failed"].as_array().unwrap().len()), (&json!("done"), &json!(285), 1), "{ended}");
    let left = letters(&http, &format!("system={NAME}"));
    assert_eq!((left.len(), &left[0]["redrives"], &left[0]["subject"]), (15, &json!(2), &json!("customer/c3")));
    first.stop().unwrap();

    // The last is mended too, in a node that has nothing but the log. Every order was decided once, in its customer's order.
    behaviour.heal();
    let moved = tempfile::tempdir().unwrap();
    for part in ["log", "keys"] {
        let copied = std::process::Command::new("cp").arg("-r").args([folder.path().join(part), moved.path().join(part)]).status().unwrap();
        assert!(copied.success());
    }
    let mut config = test_config(&moved);
    once(&mut config);
    let second = TestNode::start(config, vec![registered(NAME, &behaviour)]).unwrap();
    let http = Http::new(second.url());
    http.wait_until_ready();
    wait_for_state(&http, NAME, "running");
    assert_eq!(wait("its dead letters", || letters(&http, &format!("system={NAME}")).first().cloned())["redrives"], 2);
    wait("the rest to go through", || (ask(&http, json!({"system": NAME}))["redriven"] == 15).then_some(()));
    publish_and_see_revenue(&http, &[order("last", "c3", 1)]);
    wait("the last order", || seen(&http, NAME, "c3").iter().any(|order| order == "last").then_some(()));
    for customer in 0..20 {
        let mut expected: Vec<String> = (0..15).map(|turn| format!("o{}", turn * 20 + customer)).collect();
        expected.extend((customer == 3).then(|| "last".to_owned()));
        assert_eq!(seen(&http, NAME, &format!("c{customer}")), expected);
    }
    assert_eq!(letters(&http, &format!("system={NAME}")).len(), 0);
    second.stop().unwrap();
}

fn ask_for_202(http: &Http, body: &Value) -> Value {
    let answer = http.post("/dead-letters/redrive", body);
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json
}

#[test]
fn dead_letters_of_a_degraded_system_are_listed() {
    const NAME: &str = "test-degraded";
    let behaviour = Arc::new(Behaviour::default());
    behaviour.panics_on("customer/bad");
    let (node, http, _folder) = node(vec![registered(NAME, &behaviour)], |_| {});
    publish_and_see_revenue(&http, &[order("d1", "bad", 1), order("d2", "bad", 2)]);
    wait("two parked inputs", || (letters(&http, &format!("system={NAME}")).len() == 2).then_some(()));
    behaviour.fails_to_start(true);
    http.try_send("POST", &format!("/systems/{NAME}/restart"), &[], &[]).unwrap();
    let status = wait_for_state(&http, NAME, "degraded");
    assert_eq!(status["dead_letters"], 2);
    assert_eq!(letters(&http, &format!("system={NAME}")).len(), 2);
    // It cannot decide them, and says so at once.
    let refused = http.post("/dead-letters/redrive", &json!({"system": NAME})).ok();
    assert!(refused["state"] == "failed" && refused["problem"].as_str().unwrap().contains("does not answer"), "{refused}");
    node.stop().unwrap();
}

#[test]
fn a_system_that_does_not_start_is_tried_with_backoff_and_ends_degraded() {
    let refuses = Arc::new(Behaviour::default());
    let panics = Arc::new(Behaviour::default());
    refuses.fails_to_start(true);
    panics.panics_at_start(true);
    let (node, http, _folder) = node(vec![registered("test-refuses", &refuses), registered("test-explodes", &panics)], |_| {});
    for (name, behaviour, said) in [("test-refuses", &refuses, "it did not start: no disk"), ("test-explodes", &panics, "its constructor panicked: no memory")]
    {
        let status = wait_for_state(&http, name, "degraded");
        assert!(status["reason"].as_str().unwrap().contains(said), "{status}");
        // As often as the limit says, then the circuit is open.
        assert_eq!(behaviour.starts.load(Ordering::SeqCst), 3, "{name}");
        wait("the hub's record of it", || (hub_on(&http, name).last().map(String::as_str) == Some("tree.system_degraded.v1")).then_some(()));
        assert_eq!(hub_on(&http, name).iter().filter(|event_type| *event_type == "tree.system_failed.v1").count(), 3);
    }
    // The others notice nothing.
    publish_and_see_revenue(&http, &[order("o1", "ann", 700)]);
    let systems = http.get("/systems").ok();
    let others = ["tree-of-life-system", "revenue-agent-system", "intelligent-ci-cd-orchestrator", "enterprise-feature-flag-system", "flag-attribution"];
    for name in others {
        let status = systems.as_array().unwrap().iter().find(|system| system["name"] == name).unwrap();
        assert_eq!((&status["state"], &status["restarts"]), (&json!("running"), &json!(0)), "{status}");
    }
    let metrics = http.get("/metrics").text;
    assert!(metrics.contains("tol_system_state{system=\"test-refuses\"} 3"), "{metrics}");

    // Mended, an operator starts it: it decides what it missed.
    refuses.fails_to_start(false);
    http.try_send("POST", "/systems/test-refuses/restart", &[], &[]).unwrap();
    wait_for_state(&http, "test-refuses", "running");
    wait("what it missed", || (seen(&http, "test-refuses", "ann") == ["o1"]).then_some(()));
    node.stop().unwrap();
}

#[test]
fn a_constructor_that_hangs_is_given_up_and_keeps_nobody_from_starting() {
    let behaviour = Arc::new(Behaviour::default());
    behaviour.hangs_at_start(true);
    // Before the others in the root's order.
    let (node, http, _folder) = node(vec![registered("a-test-hangs-at-start", &behaviour)], |config| {
        config.supervision.hung_after_ms = 1_500;
        config.supervision.max_abandoned = 2;
    });
    publish_and_see_revenue(&http, &[order("o1", "ann", 700)]);
    let status = wait_for_state(&http, "a-test-hangs-at-start", "degraded");
    assert_eq!((&status["abandoned_threads"], behaviour.starts.load(Ordering::SeqCst)), (&json!(2), 2), "{status}");
    assert!(status["reason"].as_str().unwrap().contains("its constructor did not return"), "{status}");
    for name in ["tree-of-life-system", "revenue-agent-system"] {
        assert_eq!((&system(&http, name)["state"], &system(&http, name)["restarts"]), (&json!("running"), &json!(0)));
    }
    // The threads left behind return, and take nothing from the one that is started anew.
    behaviour.hangs_at_start(false);
    http.try_send("POST", "/systems/a-test-hangs-at-start/restart", &[], &[]).unwrap();
    wait_for_state(&http, "a-test-hangs-at-start", "running");
    behaviour.release();
    publish_and_see_revenue(&http, &[order("o2", "ann", 700)]);
    wait("its decisions", || (seen(&http, "a-test-hangs-at-start", "ann") == ["o1", "o2"]).then_some(()));
    assert_eq!(system(&http, "a-test-hangs-at-start")["state"], "running");
    node.stop().unwrap();
}

#[test]
fn a_system_that_hangs_is_replaced_and_ends_degraded_while_the_others_go_on() {
    let behaviour = Arc::new(Behaviour::default());
    behaviour.hangs_on("customer/stuck");
    let (node, http, _folder) = node(vec![registered("test-hanger", &behaviour)], |config| {
        config.supervision.hung_after_ms = 1_500;
        config.supervision.max_abandoned = 2;
    });
    publish_and_see_revenue(&http, &[order("h0", "stuck-not", 1), order("h1", "stuck", 100)]);
    // As it hangs, is replaced and hangs again, the revenue agent decides.
    let mut number = 0;
    let status = wait("the hanger to be degraded", || {
        number += 1;
        publish_and_see_revenue(&http, &[order(&format!("r{number}"), "ann", 10)]);
        Some(system(&http, "test-hanger")).filter(|status| status["state"] == "degraded")
    });
    assert_eq!(status["abandoned_threads"], 2, "{status}");
    assert!(status["reason"].as_str().unwrap().contains("no sign of life"), "{status}");
    assert_eq!(behaviour.hung.load(Ordering::SeqCst), 2, "no thread more is risked");
    wait("the hub's record of it", || {
        let events = hub_on(&http, "test-hanger");
        let has = |event_type: &str| events.iter().any(|one| one == event_type);
        (has("tree.system_restarted.v1") && has("tree.system_degraded.v1")).then_some(())
    });
    let restarts = http.events("subject=system/test-hanger&type=tree.system_restarted.v1");
    assert!(restarts.iter().all(|restart| restart["data"]["backoff_ms"].as_u64() > Some(0)), "{restarts:?}");
    assert!(node.is_running() && http.get("/livez").status == 200 && http.get("/readyz").status == 200);
    let revenue = http.get("/projections/revenue/current%2FUSD").ok();
    assert_eq!(revenue["value"]["recognized"]["minor"], json!(101 + 10 * number));

    // Mended and started by an operator, it decides; the threads left behind wake up and change nothing (E10).
    behaviour.heal();
    http.try_send("POST", "/systems/test-hanger/restart", &[], &[]).unwrap();
    wait_for_state(&http, "test-hanger", "running");
    wait("its decision", || (seen(&http, "test-hanger", "stuck") == ["h1"]).then_some(()));
    behaviour.release();
    wait("the end of the threads left behind", || (behaviour.hanging.load(Ordering::SeqCst) == 0).then_some(()));
    publish_and_see_revenue(&http, &[order("h2", "stuck", 5)]);
    wait("what comes after", || (seen(&http, "test-hanger", "stuck") == ["h1", "h2"]).then_some(()));
    assert_eq!(system(&http, "test-hanger")["state"], "running");
    node.stop().unwrap();
}

#[test]
fn the_test_system_itself_keeps_the_contract() {
    let system = tol_system::erase(TestSystem { name: "test-plain", behaviour: Arc::new(Behaviour::default()) });
    tol_system::contract::check(&system).unwrap();
}
