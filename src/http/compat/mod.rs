//! What the SDKs of others speak, each protocol below a prefix of its own. Their definitions are elsewhere, so they are not part of this node's
//! OpenAPI document; [docs/flags.md](../../../docs/flags.md) tells which exist and who may use them.
//!
//! * [`access`] — tokens and keys: whose flags, and what may be done
//! * [`flags`] — what is served, and who follows it
//! * [`unleash`] — `/compat/unleash/api`: SDKs that evaluate themselves, the frontend API, deltas, metrics
//! * [`ofrep`] — `/compat/ofrep`: the OpenFeature Remote Evaluation Protocol
//! * [`growthbook`] — `/compat/growthbook`: features
//! * [`stream`] — server-sent events of the first and the last
//! * [`reports`] — what SDKs count and measure, as facts

mod access;
mod flags;
mod growthbook;
mod ofrep;
mod reports;
mod stream;
mod unleash;

use std::time::Instant;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{Error, HttpRequest, HttpResponse};

use super::guard::percent_encoding;
use super::handlers::{Outcome, State};
use super::metric_definitions::{REQUEST_SECONDS, REQUESTS};
use super::problem::{Kind, Problem};

pub(crate) use self::access::{Access, Need};
pub(crate) use self::flags::Flags;

/// Every path and its methods; `{key}` may hold slashes.
const PATHS: &[(&str, &[&str])] = &[
    ("/compat/unleash/api/client/features", &["GET"]),
    ("/compat/unleash/api/client/delta", &["GET"]),
    ("/compat/unleash/api/client/streaming", &["GET"]),
    ("/compat/unleash/api/client/register", &["POST"]),
    ("/compat/unleash/api/client/metrics", &["POST"]),
    ("/compat/unleash/api/frontend", &["GET", "POST"]),
    ("/compat/unleash/api/frontend/client/register", &["POST"]),
    ("/compat/unleash/api/frontend/client/metrics", &["POST"]),
    ("/compat/ofrep/ofrep/v1/evaluate/flags", &["POST"]),
    ("/compat/ofrep/ofrep/v1/evaluate/flags/{key}", &["POST"]),
    ("/compat/growthbook/api/features/{key}", &["GET"]),
    ("/compat/growthbook/sub/{key}", &["GET"]),
];

/// Tells that what is served is what was last known, and why.
const LAST_KNOWN: HeaderName = HeaderName::from_static("x-tol-flags-last-known");

pub(crate) fn register(config: &mut ServiceConfig) {
    for (path, methods) in PATHS {
        let mut resource = web::resource(path.replace("{key}", "{key:.+}"));
        resource = match *path {
            "/compat/unleash/api/client/features" => resource.route(web::get().to(unleash::features)),
            "/compat/unleash/api/client/delta" => resource.route(web::get().to(unleash::delta)),
            "/compat/unleash/api/client/streaming" => resource.route(web::get().to(stream::unleash)),
            "/compat/unleash/api/client/register" => resource.route(web::post().to(unleash::register_client)),
            "/compat/unleash/api/client/metrics" => resource.route(web::post().to(unleash::client_metrics)),
            "/compat/unleash/api/frontend" => resource.route(web::get().to(unleash::frontend)).route(web::post().to(unleash::frontend_post)),
            "/compat/unleash/api/frontend/client/register" => resource.route(web::post().to(unleash::register_frontend)),
            "/compat/unleash/api/frontend/client/metrics" => resource.route(web::post().to(unleash::frontend_metrics)),
            "/compat/ofrep/ofrep/v1/evaluate/flags" => resource.route(web::post().to(ofrep::all)),
            "/compat/ofrep/ofrep/v1/evaluate/flags/{key}" => resource.route(web::post().to(ofrep::one)),
            "/compat/growthbook/api/features/{key}" => resource.route(web::get().to(growthbook::features)),
            _ => resource.route(web::get().to(stream::growthbook)),
        };
        let resource = resource.default_service(web::to(move || async move { other_method(path, methods) }));
        config.service(resource.wrap(from_fn(move |request, next| around(path, methods, request, next))));
    }
}

fn other_method(path: &str, methods: &[&str]) -> Outcome {
    let allow = format!("{}, OPTIONS", methods.join(", "));
    let mut problem = Problem::new(Kind::MethodNotAllowed, format!("{path} has {allow}"));
    problem.allow = Some(allow);
    Err(problem)
}

/// What happens around every handler: pages of any origin may use these paths, as each request names its key itself.
async fn around(path: &'static str, methods: &'static [&'static str], request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let method = methods.iter().copied().find(|method| *method == request.method().as_str()).unwrap_or("other");
    let preflight = request.method() == actix_web::http::Method::OPTIONS;
    let of_page = preflight || request.headers().contains_key(header::ORIGIN);
    let asked_for = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut response = if preflight {
        request.into_response(HttpResponse::NoContent().finish())
    } else if let Err(why) = percent_encoding(request.uri().path()) {
        request.into_response(Problem::new(Kind::InvalidPath, format!("the path {why}; encode it as UTF-8 and write % itself as %25")).to_response())
    } else {
        match next.call(request).await {
            Ok(response) => response,
            Err(error) => return Err(error),
        }
    };
    if of_page {
        allow_page(response.headers_mut(), preflight.then_some((methods, asked_for)));
    }
    metrics::counter!(REQUESTS, "method" => method, "route" => path, "status" => status_text(response.status())).increment(1);
    metrics::histogram!(REQUEST_SECONDS, "method" => method, "route" => path).record(started.elapsed().as_secs_f64());
    Ok(response)
}

/// Without an allocation for those that happen often.
fn status_text(status: StatusCode) -> std::borrow::Cow<'static, str> {
    match status.as_u16() {
        200 => "200".into(),
        202 => "202".into(),
        304 => "304".into(),
        other => other.to_string().into(),
    }
}

fn allow_page(headers: &mut HeaderMap, preflight: Option<(&[&str], Option<HeaderValue>)>) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag, retry-after, x-sse-support, x-tol-flags-last-known"));
    let Some((methods, asked_for)) = preflight else { return };
    if let Ok(allowed) = HeaderValue::from_str(&format!("{}, OPTIONS", methods.join(", "))) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allowed);
    }
    if let Some(asked_for) = asked_for {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked_for);
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
}

/// Whether the client has what that tag names.
fn has(request: &HttpRequest, tag: &str) -> bool {
    let Some(known) = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()) else { return false };
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == tag || one == "*")
}

/// JSON with its tag, or 304 for who has it.
fn tagged(state: &State, request: &HttpRequest, body: Bytes, tag: &str) -> HttpResponse {
    let mut answer = HttpResponse::build(if has(request, tag) { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    answer.insert_header((header::ETAG, tag));
    if let Some(known_at) = state.flags.last_known() {
        answer.insert_header((LAST_KNOWN, known_at));
    }
    if has(request, tag) { answer.finish() } else { answer.content_type("application/json").body(body) }
}

/// A tag of what an answer says, where that differs from client to client.
fn tag_of(body: &[u8]) -> String {
    format!("\"{:016x}\"", xxhash_rust::xxh3::xxh3_64(body))
}
