//! The table itself. Paths with fewer parameters stand before those that would match them too.

use tol_config::Scope::{self, Admin, Operate, Publish, Read};

use super::parameters::*;
use super::{Body, Content, Operation, Reply, Route};
use crate::http::problem::Kind;

const fn ok(description: &'static str, content: Content) -> Reply {
    Reply { status: 200, description, content }
}

const fn running(description: &'static str) -> Reply {
    Reply { status: 202, description, content: Content::Json("Running") }
}

const fn pending() -> Reply {
    Reply { status: 202, description: "It is recorded, and not decided yet.", content: Content::Json("FlagsPending") }
}

/// What a change of a flag may be refused for.
const CHANGING: &[Kind] =
    &[Kind::UnknownFlag, Kind::VersionConflict, Kind::RequestRefused, Kind::InvalidData, Kind::UnknownProjection, Kind::Unavailable, Kind::DiskFull];

/// The same of an experiment that there may not be.
const CONCLUDING: &[Kind] = &[
    Kind::UnknownFlag,
    Kind::NotFound,
    Kind::VersionConflict,
    Kind::RequestRefused,
    Kind::InvalidData,
    Kind::UnknownProjection,
    Kind::Unavailable,
    Kind::DiskFull,
];

const EVENTS: &str = "events";
const PROJECTIONS: &str = "projections";
const SYSTEMS: &str = "systems";
const DEAD_LETTERS: &str = "dead letters";
const FLAGS: &str = "flags";
const STOP: &str = "emergency stop";
const NODE: &str = "node";

/// A route that takes nothing and answers 200 alone; the others are written from it.
const fn get(operation: Operation, path: &'static str, tag: &'static str, summary: &'static str) -> Route {
    Route { operation, method: "GET", path, scope: Some(Read), tag, summary, description: "", parameters: &[], body: Body::None, answers: &[], problems: &[] }
}

const fn open(operation: Operation, path: &'static str, summary: &'static str) -> Route {
    Route { scope: None, ..get(operation, path, NODE, summary) }
}

const fn post(operation: Operation, path: &'static str, tag: &'static str, summary: &'static str) -> Route {
    Route { method: "POST", scope: Some(Operate), ..get(operation, path, tag, summary) }
}

