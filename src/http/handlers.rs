//! A function for each route of the node itself.

pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod node;
pub(crate) mod projections;
pub(crate) mod stream;

use tol_plug::request::run_blocking;
use tol_plug::{Problem, Request};

use super::api::NodeApi;
use super::server::Shared;

/// A request of one of the node's own routes.
pub(crate) type Asked = Request<Shared>;

/// Asks the node on a thread that may block.
async fn ask<T: Send + 'static>(request: &Asked, question: impl FnOnce(&dyn NodeApi) -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    let api = request.serving.api.clone();
    run_blocking(move || question(&*api)).await
}
