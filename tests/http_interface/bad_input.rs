//! What is wrong is refused with a problem that says what and where, and nothing of it reaches the node.

use tol_plug::{Kind, Problem};
use tree_of_life::http::HttpOptions;

use super::client::Server;

const GOOD: &str = r#"{"specversion":"1.0","id":"1","source":"/shop","type":"commerce.order_placed.v1","subject":"customer/42","data":{}}"#;

#[test]
fn malformed_json_is_400_and_nothing_is_published() {
    let server = Server::start();
    for body in ["{", "", "[]x", "nonsense"] {
        let answer = server.structured(body);
        assert_eq!(answer.status, 400, "{body}");
        answer.problem("malformed-json");
    }
    server.batch("[{").problem("malformed-json");
    assert!(server.node.calls().is_empty());
}

#[test]
fn other_content_types_are_415_and_the_right_ones_are_named() {
    let server = Server::start();
    for content_type in ["text/plain", "application/json", "application/cloudevents+avro", "application/xml"] {
        let answer = server.send("POST", "/events", &[("content-type", content_type)], GOOD.as_bytes());
        assert_eq!(answer.status, 415, "{content_type}");
        let detail = answer.problem("unsupported-content-type")["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("application/cloudevents+json") && detail.contains("application/cloudevents-batch+json") && detail.contains("ce-id"),
            "{detail}"
        );
    }
    assert_eq!(server.send("POST", "/events", &[], GOOD.as_bytes()).status, 415);
    let compressed = [("content-type", "application/cloudevents+json"), ("content-encoding", "gzip")];
    server.send("POST", "/events", &compressed, GOOD.as_bytes()).problem("unsupported-content-type");
    assert!(server.node.calls().is_empty());
}

