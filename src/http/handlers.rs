//! One function a route of the node itself.

pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod node;
pub(crate) mod projections;
pub(crate) mod stream;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;
use tol_plug::request::run_blocking;
use tol_plug::{Outcome, Problem, Request};

use super::api::NodeApi;
use super::server::Shared;

/// A request of one of the node's own routes.
pub(crate) type Asked = Request<Shared>;

/// 200 with JSON.
fn json(value: &impl Serialize) -> Outcome {
    json_with(StatusCode::OK, value)
}

fn json_with(status: StatusCode, value: &impl Serialize) -> Outcome {
    let body = serde_json::to_vec(value).map_err(|error| Problem::internal(format!("the answer could not be written as JSON: {error}")))?;
    Ok(HttpResponse::build(status).content_type("application/json").body(body))
}

/// Asks the node on a thread that may block.
async fn ask<T: Send + 'static>(request: &Asked, question: impl FnOnce(&dyn NodeApi) -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    let api = request.serving.api.clone();
    run_blocking(move || question(&*api)).await
}
