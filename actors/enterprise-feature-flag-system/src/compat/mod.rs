//! Protocols that the SDKs of others speak, each below a prefix of its own. Their definitions are elsewhere, so they are not part of the node's
//! OpenAPI document; [docs/flags.md](../../../../docs/flags.md) tells which exist and who may use them.
//!
//! * `environments` — which environment's flags a request is about
//! * `unleash` — SDKs that evaluate themselves, the frontend API, deltas, metrics
//! * `ofrep` — the OpenFeature Remote Evaluation Protocol
//! * `growthbook` — features, and remote evaluation
//! * `stream` — server-sent events of Unleash and GrowthBook
//! * `reports` — what SDKs count and measure, as facts

mod environments;
mod growthbook;
mod ofrep;
mod reports;
mod stream;
mod unleash;

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use tol_plug::{Access, Cors, Kind, Presented, Problem, Protocol, Scope, Spec};

use self::environments::Named;
use crate::serving::Environment;
use crate::{FlagService, Request, SHORT};

/// Answers for a context, and reporting what was counted.
pub(crate) const EVALUATE: Scope = Scope("flags:evaluate");
/// Flags with their rules.
pub(crate) const DEFINITIONS: Scope = Scope("flags:definitions");

/// The protocols, each below `/compat/<name>`.
pub(crate) static PROTOCOLS: &[Protocol<FlagService>] = &[unleash::PROTOCOL, ofrep::PROTOCOL, growthbook::PROTOCOL];

/// Unleash's SDKs send the token as it is, OpenFeature's as a bearer's or as a key.
const TOKEN: &[Presented] = &[Presented::Authorization, Presented::Header("x-api-key")];
/// Pages of any origin may ask, as each request names its key itself.
const CORS: Cors = Cors::AnyOrigin { exposed: "etag, retry-after, x-sse-support, x-tol-flags-last-known" };
/// Longest context, bytes: a context is small.
const CONTEXT_BYTES: usize = 256 << 10;

/// Tells that what is served is what was last known, and why.
const LAST_KNOWN: HeaderName = HeaderName::from_static("x-tol-flags-last-known");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A route of a protocol that answers `GET`. SDKs send query parameters that this node does not use.
const fn get(operation: &'static str, path: &'static str, scope: Scope, summary: &'static str) -> Spec {
    Spec { access: Access::Scope(scope), any_query: true, ..Spec::get(operation, path, SHORT, summary) }
}

/// A route of a protocol that answers `POST`.
const fn post(operation: &'static str, path: &'static str, scope: Scope, summary: &'static str) -> Spec {
    Spec { method: "POST", ..get(operation, path, scope, summary) }
}

/// The environment that the request is about, as it is served now.
fn environment_of(request: &Request) -> Result<Arc<Environment>, Problem> {
    Ok(Named::by(request).among(&*request.serving.current()?))
}

/// A body's text.
fn text_of(body: &Bytes) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|_| Problem::new(Kind::MALFORMED_JSON, "the body is not UTF-8"))
}

/// Whether the client has what that tag names.
fn has(request: &Request, tag: &str) -> bool {
    let Some(known) = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()) else { return false };
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == tag || one == "*")
}

/// JSON, and whether it is what was last known.
fn json(request: &Request, status: StatusCode, body: Bytes) -> HttpResponse {
    let mut answer = HttpResponse::with_body(status, body).map_into_boxed_body();
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    note_last_known(request, &mut answer);
    answer
}

fn note_last_known(request: &Request, answer: &mut HttpResponse) {
    if let Some(known_at) = request.serving.last_known() {
        answer.headers_mut().insert(LAST_KNOWN, known_at);
    }
}

/// JSON with its tag, or 304 for a client that has it.
fn tagged(request: &Request, body: Bytes, tag: String) -> HttpResponse {
    let mut answer = if has(request, &tag) {
        let mut answer = HttpResponse::new(StatusCode::NOT_MODIFIED);
        note_last_known(request, &mut answer);
        answer
    } else {
        json(request, StatusCode::OK, body)
    };
    if let Ok(tag) = HeaderValue::from_maybe_shared(Bytes::from(tag)) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

/// A tag of what an answer says, where that differs from client to client.
fn tag_of(body: &[u8]) -> String {
    quoted(xxhash_rust::xxh3::xxh3_64(body))
}

fn quoted(hash: u64) -> String {
    format!("\"{hash:016x}\"")
}