#[test]
fn a_missing_attribute_is_named() {
    let server = Server::start();
    for (attribute, without) in [
        ("id", GOOD.replace(r#""id":"1","#, "")),
        ("source", GOOD.replace(r#""source":"/shop","#, "")),
        ("type", GOOD.replace(r#""type":"commerce.order_placed.v1","#, "")),
        ("specversion", GOOD.replace(r#""specversion":"1.0","#, "")),
    ] {
        let answer = server.structured(&without);
        assert_eq!(answer.status, 400);
        let problem = answer.problem("invalid-event");
        assert!(problem["detail"].as_str().unwrap().contains(&format!("\"{attribute}\"")), "{problem}");
        assert_eq!(problem["index"], 0);
    }
    let binary =
        server.send("POST", "/events", &[("ce-id", "1"), ("ce-type", "a.b.v1"), ("ce-specversion", "1.0"), ("content-type", "application/json")], b"{}");
    assert!(binary.problem("invalid-event")["detail"].as_str().unwrap().contains("\"source\""));
    assert!(server.node.calls().is_empty());
}

#[test]
fn one_bad_event_refuses_the_batch_and_its_index_is_told() {
    let server = Server::start();
    let bad = GOOD.replace(r#""id":"1","#, "");
    let problem = server.batch(&format!("[{GOOD},{GOOD},{bad},{GOOD}]")).problem("invalid-event");
    assert_eq!(problem["index"], 2);
    assert!(server.node.calls().is_empty(), "nothing of the batch may reach the node");
}

#[test]
fn a_large_batch_is_checked_the_same() {
    let server = Server::start();
    let filler = format!(r#","filler":"{}"}}"#, "x".repeat(300 << 10));
    let large = GOOD.replace("}}", &format!("}}{filler}"));
    assert_eq!(server.batch(&format!("[{large}]")).status, 200);
    assert_eq!(server.batch(&format!("[{large},{{}}]")).problem("invalid-event")["index"], 1);
}

#[test]
fn a_body_over_the_limit_is_413_however_it_is_sent() {
    let server = Server::with(HttpOptions { body_limit: 1_000, ..HttpOptions::default() });
    for length in [1_001, 3_999, 100_000] {
        let answer = server.structured(&"x".repeat(length));
        assert_eq!(answer.status, 413, "{length}");
        assert_eq!(answer.problem("body-too-large")["limit_bytes"], 1_000);
    }
    let chunk = format!("{:x}\r\n{}\r\n", 900, "x".repeat(900));
    let mut request = format!(
        "POST /events HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ntransfer-encoding: chunked\r\ncontent-type: application/cloudevents+json\r\n\r\n",
        server.address
    );
    request.push_str(&chunk);
    request.push_str(&chunk);
    request.push_str("0\r\n\r\n");
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("/docs/problems/body-too-large"), "{answer}");
    assert!(server.node.calls().is_empty());
}

#[test]
fn what_the_node_refuses_is_told_with_index_and_id() {
    let server = Server::start();
    let refuse = |problem| *server.node.refuse.lock().unwrap() = Some(problem);
    refuse(Problem::id_conflict(4, "/shop", "o-1"));
    let answer = server.structured(GOOD);
    assert_eq!(answer.status, 409);
    let problem = answer.problem("id-conflict");
    assert_eq!((&problem["index"], &problem["id"]), (&4.into(), &"o-1".into()));
    refuse(Problem::unavailable("the log is away", 2));
    let answer = server.structured(GOOD);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
    refuse(Problem::new(Kind::DISK_FULL, "no space left"));
    assert_eq!(server.structured(GOOD).status, 507);
    let known =
        tol_events::registry::ValidationError::UnknownVersion { event_type: "commerce.order_placed.v9".into(), known: "commerce.order_placed.v1".into() };
    refuse(Problem::invalid_data(1, &known));
    let answer = server.structured(GOOD);
    assert_eq!((answer.status, &answer.problem("unknown-version")["index"]), (422, &1.into()));
}

#[test]
fn bad_query_parameters_are_named() {
    let server = Server::start();
    for (path, parameter) in [
        ("/projections/customers?as_of=yesterday", "as_of"),
        ("/projections/customers/42?as_of=1997-13-01", "as_of"),
        ("/projections/customers/42?known_at=1", "known_at"),
        ("/projections/customers?as_of=1997-06-30&known_at=1997-06-30", "known_at"),
        ("/projections/customers?min_position=facts.customer", "min_position"),
        ("/projections/customers/42?min_position=facts.customer/x:1", "min_position"),
        ("/projections/customers/digest?min_position=facts.customer/3:-1", "min_position"),
        ("/projections/customers?timeout_ms=30001&min_position=facts.customer/3:1", "timeout_ms"),
        ("/projections/customers?limit=0", "limit"),
        ("/projections/customers?limit=ten", "limit"),
        ("/projections/customers?limit=1&limit=2", "limit"),
        ("/projections/customers?as_off=1997-06-30", "as_off"),
        ("/events?from=soon", "from"),
        ("/events?to=1997-02-30", "to"),
        ("/events?from=1998-01-01&to=1997-01-01", "from"),
        ("/systems?limit=1", "limit"),
        ("/subjects/customer/42/timeline?limit=1e3", "limit"),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.problem("invalid-parameter")["parameter"], parameter, "{path}");
    }
    assert!(server.node.calls().is_empty());
}

#[test]
fn bad_cursors_are_400() {
    let server = Server::start();
    for path in ["/events?cursor=x", "/projections/customers?cursor=x", "/subjects/customer%2F42/timeline?cursor=x", "/dead-letters?cursor=x"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 400, "{path}");
        answer.problem("invalid-cursor");
    }
    server.send("GET", "/events/stream", &[("last-event-id", "bad")], b"").problem("invalid-cursor");
}

#[test]
fn what_does_not_exist_is_404_of_its_kind() {
    let server = Server::start();
    for (path, slug) in [
        ("/projections/nobody", "unknown-projection"),
        ("/projections/nobody/42", "unknown-projection"),
        ("/projections/nobody/digest", "unknown-projection"),
        ("/projections/nobody/rebuild", "unknown-projection"),
        ("/projections/nobody/42?min_position=facts.customer/3:1", "unknown-projection"),
        ("/projections/customers/missing", "row-not-found"),
        ("/events/missing", "event-not-found"),
        ("/trace/missing", "event-not-found"),
        ("/systems/missing", "unknown-system"),
        ("/systems/missing/digest", "unknown-system"),
        ("/docs/problems/nothing", "not-found"),
        ("/docs/nothing.js", "not-found"),
        ("/schemas/a.b.v1.json", "not-found"),
        ("/nothing", "not-found"),
        ("/", "not-found"),
        ("/events/a/b", "not-found"),
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}");
        answer.problem(slug);
    }
    server.post_json("/systems/missing/pause", "").problem("unknown-system");
    server.post_json("/dead-letters/missing/redrive", "").problem("unknown-dead-letter");
}

#[test]
fn bodies_of_operations_are_checked() {
    let server = Server::start();
    for (path, body, slug) in [
        ("/emergency-stop", "", "invalid-body"),
        ("/emergency-stop", "{", "malformed-json"),
        ("/emergency-stop", r#"{"reason":"  "}"#, "invalid-body"),
        ("/emergency-stop", r#"{"reason":7}"#, "invalid-body"),
        ("/emergency-stop", r#"{"reason":"x","force":true}"#, "invalid-body"),
        ("/emergency-stop/release", "{}", "invalid-body"),
        ("/dead-letters/d1/discard", "{}", "invalid-body"),
        ("/dead-letters/redrive", r#"{"sytem":"x"}"#, "invalid-body"),
    ] {
        let answer = server.post_json(path, body);
        assert_eq!(answer.status, 400, "{path} {body}");
        answer.problem(slug);
    }
    assert_eq!(server.send("POST", "/emergency-stop", &[("content-type", "text/plain")], br#"{"reason":"x"}"#).status, 415);
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(70_000));
    assert_eq!(server.post_json("/emergency-stop", &long).status, 413);
    assert!(server.node.calls().is_empty());
}
