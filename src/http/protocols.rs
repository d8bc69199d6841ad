//! Serves foreign protocols of systems below `/compat/<name>`: finds the route, lets the request in, calls the handler, counts it.
//!
//! These requests do not pass actix-web's router. It tries a regular expression for each path with a parameter, and boxes its services: more than the
//! answer to an SDK takes altogether.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use futures_util::future::LocalBoxFuture;
use tol_plug::mounted::{Called, Mounted, ProtocolSpec, Row};
use tol_plug::request::{BodyLimits, Parts, PathValues, Query, percent};
use tol_plug::{Cors, Kind, Outcome, Problem, Spec};

use super::guard;
use super::meters::RowMeter;
use super::plugs::PlugEntry;
use super::server::State;

const PREFIX: &str = "/compat/";

/// The protocols of all systems.
pub(crate) struct Protocols(BTreeMap<&'static str, Arc<Protocol>>);

/// A protocol with its routes.
pub(crate) struct Protocol {
    spec: ProtocolSpec,
    /// What serves it; `None` where its system is disabled.
    mounted: Option<Arc<dyn Mounted>>,
    /// The system's name, for the answer where it is disabled.
    system: &'static str,
    router: matchit::Router<usize>,
    paths: Vec<PathGroup>,
}

/// A path and the methods it has.
struct PathGroup {
    /// As in metrics: with the prefix.
    path: String,
    names: Vec<&'static str>,
    methods: Vec<MethodRow>,
    allow: String,
    /// Counts requests with a method that the path does not have.
    other: RowMeter,
}

struct MethodRow {
    method: Method,
    spec: Spec,
    row: Row,
    meter: RowMeter,
}

/// A path that cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("protocol {protocol}: the path {path} cannot be routed: {error}")]
pub struct RouteError {
    protocol: &'static str,
    path: &'static str,
    error: matchit::InsertError,
}

impl Protocols {
    /// The protocols that systems declare.
    ///
    /// # Errors
    /// A path that cannot be routed, or collides with another.
    pub(crate) fn of(plugs: &[PlugEntry]) -> Result<Self, RouteError> {
        let mut all = BTreeMap::new();
        for plug in plugs {
            for (number, spec) in plug.description.protocols.iter().enumerate() {
                all.insert(spec.name, Arc::new(Protocol::of(plug, number, spec)?));
            }
        }
        Ok(Self(all))
    }

    /// A protocol by its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Protocol>> {
        self.0.get(name)
    }
}

impl Protocol {
    fn of(plug: &PlugEntry, number: usize, spec: &ProtocolSpec) -> Result<Self, RouteError> {
        let (mut router, mut paths) = (matchit::Router::new(), Vec::<PathGroup>::new());
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, route) in spec.routes.iter().enumerate() {
            let place = match places.get(route.path) {
                Some(place) => *place,
                None => {
                    router.insert(route.path, paths.len()).map_err(|error| RouteError { protocol: spec.name, path: route.path, error })?;
                    places.insert(route.path, paths.len());
                    let path = format!("{PREFIX}{}{}", spec.name, route.path.replace("{*", "{"));
                    paths.push(PathGroup {
                        path,
                        names: route.path_parameters().collect(),
                        methods: Vec::new(),
                        allow: String::new(),
                        other: RowMeter::default(),
                    });
                    paths.len() - 1
                }
            };
            let method = Method::from_bytes(route.method.as_bytes()).unwrap_or(Method::GET);
            let Some(group) = paths.get_mut(place) else { continue };
            group.methods.push(MethodRow { method, spec: *route, row: Row::Protocol(number, index), meter: RowMeter::default() });
            group.allow = group.methods.iter().map(|row| row.method.as_str()).chain(["OPTIONS"]).collect::<Vec<&str>>().join(", ");
        }
        Ok(Self { spec: spec.clone(), mounted: plug.mounted.clone(), system: plug.description.name, router, paths })
    }

    /// What becomes of a request to one of its paths; `at` is where its own part of the path begins.
    fn handle(self: &Arc<Self>, state: &State, request: ServiceRequest, at: usize) -> Answer {
        let decoded = percent::decode(request.path());
        let (group, path) = {
            let whole = decoded.as_deref().unwrap_or(request.path());
            let Some(own) = whole.get(at..) else { return Answer::Elsewhere(request) };
            let Ok(found) = self.router.at(own) else { return Answer::Elsewhere(request) };
            let Some(group) = self.paths.get(*found.value) else { return Answer::Elsewhere(request) };
            let values = found.params.iter().map(|(_, value)| value.to_owned());
            (*found.value, group.names.iter().copied().zip(values).collect::<PathValues>())
        };
        let refused =
            decoded.as_ref().err().map(|why| Problem::new(Kind::INVALID_PATH, format!("the path {why}; encode it as UTF-8 and write % itself as %25")));
        drop(decoded);
        let groups = &self.paths[group];
        let method = groups.methods.iter().position(|row| row.method == *request.method());
        let around = Around { protocol: self.clone(), group, method, started: Instant::now(), page: Page::of(&request, self.spec.cors) };

        let (http, payload) = request.into_parts();
        if let Some(problem) = refused {
            return Answer::Now(around.finish(http, Err(problem)));
        }
        if *http.method() == Method::OPTIONS && self.spec.cors != Cors::SameOrigin {
            return Answer::Now(around.finish(http, Ok(HttpResponse::NoContent().finish())));
        }
        let Some(row) = method.and_then(|at| groups.methods.get(at)) else {
            let mut problem = Problem::new(Kind::METHOD_NOT_ALLOWED, format!("{} has {}", groups.path, groups.allow));
            problem.allow = Some(groups.allow.clone());
            return Answer::Now(around.finish(http, Err(problem)));
        };
        let caller = match guard::let_in(state, &row.spec, &http, &path, &self.spec.credential, self.spec.cors) {
            Ok(caller) => caller,
            Err(problem) => return Answer::Now(around.finish(http, Err(problem))),
        };
        let Some(mounted) = &self.mounted else { return Answer::Now(around.finish(http, Err(super::plugs::disabled(self.system)))) };
        if !row.spec.any_query && !http.query_string().is_empty() {
            let checked = Query::of(&http).and_then(|query| query.check(&row.spec));
            if let Err(problem) = checked {
                return Answer::Now(around.finish(http, Err(problem)));
            }
        }
        let limits = BodyLimits { bytes: row.spec.body_limit.unwrap_or(state.body_limit), patience: state.request_timeout };
        let parts = Parts { platform: state.platform.clone(), http, path, caller, limits, credential: Some(self.spec.credential) };
        match mounted.call(row.row, parts, payload) {
            Called::Done(http, outcome) => Answer::Now(around.finish(http, outcome)),
            Called::Later(http, outcome) => Answer::Later(Box::pin(async move {
                let outcome = outcome.await;
                around.finish(http, outcome)
            })),
        }
    }
}

