//! A mounted flag system. Requests are matched to rows as a node does; what a node does around a handler (keys, limits, CORS) is tested there.

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
use serde_json::{Value, json};
use tol_enterprise_feature_flag_system::Flags;
use tol_enterprise_feature_flag_system::projections::flags::FlagRow;
use tol_plug::mounted::{Called, Row};
use tol_plug::request::{BodyLimits, Key, Parts, PathValues};
use tol_plug::{Caller, Description, Mounted, MountedProjection, Platform, Spec, Start, mount};
use tol_system::Followed;

use crate::node::{Node, node};

/// See the module.
pub struct Server {
    pub node: Arc<Node>,
    pub mounted: Arc<dyn Mounted>,
    /// Who sends all requests.
    caller: Caller,
    /// What handlers are awaited on.
    system: SystemRunner,
    description: Description,
    projection: MountedProjection,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    headers: HeaderMap,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Asserts that it is a problem of that kind.
    pub fn problem(&self, slug: &str) -> Value {
        let body = self.json();
        assert_eq!(
            (self.header("content-type"), body["type"].as_str()),
            (Some("application/problem+json"), Some(&*format!("/docs/problems/{slug}"))),
            "{body}"
        );
        body
    }
}

/// A stream of server-sent events.
pub struct Stream<'s> {
    body: BoxBody,
    system: &'s SystemRunner,
}

impl Stream<'_> {
    /// What is sent next; `None` where the stream has ended.
    pub fn next(&mut self) -> Option<String> {
        let chunk = self.system.block_on(std::future::poll_fn(|context| Pin::new(&mut self.body).poll_next(context)))?;
        Some(String::from_utf8(chunk.unwrap().to_vec()).unwrap())
    }

    /// The next event: its name, id and data.
    pub fn event(&mut self) -> (String, String, Value) {
        let text = self.next().expect("the stream has ended");
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}")).to_owned();
        (field("event: "), field("id: "), serde_json::from_str(&field("data: ")).unwrap())
    }
}

fn start(settings: &Value) -> (Arc<dyn Mounted>, MountedProjection) {
    let start = Start { data: std::env::temp_dir(), partitions: 8, seed: 7 };
    let mounted = (mount::<Flags>().start)(settings, &start).unwrap();
    let projection = mounted.projections().pop().unwrap();
    (mounted, projection)
}

impl Server {
    /// One whose log is open and that serves nothing yet.
    pub fn new() -> Self {
        Self::with(&json!({}))
    }

    pub fn with(settings: &Value) -> Self {
        let server = Self::closed(settings);
        server.open();
        server
    }

    /// Tells it that the log is open.
    pub fn open(&self) {
        let platform: Arc<dyn Platform> = self.node.clone();
        self.mounted.opened(&platform);
    }

    /// One whose log is not open.
    pub fn closed(settings: &Value) -> Self {
        let (mounted, projection) = start(settings);
        let system = actix_web::rt::System::new();
        Self { node: node(), mounted, caller: Caller::Anybody, system, description: (mount::<Flags>().describe)(), projection }
    }

    /// Has all requests come from the holder of a key.
    pub fn with_key(mut self, attributes: &[(&str, &str)]) -> Self {
        let attributes: BTreeMap<String, String> = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.caller = Caller::Key(Arc::new(Key { name: "ada".to_owned(), attributes }));
        self
    }

    /// Tells it of rows, as the projection's fold does.
    pub fn follow(&self, rows: Vec<(String, Option<FlagRow>)>, anew: bool) {
        self.tell(rows, Followed { anew, rows: Vec::new(), caught_up: true, last_known: false });
    }

    pub fn tell(&self, rows: Vec<(String, Option<FlagRow>)>, how: Followed<Vec<u8>>) {
        let rows = rows.into_iter().map(|(key, row)| (key, row.map(|row| postcard::to_stdvec(&row).unwrap()))).collect();
        (self.projection.follower.as_ref().unwrap())(Followed { rows, ..how });
    }

