//! Errors as problem details (RFC 9457). Each [`Kind`] has a page in `docs/problems/`, served where its `type` points to.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value};

/// Media type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A kind of problem: its name for clients, its status, and the page that explains it. A system declares kinds of its own, with their pages in its
/// folder; [`Kind::CORE`] has those of the platform.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// The last segment of its `type`. It never changes, since clients tell kinds apart by it.
    pub slug: &'static str,
    /// HTTP status.
    pub status: u16,
    /// A short summary, the same for every occurrence.
    pub title: &'static str,
    /// The page that explains the kind, in Markdown: what happened, what to do.
    pub page: &'static str,
}

macro_rules! core_kinds {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $status:literal, $title:literal;)*) => {
        impl Kind {
            $($(#[$doc])* pub const $name: &'static Kind =
                &Kind { slug: $slug, status: $status, title: $title, page: include_str!(concat!("../../../docs/problems/", $slug, ".md")) };)*

            /// The kinds of the platform.
            pub const CORE: &'static [&'static Kind] = &[$(Kind::$name,)*];
        }
    };
}

core_kinds! {
    /// The body is not JSON.
    MALFORMED_JSON = "malformed-json", 400, "Malformed JSON";
    /// The envelope is not a CloudEvent.
    INVALID_EVENT = "invalid-event", 400, "Not a valid CloudEvent";
    /// The data does not fit its known type.
    INVALID_DATA = "invalid-data", 422, "The data does not fit its type";
    /// The type is known, but not in this version.
    UNKNOWN_VERSION = "unknown-version", 422, "Unknown version of a known type";
    /// The type is not known, and misses a known one by a letter or by its version.
    UNKNOWN_TYPE = "unknown-type", 422, "Misspelt type";
    /// The route does not read bodies of this type.
    UNSUPPORTED_CONTENT_TYPE = "unsupported-content-type", 415, "Unsupported content type";
    /// The body is over the limit.
    BODY_TOO_LARGE = "body-too-large", 413, "Body too large";
    /// The JSON body has another shape than the operation takes.
    INVALID_BODY = "invalid-body", 400, "Invalid body";
    /// The path does not decode.
    INVALID_PATH = "invalid-path", 400, "Malformed path";
    /// A query parameter is wrong or unknown.
    INVALID_PARAMETER = "invalid-parameter", 400, "Invalid parameter";
    /// No page gave this cursor.
    INVALID_CURSOR = "invalid-cursor", 400, "Invalid cursor";
    /// `as_of` for one row of a projection whose rows are not about one subject.
    WHOLE_PROJECTION_ONLY = "whole-projection-only", 400, "Only the whole projection can be seen as of a past time";
    /// The source and id were used with other content.
    ID_CONFLICT = "id-conflict", 409, "The same id with other content";
    /// Several sources have an event of that id.
    AMBIGUOUS_EVENT = "ambiguous-event", 409, "Several events have this id";
    /// A job runs of which there may be one at a time.
    JOB_RUNNING = "job-running", 409, "Another job is running";
    /// The system's state does not allow the operation.
    WRONG_STATE = "wrong-state", 409, "The present state does not allow this";
    /// There is no such route.
    NOT_FOUND = "not-found", 404, "No such resource";
    /// There is no such event.
    EVENT_NOT_FOUND = "event-not-found", 404, "No such event";
    /// There is no such projection.
    UNKNOWN_PROJECTION = "unknown-projection", 404, "No such projection";
    /// There is no such row.
    ROW_NOT_FOUND = "row-not-found", 404, "No such row";
    /// There is no such system.
    UNKNOWN_SYSTEM = "unknown-system", 404, "No such system";
    /// There is no such dead letter.
    UNKNOWN_DEAD_LETTER = "unknown-dead-letter", 404, "No such dead letter";
    /// The route exists for other methods.
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "Method not allowed";
    /// The request presents no key, and keys are configured.
    MISSING_KEY = "missing-key", 401, "An API key is needed";
    /// The presented key is not configured.
    INVALID_KEY = "invalid-key", 401, "Unknown API key";
    /// The key lacks the route's scope.
    MISSING_SCOPE = "missing-scope", 403, "The API key lacks a scope";
    /// The request comes from a web page of another origin, or names this machine by a name that may be forged.
    FORBIDDEN_ORIGIN = "forbidden-origin", 403, "Request from a foreign origin";
    /// The key is over its limit of requests a second.
    TOO_MANY_REQUESTS = "too-many-requests", 429, "Too many requests";
    /// The body arrived too slowly.
    REQUEST_TIMEOUT = "request-timeout", 408, "Request too slow";
    /// The positions asked for did not become visible in time.
    NOT_VISIBLE_YET = "not-visible-yet", 504, "Not visible yet";
    /// The token of a stream is ahead of the log.
    STREAM_AHEAD = "stream-ahead", 410, "The stream's token is ahead of the log";
    /// The log, or the owner of a partition, is away for now.
    UNAVAILABLE = "unavailable", 503, "Temporarily unavailable";
    /// Another node asked for a partition that this node does not own.
    NOT_OWNER = "not-owner", 421, "Not the owner of the partition";
    /// The disk is full.
    DISK_FULL = "disk-full", 507, "The disk is full";
    /// The node is not ready.
    NOT_READY = "not-ready", 503, "Not ready";
    /// The emergency stop is engaged.
    EMERGENCY_STOP = "emergency-stop", 503, "The emergency stop is engaged";
    /// Too many streams are open.
    TOO_MANY_STREAMS = "too-many-streams", 503, "Too many open streams";
    /// The node has a defect.
    INTERNAL = "internal", 500, "Internal error";
    /// The system is switched off on this node.
    SYSTEM_DISABLED = "system-disabled", 503, "The system is disabled";
}