/// The outcome of a request.
pub(crate) enum Answer {
    /// The answer is here.
    Now(ServiceResponse<BoxBody>),
    /// The answer comes later.
    Later(LocalBoxFuture<'static, ServiceResponse<BoxBody>>),
    /// Its path is none of a protocol's.
    Elsewhere(ServiceRequest),
}

/// Answers a request to a path below `/compat/`.
pub(crate) fn answer(state: &State, request: ServiceRequest) -> Answer {
    let Some(rest) = request.path().strip_prefix(PREFIX) else { return Answer::Elsewhere(request) };
    let name = rest.split('/').next().unwrap_or_default();
    let Some(protocol) = state.protocols.get(name) else { return Answer::Elsewhere(request) };
    let at = PREFIX.len() + name.len();
    protocol.clone().handle(state, request, at)
}

/// Answers a request to a port of the protocol's own, where its paths begin at the root.
pub(crate) fn answer_at_root(state: &State, protocol: &Arc<Protocol>, request: ServiceRequest) -> Answer {
    protocol.handle(state, request, 0)
}

/// What is known of a request before its handler ran.
struct Around {
    protocol: Arc<Protocol>,
    group: usize,
    /// Of the method among the path's.
    method: Option<usize>,
    started: Instant,
    page: Option<Page>,
}

impl Around {
    fn finish(self, request: HttpRequest, outcome: Outcome) -> ServiceResponse<BoxBody> {
        let mut response = outcome.unwrap_or_else(|problem| (self.protocol.spec.error)(&problem));
        let group = &self.protocol.paths[self.group];
        if let (Some(page), Cors::AnyOrigin { exposed }) = (self.page, self.protocol.spec.cors) {
            page.allow(response.headers_mut(), &group.allow, exposed);
        }
        let row = self.method.and_then(|at| group.methods.get(at));
        let (meter, method) = row.map_or((&group.other, "other"), |row| (&row.meter, row.spec.method));
        meter.count(method, || Cow::Owned(group.path.clone()), response.status(), self.started);
        ServiceResponse::new(request, response)
    }
}

/// A request of a web page.
struct Page {
    /// Of a preflight: the headers that the page wants to send.
    preflight: Option<Option<HeaderValue>>,
}

impl Page {
    fn of(request: &ServiceRequest, cors: Cors) -> Option<Self> {
        if cors == Cors::SameOrigin {
            return None;
        }
        let preflight = (request.method() == Method::OPTIONS).then(|| request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned());
        (preflight.is_some() || request.headers().contains_key(header::ORIGIN)).then_some(Self { preflight })
    }

    fn allow(self, headers: &mut HeaderMap, methods: &str, exposed: &'static str) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(exposed));
        let Some(asked_for) = self.preflight else { return };
        if let Ok(allowed) = HeaderValue::from_str(methods) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allowed);
        }
        if let Some(asked_for) = asked_for {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked_for);
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        headers.insert(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    }
}
