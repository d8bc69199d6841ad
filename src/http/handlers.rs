//! One function a route.

pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod flags;
pub(crate) mod node;
pub(crate) mod projections;
pub(crate) mod stream;

use actix_web::http::StatusCode;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::api::NodeApi;
use super::guard::Caller;
use super::problem::Problem;
use super::server::Shared;

/// What a handler answers.
pub(crate) type Outcome = Result<HttpResponse, Problem>;
/// What all handlers share.
pub(crate) type State = web::Data<Shared>;

/// 200 with JSON.
fn json(value: &impl Serialize) -> Outcome {
    json_with(StatusCode::OK, value)
}

fn json_with(status: StatusCode, value: &impl Serialize) -> Outcome {
    let body = serde_json::to_vec(value).map_err(|error| Problem::internal(format!("the answer could not be written as JSON: {error}")))?;
    Ok(HttpResponse::build(status).content_type("application/json").body(body))
}

/// Asks the node on a thread that may block.
async fn ask<T: Send + 'static>(state: &State, question: impl FnOnce(&dyn NodeApi) -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    let api = state.api.clone();
    match web::block(move || question(&*api)).await {
        Ok(answer) => answer,
        Err(_) => Err(Problem::unavailable("the node is stopping, or too busy for this query", 1)),
    }
}

/// Who sent the request.
fn caller(request: &HttpRequest) -> String {
    request.extensions().get::<Caller>().map_or_else(|| "unknown".to_owned(), |caller| caller.0.clone())
}
