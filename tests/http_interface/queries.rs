//! Publishing and asking, where all is well.

use tol_events::Attribute;

use super::client::Server;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn events_are_published_in_all_three_modes() {
    let server = Server::start();
    let one = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"a.b.v1","subject":"customer/42","logposition":"facts.customer/0:7","data":{"x":1}}"#;
    let answer = server.structured(one);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), serde_json::json!({"accepted": 1, "duplicates": 0, "positions": {"facts.customer/3": 120}}));
    assert_eq!(server.batch(&format!("[{one},{one}]")).json()["accepted"], 2);
    assert_eq!(server.batch("[]").json()["accepted"], 0);
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "b"),
        ("ce-source", "/shop"),
        ("ce-type", "a.b.v1"),
        ("ce-subject", "customer/M%C3%BCller"),
        ("content-type", "text/plain"),
    ];
    assert_eq!(server.send("POST", "/events", &headers, b"hello").status, 200);
    let published = server.node.published.lock().unwrap();
    assert!(published[0].extensions.is_empty(), "the position of another log must not be stored");
    let binary = published.last().unwrap();
    assert_eq!((binary.attributes[&Attribute::Subject].as_str(), binary.data.as_slice()), ("customer/Müller", b"hello".as_slice()));
}

#[test]
fn the_requests_traceparent_is_given_to_events_that_have_none() {
    let server = Server::start();
    let own = TRACE.replace("4bf9", "aaaa");
    let batch = format!(
        r#"[{{"specversion":"1.0","id":"1","source":"/s","type":"a.b.v1"}},{{"specversion":"1.0","id":"2","source":"/s","type":"a.b.v1","traceparent":"{own}"}}]"#
    );
    let content = ("content-type", "application/cloudevents-batch+json");
    assert_eq!(server.send("POST", "/events", &[content, ("traceparent", TRACE)], batch.as_bytes()).status, 200);
    assert_eq!(server.send("POST", "/events", &[content, ("traceparent", "nonsense")], batch.as_bytes()).status, 200);
    let published = server.node.published.lock().unwrap();
    let traces: Vec<_> = published.iter().map(|event| event.attributes.get(&Attribute::TraceParent).map(String::as_str)).collect();
    assert_eq!(traces, [Some(TRACE), Some(own.as_str()), None, Some(own.as_str())]);
}

#[test]
fn filters_reach_the_node_decoded() {
    let server = Server::start();
    let page = server.get("/events?subject=customer%2F42&type=commerce.*&correlation=c&from=1997-01-01&to=1997-06-30&limit=5&cursor=next").json();
    assert_eq!((page["items"][0]["id"].as_str(), page["items"][0]["logposition"].as_str()), (Some("1"), Some("facts.customer/3:120")));
    assert_eq!(page["next_cursor"], "next");
    let asked = server.node.calls().remove(0);
    for part in ["\"customer/42\"", "\"commerce.*\"", "limit: 5", "\"next\""] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    for subject in ["customer/42", "customer%2F42"] {
        assert_eq!(server.get(&format!("/subjects/{subject}/timeline")).status, 200);
        assert_eq!(server.node.calls(), ["timeline customer/42 100"]);
    }
    server.get("/events/a%2Fb?source=%2Fshop");
    assert_eq!(server.node.calls(), ["event a/b Some(\"/shop\")"]);
    server.get("/dead-letters?system=a&subject=customer/42&type=billing.*&error=no%20rate&to=2026-01-31&limit=2");
    let asked = server.node.calls().remove(0);
    for part in ["subject: Some(\"customer/42\")", "event_type: Some(\"billing.*\")", "error: Some(\"no rate\")", "limit: 2"] {
        assert!(asked.contains(part), "{asked}");
    }
    server.get("/systems/hub/queries/mrr").problem("invalid-parameter");
    assert_eq!(server.get("/systems/hub/queries/mrr?subject=customer/42&currency=USD").json()["answer"], 42);
    assert_eq!(server.node.calls(), ["systemQuery customer/42 {\"currency\": \"USD\"}", "hub.mrr"]);
    server.get("/systems/hub?subject=customer/42");
    assert_eq!(server.node.calls(), ["system hub Some(\"customer/42\")"]);
}

