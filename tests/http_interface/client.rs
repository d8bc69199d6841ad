//! A server on a free port, and a client that sends exactly what it is told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use serde_json::Value;
use tol_plug::Platform;
use tol_plug::mounted::Follower;
use tol_system::Followed;
use tree_of_life::http::{HttpOptions, serve};

use super::fake::{FakeNode, flag_row, node};

/// A running server; ends with the test.
pub struct Server {
    pub address: SocketAddr,
    pub node: Arc<FakeNode>,
    handle: ServerHandle,
    /// What keeps the rows of systems' projections in memory, by projection.
    followers: BTreeMap<&'static str, Follower>,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Asserts that it is a problem of that kind, well-formed, whose page exists; returns its body.
    pub fn problem(&self, slug: &str) -> Value {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "status {}: {}", self.status, self.text());
        let body = self.json();
        assert_eq!(body["type"], format!("/docs/problems/{slug}"), "{body}");
        assert_eq!(body["status"], self.status);
        assert!(body["title"].is_string() && body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
        body
    }
}

impl Server {
    pub fn start() -> Self {
        Self::with(HttpOptions::default())
    }

    pub fn with(options: HttpOptions) -> Self {
        let options = HttpOptions { listen: "127.0.0.1:0".into(), workers: 1, shutdown_timeout_s: 1, ..options };
        let node = node();
        let api = Arc::clone(&node);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let plugs = tree_of_life::node::testing::plug_entries(&tol_config::Config::default(), &[]).unwrap();
                let platform: Arc<dyn Platform> = api.clone();
                let mounted = plugs.iter().filter_map(|plug| plug.mounted.as_ref()).inspect(|mounted| mounted.opened(&platform));
                let followers = mounted.flat_map(|mounted| mounted.projections()).filter_map(|one| Some((one.projection.name(), one.follower?))).collect();
                let listening = serve(&options, api, &plugs).unwrap();
                sender.send((listening.address, listening.server.handle(), followers)).unwrap();
                listening.server.await.unwrap();
            });
        });
        let (address, handle, followers) = receiver.recv().unwrap();
        let server = Self { address, node, handle, followers };
        let row = ("flag/42".to_owned(), Some(postcard::to_stdvec(&flag_row()).unwrap()));
        server.follow("flags", Followed { anew: true, rows: vec![row], caught_up: true, last_known: false });
        server
    }

    /// Tells the follower of a system's projection of rows, as that projection's fold does.
    pub fn follow(&self, projection: &str, rows: Followed<Vec<u8>>) {
        self.followers[projection](rows);
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("host: {}\r\n", self.address));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // In one write: a server that answers before the body has come keeps the connection for a second to read it.
        // It may also answer, and close, before it has read a long one.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        let mut whole = Vec::new();
        stream.read_to_end(&mut whole).unwrap();
        let end = whole.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer") + 4;
        let head = String::from_utf8(whole[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: whole[end..].to_vec() }
    }

    /// The status of an answer that may have no end: the connection is closed once its head is there.
    pub fn status_of(&self, method: &str, path: &str, header: Option<(&str, &str)>) -> u16 {
        let own = header.map_or_else(String::new, |(name, value)| format!("{name}: {value}\r\n"));
        let head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\nhost: {}\r\n{own}\r\n", self.address);
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut first = String::new();
        BufReader::new(stream).read_line(&mut first).unwrap();
        first.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn post_json(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.as_bytes())
    }

    pub fn structured(&self, body: &str) -> Answer {
        self.send("POST", "/events", &[("content-type", "application/cloudevents+json")], body.as_bytes())
    }

    pub fn batch(&self, body: &str) -> Answer {
        self.send("POST", "/events", &[("content-type", "application/cloudevents-batch+json; charset=utf-8")], body.as_bytes())
    }

    /// Opens a stream of server-sent events and returns its lines, chunk sizes left out; they end with the stream.
    pub fn stream(&self, path: &str, headers: &str) -> impl Iterator<Item = String> + use<> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", self.address).as_bytes()).unwrap();
        BufReader::new(stream).lines().map_while(Result::ok).filter(|line| u64::from_str_radix(line, 16).is_err())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The command is sent at once; nobody needs to wait for it.
        drop(self.handle.stop(false));
    }
}
