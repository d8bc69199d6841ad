//! Several nodes on one Apache Kafka: partitions are shared and move, and whatever a node is asked for reaches the owner.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tol_config::{ApiKey, Config, Secret, generate_key, hash_key, scope};
use tree_of_life::node::testing::TestNode;

use crate::broker::Broker;
use crate::common::systems::{Behaviour, registered};
use crate::common::{Http, event, order, wait};

const PARTITIONS: u32 = 4;
const SYSTEM: &str = "test-panicker";

struct Member {
    node: TestNode,
    http: Http,
    _folder: tempfile::TempDir,
}

fn member(kafka: &str, name: &str, behaviour: &Arc<Behaviour>, change: impl FnOnce(&mut Config)) -> Member {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.node.data = folder.path().to_path_buf();
    config.node.name = name.to_owned();
    config.http.listen = "127.0.0.1:0".to_owned();
    config.log.partitions = PARTITIONS;
    config.log.kafka.bootstrap = Some(kafka.to_owned());
    change(&mut config);
    let node = TestNode::start(config, vec![registered(SYSTEM, behaviour)]).unwrap();
    let http = Http::new(node.url());
    http.wait_until_ready();
    Member { node, http, _folder: folder }
}

/// Partitions whose owner of the test's system runs here.
fn owned(http: &Http) -> BTreeSet<u64> {
    let system = http.get(&format!("/systems/{SYSTEM}")).ok();
    let partitions = system["partitions"].as_array().unwrap().iter();
    partitions.filter(|partition| partition["phase"] == "active").map(|partition| partition["partition"].as_u64().unwrap()).collect()
}

/// Waits until these nodes own all partitions, each one some, none two.
fn shared(nodes: &[&Member]) -> Vec<BTreeSet<u64>> {
    wait("partitions shared out", || {
        let all: Vec<BTreeSet<u64>> = nodes.iter().map(|node| owned(&node.http)).collect();
        let whole: BTreeSet<u64> = all.iter().flatten().copied().collect();
        let count: usize = all.iter().map(BTreeSet::len).sum();
        (whole.len() == PARTITIONS as usize && count == PARTITIONS as usize && all.iter().all(|own| !own.is_empty())).then_some(all)
    })
}

fn partition(customer: &str) -> u64 {
    tol_events::id::partition_of(&format!("customer/{customer}"), PARTITIONS).into()
}

/// A customer in one of these partitions.
fn customer_in(partitions: &BTreeSet<u64>) -> String {
    (0..).map(|number| format!("c{number}")).find(|customer| partitions.contains(&partition(customer))).unwrap()
}

fn orders(prefix: &str, count: usize) -> Vec<Value> {
    (0..count).map(|number| order(&format!("{prefix}-{number}"), &format!("{number}"), 100)).collect()
}

