//! Errors as problem details (RFC 9457). Each [`Kind`] has a page in `docs/problems/`, served where its `type` points to.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value};

/// Media type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $status:literal, $title:literal;)*) => {
        /// What kind of problem. Its slug is its name towards clients and never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];

            /// The last segment of its `type`.
            pub const fn slug(self) -> &'static str {
                match self { $(Kind::$name => $slug,)* }
            }

            /// Its HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Kind::$name => $status,)* }
            }

            /// A short summary, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Kind::$name => $title,)* }
            }

            /// The page that explains it, in Markdown.
            pub const fn page(self) -> &'static str {
                match self { $(Kind::$name => include_str!(concat!("../../docs/problems/", $slug, ".md")),)* }
            }
        }
    };
}

kinds! {
    /// The body is not JSON.
    MalformedJson = "malformed-json", 400, "Malformed JSON";
    /// The envelope is not a CloudEvent.
    InvalidEvent = "invalid-event", 400, "Not a valid CloudEvent";
    /// The data does not fit its known type.
    InvalidData = "invalid-data", 422, "The data does not fit its type";
    /// A known type in a version this node does not know.
    UnknownVersion = "unknown-version", 422, "Unknown version of a known type";
    /// The body is of a type that is not read here.
    UnsupportedContentType = "unsupported-content-type", 415, "Unsupported content type";
    /// The body is over the limit.
    BodyTooLarge = "body-too-large", 413, "Body too large";
    /// A JSON body of another shape than the operation takes.
    InvalidBody = "invalid-body", 400, "Invalid body";
    /// A path that does not decode.
    InvalidPath = "invalid-path", 400, "Malformed path";
    /// A query parameter is wrong or unknown.
    InvalidParameter = "invalid-parameter", 400, "Invalid parameter";
    /// A cursor that no page gave.
    InvalidCursor = "invalid-cursor", 400, "Invalid cursor";
    /// `as_of` for one row of a projection whose rows are not about one subject.
    WholeProjectionOnly = "whole-projection-only", 400, "Only the whole projection can be seen as of a past time";
    /// Same source and id, other content.
    IdConflict = "id-conflict", 409, "The same id with other content";
    /// Several sources have an event of that id.
    AmbiguousEvent = "ambiguous-event", 409, "Several events have this id";
    /// A job of which there may be one.
    JobRunning = "job-running", 409, "Another job is running";
    /// The flag has moved on since the version that was changed.
    VersionConflict = "version-conflict", 409, "The flag has moved on";
    /// The flag system refused it.
    RequestRefused = "request-refused", 422, "The flag system refused the request";
    /// Not definitions of the format.
    InvalidDefinitions = "invalid-definitions", 422, "Not definitions of that format";
    /// No flag.
    UnknownFlag = "unknown-flag", 404, "No such flag";
    /// The system's state does not allow it.
    WrongState = "wrong-state", 409, "The present state does not allow this";
    /// No route.
    NotFound = "not-found", 404, "No such resource";
    /// No event.
    EventNotFound = "event-not-found", 404, "No such event";
    /// No projection.
    UnknownProjection = "unknown-projection", 404, "No such projection";
    /// No row.
    RowNotFound = "row-not-found", 404, "No such row";
    /// No system.
    UnknownSystem = "unknown-system", 404, "No such system";
    /// No dead letter.
    UnknownDeadLetter = "unknown-dead-letter", 404, "No such dead letter";
    /// The route exists for other methods.
    MethodNotAllowed = "method-not-allowed", 405, "Method not allowed";
    /// No key, where keys are configured.
    MissingKey = "missing-key", 401, "An API key is needed";
    /// A key nobody configured.
    InvalidKey = "invalid-key", 401, "Unknown API key";
    /// A key without the scope.
    MissingScope = "missing-scope", 403, "The API key lacks a scope";
    /// A web page of another origin, or a name of this machine that may be forged.
    ForbiddenOrigin = "forbidden-origin", 403, "Request from a foreign origin";
    /// A key over its limit.
    TooManyRequests = "too-many-requests", 429, "Too many requests";
    /// A body that trickles in.
    RequestTimeout = "request-timeout", 408, "Request too slow";
    /// The positions asked for did not become visible in time.
    NotVisibleYet = "not-visible-yet", 504, "Not visible yet";
    /// The log, or the owner of a partition, is away for now.
    Unavailable = "unavailable", 503, "Temporarily unavailable";
    /// Asked by another node for a partition that this one does not own.
    NotOwner = "not-owner", 421, "Not the owner of the partition";
    /// The disk is full.
    DiskFull = "disk-full", 507, "The disk is full";
    /// The node is not ready.
    NotReady = "not-ready", 503, "Not ready";
    /// The emergency stop is engaged.
    EmergencyStop = "emergency-stop", 503, "The emergency stop is engaged";
    /// Too many streams are open.
    TooManyStreams = "too-many-streams", 503, "Too many open streams";
    /// A defect.
    Internal = "internal", 500, "Internal error";
}

impl Kind {
    /// The kind of that slug.
    pub fn from_slug(slug: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }

    /// The `type` of its problems: the path of its page, relative to the node.
    pub fn uri(self) -> String {
        format!("/docs/problems/{}", self.slug())
    }
}

