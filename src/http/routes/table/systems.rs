//! Systems and what they could not decide.

use super::super::parameters::*;
use super::super::{Body, Content, Operation, Reply, Route};
use super::{get, ok, post};
use crate::http::problem::Kind;

const SYSTEMS: &str = "systems";
const DEAD_LETTERS: &str = "dead letters";

pub(super) static ROUTES: &[Route] = &[
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
];
