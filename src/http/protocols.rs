//! A path of an SDK's protocol: found, handled, counted.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Instant;

use actix_web::body::BoxBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use metrics::{Counter, Histogram};

use super::ENDPOINTS;
use crate::http::guard::percent_decoded;
use crate::http::handlers::{Outcome, State};
use crate::http::metric_definitions::{REQUEST_SECONDS, REQUESTS};
use crate::http::problem::{Kind, Problem};

/// Stands at the end of a path whose last part is a key, which may hold slashes.
const KEY: &str = "{key}";
/// What answers mostly are: these are counted without a look into the recorder's table.
const USUAL: [u16; 3] = [200, 202, 304];

/// A request to one of the endpoints.
pub(super) struct Asked {
    pub(super) state: State,
    pub(super) request: HttpRequest,
    /// What stands in the path for `{key}`, decoded.
    pub(super) key: String,
}

/// Who answers.
pub(super) enum Handler {
    /// One that needs no body and waits for nothing.
    Now(fn(&Asked) -> Outcome),
    /// One that reads the body.
    Later(fn(Asked, Payload) -> LocalBoxFuture<'static, Outcome>),
}

/// A path and who answers each of its methods.
pub(super) struct Endpoint {
    /// As a template.
    pub(super) path: &'static str,
    pub(super) methods: &'static [(Method, Handler)],
}

impl Endpoint {
    /// The key in a path, if it is this endpoint's; "" where it has none.
    fn key_of<'p>(&self, path: &'p str) -> Option<&'p str> {
        match self.path.strip_suffix(KEY) {
            Some(before) => path.strip_prefix(before).filter(|key| !key.is_empty()),
            None => (path == self.path).then_some(""),
        }
    }

    fn allow(&self) -> String {
        self.methods.iter().map(|(method, _)| method.as_str()).chain(["OPTIONS"]).collect::<Vec<&str>>().join(", ")
    }

    fn other_method(&self) -> Problem {
        let allow = self.allow();
        let mut problem = Problem::new(Kind::MethodNotAllowed, format!("{} has {allow}", self.path));
        problem.allow = Some(allow);
        problem
    }
}

/// What becomes of a request.
pub(crate) enum Answer {
    /// It is answered.
    Now(ServiceResponse<BoxBody>),
    /// It will be.
    Later(LocalBoxFuture<'static, ServiceResponse<BoxBody>>),
    /// Its path is none of these.
    Elsewhere(ServiceRequest),
}

/// Answers what SDKs ask.
pub(crate) fn answer(state: &State, request: ServiceRequest) -> Answer {
    if !request.path().starts_with("/compat/") {
        return Answer::Elsewhere(request);
    }
    let decoded = percent_decoded(request.path());
    let path = decoded.as_deref().unwrap_or(request.path());
    let found = ENDPOINTS.iter().enumerate().find_map(|(place, endpoint)| Some((place, endpoint, endpoint.key_of(path)?)));
    let Some((place, endpoint, key)) = found else { return Answer::Elsewhere(request) };
    let key = key.to_owned();
    let refused = decoded.as_ref().err().map(|why| Problem::new(Kind::InvalidPath, format!("the path {why}; encode it as UTF-8 and write % itself as %25")));
    let of_method = endpoint.methods.iter().position(|(method, _)| method == request.method());
    let around = Around { endpoint, place, of_method, started: Instant::now(), page: Page::of(&request) };
    drop(decoded);

    let (request, payload) = request.into_parts();
    if let Some(problem) = refused {
        return Answer::Now(around.finish(state, request, Err(problem)));
    }
    if request.method() == Method::OPTIONS {
        return Answer::Now(around.finish(state, request, Ok(HttpResponse::NoContent().finish())));
    }
    match of_method.and_then(|at| endpoint.methods.get(at)).map(|(_, handler)| handler) {
        None => Answer::Now(around.finish(state, request, Err(endpoint.other_method()))),
        Some(Handler::Now(handler)) => {
            let asked = Asked { state: state.clone(), request, key };
            let outcome = handler(&asked);
            Answer::Now(around.finish(state, asked.request, outcome))
        }
        Some(Handler::Later(handler)) => {
            let state = state.clone();
            let outcome = handler(Asked { state: state.clone(), request: request.clone(), key }, payload);
            Answer::Later(Box::pin(async move {
                let outcome = outcome.await;
                around.finish(&state, request, outcome)
            }))
        }
    }
}

/// What is known of a request before its handler ran.
struct Around {
    endpoint: &'static Endpoint,
    /// Of the endpoint in the list.
    place: usize,
    /// Of the method among the endpoint's.
    of_method: Option<usize>,
    started: Instant,
    page: Option<Page>,
}

impl Around {
    /// Pages of any origin may use these paths, as each request names its key itself.
    fn finish(self, state: &State, request: HttpRequest, outcome: Outcome) -> ServiceResponse<BoxBody> {
        let mut response = outcome.unwrap_or_else(|problem| problem.to_response());
        if let Some(page) = self.page {
            page.allow(response.headers_mut(), self.endpoint);
        }
        state.meters.count(self.endpoint, self.place, self.of_method, response.status(), self.started);
        ServiceResponse::new(request, response)
    }
}

/// A request of a page.
struct Page {
    /// Of a preflight: the headers that the page wants to send.
    preflight: Option<Option<HeaderValue>>,
}

impl Page {
    fn of(request: &ServiceRequest) -> Option<Self> {
        let preflight = (request.method() == Method::OPTIONS).then(|| request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned());
        (preflight.is_some() || request.headers().contains_key(header::ORIGIN)).then_some(Self { preflight })
    }

