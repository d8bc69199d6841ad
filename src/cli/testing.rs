//! A node that answers what it is told to, for tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::cli::client::Client;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Request line and headers, lower-case.
    pub head: String,
    pub body: String,
}

pub(crate) struct FakeNode {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// An answer with JSON.
pub(crate) fn answer(status: u16, body: &str) -> String {
    answer_with(status, "", body)
}

/// An answer with JSON and more headers, each ending in CR LF.
pub(crate) fn answer_with(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

impl FakeNode {
    /// Answers one request after another with `answers`, then 500.
    pub fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut answers = answers.into_iter();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while reader.read_line(&mut head).unwrap() > 2 {}
                let head = head.to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |text| text.trim().parse().unwrap());
                let mut body = vec![0u8; length];
                reader.read_exact(&mut body).unwrap();
                shared.lock().unwrap().push(Seen { head, body: String::from_utf8(body).unwrap() });
                let reply = answers.next().unwrap_or_else(|| answer(500, "{}"));
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        Self { url, seen }
    }

    pub fn client(&self) -> Client {
        Client::new(&self.url, Some("tol_test")).unwrap()
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// An address nobody listens on.
    pub fn unused_url() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }
}
