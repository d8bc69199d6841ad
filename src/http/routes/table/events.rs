//! Events and what is folded from them.

use tol_config::Scope::Publish;

use super::super::parameters::*;
use super::super::{Body, Content, Operation, Reply, Route};
use super::{get, ok, post, running};
use crate::http::problem::Kind;

const EVENTS: &str = "events";
const PROJECTIONS: &str = "projections";

pub(super) static ROUTES: &[Route] = &[
    Route {
        scope: Some(Publish),
        description: "One CloudEvent or a batch. Binary mode is read as well: any other content type, the data as the body, and the attributes in headers (ce-specversion, ce-id, ce-source, ce-type, ce-subject, …), percent-encoded. Answers when all are durable. All or none: one bad event refuses the request, and the problem names its index. (On several nodes each owner stores its part; after a 409 or 503 parts of other owners may be stored.) Sending again with the same ids is safe: what is there already is counted as a duplicate.",
        body: Body::Events,
        answers: &[ok("All are durable.", Content::Json("Published"))],
        problems: &[Kind::InvalidEvent, Kind::InvalidData, Kind::UnknownVersion, Kind::IdConflict, Kind::Unavailable, Kind::DiskFull, Kind::EmergencyStop],
        ..post(Operation::Publish, "/events", EVENTS, "Publishes events")
    },
    Route {
        parameters: &[&SUBJECT, &TYPE, &CORRELATION, &FROM, &TO, &LIMIT, &CURSOR],
        answers: &[ok("A page of events.", Content::Json("EventPage"))],
        problems: &[Kind::InvalidCursor],
        ..get(Operation::SearchEvents, "/events", EVENTS, "Searches events")
    },
    Route {
        description: "Server-sent events: `id` is a token to resume with, `data` the CloudEvent on one line. Only events that the log's rules accept (E3, E4). A client that reads too slowly is disconnected and resumes.",
        parameters: &[&SUBJECT, &TYPE, &CORRELATION, &LAST_EVENT_ID],
        answers: &[ok("A stream without end.", Content::Other("text/event-stream"))],
        problems: &[Kind::InvalidCursor, Kind::TooManyStreams],
        ..get(Operation::StreamEvents, "/events/stream", EVENTS, "Follows events")
    },
    Route {
        parameters: &[&EVENT_ID, &SOURCE],
        answers: &[ok("The event.", Content::Json("CloudEvent"))],
        problems: &[Kind::EventNotFound, Kind::AmbiguousEvent],
        ..get(Operation::Event, "/events/{id}", EVENTS, "Shows one event")
    },
    Route {
        parameters: &[&CORRELATION_PATH],
        answers: &[ok("The tree.", Content::Json("Trace"))],
        problems: &[Kind::EventNotFound],
        ..get(Operation::Trace, "/trace/{correlation}", EVENTS, "Shows what a request caused, as a tree")
    },
    Route {
        parameters: &[&SUBJECT_PATH, &LIMIT, &CURSOR],
        answers: &[ok("A page of events in order of time.", Content::Json("EventPage"))],
        problems: &[Kind::InvalidCursor],
        ..get(Operation::Timeline, "/subjects/{subject}/timeline", EVENTS, "Shows all that happened to a subject")
    },
    Route {
        answers: &[ok("All projections.", Content::List("ProjectionStatus"))],
        ..get(Operation::Projections, "/projections", PROJECTIONS, "Lists projections")
    },
    Route {
        description: "With `as_of` or `known_at` a temporary generation is folded first: 202 until it is done.",
        parameters: &[&PROJECTION, &LIMIT, &CURSOR, &AS_OF, &KNOWN_AT, &MIN_POSITION, &TIMEOUT],
        answers: &[ok("A page of rows.", Content::Json("RowPage")), running("The state as of then is being folded; ask again.")],
        problems: &[Kind::UnknownProjection, Kind::InvalidCursor, Kind::NotVisibleYet, Kind::JobRunning],
        ..get(Operation::Rows, "/projections/{name}", PROJECTIONS, "Lists rows")
    },
    Route {
        description: "Equal digests at equal positions mean equal rows, whether live, rebuilt or another node's.",
        parameters: &[&PROJECTION, &AS_OF, &KNOWN_AT, &MIN_POSITION, &TIMEOUT],
        answers: &[ok("The digest.", Content::Json("Digest")), running("The state as of then is being folded; ask again.")],
        problems: &[Kind::UnknownProjection, Kind::NotVisibleYet, Kind::JobRunning],
        ..get(Operation::Digest, "/projections/{name}/digest", PROJECTIONS, "Hashes all rows")
    },
    Route {
        description: "Folds a new generation from the start beside the one that serves, and swaps it in when it has caught up. Queries go on.",
        parameters: &[&PROJECTION],
        answers: &[Reply { status: 202, description: "It runs.", content: Content::Json("RebuildStatus") }],
        problems: &[Kind::UnknownProjection, Kind::JobRunning],
        ..post(Operation::StartRebuild, "/projections/{name}/rebuild", PROJECTIONS, "Starts a rebuild")
    },
    Route {
        parameters: &[&PROJECTION],
        answers: &[ok("The running rebuild, or how the last one ended.", Content::Json("RebuildStatus"))],
        problems: &[Kind::UnknownProjection],
        ..get(Operation::RebuildStatus, "/projections/{name}/rebuild", PROJECTIONS, "Shows the rebuild")
    },
    Route {
        method: "DELETE",
        parameters: &[&PROJECTION],
        answers: &[ok("How it ended; the last state where none ran.", Content::Json("RebuildStatus"))],
        problems: &[Kind::UnknownProjection],
        ..post(Operation::CancelRebuild, "/projections/{name}/rebuild", PROJECTIONS, "Cancels the rebuild")
    },
    Route {
        description: "Keys `digest` and `rebuild` are found in the list only.",
        parameters: &[&PROJECTION, &KEY, &AS_OF, &KNOWN_AT, &MIN_POSITION, &TIMEOUT],
        answers: &[ok("The row.", Content::Json("Row"))],
        problems: &[Kind::UnknownProjection, Kind::RowNotFound, Kind::NotVisibleYet, Kind::WholeProjectionOnly],
        ..get(Operation::Row, "/projections/{name}/{key}", PROJECTIONS, "Shows one row")
    },
];
