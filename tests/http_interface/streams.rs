//! Server-sent events.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tol_plug::platform::StreamedEvent;
use tree_of_life::http::HttpOptions;

use super::client::Server;
use super::fake::order;

fn with_events(options: HttpOptions) -> Server {
    let server = Server::with(options);
    *server.node.to_stream.lock().unwrap() = ["1", "2"].map(|id| StreamedEvent { token: format!("t{id}"), event: order(id) }).to_vec();
    server
}

#[test]
fn each_event_is_one_line_of_data_with_its_token() {
    let server = with_events(HttpOptions::default());
    let mut lines = server.stream("/events/stream?subject=customer/42", "last-event-id: t0\r\n");
    assert!(lines.next().unwrap().contains("200"));
    assert!(lines.by_ref().any(|line| line == "content-type: text/event-stream"));
    let body: Vec<String> = lines.filter(|line| line.starts_with("id") || line.starts_with("data")).take(5).collect();
    // The first id has no data: a client that breaks off before the first event goes on from there.
    assert_eq!([&body[0], &body[1], &body[3]], ["id: facts.customer/3:0", "id: t1", "id: t2"]);
    let event: serde_json::Value = serde_json::from_str(body[2].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&event["id"], &event["data"]["order_id"]), (&"1".into(), &"a\nb".into()));
    assert_eq!(server.node.calls(), ["streamEvents Some(\"customer/42\") Some(\"t0\")"]);
}

#[test]
fn a_stream_begins_where_its_query_says_and_goes_on_where_its_header_says() {
    let server = with_events(HttpOptions::default());
    let asked = |query: &str, header: &str| {
        let status = server.stream(&format!("/events/stream?{query}"), header).next().unwrap();
        assert!(status.contains("200"), "{query}: {status}");
        server.node.calls().remove(0)
    };
    assert_eq!(asked("", ""), "streamEvents None None");
    assert_eq!(asked("from=start", ""), "streamEvents None Some(\"start\")");
    assert_eq!(asked("from=1970-01-02", ""), "streamEvents None Some(\"at:86400000\")");
    assert_eq!(asked("from=1970-01-01T00:00:05Z", ""), "streamEvents None Some(\"at:5000\")");
    assert_eq!(asked("last_event_id=t1", ""), "streamEvents None Some(\"t1\")");
    // A browser that connects again: the same URL, and the header.
    assert_eq!(asked("from=start", "last-event-id: t2\r\n"), "streamEvents None Some(\"t2\")");
    assert_eq!(asked("last_event_id=t1", "last-event-id: t2\r\n"), "streamEvents None Some(\"t2\")");
    assert_eq!(server.get("/events/stream?from=yesterday").problem("invalid-parameter")["parameter"], "from");
}

#[test]
fn a_stream_ends_when_the_node_drops_it() {
    let server = with_events(HttpOptions::default());
    let mut lines = server.stream("/events/stream", "");
    assert!(lines.by_ref().any(|line| line == "id: t2"));
    server.node.open_streams.lock().unwrap().clear();
    assert_eq!(lines.filter(|line| line.starts_with("id")).count(), 0);
}

#[test]
fn streams_are_bounded_and_a_closed_one_makes_room() {
    let server = with_events(HttpOptions { max_streams: 1, ..HttpOptions::default() });
    let mut open = server.stream("/events/stream", "");
    assert!(open.by_ref().any(|line| line == "id: t1"));
    let refused = server.get("/events/stream");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    refused.problem("too-many-streams");
    server.node.open_streams.lock().unwrap().clear();
    assert_eq!(open.filter(|line| line.starts_with("id: t1")).count(), 0);
    // The end of the body is sent before its permit is given back, so the first try may still find it taken.
    let again = (0..100).any(|_| server.stream("/events/stream", "").next().unwrap().contains("200"));
    assert!(again);
}

/// Longer than any of these tests should take.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_client_that_never_reads_its_stream_is_cut_off() {
    let server = Server::with(HttpOptions { write_timeout: Duration::from_secs(1), ..HttpOptions::default() });
    let mut silent = TcpStream::connect(server.address).unwrap();
    silent.write_all(format!("GET /events/stream HTTP/1.1\r\nhost: {}\r\n\r\n", server.address).as_bytes()).unwrap();
    let started = Instant::now();
    let sender = loop {
        if let Some(sender) = server.node.open_streams.lock().unwrap().pop() {
            break sender;
        }
        assert!(started.elapsed() < PATIENCE);
    };
    let mut event = order("1");
    event.event.data = format!("\"{}\"", "x".repeat(100_000)).into_bytes();
    // Until nobody receives: what the sockets and the server hold is soon full.
    while !sender.is_closed() {
        assert!(started.elapsed() < PATIENCE, "the stream is still open");
        if sender.try_send(StreamedEvent { token: "t1".into(), event: event.clone() }).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    drop(silent);
}

#[test]
fn a_client_that_never_reads_its_answers_is_cut_off() {
    let server = Server::with(HttpOptions { write_timeout: Duration::from_secs(2), request_timeout: PATIENCE, ..HttpOptions::default() });
    let request = format!("GET /openapi.json HTTP/1.1\r\nhost: {}\r\n\r\n", server.address);
    let answer = server.get("/openapi.json").body.len();
    // More than the buffers of two sockets hold.
    let number = 24_000_000 / answer;
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writing = stream.try_clone().unwrap();
    let sent = std::thread::spawn(move || (0..number).all(|_| writing.write_all(request.as_bytes()).is_ok()));
    std::thread::sleep(Duration::from_secs(6));
    let (mut read, mut chunk) = (0, vec![0; 1 << 16]);
    while let Ok(more @ 1..) = stream.read(&mut chunk) {
        read += more;
        assert!(read < number * answer, "it got everything");
    }
    drop(stream.shutdown(std::net::Shutdown::Both));
    drop(sent.join());
}

#[test]
fn a_client_that_reads_slowly_is_not_cut_off() {
    const EVENTS: usize = 16;
    let server = Server::with(HttpOptions { write_timeout: Duration::from_secs(1), ..HttpOptions::default() });
    let mut event = order("1");
    event.event.data = format!("\"{}\"", "x".repeat(100_000)).into_bytes();
    *server.node.to_stream.lock().unwrap() = vec![StreamedEvent { token: "t1".into(), event }; EVENTS];
    let mut slow = TcpStream::connect(server.address).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.write_all(format!("GET /events/stream HTTP/1.1\r\nhost: {}\r\n\r\n", server.address).as_bytes()).unwrap();
    let (mut read, mut chunk) = (0, vec![0; 16 << 10]);
    while read < EVENTS * 100_000 {
        match slow.read(&mut chunk) {
            Ok(more @ 1..) => read += more,
            other => panic!("{other:?} after {read} bytes"),
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}
