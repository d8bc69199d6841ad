//! Facts as they really come: what cannot be meant is refused, what is odd is told, what is late, early or told twice counts as if it had come in order.

use serde_json::{Value, json};

use crate::common::{Answer, Http, Node, event, run, wait};

fn delivery(id: &str, service: &str, what: &str, time: &str, more: Value) -> Value {
    let mut data = json!({"service": service, "environment": "production"});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event(id, &format!("delivery.{what}.v1"), &format!("service/{service}"), time, data)
}

fn finished(id: &str, service: &str, deployment: &str, time: &str, outcome: &str) -> Value {
    let data = json!({"deployment_id": deployment, "version": deployment, "outcome": outcome, "started_at": time, "finished_at": time});
    delivery(id, service, "deployment_finished", time, data)
}

fn payment(id: &str, minor: i64, currency: &str) -> Value {
    let data = json!({"payment_id": id, "customer_id": "ann", "amount": {"minor": minor, "currency": currency}});
    event(id, "billing.payment_succeeded.v1", "customer/ann", "2026-01-05T10:00:00Z", data)
}

fn warnings(answer: Answer) -> Vec<(String, u64, u64, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |warning: &Value| (text(&warning["kind"]), warning["index"].as_u64().unwrap(), warning["events"].as_u64().unwrap(), text(&warning["detail"]));
    answer.ok()["warnings"].as_array().into_iter().flatten().map(of).collect()
}

/// The row of a service in production, once it holds all that was published.
fn row(http: &Http, service: &str) -> Value {
    http.settled();
    http.get(&format!("/projections/deployments/{service}%2Fproduction")).ok()["value"].clone()
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let misspelt = |event_type: &str| event("m", event_type, "customer/ann", "2026-01-05T10:00:00Z", json!({}));
    let mut spaced = finished("s", "web", "d1", "2026-01-05T10:00:00Z", "succeeded");
    spaced["data"]["environment"] = "production ".into();
    let bad = [
        (misspelt("commerce.order_palced.v1"), "unknown-type", "did you mean commerce.order_placed.v1?"),
        (misspelt("commerce.order_placed"), "unknown-type", "did you mean commerce.order_placed.v1?"),
        (payment("p1", i64::MAX, "USD"), "invalid-data", "amount.minor is 9223372036854775807; an amount is at most 1000000000000.00 USD"),
        (payment("p2", 100, "UDS"), "invalid-data", "amount.currency is UDS, which ISO 4217 does not have"),
        (spaced, "invalid-data", "environment is"),
    ];
    for (fact, kind, expected) in &bad {
        let answer = http.publish(&[payment("good", 100, "USD"), fact.clone()]);
        assert_eq!((answer.status, answer.problem(), &answer.json["index"]), (422, *kind, &json!(1)), "{}", answer.text);
        assert!(answer.json["detail"].as_str().unwrap().contains(expected), "{}", answer.text);
    }
    assert_eq!(http.events("subject=customer/ann"), [] as [Value; 0], "nothing of a refused request is stored");
    // An import is told the same, with the line.
    let file = folder.path().join("payments.csv");
    std::fs::write(&file, "id,amount\np1,10.00\np2,92233720368547758.07\n").unwrap();
    let mapping = ["--field", "payment_id={id}", "--field", "customer_id=ann", "--field", "amount:money:USD={amount}", "--id", "{id}"];
    let state = folder.path().join("state");
    let mut arguments =
        vec!["--url", &http.url, "import", file.to_str().unwrap(), "--source", "/bank", "--subject", "customer/ann", "--state", state.to_str().unwrap()];
    arguments.extend(["--type", "billing.payment_succeeded.v1"].into_iter().chain(mapping));
    let output = run(&arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("line 3") && said.contains("an amount is at most"), "{said}");
    node.stop();
}