#[test]
fn a_node_passes_on_what_another_owns_and_partitions_move_with_the_nodes() {
    let Some(broker) = Broker::start() else { return };
    let behaviour = Arc::new(Behaviour::default());
    let a = member(&broker.address(), "a", &behaviour, |_| {});
    assert_eq!(a.http.publish(&orders("alone", 40)).ok()["accepted"], 40);
    let b = member(&broker.address(), "b", &behaviour, |_| {});
    let owned_by = shared(&[&a, &b]);

    // A batch for both owners is one answer; what it says holds on either node.
    let published = a.http.publish(&orders("both", 40)).ok();
    assert_eq!((&published["accepted"], &published["duplicates"]), (&json!(40), &json!(0)));
    let again = b.http.publish(&orders("both", 40)).ok();
    assert_eq!((&again["accepted"], &again["duplicates"], &again["positions"]), (&json!(0), &json!(40), &published["positions"]));
    let positions: String = published["positions"].as_object().unwrap().iter().map(|(place, position)| format!("&min_position={place}:{position}")).collect();
    for node in [&a, &b] {
        let row = node.http.get(&format!("/projections/customers/0?{}", &positions[1..])).ok();
        assert_eq!(row["value"]["orders"], 2);
        // The revenue projection is folded from decisions, whose positions only the owner of each partition knows.
        let revenue = node.http.get(&format!("/projections/revenue/current%2FUSD?timeout_ms=20000{positions}")).ok();
        assert_eq!(revenue["value"]["recognized"]["minor"], 8_000);
    }

    // A conflict in another owner's part names the event by its place in the request. The parts of other owners are stored, and a
    // repeat with a new id finds them.
    let (mine, theirs) = (customer_in(&owned_by[0]), customer_in(&owned_by[1]));
    a.http.publish(&[order("taken", &theirs, 100)]).ok();
    let batch = [order("fine", &mine, 100), order("fine too", &theirs, 100), order("taken", &theirs, 999)];
    let conflict = a.http.publish(&batch);
    assert_eq!((conflict.problem(), &conflict.json["index"], &conflict.json["id"]), ("id-conflict", &json!(2), &json!("taken")));
    let mended = a.http.publish(&[batch[0].clone(), batch[1].clone(), order("taken 2", &theirs, 999)]).ok();
    assert_eq!((&mended["accepted"], &mended["duplicates"]), (&json!(2), &json!(1)), "the own part was stored with the refused request");
    // A wrong event refuses the request before any part is stored.
    let wrong = [order("unstored", &mine, 100), event("wrong", "commerce.order_placed.v1", &format!("customer/{theirs}"), "2026-01-05T10:00:00Z", json!({}))];
    assert_eq!(a.http.publish(&wrong).problem(), "invalid-data");
    assert_eq!(a.http.publish(&wrong[..1]).ok()["accepted"], 1);

    // What was asked for by a node is not passed on again, and does nothing where it does not belong.
    let ask = json!({"facts": [{"event": order("astray", &theirs, 100)}]});
    assert_eq!(a.http.post("/nodes/ask", &ask).problem(), "not-owner");
    assert_eq!(b.http.post("/nodes/ask", &ask).ok()["accepted"], 1);

    operators_reach_the_owner(&a, &b, &behaviour, &theirs);

    // A third node takes its share; the owners of what moves have changed, the answers have not.
    let place = |order: &str| format!("/systems/{SYSTEM}/{order}");
    let state = |node: &Member| node.http.get(&format!("/systems/{SYSTEM}")).ok()["state"].clone();
    a.http.post(&place("pause"), &json!({})).ok();
    let c = member(&broker.address(), "c", &behaviour, |_| {});
    shared(&[&a, &b, &c]);
    wait("the node that started later to know of the pause", || (state(&c) == "paused").then_some(()));
    c.http.post(&place("resume"), &json!({})).ok();
    assert_eq!([&a, &b, &c].map(state), ["running", "running", "running"]);
    for (number, node) in [&a, &b, &c].into_iter().enumerate() {
        assert_eq!(node.http.publish(&orders(&format!("three-{number}"), 40)).ok()["accepted"], 40);
        assert_eq!(node.http.publish(&orders("both", 40)).ok()["duplicates"], 40);
    }
    for node in [&a, &b, &c] {
        node.http.settled();
    }
    let digests = |projection| [&a, &b, &c].map(|node| node.http.digest(projection));
    for projection in ["customers", "revenue"] {
        let [first, second, third] = digests(projection);
        assert_eq!((&first, &first), (&second, &third), "{projection}");
    }
    // One that leaves gives its share back at once.
    b.node.stop().unwrap();
    shared(&[&a, &c]);
    assert_eq!(c.http.publish(&orders("two", 40)).ok()["accepted"], 40);
    // What another node stored is found here once it was read here.
    let all = 40 + 40 + 4 + 1 + 1 + 6 + 120 + 40;
    let stored = wait("all orders", || Some(a.http.events("type=commerce.order_placed.v1")).filter(|stored| stored.len() >= all));
    let ids: BTreeSet<&str> = stored.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), stored.len(), "nothing is stored twice");
    assert_eq!(ids.len(), all);
}