#[test]
fn an_id_that_several_sources_used_asks_for_the_source() {
    let server = Server::start();
    let answer = server.get("/events/twice");
    assert_eq!(answer.status, 409);
    assert_eq!(answer.problem("ambiguous-event")["sources"], serde_json::json!(["/shop", "/other"]));
    assert_eq!(server.get("/events/twice?source=/shop").status, 200);
}

#[test]
fn a_row_has_the_documented_shape() {
    let server = Server::start();
    let row = server.get("/projections/customers/42").json();
    assert_eq!(row, serde_json::json!({"key": "42", "value": {"customer_id": "42", "orders": 3}, "as_of": null, "positions": {"facts.customer/3": 120}}));
    assert_eq!(server.get("/projections/customers/42?as_of=1997-06-30").json()["as_of"], "1997-06-30T23:59:59.999999Z");
    assert_eq!(server.get("/projections/customers/older").json()["rows_version"], 1, "said only where another version made the row");
}

#[test]
fn min_position_is_waited_for_and_504_when_it_does_not_come() {
    let server = Server::start();
    let query = "min_position=facts.customer/3:120&min_position=facts.customer/0:7";
    for path in ["/projections/customers", "/projections/customers/42", "/projections/customers/digest"] {
        assert_eq!(server.get(&format!("{path}?{query}")).status, 200);
        assert_eq!(server.node.calls()[0], "wait customers facts.customer/3:120 facts.customer/0:7 5000");
    }
    *server.node.behind.lock().unwrap() = true;
    let answer = server.get(&format!("/projections/customers/42?{query}&timeout_ms=10"));
    assert_eq!((answer.status, answer.header("retry-after")), (504, Some("1")));
    assert_eq!(answer.problem("not-visible-yet")["min_position"][0], "facts.customer/3:120");
    assert_eq!(server.node.calls(), ["wait customers facts.customer/3:120 facts.customer/0:7 10"]);
}

#[test]
fn events_are_waited_for_and_a_404_says_whether_the_index_is_behind() {
    let server = Server::start();
    let query = "min_position=facts.customer/3:120";
    let paths = ["/events", "/events/1", "/trace/c", "/subjects/customer/42/timeline"];
    for path in paths {
        assert_eq!(server.get(&format!("{path}?{query}")).status, 200, "{path}");
        assert_eq!(server.node.calls()[0], "waitIndexed facts.customer/3:120 5000", "{path}");
        server.get(path);
        assert!(!server.node.calls()[0].starts_with("wait"), "{path}");
    }
    for path in ["/events/missing", "/trace/missing"] {
        let problem = server.get(path).problem("event-not-found");
        assert_eq!(problem["index_lag"], 0, "{path}");
        assert!(!problem["detail"].as_str().unwrap().contains("behind"));
    }
    *server.node.behind.lock().unwrap() = true;
    for path in ["/events/missing", "/trace/missing"] {
        let problem = server.get(path).problem("event-not-found");
        assert_eq!(problem["index_lag"], 12, "{path}");
        assert!(problem["detail"].as_str().unwrap().contains("the index is 12 records behind"), "{problem}");
    }
    for path in paths {
        let answer = server.get(&format!("{path}?{query}&timeout_ms=10"));
        assert_eq!((answer.status, answer.header("retry-after")), (504, Some("1")), "{path}");
        assert_eq!(answer.problem("not-visible-yet")["min_position"][0], "facts.customer/3:120");
    }
}

