//! The parameters of the node's own routes.

use tol_plug::{Parameter, Place, Shape};

pub(super) use tol_plug::route::parameters::{AS_OF, CURSOR, KNOWN_AT, LIMIT, MIN_POSITION, SUBJECT, TIMEOUT};

pub(super) static EVENT_ID: Parameter = Parameter::path("id", "The event's id; percent-encode a slash.", "order-1001");
pub(super) static CORRELATION_PATH: Parameter = Parameter::path("correlation", "The correlation id; of an event that starts a request, its id.", "order-1001");
pub(super) static SUBJECT_PATH: Parameter = Parameter::path("subject", "The subject as `kind/id`; its slash may stand as it is or as %2F.", "customer/42");
pub(super) static PROJECTION: Parameter = Parameter::path("name", "The projection's name.", "customers");
pub(super) static KEY: Parameter = Parameter::path("key", "The row's key; percent-encode a slash.", "42");
pub(super) static SYSTEM: Parameter = Parameter::path("name", "The system's name.", "revenue-agent-system");
pub(super) static SYSTEM_QUERY: Parameter = Parameter::path("query", "The query's name.", "mrr");
pub(super) static DEAD_LETTER: Parameter = Parameter::path("id", "The dead letter's id.", "9b2f");
pub(super) static REDRIVE: Parameter = Parameter::path("id", "The redrive's id, as `POST /dead-letters/redrive` answered it.", "4c1d");
pub(super) static SLUG: Parameter = Parameter::path("slug", "The last segment of the problem's `type`.", "invalid-event");
pub(super) static FILE: Parameter = Parameter::path("file", "A file of the page.", "index.html");
pub(super) static TYPE_PATH: Parameter = Parameter::path("type", "A known type with its version.", "commerce.order_placed.v1");
pub(super) static SUBJECT_STATE: Parameter = Parameter::query("subject", Shape::Text, "Adds the system's state about this subject.", "customer/42");
pub(super) static SUBJECT_ASKED: Parameter = Parameter::query("subject", Shape::Needed, "The subject it is asked about.", "customer/42");
pub(super) static TYPE: Parameter = Parameter::query("type", Shape::Text, "Of this type only; with `*` at the end, of all types that begin so.", "commerce.*");
pub(super) static CORRELATION: Parameter = Parameter::query("correlation", Shape::Text, "Of this correlation id only.", "order-1001");
pub(super) static SOURCE: Parameter = Parameter::query("source", Shape::Text, "Of this source, where several used the id.", "/shop");
pub(super) static SYSTEM_FILTER: Parameter = Parameter::query("system", Shape::Text, "Of this system only.", "revenue-agent-system");
pub(super) static ERROR_TEXT: Parameter = Parameter::query("error", Shape::Text, "Whose error contains this text.", "panicked");
pub(super) static FROM: Parameter = Parameter::query("from", Shape::Moment, "Not before: RFC 3339, or a date, which means its first moment.", "1997-01-01");
pub(super) static TO: Parameter = Parameter::query("to", Shape::Moment, "Not after: RFC 3339, or a date, which means its last moment.", "1997-06-30");
pub(super) static STREAM_FROM: Parameter = Parameter::query(
    "from",
    Shape::Text,
    "Where the stream begins: `start` (all that the log has), or a time of recording (RFC 3339, or a date, which means its first moment). Now, where it is absent. A `Last-Event-ID` wins.",
    "start",
);
pub(super) static LAST_EVENT_ID_QUERY: Parameter =
    Parameter::query("last_event_id", Shape::Text, "As the header `Last-Event-ID`, for a browser's EventSource, which cannot set it. The header wins.", "");
pub(super) static LAST_EVENT_ID: Parameter = Parameter {
    name: "Last-Event-ID",
    place: Place::Header,
    shape: Shape::Text,
    description: "The last `id` of a stream that broke off: goes on after it. Browsers send it by themselves.",
    example: "",
};