/// Dead letters, orders and the emergency stop, asked of a node that is not the owner.
fn operators_reach_the_owner(a: &Member, b: &Member, behaviour: &Behaviour, theirs: &str) {
    // What was published before is decided before: else it would be parked with the rest.
    b.http.settled();
    behaviour.panics_on(&format!("customer/{theirs}"));
    a.http.publish(&[order("poison-1", theirs, 100), order("poison-2", theirs, 100)]).ok();
    let parked = |http: &Http, count: usize| {
        wait(&format!("{count} dead letters"), || {
            let page = http.get(&format!("/dead-letters?system={SYSTEM}")).ok();
            Some(page["items"].as_array().unwrap().clone()).filter(|items| items.len() == count)
        })
    };
    let letters = parked(&a.http, 2);
    behaviour.heal();
    let id = letters[1]["id"].as_str().unwrap();
    let discarded = a.http.post(&format!("/dead-letters/{id}/discard"), &json!({"reason": "sent by mistake"})).ok();
    assert_eq!(discarded["event_id"], "poison-2");
    let left = parked(&a.http, 1);
    let redriven = a.http.post(&format!("/dead-letters/{}/redrive", left[0]["id"].as_str().unwrap()), &json!({})).ok();
    assert_eq!(redriven["redriven"], 1);
    parked(&a.http, 0);
    parked(&b.http, 0);

    behaviour.panics_on(&format!("customer/{theirs}"));
    a.http.publish(&[order("poison-3", theirs, 100), order("poison-4", theirs, 100)]).ok();
    parked(&a.http, 2);
    behaviour.heal();
    let selection = json!({"system": SYSTEM, "dry_run": true});
    assert_eq!(a.http.post("/dead-letters/redrive", &selection).ok()["redriven"], 2);
    let redriven = a.http.post("/dead-letters/redrive", &json!({"system": SYSTEM})).ok();
    assert_eq!((&redriven["state"], &redriven["redriven"], &redriven["selected"]), (&json!("done"), &json!(2), &json!(2)), "{redriven}");
    parked(&b.http, 0);

    // In the background: the node that was asked tells how far all are, the owner knows its part by the same id.
    behaviour.panics_on(&format!("customer/{theirs}"));
    a.http.publish(&[order("poison-5", theirs, 100), order("poison-6", theirs, 100)]).ok();
    parked(&a.http, 2);
    behaviour.heal();
    let begun = a.http.post("/dead-letters/redrive", &json!({"system": SYSTEM, "background": true}));
    assert!(matches!(begun.status, 200 | 202), "{}", begun.text);
    let place = format!("/dead-letters/redrives/{}", begun.json["id"].as_str().unwrap());
    let ended = wait("the redrive to end", || Some(a.http.get(&place).ok()).filter(|status| status["state"] == "done"));
    assert_eq!((&ended["redriven"], &ended["selected"]), (&json!(2), &json!(2)), "{ended}");
    assert_eq!(b.http.get(&place).ok()["redriven"], 2);
    parked(&b.http, 0);

    // Every node folds all partitions, so it answers about subjects of others as well.
    let asked = format!("/systems/revenue-agent-system/queries/mrr?subject=customer/{theirs}");
    wait("the same answer on both nodes", || (a.http.get(&asked).ok() == b.http.get(&asked).ok()).then_some(()));
    assert_eq!(a.http.get("/systems/revenue-agent-system/queries/nothing?subject=customer/1").status, 404);

    let state = |http: &Http| http.get(&format!("/systems/{SYSTEM}")).ok()["state"].clone();
    a.http.post(&format!("/systems/{SYSTEM}/pause"), &json!({})).ok();
    assert_eq!((state(&a.http), state(&b.http)), (json!("paused"), json!("paused")));
    assert_eq!(a.http.post(&format!("/systems/{SYSTEM}/pause"), &json!({})).status, 409);
    b.http.post(&format!("/systems/{SYSTEM}/resume"), &json!({})).ok();
    assert_eq!((state(&a.http), state(&b.http)), (json!("running"), json!("running")));

    let stop = a.http.post("/emergency-stop", &json!({"reason": "drill"})).ok();
    assert_eq!(stop["confirmed"].as_array().unwrap().len(), 2, "{stop}");
    assert_eq!(b.http.get("/emergency-stop").ok()["engaged"], true);
    b.http.post("/emergency-stop/release", &json!({"reason": "over"})).ok();
    wait("the release on both nodes", || [a, b].iter().all(|node| node.http.get("/emergency-stop").ok()["engaged"] == false).then_some(()));
}

#[test]
fn nodes_with_keys_take_only_the_node_key_from_each_other() {
    let Some(broker) = Broker::start() else { return };
    let behaviour = Arc::new(Behaviour::default());
    let (node_key, publisher) = (generate_key().unwrap(), generate_key().unwrap());
    let keyed = |with: Option<Secret>| {
        let api_keys = vec![
            ApiKey::new("nodes", hash_key(node_key.expose()), &[scope::NODE]),
            ApiKey::new("shop", hash_key(publisher.expose()), &[scope::PUBLISH, scope::READ]),
        ];
        move |config: &mut Config| {
            config.security.api_keys = api_keys;
            config.security.node_key = with;
        }
    };
    let with_key = |node: &Member| {
        let (url, key) = (node.http.url.clone(), publisher.expose().to_owned());
        move |events: &[Value]| {
            let http = Http::new(&url);
            let headers = [("content-type", "application/cloudevents-batch+json"), ("x-api-key", key.as_str())];
            http.try_send("POST", "/events", &headers, json!(events).to_string().as_bytes()).unwrap()
        }
    };
    let a = member(&broker.address(), "a", &behaviour, keyed(Some(node_key.clone())));
    let b = member(&broker.address(), "b", &behaviour, keyed(None));
    // b has no key for the others: what it would have to pass on is refused with the reason.
    let refused = wait("b to own a part", || {
        let answer = with_key(&b)(&orders("first", 40));
        (answer.status == 503 && answer.text.contains("security.node_key")).then_some(answer)
    });
    assert_eq!(refused.problem(), "unavailable");
    let published = with_key(&a)(&orders("first", 40)).ok();
    assert_eq!(published["accepted"].as_u64().unwrap() + published["duplicates"].as_u64().unwrap(), 40);
    let stranger = a.http.try_send("POST", "/nodes/ask", &[("x-api-key", publisher.expose())], br#"{"facts":[]}"#).unwrap();
    assert_eq!(stranger.problem(), "missing-scope");
}