    fn allow(self, headers: &mut HeaderMap, endpoint: &Endpoint) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag, retry-after, x-sse-support, x-tol-flags-last-known"));
        let Some(asked_for) = self.preflight else { return };
        if let Ok(allowed) = HeaderValue::from_str(&endpoint.allow()) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allowed);
        }
        if let Some(asked_for) = asked_for {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked_for);
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        headers.insert(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    }
}

/// Counters of each endpoint, looked up in the recorder once.
pub(crate) struct Meters(Box<[Box<[Meter]>]>);

/// Of one method.
#[derive(Default)]
struct Meter {
    seconds: OnceLock<Histogram>,
    answered: [OnceLock<Counter>; USUAL.len()],
}

impl Default for Meters {
    fn default() -> Self {
        // One more for methods that the endpoint does not have.
        Self(ENDPOINTS.iter().map(|endpoint| (0..=endpoint.methods.len()).map(|_| Meter::default()).collect()).collect())
    }
}

impl Meters {
    fn count(&self, endpoint: &'static Endpoint, place: usize, of_method: Option<usize>, status: StatusCode, started: Instant) {
        let (path, method) = (endpoint.path, of_method.and_then(|at| endpoint.methods.get(at)).map_or("other", |(method, _)| name(method)));
        let Some(meter) = self.0.get(place).and_then(|meters| meters.get(of_method.unwrap_or(endpoint.methods.len()))) else { return };
        let counter = |status: Cow<'static, str>| metrics::counter!(REQUESTS, "method" => method, "route" => path, "status" => status);
        match USUAL.iter().position(|usual| *usual == status.as_u16()) {
            Some(at) => meter.answered[at].get_or_init(|| counter(USUAL[at].to_string().into())).increment(1),
            None => counter(status.as_u16().to_string().into()).increment(1),
        }
        let seconds = meter.seconds.get_or_init(|| metrics::histogram!(REQUEST_SECONDS, "method" => method, "route" => path));
        seconds.record(started.elapsed().as_secs_f64());
    }
}

fn name(method: &Method) -> &'static str {
    if *method == Method::GET { "GET" } else { "POST" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_endpoint_s_and_a_key_may_hold_slashes() {
        let found = |path: &str| ENDPOINTS.iter().filter_map(|endpoint| Some((endpoint.path, endpoint.key_of(path)?.to_owned()))).collect::<Vec<_>>();
        for endpoint in ENDPOINTS {
            let path = endpoint.path.replace(KEY, "a/b");
            let key = if endpoint.path.ends_with(KEY) { "a/b" } else { "" };
            assert_eq!(found(&path), [(endpoint.path, key.to_owned())], "{path}");
            assert!(endpoint.methods.iter().all(|(method, _)| name(method) == method.as_str()), "{path}");
        }
        for nowhere in
            ["/compat/", "/compat/growthbook/sub/", "/compat/unleash/api/frontend/", "/compat/unleash/api/client", "/compat/ofrep/ofrep/v1/evaluate/flags/"]
        {
            assert!(found(nowhere).is_empty(), "{nowhere}");
        }
    }
}
