//! What the SDKs of others speak, each protocol below a prefix of its own. Their definitions are elsewhere, so they are not part of this node's
//! OpenAPI document; [docs/flags.md](../../../docs/flags.md) tells which exist and who may use them.
//!
//! * [`access`] — tokens and keys: whose flags, and what may be done
//! * [`endpoint`] — a path: found, handled, counted
//! * [`flags`] — what is served, and who follows it
//! * [`unleash`] — `/compat/unleash/api`: SDKs that evaluate themselves, the frontend API, deltas, metrics
//! * [`ofrep`] — `/compat/ofrep`: the OpenFeature Remote Evaluation Protocol
//! * [`growthbook`] — `/compat/growthbook`: features
//! * [`stream`] — server-sent events of the first and the last
//! * [`reports`] — what SDKs count and measure, as facts

mod access;
mod endpoint;
mod flags;
mod growthbook;
mod ofrep;
mod reports;
mod stream;
mod unleash;

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;

use self::endpoint::Handler::{Later, Now};
use self::endpoint::{Asked, Endpoint};

pub(crate) use self::access::{Access, Need};
pub(crate) use self::endpoint::{Answer, Meters, answer};
pub(crate) use self::flags::Flags;

/// Every path and who answers it; `{key}` may hold slashes.
static ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: "/compat/unleash/api/frontend",
        methods: &[(Method::GET, Now(unleash::frontend)), (Method::POST, Later(|asked, body| Box::pin(unleash::frontend_post(asked, body))))],
    },
    Endpoint { path: "/compat/ofrep/ofrep/v1/evaluate/flags", methods: &[(Method::POST, Later(|asked, body| Box::pin(ofrep::all(asked, body))))] },
    Endpoint { path: "/compat/ofrep/ofrep/v1/evaluate/flags/{key}", methods: &[(Method::POST, Later(|asked, body| Box::pin(ofrep::one(asked, body))))] },
    Endpoint { path: "/compat/unleash/api/client/features", methods: &[(Method::GET, Now(unleash::features))] },
    Endpoint { path: "/compat/unleash/api/client/delta", methods: &[(Method::GET, Now(unleash::delta))] },
    Endpoint { path: "/compat/unleash/api/client/streaming", methods: &[(Method::GET, Now(stream::unleash))] },
    Endpoint {
        path: "/compat/unleash/api/client/register",
        methods: &[(Method::POST, Later(|asked, body| Box::pin(unleash::register(asked, body, Need::Definitions))))],
    },
    Endpoint {
        path: "/compat/unleash/api/client/metrics",
        methods: &[(Method::POST, Later(|asked, body| Box::pin(unleash::metrics(asked, body, Need::Definitions))))],
    },
    Endpoint {
        path: "/compat/unleash/api/frontend/client/register",
        methods: &[(Method::POST, Later(|asked, body| Box::pin(unleash::register(asked, body, Need::Answers))))],
    },
    Endpoint {
        path: "/compat/unleash/api/frontend/client/metrics",
        methods: &[(Method::POST, Later(|asked, body| Box::pin(unleash::metrics(asked, body, Need::Answers))))],
    },
    Endpoint { path: "/compat/growthbook/api/features/{key}", methods: &[(Method::GET, Now(growthbook::features))] },
    Endpoint { path: "/compat/growthbook/api/eval/{key}", methods: &[(Method::POST, Later(|asked, body| Box::pin(growthbook::evaluated(asked, body))))] },
    Endpoint { path: "/compat/growthbook/sub/{key}", methods: &[(Method::GET, Now(stream::growthbook))] },
];

/// Tells that what is served is what was last known, and why.
const LAST_KNOWN: HeaderName = HeaderName::from_static("x-tol-flags-last-known");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Whether the client has what that tag names.
fn has(asked: &Asked, tag: &str) -> bool {
    let Some(known) = asked.request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()) else { return false };
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == tag || one == "*")
}

/// JSON, and whether it is what was last known.
fn json(asked: &Asked, status: StatusCode, body: Bytes) -> HttpResponse {
    let mut answer = HttpResponse::with_body(status, body).map_into_boxed_body();
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    note_last_known(asked, &mut answer);
    answer
}

fn note_last_known(asked: &Asked, answer: &mut HttpResponse) {
    if let Some(known_at) = asked.state.flags.last_known() {
        answer.headers_mut().insert(LAST_KNOWN, known_at);
    }
}

/// JSON with its tag, or 304 for who has it.
fn tagged(asked: &Asked, body: Bytes, tag: String) -> HttpResponse {
    let mut answer = if has(asked, &tag) {
        let mut answer = HttpResponse::new(StatusCode::NOT_MODIFIED);
        note_last_known(asked, &mut answer);
        answer
    } else {
        json(asked, StatusCode::OK, body)
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