#[test]
fn events_that_could_not_be_folded_are_listed() {
    let server = Server::start();
    let page = server.get("/projections/customers/set-aside?limit=7").json();
    assert_eq!((&page["items"][0]["position"], &page["items"][0]["type"]), (&"facts.customer/3:120".into(), &"commerce.order_placed.v1".into()));
    assert_eq!((&page["items"][0]["problem"], &page["next_cursor"]), (&"the sum does not fit in 64 bits".into(), &"3:121".into()));
    assert_eq!(server.node.calls(), ["setAside customers 7"]);
    server.get("/projections/nothing/set-aside").problem("unknown-projection");
    assert_eq!(server.get("/projections").json()[0]["set_aside"], 1);
}

#[test]
fn a_past_that_is_still_folded_is_202() {
    let server = Server::start();
    *server.node.folding.lock().unwrap() = true;
    for path in ["/projections/customers?as_of=1997-06-30", "/projections/customers/digest?known_at=1997-06-30"] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.json()), (202, serde_json::json!({"state": "running", "progress": 0.5})));
    }
    *server.node.folding.lock().unwrap() = false;
    assert_eq!(server.get("/projections/customers?as_of=1997-06-30").status, 200);
}

#[test]
fn a_node_that_is_not_ready_says_which_check_failed() {
    let server = Server::start();
    assert_eq!(server.get("/readyz").json()["ready"], true);
    *server.node.not_ready.lock().unwrap() = true;
    let answer = server.get("/readyz");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.problem("not-ready")["checks"][0]["name"], "log");
    assert_eq!(server.get("/livez").status, 200);
}

#[test]
fn every_answer_carries_the_security_headers_and_a_request_id() {
    let server = Server::start();
    for path in ["/systems", "/nothing", "/events?limit=0", "/livez", "/docs/", "/docs/problems/not-found"] {
        let answer = server.get(path);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(answer.header("cache-control") == Some("no-store"), !path.starts_with("/docs"), "{path}");
        assert!(answer.header("x-request-id").is_some_and(|id| id.len() > 30), "{path}");
    }
    assert_eq!(server.send("GET", "/livez", &[("x-request-id", "abc-1")], b"").header("x-request-id"), Some("abc-1"));
    assert_ne!(server.send("GET", "/livez", &[("x-request-id", "a b")], b"").header("x-request-id"), Some("a b"));
}

#[test]
fn head_answers_as_get_without_a_body() {
    let server = Server::start();
    for path in ["/systems", "/livez", "/projections/customers/42"] {
        let answer = server.send("HEAD", path, &[], b"");
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
    }
}

#[test]
fn redriving_all_takes_a_filter_or_nothing() {
    let server = Server::start();
    assert_eq!(server.post_json("/dead-letters/redrive", r#"{"system":"a","dry_run":true}"#).json()["dry_run"], true);
    assert_eq!(server.send("POST", "/dead-letters/redrive", &[], b"").status, 200);
    assert_eq!(server.post_json("/dead-letters/redrive", r#"{"background":true,"error":"x","from":"2026-01-31T00:00:00Z"}"#).status, 202);
    assert_eq!(server.get("/dead-letters/redrives/r1").json()["id"], "r1");
    server.get("/dead-letters/redrives/missing").problem("not-found");
    assert_eq!(server.get("/dead-letters/d1").json()["id"], "d1");
    server.get("/dead-letters/missing").problem("unknown-dead-letter");
    assert_eq!(server.post_json("/dead-letters/d1/redrive", r#"{"event":{"id":"1"},"reason":"typo"}"#).json()["redriven"], 1);
    server.post_json("/dead-letters/d1/redrive", r#"{"evnet":{}}"#).problem("invalid-body");
    assert_eq!(server.post_json("/dead-letters/d1/discard", r#"{"reason":"broken"}"#).json()["id"], "d1");
    assert_eq!(server.node.calls()[7..], ["redrive d1 local mended", "discard d1 broken local"]);
}