/// One occurrence of a problem.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What kind.
    pub kind: Kind,
    /// What failed, on what, and what would be right.
    pub detail: String,
    /// Further members of the body: `index`, `id`, `parameter`, ….
    pub extensions: Map<String, Value>,
    /// Seconds after which a retry makes sense.
    pub retry_after_s: Option<u32>,
    /// The methods a route has; becomes the `Allow` header.
    pub allow: Option<String>,
}

impl Problem {
    /// A problem of that kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), extensions: Map::new(), retry_after_s: None, allow: None }
    }

    /// With a further member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// With `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// `source` and `id` of an event were used with other content (409). `index` counts from 0.
    pub fn id_conflict(index: usize, source: &str, id: &str) -> Self {
        let detail =
            format!("event {index}: id \"{id}\" of source \"{source}\" was admitted before with other content; give the changed event an id of its own");
        Self::new(Kind::IdConflict, detail).with("index", index).with("id", id).with("source", source)
    }

    /// The event at `index` does not fit its type (422).
    pub fn invalid_data(index: usize, error: &tol_events::registry::ValidationError) -> Self {
        let kind = match error {
            tol_events::registry::ValidationError::UnknownVersion { .. } => Kind::UnknownVersion,
            _ => Kind::InvalidData,
        };
        Self::new(kind, format!("event {index}: {error}")).with("index", index)
    }

    /// Away for now (503); a retry with the same ids is safe.
    pub fn unavailable(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self::new(Kind::Unavailable, detail).retry_after(retry_after_s)
    }

    /// A query parameter that is wrong (400).
    pub fn parameter(name: &str, detail: impl fmt::Display) -> Self {
        Self::new(Kind::InvalidParameter, format!("parameter \"{name}\": {detail}")).with("parameter", name)
    }

    /// There is no such projection (404).
    pub fn unknown_projection(name: &str) -> Self {
        Self::new(Kind::UnknownProjection, format!("there is no projection \"{name}\"; GET /projections lists them")).with("name", name)
    }

    /// There is no such system (404).
    pub fn unknown_system(name: &str) -> Self {
        Self::new(Kind::UnknownSystem, format!("there is no system \"{name}\"; GET /systems lists them")).with("name", name)
    }

    /// There is no such dead letter (404).
    pub fn unknown_dead_letter(id: &str) -> Self {
        let detail = format!("there is no dead letter \"{id}\"; GET /dead-letters lists them, those redriven or discarded are gone");
        Self::new(Kind::UnknownDeadLetter, detail).with("id", id)
    }

    /// A defect (500).
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(Kind::Internal, detail)
    }

    /// The body.
    pub fn to_json(&self) -> Value {
        let mut body = Map::new();
        body.insert("type".into(), self.kind.uri().into());
        body.insert("title".into(), self.kind.title().into());
        body.insert("status".into(), self.kind.status().into());
        body.insert("detail".into(), self.detail.clone().into());
        // The five standard members win over an extension of the same name.
        for (name, value) in &self.extensions {
            body.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Value::Object(body)
    }

    /// The problem in an answer of another node; anything else is an internal error that quotes it.
    pub(crate) fn of_answer(status: u16, retry_after_s: Option<u32>, body: &str) -> Self {
        let mut members: Map<String, Value> = serde_json::from_str(body).unwrap_or_default();
        let kind = members.get("type").and_then(Value::as_str).and_then(|uri| Kind::from_slug(uri.rsplit('/').next().unwrap_or_default()));
        let detail = members.get("detail").and_then(Value::as_str).unwrap_or(body).to_owned();
        let Some(kind) = kind else { return Self::internal(format!("another node answered {status}: {detail}")) };
        for standard in ["type", "title", "status", "detail"] {
            members.remove(standard);
        }
        Self { kind, detail, extensions: members, retry_after_s, allow: None }
    }

    /// The answer.
    pub fn to_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type(PROBLEM_JSON);
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((ALLOW, allow.as_str()));
        }
        if self.kind.status() == 401 {
            response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"tol\""));
        }
        response.body(self.to_json().to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.title(), self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        self.to_response()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_page_that_tells_what_happened_and_what_to_do() {
        for kind in Kind::ALL {
            let page = kind.page();
            assert!(page.starts_with(&format!("# {}\n", kind.title())), "{}: the page's heading is its title", kind.slug());
            assert!(page.contains(&format!("Status {}", kind.status())), "{}: the page names its status", kind.slug());
            for heading in ["\n## What happened\n", "\n## What to do\n"] {
                assert!(page.contains(heading), "{} lacks {heading:?}", kind.slug());
            }
            assert_eq!(Kind::from_slug(kind.slug()), Some(*kind));
        }
    }

    #[test]
    fn no_page_is_without_a_kind() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/problems");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(Kind::from_slug(name.trim_end_matches(".md")).is_some(), "docs/problems/{name} belongs to no kind");
        }
    }

    #[test]
    fn an_extension_cannot_hide_a_standard_member() {
        let problem = Problem::new(Kind::NotFound, "x").with("status", 200).with("index", 3);
        assert_eq!(problem.to_json()["status"], 404);
        assert_eq!(problem.to_json()["index"], 3);
    }
}
