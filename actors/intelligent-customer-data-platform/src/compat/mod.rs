//! Protocols that the SDKs of others speak, unchanged.
//!
//! * `segment` — Segment's and RudderStack's SDKs, below `/compat/segment`
//! * `posthog` — PostHog's SDKs, below `/compat/posthog`
//! * `body` — bodies as these SDKs send them

mod body;
mod posthog;
mod segment;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, HttpResponseBuilder};
use tol_plug::{Kind, Problem, Protocol, Scope};

use crate::serving::CdpService;

/// Sending calls.
pub(crate) const COLLECT: Scope = Scope("cdp:collect");

/// The protocols, each below `/compat/<name>`.
pub(crate) static PROTOCOLS: &[Protocol<CdpService>] = &[segment::PROTOCOL, posthog::PROTOCOL];

/// A handler's request.
type Request = tol_plug::Request<CdpService>;

/// What admission may answer to calls.
const PROBLEMS: &[&Kind] = &[
    Kind::INVALID_EVENT,
    Kind::INVALID_DATA,
    Kind::ID_CONFLICT,
    Kind::UNAVAILABLE,
    Kind::DISK_FULL,
    Kind::EMERGENCY_STOP,
    Kind::MALFORMED_JSON,
    Kind::INVALID_BODY,
    Kind::UNSUPPORTED_CONTENT_TYPE,
];

/// Begins the answer to a refused call, for the protocol's own body. These SDKs drop what 4xx refuses, and send again what 429 does.
fn refusal(problem: &Problem) -> HttpResponseBuilder {
    let status = match problem.kind {
        kind if kind == Kind::UNAVAILABLE || kind == Kind::TOO_MANY_REQUESTS => 429,
        kind if kind.status == 413 || kind.status == 422 || kind.status == 415 => 400,
        kind => kind.status,
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = HttpResponse::build(status);
    if status.as_u16() == 429 || status.as_u16() == 503 {
        answer.insert_header(("retry-after", problem.retry_after_s.unwrap_or(1).to_string()));
    }
    answer
}
