//! The parameters of the routes.

use super::{Parameter, Place, Shape};

const fn path(name: &'static str, description: &'static str, example: &'static str) -> Parameter {
    Parameter { name, place: Place::Path, shape: Shape::Text, description, example }
}

const fn query(name: &'static str, shape: Shape, description: &'static str, example: &'static str) -> Parameter {
    Parameter { name, place: Place::Query, shape, description, example }
}

/// Longest page.
pub(crate) const LIMIT_MAX: u64 = 10_000;
/// Page where no limit is given.
pub(crate) const LIMIT_DEFAULT: u64 = 100;
/// Longest wait for `min_position`, milliseconds.
pub(crate) const TIMEOUT_MAX_MS: u64 = 30_000;
/// Wait where none is given, milliseconds.
pub(crate) const TIMEOUT_DEFAULT_MS: u64 = 5_000;

pub(super) static EVENT_ID: Parameter = path("id", "The event's id; percent-encode a slash.", "order-1001");
pub(super) static CORRELATION_PATH: Parameter = path("correlation", "The correlation id; of an event that starts a request, its id.", "order-1001");
pub(super) static SUBJECT_PATH: Parameter = path("subject", "The subject as `kind/id`; its slash may stand as it is or as %2F.", "customer/42");
pub(super) static PROJECTION: Parameter = path("name", "The projection's name.", "customers");
pub(super) static KEY: Parameter = path("key", "The row's key; percent-encode a slash.", "42");
pub(super) static SYSTEM: Parameter = path("name", "The system's name.", "revenue-agent-system");
pub(super) static SYSTEM_QUERY: Parameter = path("query", "The query's name.", "mrr");
pub(super) static DEAD_LETTER: Parameter = path("id", "The dead letter's id.", "9b2f");
pub(super) static REDRIVE: Parameter = path("id", "The redrive's id, as `POST /dead-letters/redrive` answered it.", "4c1d");
pub(super) static SLUG: Parameter = path("slug", "The last segment of the problem's `type`.", "invalid-event");
pub(super) static FILE: Parameter = path("file", "A file of the page.", "index.html");
pub(super) static TYPE_PATH: Parameter = path("type", "A known type with its version.", "commerce.order_placed.v1");

pub(super) static FLAG_KEY: Parameter = path("key", "The flag's key; percent-encode a slash.", "new-checkout");

pub(super) static EXPERIMENT: Parameter = path("experiment", "The experiment's id; percent-encode a slash.", "e-1");
pub(super) static EXPERIMENT_STATE: Parameter = query("state", Shape::Word(&["running", "concluded"]), "Only those that run, or that are over.", "running");

pub(super) static ENVIRONMENT_PATH: Parameter = path("environment", "The environment.", "production");
pub(super) static FORMAT_PATH: Parameter = path("format", "`unleash`, `growthbook` or `flagd`.", "unleash");

const FORMATS: &[&str] = &["unleash", "growthbook", "flagd"];
pub(super) static FORMAT: Parameter = query("format", Shape::NeededWord(FORMATS), "Whose JSON.", "unleash");
pub(super) static MODE: Parameter = query(
    "mode",
    Shape::Word(&["merge", "replace"]),
    "`replace`: afterwards the environment has what the import brings, and nothing else. `merge`, also where it is absent: other flags stay.",
    "merge",
);
pub(super) static ENVIRONMENT: Parameter = query("environment", Shape::Text, "The environment; `production` where it is absent.", "production");
pub(super) static IN_ENVIRONMENT: Parameter = query("environment", Shape::Text, "In this environment only.", "production");
pub(super) static STALE: Parameter =
    query("stale", Shape::Word(&["true", "false"]), "`true`: those that have outlived their purpose; `false`: the others.", "true");
pub(super) static PROBLEMS: Parameter = query(
    "problems",
    Shape::Word(&["true", "false"]),
    "`true`: an object with the file as `definitions` and what the format cannot say as `problems`.",
    "true",
);
pub(super) static WHY: Parameter = query("reason", Shape::Text, "Why; it is recorded.", "moved from the old server");
pub(super) static WHY_NEEDED: Parameter = query("reason", Shape::Needed, "Why; it is recorded.", "nobody needs it any more");
pub(super) static IMPORT_TIMEOUT: Parameter =
    query("timeout_ms", Shape::Integer(0, TIMEOUT_MAX_MS, TIMEOUT_MAX_MS), "How long to wait until what is imported is served, milliseconds.", "30000");

pub(super) static SUBJECT: Parameter = query("subject", Shape::Text, "Of this subject only.", "customer/42");
pub(super) static SUBJECT_STATE: Parameter = query("subject", Shape::Text, "Adds the system's state about this subject.", "customer/42");
pub(super) static SUBJECT_ASKED: Parameter = query("subject", Shape::Needed, "The subject it is asked about.", "customer/42");
pub(super) static TYPE: Parameter = query("type", Shape::Text, "Of this type only; with `*` at the end, of all types that begin so.", "commerce.*");
pub(super) static CORRELATION: Parameter = query("correlation", Shape::Text, "Of this correlation id only.", "order-1001");
pub(super) static SOURCE: Parameter = query("source", Shape::Text, "Of this source, where several used the id.", "/shop");
pub(super) static SYSTEM_FILTER: Parameter = query("system", Shape::Text, "Of this system only.", "revenue-agent-system");
pub(super) static ERROR_TEXT: Parameter = query("error", Shape::Text, "Whose error contains this text.", "panicked");
pub(super) static FROM: Parameter = query("from", Shape::Moment, "Not before: RFC 3339, or a date, which means its first moment.", "1997-01-01");
pub(super) static TO: Parameter = query("to", Shape::Moment, "Not after: RFC 3339, or a date, which means its last moment.", "1997-06-30");
pub(super) static LIMIT: Parameter = query("limit", Shape::Integer(1, LIMIT_MAX, LIMIT_DEFAULT), "At most so many.", "100");
pub(super) static CURSOR: Parameter = query("cursor", Shape::Text, "`next_cursor` of the previous page, as it is.", "");
pub(super) static AS_OF: Parameter =
    query("as_of", Shape::Moment, "As of what had happened by then (the events' time): RFC 3339, or a date, which includes that day.", "1997-06-30");
pub(super) static KNOWN_AT: Parameter =
    query("known_at", Shape::Moment, "As of what was known by then (the recorded time): RFC 3339, or a date. Not together with as_of.", "");
pub(super) static MIN_POSITION: Parameter = query(
    "min_position",
    Shape::Positions,
    "Waits until this position is visible, as `POST /events` answered it: topic/partition:position (facts.customer/3:120). May be repeated.",
    "",
);
pub(super) static TIMEOUT: Parameter =
    query("timeout_ms", Shape::Integer(0, TIMEOUT_MAX_MS, TIMEOUT_DEFAULT_MS), "How long to wait for min_position, milliseconds.", "5000");
pub(super) static LAST_EVENT_ID: Parameter = Parameter {
    name: "Last-Event-ID",
    place: Place::Header,
    shape: Shape::Text,
    description: "The last `id` of a stream that broke off: goes on after it. Browsers send it by themselves.",
    example: "",
};
