//! The table itself, by area. Within one, paths with fewer parameters stand before those that would match them too; no two areas have a path that both match.

mod events;
mod node;
mod systems;

use tol_plug::Route;

use crate::http::server::Shared;

/// The routes of the node itself, in the order in which they are tried and documented.
pub(crate) fn routes() -> impl Iterator<Item = &'static Route<Shared>> {
    [events::ROUTES, systems::ROUTES, node::ROUTES].into_iter().flatten()
}
