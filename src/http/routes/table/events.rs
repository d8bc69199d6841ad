//! Events and what is folded from them.

use tol_plug::{Access, Body, Content, Kind, Reply, Route, Scope, Spec, waiting, with_body};

use super::super::parameters::*;
use crate::http::handlers::{control, events, projections, stream};
use crate::http::server::Shared;

const EVENTS: &str = "events";
const PROJECTIONS: &str = "projections";

pub(super) static ROUTES: &[Route<Shared>] = &[
    Spec {
        access: Access::Scope(Scope::PUBLISH),
        description: "One CloudEvent or a batch. Binary mode is read as well: any other content type, the data as the body, and the attributes in headers (ce-specversion, ce-id, ce-source, ce-type, ce-subject, …), percent-encoded. Answers when all are durable. All or none: one bad event refuses the request, and the problem names its index. (On several nodes each owner stores its part; after a 409 or 503 parts of other owners may be stored.) Sending again with the same ids is safe: what is there already is counted as a duplicate. `warnings` tells what accepted events probably got wrong: a type that the node does not know in a known domain, a field that the type does not have, an environment that is known in another spelling.",
        body: Body::Events,
        answers: &[Reply::ok("All are durable.", Content::Json("Published"))],
        problems: &[Kind::INVALID_EVENT, Kind::INVALID_DATA, Kind::UNKNOWN_VERSION, Kind::UNKNOWN_TYPE, Kind::ID_CONFLICT, Kind::UNAVAILABLE, Kind::DISK_FULL, Kind::EMERGENCY_STOP],
        ..Spec::post("publish", "/events", EVENTS, "Publishes events")
    }
    .by(with_body!(events::publish)),
    Spec {
        description: "A page may end early where few of many events match; `next_cursor` goes on.",
        parameters: &[&SUBJECT, &TYPE, &CORRELATION, &FROM, &TO, &LIMIT, &CURSOR, &MIN_POSITION, &TIMEOUT],
        answers: &[Reply::ok("A page of events.", Content::Json("EventPage"))],
        problems: &[Kind::INVALID_CURSOR, Kind::NOT_VISIBLE_YET],
        ..Spec::get("searchEvents", "/events", EVENTS, "Searches events")
    }
    .by(waiting!(events::search)),
    Spec {
        description: "Server-sent events: `id` is a token of at most a few kilobytes to resume with, `data` the CloudEvent on one line. Only events that the log's rules accept (E3, E4); those of one partition in their order, and what has gathered in about the order in which it was recorded. A client that reads too slowly is disconnected and resumes. Where more than 64 partitions are written to within five seconds, a resumed stream may repeat events of those seconds, which their ids tell.",
        parameters: &[&SUBJECT, &TYPE, &CORRELATION, &STREAM_FROM, &LAST_EVENT_ID_QUERY, &LAST_EVENT_ID],
        answers: &[Reply::ok("A stream without end.", Content::Other("text/event-stream"))],
        problems: &[Kind::INVALID_CURSOR, Kind::STREAM_AHEAD, Kind::TOO_MANY_STREAMS],
        ..Spec::get("streamEvents", "/events/stream", EVENTS, "Follows events")
    }
    .by(waiting!(stream::follow)),
    Spec {
        description: "A 404 says in `index_lag` how many records of the log are not indexed yet: at 0 there is no such event.",
        parameters: &[&EVENT_ID, &SOURCE, &MIN_POSITION, &TIMEOUT],
        answers: &[Reply::ok("The event.", Content::Json("CloudEvent"))],
        problems: &[Kind::EVENT_NOT_FOUND, Kind::AMBIGUOUS_EVENT, Kind::NOT_VISIBLE_YET],
        ..Spec::get("event", "/events/{id}", EVENTS, "Shows one event")
    }
    .by(waiting!(events::one)),
    Spec {
        description: "A 404 says in `index_lag` how many records of the log are not indexed yet.",
        parameters: &[&CORRELATION_PATH, &MIN_POSITION, &TIMEOUT],
        answers: &[Reply::ok("The tree.", Content::Json("Trace"))],
        problems: &[Kind::EVENT_NOT_FOUND, Kind::NOT_VISIBLE_YET],
        ..Spec::get("trace", "/trace/{correlation}", EVENTS, "Shows what a request caused, as a tree")
    }
    .by(waiting!(events::trace)),
    Spec {
        parameters: &[&SUBJECT_PATH, &LIMIT, &CURSOR, &MIN_POSITION, &TIMEOUT],
        answers: &[Reply::ok("A page of events in order of time.", Content::Json("EventPage"))],
        problems: &[Kind::INVALID_CURSOR, Kind::NOT_VISIBLE_YET],
        ..Spec::get("timeline", "/subjects/{subject}/timeline", EVENTS, "Shows all that happened to a subject")
    }
    .by(waiting!(events::timeline)),
    Spec {
        access: Access::Scope(Scope::ADMIN),
        description: "For a person whose data must go: the key that their personal fields are sealed with is destroyed on every node, and views and blobs made of them are dropped. The log stays as it is; what was sealed cannot be read any more. It cannot be taken back.",
        parameters: &[&SUBJECT_PATH],
        body: Body::Json("Reason"),
        answers: &[Reply::ok("The person is erased on this node; others follow within a second.", Content::Json("Erased"))],
        problems: &[Kind::INVALID_EVENT, Kind::UNAVAILABLE, Kind::DISK_FULL],
        ..Spec::post("eraseSubject", "/subjects/{subject}/erase", EVENTS, "Erases a person")
    }
    .by(with_body!(control::erase)),
    Spec {
        answers: &[Reply::ok("All projections.", Content::List("ProjectionStatus"))],
        ..Spec::get("projections", "/projections", PROJECTIONS, "Lists projections")
    }
    .by(waiting!(projections::all)),
    Spec {
        description: "With `as_of` or `known_at` a temporary generation is folded first: 202 until it is done.",
        parameters: &[&PROJECTION, &LIMIT, &CURSOR, &AS_OF, &KNOWN_AT, &MIN_POSITION, &TIMEOUT],
        answers: &[Reply::ok("A page of rows.", Content::Json("RowPage")), Reply::running("The state as of then is being folded; ask again.")],
        problems: &[Kind::UNKNOWN_PROJECTION, Kind::INVALID_CURSOR, Kind::NOT_VISIBLE_YET, Kind::JOB_RUNNING],
        ..Spec::get("rows", "/projections/{name}", PROJECTIONS, "Lists rows")
    }
    .by(waiting!(projections::rows)),
    Spec {
        description: "Equal digests at equal positions mean equal rows, whether live, rebuilt or another node's.",
        parameters: &[&PROJECTION, &AS_OF, &KNOWN_AT, &MIN_POSITION, &TIMEOUT],
        answers: &[Reply::ok("The digest.", Content::Json("Digest")), Reply::running("The state as of then is being folded; ask again.")],
        problems: &[Kind::UNKNOWN_PROJECTION, Kind::NOT_VISIBLE_YET, Kind::JOB_RUNNING],
        ..Spec::get("digest", "/projections/{name}/digest", PROJECTIONS, "Hashes all rows")
    }
    .by(waiting!(projections::digest)),
    Spec {
        description: "Folds a new generation from the start beside the one that serves, and swaps it in when it has caught up. Queries go on.",
        parameters: &[&PROJECTION],
        answers: &[Reply { status: 202, description: "It runs.", content: Content::Json("RebuildStatus") }],
        problems: &[Kind::UNKNOWN_PROJECTION, Kind::JOB_RUNNING],
        ..Spec::post("startRebuild", "/projections/{name}/rebuild", PROJECTIONS, "Starts a rebuild")
    }
    .by(waiting!(projections::start_rebuild)),
    Spec {
        parameters: &[&PROJECTION],
        answers: &[Reply::ok("The running rebuild, or how the last one ended.", Content::Json("RebuildStatus"))],
        problems: &[Kind::UNKNOWN_PROJECTION],
        ..Spec::get("rebuildStatus", "/projections/{name}/rebuild", PROJECTIONS, "Shows the rebuild")
    }
    .by(waiting!(projections::rebuild_status)),
    Spec {
        method: "DELETE",
        parameters: &[&PROJECTION],
        answers: &[Reply::ok("How it ended; the last state where none ran.", Content::Json("RebuildStatus"))],
        problems: &[Kind::UNKNOWN_PROJECTION],
        ..Spec::post("cancelRebuild", "/projections/{name}/rebuild", PROJECTIONS, "Cancels the rebuild")
    }
    .by(waiting!(projections::cancel_rebuild)),
    Spec {
        description: "An event that the fold refuses, or at which it panics, is left out whole; the projection goes on with those behind it. The list names each with its reason, by partition and position. After a repair (a version of tol that folds them), `POST /projections/{name}/rebuild` folds them again in their place.",
        parameters: &[&PROJECTION, &LIMIT, &CURSOR],
        answers: &[Reply::ok("A page of events.", Content::Json("SetAsidePage"))],
        problems: &[Kind::UNKNOWN_PROJECTION, Kind::INVALID_CURSOR],
        ..Spec::get("setAside", "/projections/{name}/set-aside", PROJECTIONS, "Lists events that could not be folded")
    }
    .by(waiting!(projections::set_aside)),
    Spec {
        description: "Keys `digest`, `rebuild` and `set-aside` are found in the list only.",
        parameters: &[&PROJECTION, &KEY, &AS_OF, &KNOWN_AT, &MIN_POSITION, &TIMEOUT],
        answers: &[Reply::ok("The row.", Content::Json("Row"))],
        problems: &[Kind::UNKNOWN_PROJECTION, Kind::ROW_NOT_FOUND, Kind::NOT_VISIBLE_YET, Kind::WHOLE_PROJECTION_ONLY],
        ..Spec::get("row", "/projections/{name}/{key}", PROJECTIONS, "Shows one row")
    }
    .by(waiting!(projections::row)),
];
