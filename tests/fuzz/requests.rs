//! Paths, query parameters and headers at a server: every answer is HTTP, none is a failure of the server, and the server goes on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tree_of_life::http::HttpOptions;

use super::mutate::{corpus, fuzz};
use crate::http_interface::client::Server;

/// What answers these bytes, if anything does, until the server closes the connection.
fn answer(server: &Server, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may have answered and closed already.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let mut chunk = [0u8; 8_192];
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        answer.extend_from_slice(&chunk[..read]);
        // A stream of events has no end.
        if answer.windows(17).any(|window| window == b"text/event-stream") {
            break;
        }
    }
    answer
}

#[test]
fn requests_at_a_server() {
    let server = Server::with(HttpOptions { request_timeout: Duration::from_secs(2), ..HttpOptions::default() });
    // An input is what follows the first slash of the target.
    fuzz("request", &corpus("request"), 12_000, |input| {
        let line = input.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect::<Vec<u8>>();
        let request = [b"GET /", &*line, b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"].concat();
        let answer = answer(&server, &request);
        let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse::<u16>().ok());
        // 503: no more streams than are allowed.
        assert!(status.is_some_and(|status| (200..500).contains(&status) || status == 503), "{status:?}: {}", String::from_utf8_lossy(&answer));
    });
    assert_eq!(server.get("/livez").status, 200);
}
