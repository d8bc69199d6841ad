//! Systems and what they could not decide.

use tol_plug::{Body, Content, Kind, Reply, Route, Spec, waiting, with_body};

use super::super::parameters::*;
use crate::http::handlers::control;
use crate::http::server::Shared;

const SYSTEMS: &str = "systems";
const DEAD_LETTERS: &str = "dead letters";

pub(super) static ROUTES: &[Route<Shared>] = &[
    Spec { answers: &[Reply::ok("All systems.", Content::List("SystemStatus"))], ..Spec::get("systems", "/systems", SYSTEMS, "Lists systems") }
    .by(waiting!(control::systems)),
    Spec {
        parameters: &[&SYSTEM, &SUBJECT_STATE],
        answers: &[Reply::ok("The system.", Content::Json("SystemDetail"))],
        problems: &[Kind::UNKNOWN_SYSTEM],
        ..Spec::get("system", "/systems/{name}", SYSTEMS, "Shows a system")
    }
    .by(waiting!(control::system)),
    Spec {
        description: "Equal digests at equal positions mean equal states, whether this node's, another's, or folded anew from the log. Of what this node has cached: the system need not run.",
        parameters: &[&SYSTEM],
        answers: &[Reply::ok("The digest.", Content::Json("SystemDigest"))],
        problems: &[Kind::UNKNOWN_SYSTEM, Kind::UNAVAILABLE],
        ..Spec::get("systemDigest", "/systems/{name}/digest", SYSTEMS, "Hashes all states")
    }
    .by(waiting!(control::digest)),
    Spec {
        description: "A question that the system answers from what it remembers of one subject. Each has a path of its own below with its parameters.",
        parameters: &[&SYSTEM, &SYSTEM_QUERY, &SUBJECT_ASKED],
        answers: &[Reply::ok("The answer.", Content::AnyJson)],
        problems: &[Kind::UNKNOWN_SYSTEM, Kind::NOT_FOUND, Kind::UNAVAILABLE],
        any_query: true,
        ..Spec::get("systemQuery", "/systems/{name}/queries/{query}", SYSTEMS, "Asks a system one of its own questions")
    }
    .by(waiting!(control::query)),
    Spec {
        description: "It stops after the input it is at. Counts as planned downtime.",
        parameters: &[&SYSTEM],
        answers: &[Reply::ok("Its state now.", Content::Json("SystemStatus"))],
        problems: &[Kind::UNKNOWN_SYSTEM, Kind::WRONG_STATE],
        ..Spec::post("pauseSystem", "/systems/{name}/pause", SYSTEMS, "Pauses a system")
    }
    .by(waiting!(control::pause)),
    Spec {
        parameters: &[&SYSTEM],
        answers: &[Reply::ok("Its state now.", Content::Json("SystemStatus"))],
        problems: &[Kind::UNKNOWN_SYSTEM, Kind::WRONG_STATE],
        ..Spec::post("resumeSystem", "/systems/{name}/resume", SYSTEMS, "Lets a paused system go on")
    }
    .by(waiting!(control::resume)),
    Spec {
        parameters: &[&SYSTEM],
        answers: &[Reply::ok("Its state now.", Content::Json("SystemStatus"))],
        problems: &[Kind::UNKNOWN_SYSTEM, Kind::WRONG_STATE],
        ..Spec::post("restartSystem", "/systems/{name}/restart", SYSTEMS, "Restarts a system")
    }
    .by(waiting!(control::restart)),
    Spec {
        description: "Of this node: those that run first, then those that wait for a place, for the release of an emergency stop or for their next try, then those whose result is not in the log yet. A runner tells how far it has come.",
        parameters: &[&LIMIT],
        answers: &[Reply::ok("The effects.", Content::List("EffectStatus"))],
        ..Spec::get("effects", "/effects", SYSTEMS, "Lists effects that run and wait")
    }
    .by(waiting!(control::effects)),
    Spec {
        description: "Inputs that a system could not decide (`parked`), then records of Kafka's inbox that admission refused (`refused`). Filters go by the input's type, the error's text and the time it was parked or refused. A system that is down is asked through its log.",
        parameters: &[&SYSTEM_FILTER, &SUBJECT, &TYPE, &ERROR_TEXT, &FROM, &TO, &LIMIT, &CURSOR],
        answers: &[Reply::ok("A page of dead letters, oldest first.", Content::Json("DeadLetterPage"))],
        problems: &[Kind::INVALID_CURSOR],
        ..Spec::get("deadLetters", "/dead-letters", DEAD_LETTERS, "Lists parked inputs and refused records")
    }
    .by(waiting!(control::dead_letters)),
    Spec {
        description: "In the order of each subject, each exactly once. One that fails again stays, with those behind it, and is not tried twice by one redrive; after five redrives in vain it takes `force`. Each redrive and each failure is an event that says who and why. Asked again after a break, it goes on with what is left.",
        body: Body::OptionalJson("RedriveFilter"),
        answers: &[Reply::ok("What became of it.", Content::Json("Redriven")), Reply { status: 202, description: "It runs.", content: Content::Json("Redriven") }],
        problems: &[Kind::UNKNOWN_SYSTEM, Kind::UNAVAILABLE, Kind::EMERGENCY_STOP, Kind::JOB_RUNNING],
        ..Spec::post("redriveAll", "/dead-letters/redrive", DEAD_LETTERS, "Has all parked inputs that match decided again")
    }
    .by(with_body!(control::redrive_all)),
    Spec {
        description: "Of all nodes that take part, where this one was asked for it; else of this one. A node remembers its last 20 redrives, until it stops.",
        parameters: &[&REDRIVE],
        answers: &[Reply::ok("How far it is.", Content::Json("Redriven"))],
        problems: &[Kind::NOT_FOUND, Kind::UNAVAILABLE],
        ..Spec::get("redriveStatus", "/dead-letters/redrives/{id}", DEAD_LETTERS, "Tells how far a redrive is")
    }
    .by(waiting!(control::redrive_status)),
    Spec {
        description: "With the event, or the record as its publisher wrote it.",
        parameters: &[&DEAD_LETTER],
        answers: &[Reply::ok("The dead letter.", Content::Json("DeadLetterDetail"))],
        problems: &[Kind::UNKNOWN_DEAD_LETTER, Kind::UNAVAILABLE],
        ..Spec::get("deadLetter", "/dead-letters/{id}", DEAD_LETTERS, "Shows a dead letter with its input")
    }
    .by(waiting!(control::dead_letter)),
    Spec {
        description: "Those parked behind it follow in order. A refused record is admitted, as it is or in the form of the mended `event`.",
        parameters: &[&DEAD_LETTER],
        body: Body::OptionalJson("RedriveOne"),
        answers: &[Reply::ok("What was redriven.", Content::Json("Redriven"))],
        problems: &[
            Kind::UNKNOWN_DEAD_LETTER,
            Kind::UNAVAILABLE,
            Kind::EMERGENCY_STOP,
            Kind::WRONG_STATE,
            Kind::JOB_RUNNING,
            Kind::INVALID_EVENT,
            Kind::INVALID_DATA,
            Kind::UNKNOWN_VERSION,
            Kind::ID_CONFLICT,
        ],
        ..Spec::post("redrive", "/dead-letters/{id}/redrive", DEAD_LETTERS, "Has a parked input decided again, or a refused record admitted")
    }
    .by(with_body!(control::redrive)),
    Spec {
        description: "Inputs that only waited behind it are decided, up to the next one that fails.",
        parameters: &[&DEAD_LETTER],
        body: Body::Json("Reason"),
        answers: &[Reply::ok("What was given up.", Content::Json("DeadLetter"))],
        problems: &[Kind::UNKNOWN_DEAD_LETTER, Kind::UNAVAILABLE, Kind::EMERGENCY_STOP],
        ..Spec::post("discard", "/dead-letters/{id}/discard", DEAD_LETTERS, "Gives a parked input or a refused record up")
    }
    .by(with_body!(control::discard)),
];