pub(crate) static ROUTES: &[Route] = &[
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
    Route { answers: &[ok("All systems.", Content::List("SystemStatus"))], ..get(Operation::Systems, "/systems", SYSTEMS, "Lists systems") },
    Route {
        parameters: &[&SYSTEM, &SUBJECT_STATE],
        answers: &[ok("The system.", Content::Json("SystemDetail"))],
        problems: &[Kind::UnknownSystem],
        ..get(Operation::System, "/systems/{name}", SYSTEMS, "Shows a system")
    },
    Route {
        description: "A question that the system answers from what it remembers of one subject. Each has a path of its own below with its parameters.",
        parameters: &[&SYSTEM, &SYSTEM_QUERY, &SUBJECT_ASKED],
        answers: &[ok("The answer.", Content::AnyJson)],
        problems: &[Kind::UnknownSystem, Kind::NotFound, Kind::Unavailable],
        ..get(Operation::SystemQuery, "/systems/{name}/queries/{query}", SYSTEMS, "Asks a system one of its own questions")
    },
    Route {
        description: "It stops after the input it is at. Counts as planned downtime.",
        parameters: &[&SYSTEM],
        answers: &[ok("Its state now.", Content::Json("SystemStatus"))],
        problems: &[Kind::UnknownSystem, Kind::WrongState],
        ..post(Operation::PauseSystem, "/systems/{name}/pause", SYSTEMS, "Pauses a system")
    },
    Route {
        parameters: &[&SYSTEM],
        answers: &[ok("Its state now.", Content::Json("SystemStatus"))],
        problems: &[Kind::UnknownSystem, Kind::WrongState],
        ..post(Operation::ResumeSystem, "/systems/{name}/resume", SYSTEMS, "Lets a paused system go on")
    },
    Route {
        parameters: &[&SYSTEM],
        answers: &[ok("Its state now.", Content::Json("SystemStatus"))],
        problems: &[Kind::UnknownSystem, Kind::WrongState],
        ..post(Operation::RestartSystem, "/systems/{name}/restart", SYSTEMS, "Restarts a system")
    },
    Route {
        description: "Filters go by the input's type, the error's text and the time it was parked. A system that is down is asked through its log.",
        parameters: &[&SYSTEM_FILTER, &SUBJECT, &TYPE, &ERROR_TEXT, &FROM, &TO, &LIMIT, &CURSOR],
        answers: &[ok("A page of dead letters, oldest first.", Content::Json("DeadLetterPage"))],
        problems: &[Kind::InvalidCursor],
        ..get(Operation::DeadLetters, "/dead-letters", DEAD_LETTERS, "Lists parked inputs")
    },
    Route {
        description: "In the order of each subject, each exactly once. One that fails again stays, with those behind it, and is not tried twice by one redrive; after five redrives in vain it takes `force`. Each redrive and each failure is an event that says who and why. Asked again after a break, it goes on with what is left.",
        body: Body::RedriveFilter,
        answers: &[ok("What became of it.", Content::Json("Redriven")), Reply { status: 202, description: "It runs.", content: Content::Json("Redriven") }],
        problems: &[Kind::UnknownSystem, Kind::Unavailable, Kind::EmergencyStop, Kind::JobRunning],
        ..post(Operation::RedriveAll, "/dead-letters/redrive", DEAD_LETTERS, "Has all parked inputs that match decided again")
    },
    Route {
        description: "Of all nodes that take part, where this one was asked for it; else of this one. A node remembers its last 20 redrives, until it stops.",
        parameters: &[&REDRIVE],
        answers: &[ok("How far it is.", Content::Json("Redriven"))],
        problems: &[Kind::NotFound, Kind::Unavailable],
        ..get(Operation::RedriveStatus, "/dead-letters/redrives/{id}", DEAD_LETTERS, "Tells how far a redrive is")
    },
    Route {
        description: "Those parked behind it follow in order.",
        parameters: &[&DEAD_LETTER],
        answers: &[ok("What was redriven.", Content::Json("Redriven"))],
        problems: &[Kind::UnknownDeadLetter, Kind::Unavailable, Kind::EmergencyStop, Kind::WrongState, Kind::JobRunning],
        ..post(Operation::Redrive, "/dead-letters/{id}/redrive", DEAD_LETTERS, "Has a parked input decided again")
    },
    Route {
        parameters: &[&DEAD_LETTER],
        body: Body::Reason,
        answers: &[ok("What was given up.", Content::Json("DeadLetter"))],
        problems: &[Kind::UnknownDeadLetter, Kind::Unavailable, Kind::EmergencyStop],
        ..post(Operation::Discard, "/dead-letters/{id}/discard", DEAD_LETTERS, "Gives a parked input up")
    },
    Route {
        description: "From memory, also while the log is away; `degraded` says so. With `stale=true` it is the report of flags that have outlived their purpose.",
        parameters: &[&IN_ENVIRONMENT, &STALE, &LIMIT, &CURSOR, &AS_OF, &KNOWN_AT],
        answers: &[ok("A page of flags.", Content::Json("FlagPage")), running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::InvalidCursor, Kind::JobRunning, Kind::UnknownProjection],
        ..get(Operation::Flags, "/flags", FLAGS, "Lists flags")
    },
    Route {
        description: "Unleash's answer to `GET /api/client/features`, GrowthBook's features (the map, or its API's whole answer) or a flagd file. Answers when this node serves them. One import runs at a time.",
        parameters: &[&FORMAT, &MODE, &ENVIRONMENT, &WHY, &IMPORT_TIMEOUT],
        body: Body::Definitions,
        answers: &[ok("They are served.", Content::Json("FlagsImported")), pending()],
        problems: &[Kind::InvalidDefinitions, Kind::RequestRefused, Kind::VersionConflict, Kind::JobRunning, Kind::Unavailable, Kind::DiskFull],
        ..post(Operation::ImportFlags, "/flags/import", FLAGS, "Imports flags in another server's format")
    },
    Route {
        description: "What that format cannot say is counted in the header `tol-export-problems`, and named with `problems=true`.",
        parameters: &[&FORMAT, &ENVIRONMENT, &PROBLEMS, &AS_OF, &KNOWN_AT],
        answers: &[ok("The format's own JSON.", Content::AnyJson), running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::JobRunning, Kind::UnknownProjection],
        ..get(Operation::ExportFlags, "/flags/export", FLAGS, "Exports flags in another server's format")
    },
    Route {
        description: "The answers by flag: `enabled`, `value`, `variant` and `reason`, with the semantics of `format`. From memory, also while the log is away; the header `tol-flags-degraded` says so.",
        scope: Some(Scope::Evaluate),
        parameters: &[&AS_OF, &KNOWN_AT],
        body: Body::Json("EvaluateFlags"),
        answers: &[ok("The answers by flag.", Content::AnyJson), running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::JobRunning, Kind::UnknownProjection],
        ..post(Operation::EvaluateFlags, "/flags/evaluate", FLAGS, "Evaluates flags")
    },
    Route {
        description: "Also one that is archived. A flag whose key is `import`, `export` or `evaluate` is at `/flags/key/{key}`, for changes too.",
        parameters: &[&FLAG_KEY, &AS_OF, &KNOWN_AT],
        answers: &[ok("The flag.", Content::Json("Flag"))],
        problems: &[Kind::UnknownFlag, Kind::UnknownProjection, Kind::WholeProjectionOnly],
        ..get(Operation::Flag, "/flags/{key}", FLAGS, "Shows a flag")
    },
    Route {
        method: "PUT",
        parameters: &[&FLAG_KEY],
        body: Body::Json("ChangeFlag"),
        answers: &[ok("It is served.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::ChangeFlag, "/flags/{key}", FLAGS, "Makes or changes a flag")
    },
    Route {
        description: "It is in no environment then, and served nowhere. Its history stays, and a change brings it back.",
        method: "DELETE",
        parameters: &[&FLAG_KEY, &WHY_NEEDED],
        answers: &[ok("It is archived.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::ArchiveFlag, "/flags/{key}", FLAGS, "Archives a flag")
    },
    Route {
        description: "The last 50; the log has all of them (`GET /subjects/flag/{key}/timeline`).",
        parameters: &[&FLAG_KEY, &AS_OF, &KNOWN_AT],
        answers: &[ok("The changes, oldest first.", Content::List("FlagHistoryEntry"))],
        problems: &[Kind::UnknownFlag, Kind::UnknownProjection, Kind::WholeProjectionOnly],
        ..get(Operation::FlagHistory, "/flags/{key}/history", FLAGS, "Shows what happened to a flag, who did it and why")
    },
    Route {
        description: "Off at once, whatever its rules say, until it is restored. A rollout that runs there is taken back.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("InEnvironment"),
        answers: &[ok("It is off.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::KillFlag, "/flags/{key}/kill", FLAGS, "Switches a flag off at once")
    },
    Route {
        parameters: &[&FLAG_KEY],
        body: Body::Json("InEnvironment"),
        answers: &[ok("It behaves as its rules say.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::RestoreFlag, "/flags/{key}/restore", FLAGS, "Releases the kill switch")
    },
    Route {
        parameters: &[&FLAG_KEY],
        body: Body::Json("ScheduleFlag"),
        answers: &[ok("It is scheduled.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::ScheduleFlag, "/flags/{key}/schedule", FLAGS, "Schedules when a flag goes on or off")
    },
    Route {
        parameters: &[&FLAG_KEY, &AS_OF, &KNOWN_AT],
        answers: &[ok("The rollout that runs, or the last one.", Content::AnyJson)],
        problems: &[Kind::UnknownFlag, Kind::NotFound, Kind::UnknownProjection, Kind::WholeProjectionOnly],
        ..get(Operation::Rollout, "/flags/{key}/rollout", FLAGS, "Shows a flag's rollout")
    },
    Route {
        description: "The percentage of one rule grows step by step, is held without data and rolled back by itself on harm.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("StartRollout"),
        answers: &[ok("It runs.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::StartRollout, "/flags/{key}/rollout", FLAGS, "Starts a guarded rollout")
    },
    Route {
        description: "Nobody has it any more.",
        parameters: &[&FLAG_KEY],
        body: Body::Reason,
        answers: &[ok("It is rolled back.", Content::Json("Flag")), pending()],
        problems: CHANGING,
        ..post(Operation::StopRollout, "/flags/{key}/rollout/stop", FLAGS, "Rolls a rollout back")
    },
    Route {
        description: "Without their results.",
        parameters: &[&FLAG_KEY, &EXPERIMENT_STATE, &AS_OF, &KNOWN_AT],
        answers: &[ok("The experiments, by id.", Content::List("FlagExperiment"))],
        problems: &[Kind::UnknownFlag, Kind::UnknownProjection, Kind::WholeProjectionOnly],
        ..get(Operation::Experiments, "/flags/{key}/experiments", FLAGS, "Lists a flag's experiments")
    },
    Route {
        description: "What SDKs and analytics count from now on is added to it. Asked for again with the same id and content, it answers with the experiment; with other content it is refused.",
        parameters: &[&FLAG_KEY],
        body: Body::Json("StartExperiment"),
        answers: &[ok("It runs.", Content::Json("FlagExperiment")), pending()],
        problems: CHANGING,
        ..post(Operation::StartExperiment, "/flags/{key}/experiments", FLAGS, "Starts an experiment")
    },
    Route {
        description: "Fixed-horizon, sequential and Bayesian results from what was counted until now, or until then; decisions rest on the sequential ones, corrected. Effects by segment are exploratory.",
        parameters: &[&FLAG_KEY, &EXPERIMENT, &AS_OF, &KNOWN_AT],
        answers: &[ok("The experiment.", Content::Json("FlagExperiment"))],
        problems: &[Kind::UnknownFlag, Kind::NotFound, Kind::UnknownProjection, Kind::WholeProjectionOnly],
        ..get(Operation::Experiment, "/flags/{key}/experiments/{experiment}", FLAGS, "Shows an experiment with its results")
    },
    Route {
        description: "`reason` is what was learned; it is recorded with the results as they are then.",
        parameters: &[&FLAG_KEY, &EXPERIMENT],
        body: Body::Reason,
        answers: &[ok("It is over.", Content::Json("FlagExperiment")), pending()],
        problems: CONCLUDING,
        ..post(Operation::ConcludeExperiment, "/flags/{key}/experiments/{experiment}/conclude", FLAGS, "Concludes an experiment")
    },
    Route {
        description: "By flag and id, without their results.",
        parameters: &[&IN_ENVIRONMENT, &EXPERIMENT_STATE, &LIMIT, &CURSOR, &AS_OF, &KNOWN_AT],
        answers: &[ok("A page of experiments.", Content::Json("FlagExperimentPage")), running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::InvalidCursor, Kind::JobRunning, Kind::UnknownProjection],
        ..get(Operation::FlagExperiments, "/flag-experiments", FLAGS, "Lists the experiments of all flags")
    },
    Route {
        description: "What `billing.*` and `usage.*` say of these customers afterwards is counted in the arm they met first, for the rollouts and experiments that measure it. Answers when the exposures are durable.",
        scope: Some(Publish),
        body: Body::Json("RecordExposures"),
        answers: &[ok("They are recorded, or concern nothing that runs.", Content::Json("ExposuresRecorded"))],
        problems: &[Kind::InvalidEvent, Kind::InvalidData, Kind::IdConflict, Kind::UnknownProjection, Kind::Unavailable, Kind::DiskFull, Kind::EmergencyStop],
        ..post(Operation::RecordExposures, "/flag-exposures", FLAGS, "Records which customers met which flags")
    },
    Route {
        parameters: &[&AS_OF, &KNOWN_AT],
        answers: &[ok("All environments.", Content::List("FlagEnvironment")), running("The flags as of then are being folded; ask again.")],
        problems: &[Kind::JobRunning, Kind::UnknownProjection],
        ..get(Operation::FlagEnvironments, "/flag-environments", FLAGS, "Lists environments, and what their flags share")
    },
    Route {
        description: "Unleash's segments, GrowthBook's saved groups, flagd's evaluators: whatever that format's file has beside its flags.",
        method: "PUT",
        parameters: &[&ENVIRONMENT_PATH, &FORMAT_PATH],
        body: Body::Json("ChangeShared"),
        answers: &[ok("It is served.", Content::Json("FlagEnvironment")), pending()],
        problems: &[Kind::NotFound, Kind::InvalidData, Kind::UnknownProjection, Kind::Unavailable, Kind::DiskFull],
        ..post(Operation::ChangeShared, "/flag-environments/{environment}/{format}", FLAGS, "Changes what an environment's flags share")
    },
    Route {
        description: "Never changes anything.",
        answers: &[ok("The state.", Content::Json("StopState"))],
        ..get(Operation::StopState, "/emergency-stop", STOP, "Tells whether the emergency stop is engaged")
    },
    Route {
        description: "Stops this node's decisions and effects at once, log or no log, and all others by the log. Answers when every live node has confirmed it or its lease has run out. Queries keep answering.",
        body: Body::Reason,
        answers: &[ok("It is engaged.", Content::Json("StopState"))],
        ..post(Operation::Stop, "/emergency-stop", STOP, "Engages the emergency stop")
    },
    Route {
        scope: Some(Admin),
        body: Body::Reason,
        answers: &[ok("It is released.", Content::Json("StopState"))],
        problems: &[Kind::Unavailable],
        ..post(Operation::Release, "/emergency-stop/release", STOP, "Releases the emergency stop")
    },
    Route { answers: &[ok("It runs.", Content::Other("text/plain"))], ..open(Operation::Live, "/livez", "Tells whether the process runs") },
    Route {
        answers: &[ok("It is ready.", Content::Json("Readiness"))],
        problems: &[Kind::NotReady],
        ..open(Operation::Ready, "/readyz", "Tells whether the node can do its work")
    },
    Route {
        description: "Prometheus' text format.",
        answers: &[ok("The metrics.", Content::Other("text/plain"))],
        ..get(Operation::Metrics, "/metrics", NODE, "Metrics")
    },
    Route { answers: &[ok("What runs here.", Content::Json("Version"))], ..open(Operation::Version, "/version", "Tells version, log and topics") },
    Route {
        scope: Some(Scope::Node),
        description: "For the nodes themselves: a node that receives what belongs to a partition of another passes it on by this. Its form changes with the version.",
        body: Body::AnyJson,
        answers: &[ok("What was asked for.", Content::AnyJson)],
        problems: &[Kind::NotOwner, Kind::Unavailable, Kind::WrongState, Kind::UnknownDeadLetter, Kind::UnknownSystem, Kind::IdConflict],
        ..post(Operation::Peer, "/nodes/ask", NODE, "Answers another node of the cluster")
    },
    Route { answers: &[ok("This document.", Content::AnyJson)], ..open(Operation::OpenApi, "/openapi.json", "The OpenAPI document") },
    Route {
        answers: &[Reply { status: 308, description: "To /docs/.", content: Content::Empty }],
        ..open(Operation::Docs, "/docs", "This interface to browse")
    },
    Route {
        parameters: &[&SLUG],
        answers: &[ok("The page: HTML, or Markdown if that is what the client prefers.", Content::Other("text/html"))],
        problems: &[Kind::NotFound],
        ..open(Operation::ProblemPage, "/docs/problems/{slug}", "Explains a problem")
    },
    Route {
        parameters: &[&FILE],
        answers: &[ok("The file.", Content::Other("text/html"))],
        problems: &[Kind::NotFound],
        ..open(Operation::DocsFile, "/docs/{file}", "A file of the browsable page")
    },
    Route {
        parameters: &[&TYPE_PATH],
        answers: &[ok("The JSON Schema.", Content::Other("application/schema+json"))],
        problems: &[Kind::NotFound],
        ..open(Operation::Schema, "/schemas/{type}.json", "The JSON Schema of a type's data")
    },
];
