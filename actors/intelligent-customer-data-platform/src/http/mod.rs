//! Its own routes: profiles, erasures, audiences, matching.

mod audiences;
mod matching;
mod profiles;
mod types;

use tol_plug::{Access, Body, Content, Handler, Kind, Parameter, Reply, Route, Scope, Shape, Spec, waiting, with_body};

use crate::serving::CdpService;

pub(crate) use types::components;

/// Tag of its routes, and first word of their paths.
pub(crate) const SHORT: &str = "cdp";

/// A handler's request.
type Request = tol_plug::Request<CdpService>;

static TYPE: Parameter =
    Parameter::query("type", Shape::Needed, "The type of the identifier: `user_id`, `anonymous_id`, `email`, or one of the settings.", "user_id");
static VALUE: Parameter = Parameter::query("value", Shape::Needed, "The identifier's value.", "u1");
static ID: Parameter = Parameter::path("id", "The profile's id.", "9f86d081884c7d659a2feaa0c55ad015");
static ERASURE: Parameter = Parameter::path("erasure_id", "The erasure's id.", "x1");
static NAME: Parameter = Parameter::path("name", "The audience's name.", "vip");

const PUBLISHING: &[&Kind] = &[
    Kind::INVALID_EVENT,
    Kind::INVALID_DATA,
    Kind::ID_CONFLICT,
    Kind::UNAVAILABLE,
    Kind::DISK_FULL,
    Kind::EMERGENCY_STOP,
    Kind::UNKNOWN_SYSTEM,
    Kind::UNKNOWN_PROJECTION,
    Kind::ROW_NOT_FOUND,
];

/// The table of routes.
pub(crate) static ROUTES: &[Route<CdpService>] = &[
    Spec {
        description: "Who it is, and what is known of them now. Personal fields are opened.",
        parameters: &[&TYPE, &VALUE],
        answers: &[Reply::ok("The profile.", Content::Json("CdpProfile"))],
        problems: &[Kind::ROW_NOT_FOUND, Kind::UNKNOWN_PROJECTION, Kind::UNAVAILABLE],
        ..Spec::get("lookupProfile", "/cdp/profiles/lookup", SHORT, "Finds a profile by an identifier")
    }
    .by(waiting!(profiles::lookup)),
    Spec {
        description: "All that is known of the person, with what they did.",
        parameters: &[&ID],
        answers: &[Reply::ok("The export.", Content::Json("CdpExport"))],
        problems: &[Kind::ROW_NOT_FOUND, Kind::UNKNOWN_PROJECTION, Kind::UNAVAILABLE],
        ..Spec::get("exportProfile", "/cdp/profiles/{id}/export", SHORT, "Exports what is known of a person")
    }
    .by(waiting!(profiles::export)),
    Spec {
        description: "Leaves what would be had the merge never happened. The two stay apart until an alias call says again that they are one.",
        parameters: &[&ID],
        body: Body::Json("CdpUnmerge"),
        answers: &[
            Reply::ok("The merge is undone; the profile as it is now.", Content::Json("CdpProfile")),
            Reply { status: 202, description: "It is recorded, and not decided yet.", content: Content::Empty },
        ],
        problems: PUBLISHING,
        ..Spec::post("unmergeProfiles", "/cdp/profiles/{id}/unmerge", SHORT, "Undoes a merge")
    }
    .by(with_body!(profiles::unmerge)),
    Spec {
        description: "Destroys the keys of all its identifiers. The log stays as it is, and what was sealed in it cannot be opened any more.",
        access: Access::Scope(Scope::ADMIN),
        parameters: &[&ID],
        answers: &[Reply { status: 202, description: "The erasure runs.", content: Content::Json("CdpErasureStarted") }],
        problems: PUBLISHING,
        ..Spec::post("eraseProfile", "/cdp/profiles/{id}", SHORT, "Forgets a person").method("DELETE")
    }
    .by(waiting!(profiles::erase)),
    Spec {
        parameters: &[&ERASURE],
        answers: &[Reply::ok("The erasure.", Content::Json("CdpErasure"))],
        problems: &[Kind::ROW_NOT_FOUND, Kind::UNKNOWN_PROJECTION],
        ..Spec::get("erasure", "/cdp/erasures/{erasure_id}", SHORT, "Shows how far an erasure is")
    }
    .by(Handler::Immediate(profiles::erasure)),
    Spec {
        parameters: &[&NAME],
        body: Body::Json("CdpDefineAudience"),
        answers: &[
            Reply::ok("The audience is defined; profiles are evaluated.", Content::Json("CdpAudience")),
            Reply { status: 202, description: "It is recorded, and not decided yet.", content: Content::Empty },
        ],
        problems: PUBLISHING,
        ..Spec::post("defineAudience", "/cdp/audiences/{name}", SHORT, "Defines an audience").method("PUT")
    }
    .by(with_body!(audiences::define)),
    Spec {
        parameters: &[&NAME],
        answers: &[Reply::ok("The audience with its count.", Content::Json("CdpAudience"))],
        problems: &[Kind::ROW_NOT_FOUND, Kind::UNKNOWN_PROJECTION],
        ..Spec::get("audience", "/cdp/audiences/{name}", SHORT, "Shows an audience and how many are in it")
    }
    .by(Handler::Immediate(audiences::show)),
    matching::route(),
];