#[test]
fn what_is_odd_is_accepted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let odd = |id: &str| {
        let mut fact = payment(id, 100, "USD");
        fact["data"]["colour"] = "red".into();
        fact
    };
    let shipped = event("s1", "commerce.order_shipped.v1", "customer/ann", "2026-01-05T10:00:00Z", json!({}));
    let told = warnings(http.publish(&[payment("p1", 1, "USD"), odd("p2"), shipped, odd("p3")]));
    let expected = [("unknown-field", 1, 2, "has no field \"colour\""), ("unknown-type", 2, 1, "commerce.order_shipped.v1 is not a type")];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((kind, index, events, detail), expected) in told.iter().zip(expected) {
        assert_eq!((kind.as_str(), *index, *events), (expected.0, expected.1, expected.2));
        assert!(detail.contains(expected.3), "{detail}");
    }
    assert_eq!(http.publish(&[payment("p4", 1, "USD")]).ok().get("warnings"), None, "nothing is odd about it");
    assert_eq!(warnings(http.publish(&[event("o1", "shop.cart_opened.v1", "customer/ann", "2026-01-05T10:00:00Z", json!({}))])), []);

    // Another spelling of an environment, in one request, in the next, and after a restart.
    let spelt = |id: &str, environment: &str| {
        let mut fact = finished(id, "web", id, "2026-01-05T10:00:00Z", "succeeded");
        fact["data"]["environment"] = environment.into();
        fact
    };
    let told = warnings(http.publish(&[spelt("d1", "production"), spelt("d2", "Production"), spelt("d3", "staging")]));
    assert!(
        matches!(&told[..], [(kind, 1, 1, detail)] if kind == "spelling" && detail.contains("has the environment \"production\"; \"Production\" is another")),
        "{told:?}"
    );
    assert_eq!(warnings(http.publish(&[spelt("d4", "prod")])).len(), 1);
    assert_eq!(warnings(http.publish(&[spelt("d5", "production"), spelt("d6", "staging")])), []);
    http.settled();
    let text = http.get("/metrics").text;
    assert!(text.contains("tol_facts_warned_total{kind=\"unknown-field\"} 2") && text.contains("tol_facts_warned_total{kind=\"spelling\"} 2"), "{text}");
    node.stop();

    let node = Node::ready(folder.path());
    assert_eq!(warnings(node.http.publish(&[spelt("d7", "PRODUCTION"), spelt("d8", "production")])).len(), 1);
    // The command line tells the line.
    let lines = folder.path().join("facts.jsonl");
    std::fs::write(&lines, format!("{}\n{}\n", payment("l1", 1, "USD"), odd("l2"))).unwrap();
    let output = run(&["--url", &node.http.url, "--output", "json", "publish", lines.to_str().unwrap()]);
    let (said, printed) = (String::from_utf8_lossy(&output.stderr), serde_json::from_slice::<Value>(&output.stdout).unwrap());
    assert!(output.status.success() && said.contains("warning: line 2: ") && printed["warnings"][0]["line"] == 2, "{said} {printed}");
    node.stop();
}

#[test]
fn late_facts_are_counted_by_source() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let from = |mut fact: Value, source: &str| {
        fact["source"] = source.into();
        fact
    };
    let at = |id: &str, time: &str, source: &str| from(finished(id, "web", id, time, "succeeded"), source);
    let ahead = at("f", "2999-01-01T00:00:00Z", "/planner");
    node.http.publish(&[ahead, at("a", "2026-01-05T10:00:00Z", "/ci"), at("b", "2026-01-05T09:00:00Z", "/ci")]).ok();
    node.http.publish(&[at("c", "2026-01-05T09:30:00Z", "/nightly"), at("b", "2026-01-05T09:00:00Z", "/ci")]).ok();
    node.http.publish(&[from(finished("d", "api", "d", "2026-01-05T08:00:00Z", "succeeded"), "/ci")]).ok();
    let text = node.http.get("/metrics").text;
    for expected in ["tol_facts_late_total{source=\"/ci\"} 1", "tol_facts_late_total{source=\"/nightly\"} 1"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("source=\"/planner\""), "{text}");
    node.stop();
}