impl Kind {
    /// Gives the `type` of its problems: the path of its page, relative to the node.
    pub fn uri(&self) -> String {
        format!("/docs/problems/{}", self.slug)
    }

    /// Names the first part that the page lacks. A page says what happened and what to do, under the kind's own title and status.
    pub fn missing_from_page(&self) -> Option<String> {
        let parts = [format!("# {}\n", self.title), format!("Status {}", self.status), "\n## What happened\n".to_owned(), "\n## What to do\n".to_owned()];
        parts.into_iter().find(|part| !self.page.contains(part.as_str()))
    }
}

/// One occurrence of a problem.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Its kind.
    pub kind: &'static Kind,
    /// What failed, on what, and what would be right.
    pub detail: String,
    /// Further members of the body: `index`, `id`, `parameter`, ….
    pub extensions: Map<String, Value>,
    /// Seconds after which a retry makes sense.
    pub retry_after_s: Option<u32>,
    /// The route's methods, for the `Allow` header.
    pub allow: Option<String>,
}

impl Problem {
    /// Makes a problem of that kind.
    pub fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), extensions: Map::new(), retry_after_s: None, allow: None }
    }

    /// Adds a member to the body.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Makes the problem of an event whose source and id were used with other content (409). `index` counts from 0.
    pub fn id_conflict(index: usize, source: &str, id: &str) -> Self {
        let detail =
            format!("event {index}: id \"{id}\" of source \"{source}\" was admitted before with other content; give the changed event an id of its own");
        Self::new(Kind::ID_CONFLICT, detail).with("index", index).with("id", id).with("source", source)
    }

    /// Makes the problem of an event that does not fit its type (422). `index` counts from 0.
    pub fn invalid_data(index: usize, error: &tol_events::registry::ValidationError) -> Self {
        let kind = match error {
            tol_events::registry::ValidationError::UnknownVersion { .. } => Kind::UNKNOWN_VERSION,
            tol_events::registry::ValidationError::Misspelt { .. } => Kind::UNKNOWN_TYPE,
            _ => Kind::INVALID_DATA,
        };
        Self::new(kind, format!("event {index}: {error}")).with("index", index)
    }

    /// Makes the problem of something that is away for now (503). A retry with the same ids is safe.
    pub fn unavailable(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self::new(Kind::UNAVAILABLE, detail).retry_after(retry_after_s)
    }

    /// Makes the problem of a wrong query parameter (400).
    pub fn parameter(name: &str, detail: impl fmt::Display) -> Self {
        Self::new(Kind::INVALID_PARAMETER, format!("parameter \"{name}\": {detail}")).with("parameter", name)
    }

    /// Makes the problem of an unknown projection (404).
    pub fn unknown_projection(name: &str) -> Self {
        Self::new(Kind::UNKNOWN_PROJECTION, format!("there is no projection \"{name}\"; GET /projections lists them")).with("name", name)
    }

    /// Makes the problem of an unknown system (404).
    pub fn unknown_system(name: &str) -> Self {
        Self::new(Kind::UNKNOWN_SYSTEM, format!("there is no system \"{name}\"; GET /systems lists them")).with("name", name)
    }

    /// Makes the problem of an unknown dead letter (404).
    pub fn unknown_dead_letter(id: &str) -> Self {
        let detail = format!("there is no dead letter \"{id}\"; GET /dead-letters lists them, those redriven or discarded are gone");
        Self::new(Kind::UNKNOWN_DEAD_LETTER, detail).with("id", id)
    }

    /// Makes the problem of a defect (500).
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(Kind::INTERNAL, detail)
    }

    /// Writes the body.
    pub fn to_json(&self) -> Value {
        let mut body = Map::new();
        body.insert("type".into(), self.kind.uri().into());
        body.insert("title".into(), self.kind.title.into());
        body.insert("status".into(), self.kind.status.into());
        body.insert("detail".into(), self.detail.clone().into());
        // The five standard members win over an extension of the same name.
        for (name, value) in &self.extensions {
            body.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Value::Object(body)
    }

    /// Reads the problem in an answer of another node, whose kind must be one of `kinds`. Any other answer becomes an internal error that quotes it.
    pub fn of_answer(kinds: impl IntoIterator<Item = &'static Kind>, status: u16, retry_after_s: Option<u32>, body: &str) -> Self {
        let mut members: Map<String, Value> = serde_json::from_str(body).unwrap_or_default();
        let slug = members.get("type").and_then(Value::as_str).and_then(|uri| uri.rsplit('/').next()).unwrap_or_default();
        let kind = kinds.into_iter().find(|kind| kind.slug == slug);
        let detail = members.get("detail").and_then(Value::as_str).unwrap_or(body).to_owned();
        let Some(kind) = kind else { return Self::internal(format!("another node answered {status}: {detail}")) };
        for standard in ["type", "title", "status", "detail"] {
            members.remove(standard);
        }
        Self { kind, detail, extensions: members, retry_after_s, allow: None }
    }

    /// Makes the HTTP answer.
    pub fn to_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type(PROBLEM_JSON);
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((ALLOW, allow.as_str()));
        }
        if self.kind.status == 401 {
            response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"tol\""));
        }
        response.body(self.to_json().to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.title, self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
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
        for kind in Kind::CORE {
            assert_eq!(kind.missing_from_page(), None, "{}", kind.slug);
        }
    }

    #[test]
    fn no_page_is_without_a_kind() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/problems");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(Kind::CORE.iter().any(|kind| kind.slug == name.trim_end_matches(".md")), "docs/problems/{name} belongs to no kind");
        }
    }

    #[test]
    fn a_problem_of_another_node_is_read_back_and_anything_else_quoted() {
        let sent = Problem::new(Kind::NOT_OWNER, "partition 3 is elsewhere").with("partition", 3);
        let read = Problem::of_answer(Kind::CORE.iter().copied(), 421, Some(2), &sent.to_json().to_string());
        assert_eq!((read.kind, read.detail.as_str(), read.retry_after_s), (Kind::NOT_OWNER, "partition 3 is elsewhere", Some(2)));
        assert_eq!(read.extensions["partition"], 3);
        assert_eq!(Problem::of_answer([], 502, None, "bad gateway").kind, Kind::INTERNAL);
    }

    #[test]
    fn an_extension_cannot_hide_a_standard_member() {
        let problem = Problem::new(Kind::NOT_FOUND, "x").with("status", 200).with("index", 3);
        assert_eq!(problem.to_json()["status"], 404);
        assert_eq!(problem.to_json()["index"], 3);
    }
}
