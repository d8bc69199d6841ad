//! [`TestServer`]: a plug that is mounted on a node in memory. Requests are matched to rows, let in by scope, and checked for unknown parameters as the
//! node does; limits of requests, origins and metrics are tested on the real server.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BoxBody, MessageBody as _, to_bytes};
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::rt::SystemRunner;
use actix_web::test::TestRequest;
use serde_json::Value;

use super::FakePlatform;
use crate::mounted::{Called, ProtocolSpec, Row};
use crate::request::{BodyLimits, Key, Parts, PathValues, Query, percent};
use crate::{Caller, Description, Kind, Mount, Mounted, Outcome, Plug, Problem, Scope, Spec, Start, StartError, mount};

/// Longest body where a row gives no other limit, bytes.
pub const BODY_LIMIT: usize = 1 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// See the module.
pub struct TestServer {
    /// The node.
    pub platform: Arc<FakePlatform>,
    /// The plug.
    pub mounted: Arc<dyn Mounted>,
    /// What the plug declares.
    pub description: Description,
    caller: Caller,
    /// Scopes of the key that is presented; `None` where the node has no keys.
    scopes: Option<Vec<Scope>>,
    system: SystemRunner,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct TestAnswer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; empty where it is a stream of events.
    pub body: Vec<u8>,
}

impl TestAnswer {
    /// A header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The problem's `type` without its path, where it is a problem.
    pub fn problem_slug(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        (self.header("content-type") == Some(crate::problem::PROBLEM_JSON)).then_some(())?;
        Some(body["type"].as_str()?.strip_prefix("/docs/problems/")?.to_owned())
    }

    /// Asserts that it is a problem of that kind, and gives its members.
    ///
    /// # Panics
    /// It is not.
    pub fn problem(&self, slug: &str) -> Value {
        assert_eq!(self.problem_slug().as_deref(), Some(slug), "{} {}", self.status, self.text());
        self.json()
    }
}

/// A stream of server-sent events.
pub struct TestStream<'s> {
    body: BoxBody,
    system: &'s SystemRunner,
}

impl TestStream<'_> {
    /// What is sent next, as text; `None` where the stream has ended.
    pub fn next_chunk(&mut self) -> Option<String> {
        let chunk = self.system.block_on(std::future::poll_fn(|context| Pin::new(&mut self.body).poll_next(context)))?;
        chunk.ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The next event: its name, id and data.
    ///
    /// # Panics
    /// The stream has ended, or sends something else.
    pub fn next_event(&mut self) -> (String, String, Value) {
        let text = self.next_chunk().unwrap_or_else(|| panic!("the stream has ended"));
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}")).to_owned();
        let data = field("data: ");
        (field("event: "), field("id: "), serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}")))
    }
}

impl TestServer {
    /// A plug on a node whose log is open and empty; its systems decide, its projections fold.
    ///
    /// # Errors
    /// The plug does not start.
    pub fn start<P: Plug>(settings: &Value) -> Result<Self, StartError> {
        let mount = mount::<P>();
        let systems = (mount.systems)(settings).map_err(|error| StartError { system: P::NAME, problem: error.to_string() })?;
        Self::made(mount, settings, |mounted, description| FakePlatform::new(systems, mounted.projections(), description), true)
    }

    /// A plug on a node that records facts and does no more; see [`FakePlatform::show`]. Its log is not open: see [`TestServer::open`].
    ///
    /// # Errors
    /// The plug does not start.
    pub fn recording<P: Plug>(settings: &Value) -> Result<Self, StartError> {
        Self::made(mount::<P>(), settings, |_, description| FakePlatform::new(Vec::new(), Vec::new(), description), false)
    }

    fn made(
        mount: Mount,
        settings: &Value,
        platform: impl FnOnce(&Arc<dyn Mounted>, &Description) -> Arc<FakePlatform>,
        open: bool,
    ) -> Result<Self, StartError> {
        let start = Start { data: std::env::temp_dir(), partitions: super::core::PARTITIONS, seed: 7 };
        let mounted = (mount.start)(settings, &start)?;
        let description = (mount.describe)();
        let platform = platform(&mounted, &description);
        let server = Self { platform, mounted, description, caller: Caller::Anybody, scopes: None, system: actix_web::rt::System::new() };
        if open {
            server.open();
        }
        Ok(server)
    }

    /// Opens the log.
    pub fn open(&self) {
        self.platform.open(&self.mounted, &self.description);
    }

    /// Has all requests come from the holder of a key with these attributes and all scopes.
    #[must_use]
    pub fn with_key(mut self, name: &str, attributes: &[(&str, &str)]) -> Self {
        let attributes: BTreeMap<String, String> = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.caller = Caller::Key(Arc::new(Key { name: name.to_owned(), attributes }));
        self
    }

    /// Has the key that is presented from now on have these scopes; `None` where the node has no keys.
    pub fn set_scopes(&mut self, scopes: Option<&[Scope]>) {
        self.scopes = scopes.map(<[Scope]>::to_vec);
    }

    /// Sends a request and reads the answer, unless that is a stream of events.
    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> TestAnswer {
        let response = self.call(method, target, headers, body);
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let streams = headers.get("content-type").is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
        let body = if streams { Vec::new() } else { self.system.block_on(to_bytes(response.into_body())).unwrap_or_default().to_vec() };
        TestAnswer { status, headers, body }
    }

