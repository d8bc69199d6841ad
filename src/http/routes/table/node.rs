//! The emergency stop, and the node itself.

use tol_plug::{Access, Body, Content, Kind, Reply, Route, Scope, Spec, waiting, with_body};

use super::super::parameters::*;
use crate::http::handlers::{control, node};
use crate::http::server::Shared;

const STOP: &str = "emergency stop";
const NODE: &str = "node";

const fn open(operation: &'static str, path: &'static str, summary: &'static str) -> Spec {
    Spec { access: Access::Open, ..Spec::get(operation, path, NODE, summary) }
}

pub(super) static ROUTES: &[Route<Shared>] = &[
    Spec {
        description: "Never changes anything.",
        answers: &[Reply::ok("The state.", Content::Json("StopState"))],
        ..Spec::get("stopState", "/emergency-stop", STOP, "Tells whether the emergency stop is engaged")
    }
    .by(waiting!(control::stop_state)),
    Spec {
        description: "Stops this node's decisions and effects at once, log or no log, and all others by the log. Answers when every live node has confirmed it or its lease has run out. Queries keep answering.",
        body: Body::Json("Reason"),
        answers: &[Reply::ok("It is engaged.", Content::Json("StopState"))],
        rate_limited: false,
        ..Spec::post("stop", "/emergency-stop", STOP, "Engages the emergency stop")
    }
    .by(with_body!(control::stop)),
    Spec {
        access: Access::Scope(Scope::ADMIN),
        body: Body::Json("Reason"),
        answers: &[Reply::ok("It is released.", Content::Json("StopState"))],
        problems: &[Kind::UNAVAILABLE],
        ..Spec::post("release", "/emergency-stop/release", STOP, "Releases the emergency stop")
    }
    .by(with_body!(control::release)),
    Spec { answers: &[Reply::ok("It runs.", Content::Other("text/plain"))], ..open("live", "/livez", "Tells whether the process runs") }
    .by(waiting!(node::live)),
    Spec {
        answers: &[Reply::ok("It is ready.", Content::Json("Readiness"))],
        problems: &[Kind::NOT_READY],
        ..open("ready", "/readyz", "Tells whether the node can do its work")
    }
    .by(waiting!(node::ready)),
    Spec {
        description: "Prometheus' text format.",
        answers: &[Reply::ok("The metrics.", Content::Other("text/plain"))],
        ..Spec::get("metrics", "/metrics", NODE, "Metrics")
    }
    .by(waiting!(node::metrics)),
    Spec { answers: &[Reply::ok("What runs here.", Content::Json("Version"))], ..open("version", "/version", "Tells version, log and topics") }
    .by(waiting!(node::version)),
    Spec {
        access: Access::Scope(Scope::NODE),
        description: "For the nodes themselves: a node that receives what belongs to a partition of another passes it on by this. Its form changes with the version.",
        body: Body::AnyJson("{\"facts\":[]}"),
        answers: &[Reply::ok("What was asked for.", Content::AnyJson)],
        problems: &[Kind::NOT_OWNER, Kind::UNAVAILABLE, Kind::WRONG_STATE, Kind::UNKNOWN_DEAD_LETTER, Kind::UNKNOWN_SYSTEM, Kind::ID_CONFLICT],
        ..Spec::post("peer", "/nodes/ask", NODE, "Answers another node of the cluster")
    }
    .by(with_body!(node::peer)),
    Spec { answers: &[Reply::ok("This document.", Content::AnyJson)], ..open("openApi", "/openapi.json", "The OpenAPI document") }
    .by(waiting!(node::openapi)),
    Spec {
        answers: &[Reply { status: 308, description: "To /docs/.", content: Content::Empty }],
        ..open("docs", "/docs", "This interface to browse")
    }
    .by(waiting!(node::docs)),
    Spec {
        parameters: &[&SLUG],
        answers: &[Reply::ok("The page: HTML, or Markdown if that is what the client prefers.", Content::Other("text/html"))],
        problems: &[Kind::NOT_FOUND],
        ..open("problemPage", "/docs/problems/{slug}", "Explains a problem")
    }
    .by(waiting!(node::problem_page)),
    Spec {
        parameters: &[&FILE],
        answers: &[Reply::ok("The file.", Content::Other("text/html"))],
        problems: &[Kind::NOT_FOUND],
        ..open("docsFile", "/docs/{file}", "A file of the browsable page")
    }
    .by(waiting!(node::docs_file)),
    Spec {
        description: "With the kind of its subjects, its personal fields, its schema and an event that is admitted as it stands.",
        answers: &[Reply::ok("All known types.", Content::List("EventType"))],
        ..open("schemas", "/schemas", "Lists the known types of events")
    }
    .by(waiting!(node::schemas)),
    Spec {
        parameters: &[&TYPE_PATH],
        answers: &[Reply::ok("The JSON Schema.", Content::Other("application/schema+json"))],
        problems: &[Kind::NOT_FOUND],
        ..open("schema", "/schemas/{type}.json", "The JSON Schema of a type's data")
    }
    .by(waiting!(node::schema)),
];