#[test]
fn deployments_do_not_depend_on_the_order_of_arrival() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let day = "2026-01-05";
    let at = |time: &str| format!("{day}T{time}:00Z");
    let opened = |id: &str, service: &str, time: &str| delivery(id, service, "incident_opened", &at(time), json!({"incident_id": id, "opened_at": at(time)}));
    let resolved = delivery("r3", "three", "incident_resolved", &at("11:00"), json!({"incident_id": "i3", "resolved_at": at("11:00")}));
    let back = delivery("b2", "two", "deployment_rolled_back", &at("10:30"), json!({"deployment_id": "d2", "version": "d2", "rolled_back_at": at("10:30")}));
    let start = json!({"deployment_id": "d4", "version": "d4", "started_at": at("09:55"), "committed_at": at("08:00")});
    let steps = [
        opened("i1", "one", "10:05"),
        finished("f1", "one", "d1", &at("10:00"), "succeeded"),
        back,
        finished("f2", "two", "d2", &at("10:00"), "succeeded"),
        resolved,
        opened("i3", "three", "10:05"),
        finished("f4", "four", "d4", &at("10:00"), "succeeded"),
        delivery("s4", "four", "deployment_started", &at("09:55"), start),
        // Told by the webhook, by the nightly import, and then corrected.
        finished("f5", "five", "d5", &at("10:00"), "succeeded"),
        finished("n5", "five", "d5", &at("10:00"), "succeeded"),
        delivery(
            "c5",
            "five",
            "deployment_finished",
            &at("12:00"),
            json!({"deployment_id": "d5", "version": "d5", "outcome": "failed", "started_at": at("10:00"), "finished_at": at("10:00")}),
        ),
    ];
    for step in steps {
        http.publish(&[step]).ok();
    }
    let check = |when: &str| {
        let all = |service: &str, field: &str| row(http, service)["windows"]["all"][field].clone();
        assert_eq!(all("one", "change_failure_rate"), json!(1.0), "{when}");
        assert_eq!(all("two", "change_failure_rate"), json!(1.0), "{when}");
        assert_eq!((row(http, "three")["open_incidents"].clone(), all("three", "time_to_restore_seconds")), (json!(0), json!(3_300)), "{when}");
        assert_eq!(all("four", "lead_time_seconds"), json!(7_200), "{when}");
        assert_eq!((all("five", "deployments"), all("five", "failed")), (json!(1), json!(1)), "{when}");
        // As of that evening the window of 30 days holds what the present one has left behind.
        let evening = http.get("/projections/deployments/one%2Fproduction?as_of=2026-01-05").ok()["value"].clone();
        assert_eq!((&evening["deployments"], &evening["windows"]["7d"]["change_failure_rate"]), (&json!(1), &json!(1.0)), "{when}");
    };
    check("live");
    http.post("/projections/deployments/rebuild", &json!({}));
    wait("the rebuild", || (http.get("/projections/deployments/rebuild").ok()["state"] == "done").then_some(()));
    check("rebuilt");

    // Names with slashes make rows of their own.
    let mut slashes = [finished("k1", "a/b", "k1", &at("10:00"), "succeeded"), finished("k2", "a", "k2", &at("10:00"), "failed")];
    slashes[0]["data"]["environment"] = "c".into();
    slashes[1]["data"]["environment"] = "b/c".into();
    http.publish(&slashes).ok();
    http.settled();
    for (key, service, environment) in [("a%2Fb%2Fc", "a/b", "c"), ("a%2Fb%252Fc", "a", "b/c")] {
        let value = http.get(&format!("/projections/deployments/{key}")).ok()["value"].clone();
        assert_eq!((&value["service"], &value["environment"], &value["windows"]["all"]["deployments"]), (&json!(service), &json!(environment), &json!(1)));
    }
    node.stop();
}

#[test]
fn a_deployment_of_the_future_counts_when_its_time_comes() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::ready(folder.path());
    let http = &node.http;
    let soon = chrono::Utc::now() + chrono::Duration::seconds(4);
    let time = soon.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    http.publish(&[finished("f1", "web", "d1", &time, "succeeded")]).ok();
    let before = row(http, "web");
    if chrono::Utc::now() < soon {
        assert_eq!((&before["deployments"], &before["version"], &before["scheduled"]["deployments"]), (&json!(0), &Value::Null, &json!(1)));
    }
    let now = wait("its time", || Some(row(http, "web")).filter(|row| row["deployments"] == 1));
    assert!(chrono::Utc::now() >= soon);
    assert_eq!((&now["version"], &now["scheduled"]["deployments"], &now["windows"]["7d"]["succeeded"]), (&json!("d1"), &json!(0), &json!(1)));
    node.stop();
}