    /// `GET`.
    pub fn get(&self, target: &str) -> TestAnswer {
        self.send("GET", target, &[], b"")
    }

    /// `POST` of JSON.
    pub fn post_json(&self, target: &str, body: &str) -> TestAnswer {
        self.send("POST", target, &[("content-type", "application/json")], body.as_bytes())
    }

    /// `GET` of a stream of events.
    ///
    /// # Panics
    /// The answer is none.
    pub fn stream(&self, target: &str, headers: &[(&str, &str)]) -> TestStream<'_> {
        let response = self.call("GET", target, headers, b"");
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        assert_eq!((response.status().as_u16(), content_type), (200, Some("text/event-stream")), "GET {target} answers no stream");
        TestStream { body: response.into_body(), system: &self.system }
    }

    fn call(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpResponse {
        let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let Some(found) = self.row(&method, path) else {
            return Problem::new(Kind::NOT_FOUND, format!("no row has {method} {path}")).to_response();
        };
        let mut request = TestRequest::with_uri(target).method(method).set_payload(body.to_vec());
        for header in headers {
            request = request.insert_header(*header);
        }
        let (http, payload) = request.to_http_parts();
        let outcome = self.let_in(found.spec, &http).and_then(|()| {
            let limits = BodyLimits { bytes: found.spec.body_limit.unwrap_or(BODY_LIMIT), patience: Duration::from_secs(5) };
            let credential = found.protocol.map(|protocol| protocol.credential);
            let parts = Parts { platform: self.platform.clone(), http, path: found.values, caller: self.caller.clone(), limits, credential };
            self.system.block_on(async {
                match self.mounted.call(found.row, parts, payload) {
                    Called::Done(_, outcome) => outcome,
                    Called::Later(_, outcome) => answered_in_time(outcome).await,
                }
            })
        });
        outcome.unwrap_or_else(|problem| match found.protocol {
            Some(protocol) => (protocol.error)(&problem),
            None => problem.to_response(),
        })
    }

    fn let_in(&self, spec: &Spec, http: &actix_web::HttpRequest) -> Result<(), Problem> {
        if let (Some(needed), Some(scopes)) = (spec.access.scope(), &self.scopes)
            && !scopes.contains(&needed)
            && !scopes.contains(&Scope::ADMIN)
        {
            return Err(Problem::new(Kind::MISSING_SCOPE, format!("the key lacks the scope {needed}")).with("scope", needed.0));
        }
        // What a row leaves to its handler is not looked at.
        if spec.any_query { Ok(()) } else { Query::of(http)?.check(spec) }
    }

    /// The row of a request, with the values in its path.
    fn row(&self, method: &Method, path: &str) -> Option<Found<'_>> {
        let rest = path.strip_prefix("/compat/").and_then(|rest| rest.split_once('/'));
        let protocol = rest.and_then(|(name, _)| self.description.protocols.iter().position(|protocol| protocol.name == name));
        if let (Some(number), Some((name, _))) = (protocol, rest) {
            let protocol = &self.description.protocols[number];
            let below = &path["/compat/".len() + name.len()..];
            let (row, spec, values) = best(&protocol.routes, method, below)?;
            return Some(Found { row: Row::Protocol(number, row), spec, protocol: Some(protocol), values });
        }
        let (row, spec, values) = best(&self.description.routes, method, path)?;
        Some(Found { row: Row::Route(row), spec, protocol: None, values })
    }
}

/// The row that answers a request.
struct Found<'s> {
    row: Row,
    spec: &'s Spec,
    protocol: Option<&'s ProtocolSpec>,
    values: PathValues,
}

async fn answered_in_time(outcome: impl Future<Output = Outcome>) -> Outcome {
    match tokio::time::timeout(PATIENCE, outcome).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Problem::internal(format!("no answer within {} seconds", PATIENCE.as_secs()))),
    }
}

/// The row with the fewest parameters that matches: what is written out wins.
fn best<'s>(rows: &'s [Spec], method: &Method, path: &str) -> Option<(usize, &'s Spec, PathValues)> {
    let matching = rows.iter().enumerate().filter(|(_, spec)| spec.serves(method));
    let found = matching.filter_map(|(row, spec)| Some((row, spec, matched(spec.path, path)?)));
    found.min_by_key(|(_, spec, _)| spec.path.matches('{').count())
}

/// The values of a template's parameters in a path that matches it.
fn matched(template: &'static str, path: &str) -> Option<PathValues> {
    let decoded = |text: &str| percent::decode(text).ok().map(std::borrow::Cow::into_owned);
    let (mut values, mut rest) = (PathValues::new(), path.split('/').collect::<Vec<_>>().into_iter());
    for wanted in template.split('/') {
        let parameter = wanted.strip_prefix('{').and_then(|wanted| wanted.strip_suffix('}'));
        match parameter.map(|name| (name, name.strip_prefix('*'))) {
            None if rest.next()? == wanted => {}
            None => return None,
            Some((_, Some(name))) => {
                let whole = rest.by_ref().collect::<Vec<_>>().join("/");
                values.push((name, decoded(&whole)?));
            }
            Some((name, None)) => values.push((name, decoded(rest.next()?)?)),
        }
    }
    (rest.next().is_none() && values.iter().all(|(_, value)| !value.is_empty())).then_some(values)
}
