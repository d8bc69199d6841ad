//! The table itself, by area. Within one, paths with fewer parameters stand before those that would match them too; no two areas have a path that both match.

mod events;
mod flags;
mod node;
mod systems;

use tol_config::Scope::{Operate, Read};

use super::{Body, Content, Operation, Reply, Route};

/// All routes, in the order in which they are tried and documented.
pub(crate) fn routes() -> impl Iterator<Item = &'static Route> {
    [events::ROUTES, systems::ROUTES, flags::ROUTES, node::ROUTES].into_iter().flatten()
}

const fn ok(description: &'static str, content: Content) -> Reply {
    Reply { status: 200, description, content }
}

const fn running(description: &'static str) -> Reply {
    Reply { status: 202, description, content: Content::Json("Running") }
}

/// A route that takes nothing and answers 200 alone; the others are written from it.
const fn get(operation: Operation, path: &'static str, tag: &'static str, summary: &'static str) -> Route {
    Route { operation, method: "GET", path, scope: Some(Read), tag, summary, description: "", parameters: &[], body: Body::None, answers: &[], problems: &[] }
}

const fn post(operation: Operation, path: &'static str, tag: &'static str, summary: &'static str) -> Route {
    Route { method: "POST", scope: Some(Operate), ..get(operation, path, tag, summary) }
}
