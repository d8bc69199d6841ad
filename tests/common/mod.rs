//! What the end-to-end tests share: the real binary as a child, HTTP, events, and waiting without sleeping longer than needed.

pub mod systems;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The built binary.
pub const TOL: &str = env!("CARGO_BIN_EXE_tol");

/// How long anything may take. No test waits that long unless it fails.
pub const LONG: Duration = Duration::from_secs(60);

/// Asks again until there is an answer.
pub fn wait<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + LONG;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(15));
    }
}

/// Status and body, parsed where it is JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub json: Value,
    pub text: String,
}

impl Answer {
    /// The problem's `type` without its path.
    pub fn problem(&self) -> &str {
        assert!(self.content_type.starts_with("application/problem+json"), "{self:?}");
        self.json["type"].as_str().unwrap().rsplit('/').next().unwrap()
    }

    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json
    }
}

/// A node's HTTP interface.
#[derive(Clone)]
pub struct Http {
    pub url: String,
    agent: ureq::Agent,
}

impl Http {
    pub fn new(url: &str) -> Self {
        let config = ureq::config::Config::builder().http_status_as_error(false).timeout_global(Some(LONG)).build();
        Self { url: url.to_owned(), agent: ureq::Agent::new_with_config(config) }
    }

    /// `None` when nobody answers.
    pub fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response =
            if body.is_empty() && headers.is_empty() { self.agent.run(request.body(()).unwrap()) } else { self.agent.run(request.body(body).unwrap()) }.ok()?;
        let content_type = response.headers().get("content-type").map_or(String::new(), |value| value.to_str().unwrap().to_owned());
        let text = response.body_mut().with_config().limit(1 << 30).read_to_string().ok()?;
        let json = if content_type.contains("json") { serde_json::from_str(&text).unwrap() } else { Value::Null };
        Some(Answer { status: response.status().as_u16(), content_type, json, text })
    }

    pub fn get(&self, path: &str) -> Answer {
        self.try_send("GET", path, &[], &[]).unwrap_or_else(|| panic!("no answer to GET {path}"))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_send("POST", path, &[("content-type", "application/json")], body.to_string().as_bytes()).unwrap_or_else(|| panic!("no answer to POST {path}"))
    }

    pub fn raw(&self, content_type: &str, body: &[u8]) -> Answer {
        self.try_send("POST", "/events", &[("content-type", content_type)], body).expect("an answer to POST /events")
    }

    /// Publishes a batch.
    pub fn publish(&self, events: &[Value]) -> Answer {
        self.raw("application/cloudevents-batch+json", json!(events).to_string().as_bytes())
    }

    pub fn wait_until_ready(&self) {
        wait("ready", || self.try_send("GET", "/readyz", &[], &[]).filter(|answer| answer.status == 200));
    }

    /// A digest once the projection has caught up with everything there is.
    pub fn digest(&self, projection: &str) -> (String, u64) {
        self.settled();
        let digest = self.get(&format!("/projections/{projection}/digest")).ok();
        (digest["digest"].as_str().unwrap().to_owned(), digest["rows"].as_u64().unwrap())
    }

    /// Waits until systems and projections have nothing left to do.
    pub fn settled(&self) {
        let lags = || -> u64 {
            let lag = |path: &str| -> u64 { self.get(path).ok().as_array().unwrap().iter().map(|one| one["lag"].as_u64().unwrap()).sum() };
            lag("/systems") + lag("/projections")
        };
        // Twice: what a system had just taken may still lead to events.
        wait("systems and projections at the end of the log", || (lags() == 0 && lags() == 0).then_some(()));
    }

    /// All rows, by key.
    pub fn rows(&self, path: &str) -> std::collections::BTreeMap<String, Value> {
        let mut rows = std::collections::BTreeMap::new();
        let mut cursor = String::new();
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = wait("rows", || {
                let answer = self.get(&format!("{path}{join}limit=500{cursor}"));
                (answer.status != 202).then(|| answer.ok())
            });
            for item in page["items"].as_array().unwrap() {
                assert!(rows.insert(item["key"].as_str().unwrap().to_owned(), item["value"].clone()).is_none(), "a key stands twice");
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={}", next.replace('%', "%25").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")),
                None => return rows,
            }
        }
    }

    /// All events of a search.
    pub fn events(&self, query: &str) -> Vec<Value> {
        let mut events = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/events?{query}&limit=500{cursor}")).ok();
            events.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={}", next.replace('%', "%25").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")),
                None => return events,
            }
        }
    }
}

/// `tol run` as a child on a free port; killed when dropped.
pub struct Node {
    pub child: Child,
    pub http: Http,
    /// Keeps its end of the pipe open.
    _stdout: BufReader<std::process::ChildStdout>,
}

/// A `tol` command that no configuration of this machine reaches.
pub fn tol(arguments: &[&str]) -> Command {
    let mut command = Command::new(TOL);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TOL")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a `tol` command to its end.
pub fn run(arguments: &[&str]) -> Output {
    tol(arguments).output().unwrap()
}

impl Node {
    /// Starts it and waits until it listens.
    pub fn start(data: &Path, more: &[&str]) -> Self {
        let mut arguments = vec!["run", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        arguments.extend(more);
        let mut child = tol(&arguments).env("RUST_LOG", "warn").stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.strip_prefix("tol listens on ").and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("it says {line:?}")).to_owned();
        Self { child, http: Http::new(&url), _stdout: stdout }
    }

    /// Starts it and waits until it is ready.
    pub fn ready(data: &Path) -> Self {
        let node = Self::start(data, &["--set", "log.partitions=4"]);
        node.http.wait_until_ready();
        node
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; it must end by itself, well.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = wait("the node's end", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A CloudEvent.
pub fn event(id: &str, event_type: &str, subject: &str, time: &str, data: Value) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/test", "type": event_type, "subject": subject, "time": time, "datacontenttype": "application/json", "data": data})
}

/// An order in US dollars.
pub fn order(id: &str, customer: &str, minor: i64) -> Value {
    let data = json!({"order_id": id, "customer_id": customer, "total": {"minor": minor, "currency": "USD"}});
    event(id, "commerce.order_placed.v1", &format!("customer/{customer}"), "2026-01-05T10:00:00Z", data)
}
