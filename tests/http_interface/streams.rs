//! Server-sent events.

use tree_of_life::http::HttpOptions;
use tree_of_life::http::api::StreamedEvent;

use crate::client::Server;
use crate::fake::order;

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
