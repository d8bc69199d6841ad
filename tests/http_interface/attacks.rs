//! What no honest client sends: malformed and ambiguous requests, floods, slow senders, many connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tol_config::{ApiKey, generate_key, hash_key, scope};
use tree_of_life::http::HttpOptions;

use super::client::Server;

/// Everything the server answers to these bytes until it closes the connection.
fn raw(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may answer and close before it has read all.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let mut chunk = [0u8; 8_192];
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        answer.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of all answers on the connection: more than one means that the server saw a second request in the bytes.
fn statuses(answer: &str) -> Vec<u16> {
    answer.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST /events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/cloudevents+json\r\n{headers}\r\n{body}").into_bytes()
}

#[test]
fn ambiguous_lengths_are_refused_and_nothing_is_smuggled_behind_them() {
    let server = Server::start();
    let hidden = "GET /projections HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let chunked = "transfer-encoding: chunked\r\n";
    let shapes = [
        ("length and chunks", format!("content-length: 6\r\n{chunked}"), format!("0\r\n\r\n{hidden}")),
        ("chunks and length", format!("{chunked}content-length: 4\r\n"), format!("0\r\n\r\n{hidden}")),
        ("two lengths", "content-length: 2\r\ncontent-length: 60\r\n".into(), format!("{{}}{hidden}")),
        ("the same length twice", "content-length: 2\r\ncontent-length: 2\r\n".into(), format!("{{}}{hidden}")),
        ("a list of lengths", "content-length: 2, 2\r\n".into(), format!("{{}}{hidden}")),
        ("a signed length", "content-length: +2\r\n".into(), format!("{{}}{hidden}")),
        ("a negative length", "content-length: -2\r\n".into(), format!("{{}}{hidden}")),
        ("a length beyond 64 bits", "content-length: 18446744073709551618\r\n".into(), format!("{{}}{hidden}")),
        ("another coding", "transfer-encoding: xchunked\r\n".into(), format!("0\r\n\r\n{hidden}")),
        ("two codings", "transfer-encoding: gzip, chunked\r\n".into(), format!("0\r\n\r\n{hidden}")),
        ("coding twice", format!("{chunked}transfer-encoding: identity\r\n"), format!("0\r\n\r\n{hidden}")),
        ("space before the colon", "transfer-encoding : chunked\r\n".into(), format!("0\r\n\r\n{hidden}")),
        ("a control character", "transfer-encoding: \u{b}chunked\r\n".into(), format!("0\r\n\r\n{hidden}")),
        ("a folded header", "x: a\r\n transfer-encoding: chunked\r\n".into(), format!("0\r\n\r\n{hidden}")),
        ("a chunk that is no number", chunked.into(), format!("zz\r\n{{}}\r\n0\r\n\r\n{hidden}")),
        ("a chunk beyond 64 bits", chunked.into(), format!("10000000000000002\r\n{{}}\r\n0\r\n\r\n{hidden}")),
        ("a chunk extension with a line feed", chunked.into(), format!("2;\n{{}}\r\n0\r\n\r\n{hidden}")),
    ];
    for (name, headers, body) in shapes {
        let answer = raw(&server, &post(&headers, &body));
        assert_eq!(statuses(&answer), [400], "{name}: {answer}");
        assert!(server.node.calls().is_empty(), "{name} reached the node");
    }
    // The body of a GET belongs to that GET, whatever it looks like.
    let answer = raw(&server, format!("GET /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len()).as_bytes());
    assert_eq!((statuses(&answer), server.node.calls().len()), (vec![200], 0), "{answer}");
}

#[test]
fn requests_that_are_not_http_are_refused() {
    let server = Server::start();
    let tls = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0; 64], b"\r\n\r\n"].concat();
    let shapes: [&[u8]; 9] = [
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: a\x00b\r\n\r\n",
        b"GET /events/\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /liv ez HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /livez HTTP/9.9\r\nhost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /events HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        &tls,
    ];
    for shape in shapes {
        assert_eq!(statuses(&raw(&server, shape)), [400], "{}", String::from_utf8_lossy(shape));
    }
    assert!(server.node.calls().is_empty());
}

#[test]
fn an_absolute_target_names_the_host_whatever_the_header_says() {
    let server = Server::start();
    let answer = raw(&server, b"GET http://evil.example/projections HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 403") && server.node.calls().is_empty(), "{answer}");
    let answer = raw(&server, b"GET http://localhost/projections HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn floods_of_headers_and_endless_ones_are_refused() {
    let server = Server::start();
    let many = (0..200).map(|at| format!("x-{at}: 1\r\n")).collect::<String>();
    for (headers, target) in [(many, "/livez".to_owned()), (format!("x: {}\r\n", "a".repeat(200_000)), "/livez".into())] {
        let answer = raw(&server, format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").as_bytes());
        // A client that is still sending may see the connection reset instead of the answer.
        assert!(answer.is_empty() || statuses(&answer) == [431], "{answer}");
    }
    let answer = raw(&server, format!("GET /events/{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(70_000)).as_bytes());
    assert_eq!(statuses(&answer), [400]);
    assert_eq!(server.get("/livez").status, 200);
}

#[test]
fn malformed_percent_encoding_is_400_and_never_another_path() {
    let server = Server::start();
    for path in
        ["/events/%", "/events/a%4", "/events/%zz", "/events/%ff", "/events/%c3", "/events/%c0%ae", "/projections/%ed%a0%80/42", "/subjects/%fe/timeline"]
    {
        let answer = server.get(path);
        assert_eq!(answer.status, 400, "{path}");
        answer.problem("invalid-path");
    }
    for query in ["subject=%", "subject=%zz", "subject=%ff", "%c3=1", "limit=%"] {
        server.get(&format!("/events?{query}")).problem("invalid-parameter");
    }
    assert!(server.node.calls().is_empty());
    assert_eq!(server.get("/events/50%25%2F%c3%a4").status, 200);
    assert_eq!(server.node.calls(), ["event 50%/ä None"]);
}

#[test]
fn no_path_leads_out_of_what_is_served() {
    let server = Server::start();
    for path in [
        "/docs/../../../../etc/passwd",
        "/docs/..%2f..%2f..%2fetc/passwd",
        "/docs/%2e%2e/%2e%2e/etc/passwd",
        "/docs/..%5c..%5cetc%5cpasswd",
        "/docs/%252e%252e%252fetc/passwd",
        "/docs//etc/passwd",
        "/docs/problems/..%2f..%2f..%2fCargo",
        "/schemas/..%2f..%2fCargo.json",
        "/../etc/passwd",
        "//etc/passwd",
    ] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.text().contains("root:"), "{path}");
    }
}

#[test]
fn a_compressed_body_is_refused_before_a_byte_of_it_is_unpacked() {
    let server = Server::start();
    for coding in ["gzip", "deflate", "br", "zstd", "gzip, gzip", "identity, gzip"] {
        let headers = [("content-type", "application/cloudevents+json"), ("content-encoding", coding)];
        let answer = server.send("POST", "/events", &headers, &[0x1f, 0x8b, 8, 0]);
        assert_eq!(answer.status, 415, "{coding}");
        assert!(answer.problem("unsupported-content-type")["detail"].as_str().unwrap().contains(coding));
    }
    assert!(server.node.calls().is_empty());
}

#[test]
fn slow_senders_are_sent_away_and_others_are_served_meanwhile() {
    let server = Server::with(HttpOptions { request_timeout: Duration::from_secs(1), ..HttpOptions::default() });
    let connect = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let silent = connect(b"");
    let half_a_head = connect(b"GET /livez HTTP/1.1\r\nhost: local");
    let half_a_body = connect(&post("content-length: 100\r\n", "{"));
    // Read by nobody: the route takes no body, the key is missing, the method is wrong.
    let unread =
        [("POST", "/systems/a/pause", 200), ("GET", "/livez", 200), ("POST", "/nowhere", 404), ("PUT", "/events", 405)].map(|(method, path, status)| {
            let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n64\r\n{{");
            (connect(request.as_bytes()), status)
        });
    let half_a_chunk = connect(&post("transfer-encoding: chunked\r\n", "64\r\n{"));
    // One that never falls silent is no better.
    let mut trickle = connect(&post("content-length: 100000\r\n", "{"));
    let trickling = std::thread::spawn(move || {
        while trickle.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(server.get("/livez").status, 200);
    for (name, mut stream, with_problem) in
        [("silent", silent, false), ("head", half_a_head, false), ("body", half_a_body, true), ("chunk", half_a_chunk, true)]
    {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|_| panic!("{name}: still open after {answer}"));
        assert!(answer.starts_with("HTTP/1.1 408"), "{name}: {answer}");
        assert_eq!(answer.contains("/docs/problems/request-timeout"), with_problem, "{name}: {answer}");
    }
    for (mut stream, status) in unread {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap_or_else(|_| panic!("still open after {answer}"));
        assert_eq!(statuses(&answer), [status]);
    }
    trickling.join().unwrap();
    assert!(server.node.published.lock().unwrap().is_empty());
}

#[test]
fn a_key_over_its_limit_is_told_when_to_come_again_and_may_always_stop_the_business() {
    let secret = generate_key().unwrap();
    let key = |name: &str, secret: &str, limit| ApiKey { requests_per_second: limit, ..ApiKey::new(name, hash_key(secret), &[scope::ADMIN]) };
    let keys = vec![key("free", "tol_free", None), key("limited", secret.expose(), Some(1))];
    let server = Server::with(HttpOptions { keys, ..HttpOptions::default() });
    let send = |method: &str, path: &str, key: &str| server.send(method, path, &[("x-api-key", key), ("content-type", "application/json")], b"");
    // A second may pass between two requests on a busy machine, so one of several is refused, not exactly the second.
    let refused = (0..100).map(|_| send("GET", "/systems", secret.expose())).find(|answer| answer.status != 200).expect("a refusal");
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(refused.problem("too-many-requests")["limit"], 1);
    server.node.calls();
    for _ in 0..20 {
        assert_eq!(send("GET", "/systems", "tol_free").status, 200);
        let headers = [("x-api-key", secret.expose()), ("content-type", "application/json")];
        assert_eq!(server.send("POST", "/emergency-stop", &headers, br#"{"reason":"fire"}"#).status, 200);
    }
    assert_eq!(send("GET", "/livez", secret.expose()).status, 200, "what needs no key has no limit");
}

#[test]
fn every_answer_carries_the_headers_that_protect_browsers() {
    let server = Server::start();
    let long = "x".repeat(70_000);
    let answers = [
        server.get("/livez"),
        server.get("/docs/"),
        server.get("/docs"),
        server.get("/events/42"),
        server.get("/events/missing"),
        server.get("/nowhere"),
        server.get("/events/%ff"),
        server.send("PUT", "/events", &[], b""),
        server.send("POST", "/systems/a/restart", &[("origin", "https://evil.example")], b""),
        server.post_json("/emergency-stop", &long),
        server.structured("{"),
    ];
    for answer in answers {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "status {}", answer.status);
        }
        assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
        assert!(answer.header("x-request-id").is_some() && answer.header("cache-control").is_some());
        assert_eq!((answer.header("server"), answer.header("access-control-allow-origin")), (None, None));
    }
}

#[test]
fn a_request_id_cannot_split_the_answer() {
    let server = Server::start();
    let given = server.send("GET", "/livez", &[("x-request-id", "abc-1")], b"");
    assert_eq!(given.header("x-request-id"), Some("abc-1"));
    for bad in ["a b", "\u{e4}", &"x".repeat(129)] {
        let answer = server.send("GET", "/livez", &[("x-request-id", bad)], b"");
        assert_ne!(answer.header("x-request-id"), Some(bad), "{bad}");
    }
}

/// Connections that are open and send nothing more take no worker: others are answered. As many as two ends in one process may have.
#[test]
fn thousands_of_idle_connections_keep_nobody_waiting() {
    let server = Server::with(HttpOptions { request_timeout: Duration::from_secs(60), ..HttpOptions::default() });
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
    // Started servers have raised the soft limit; other tests of this binary need files too.
    let number = files.map_or(200, |files: usize| (files.saturating_sub(1_000) / 4).clamp(50, 3_000));
    let mut open = Vec::with_capacity(number);
    for _ in 0..number {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: local").unwrap();
        open.push(stream);
    }
    for _ in 0..100 {
        assert_eq!(server.get("/projections/customers/42").status, 200);
    }
    // None was closed for the others' sake: each is answered as soon as its head is whole.
    for mut stream in open {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"host\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    println!("{number} idle connections, and 100 queries were answered beside them");
}