    /// The row of a request, with the values in its path.
    fn row(&self, method: &str, path: &str) -> (Row, Spec, Option<usize>, PathValues) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for (number, protocol) in self.description.protocols.iter().enumerate() {
            let Some(rest) = path.strip_prefix(&format!("/compat/{}", protocol.name)) else { continue };
            for (row, spec) in protocol.routes.iter().enumerate().filter(|(_, spec)| spec.serves(&method)) {
                if let Some(values) = matched(spec.path, rest) {
                    return (Row::Protocol(number, row), *spec, Some(number), values);
                }
            }
        }
        // What is written out wins over a parameter.
        let mut rows: Vec<(usize, &Spec)> = self.description.routes.iter().enumerate().filter(|(_, spec)| spec.serves(&method)).collect();
        rows.sort_by_key(|(_, spec)| spec.path.matches('{').count());
        let found = rows.into_iter().find_map(|(row, spec)| Some((Row::Route(row), *spec, None, matched(spec.path, path)?)));
        found.unwrap_or_else(|| panic!("no row has {method} {path}"))
    }

    fn call(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpResponse {
        let (row, spec, protocol, path) = self.row(method, target.split('?').next().unwrap());
        let mut request = TestRequest::with_uri(target).method(Method::from_bytes(method.as_bytes()).unwrap()).set_payload(body.to_vec());
        for header in headers {
            request = request.insert_header(*header);
        }
        let (http, payload) = request.to_http_parts();
        let protocol = protocol.map(|number| &self.description.protocols[number]);
        let limits = BodyLimits { bytes: spec.body_limit.unwrap_or(16 << 20), patience: Duration::from_secs(5) };
        let credential = protocol.map(|protocol| protocol.credential);
        let parts = Parts { platform: self.node.clone(), http, path, caller: self.caller.clone(), limits, credential };
        let outcome = self.system.block_on(async {
            match self.mounted.call(row, parts, payload) {
                Called::Done(_, outcome) => outcome,
                Called::Later(_, outcome) => outcome.await,
            }
        });
        outcome.unwrap_or_else(|problem| match protocol {
            Some(protocol) => (protocol.error)(&problem),
            None => problem.to_response(),
        })
    }

    pub fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let response = self.call(method, target, headers, body);
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = self.system.block_on(to_bytes(response.into_body())).unwrap_or_default().to_vec();
        Answer { status, headers, body }
    }

    pub fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"")
    }

    pub fn post_json(&self, target: &str, body: &str) -> Answer {
        self.send("POST", target, &[("content-type", "application/json")], body.as_bytes())
    }

    pub fn stream(&self, target: &str, headers: &[(&str, &str)]) -> Stream<'_> {
        let response = self.call("GET", target, headers, b"");
        assert_eq!(response.headers().get("content-type").unwrap(), "text/event-stream");
        Stream { body: response.into_body(), system: &self.system }
    }
}

/// The values of a template's parameters in a path that matches it.
fn matched(template: &'static str, path: &str) -> Option<PathValues> {
    let decoded = |text: &str| tol_plug::request::percent::decode(text).unwrap().into_owned();
    let (mut values, mut rest) = (PathValues::new(), path.split('/').collect::<Vec<_>>().into_iter());
    for wanted in template.split('/') {
        let parameter = wanted.strip_prefix('{').and_then(|wanted| wanted.strip_suffix('}'));
        match parameter.map(|name| (name, name.strip_prefix('*'))) {
            None if rest.next()? == wanted => {}
            None => return None,
            Some((_, Some(name))) => {
                let whole = rest.by_ref().collect::<Vec<_>>().join("/");
                values.push((name, decoded(&whole)));
            }
            Some((name, None)) => values.push((name, decoded(rest.next()?))),
        }
    }
    (rest.next().is_none() && values.iter().all(|(_, value)| !value.is_empty())).then_some(values)
}
