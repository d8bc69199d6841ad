//! The emergency stop, and the node itself.

use tol_config::Scope::{self, Admin};

use super::super::parameters::*;
use super::super::{Body, Content, Operation, Reply, Route};
use super::{get, ok, post};
use crate::http::problem::Kind;

const STOP: &str = "emergency stop";
const NODE: &str = "node";

const fn open(operation: Operation, path: &'static str, summary: &'static str) -> Route {
    Route { scope: None, ..get(operation, path, NODE, summary) }
}

pub(super) static ROUTES: &[Route] = &[
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
