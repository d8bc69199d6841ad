//! Its routes.

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::Value;
use tol_plug::{Content, Handler, Kind, Outcome, Parameter, Problem, Reply, Request, Route, Spec};
use utoipa::{OpenApi, ToSchema};

use crate::projections::%SUBJECT%Counts;
use tol_system::Projection as _;

/// Tag of its routes, and first word of their paths.
pub(crate) const SHORT: &str = "%SHORT%";

static ID: Parameter = Parameter::path("id", "Which %KIND%.", "42");

/// The table of routes.
pub(crate) static ROUTES: &[Route<()>] = &[Spec {
    parameters: &[&ID],
    answers: &[Reply::ok("The count.", Content::Json("%SUBJECT%Count"))],
    problems: &[Kind::ROW_NOT_FOUND, Kind::UNKNOWN_PROJECTION],
    ..Spec::get("%SHORT%Count", "/%SHORT%/{id}", SHORT, "Shows how much was noted about a %KIND%")
}
.by(Handler::Immediate(count))];

/// How much was noted about a %KIND%.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct %SUBJECT%Count {
    /// The %KIND%.
    #[schema(example = "42")]
    id: String,
    /// Notes so far.
    count: u64,
}

#[derive(OpenApi)]
#[openapi(components(schemas(%SUBJECT%Count)))]
struct Components;

/// Schemas of its answers.
pub(crate) fn components() -> Value {
    let document = serde_json::to_value(Components::openapi()).unwrap_or_default();
    document.pointer("/components/schemas").cloned().unwrap_or_default()
}

fn count(request: &Request<()>) -> Outcome {
    let id = request.path("id");
    let row = request.platform().row(%SUBJECT%Counts::NAME, &format!("%KIND%/{id}"), None)?;
    let row = row.ok_or_else(|| Problem::new(Kind::ROW_NOT_FOUND, format!("nothing was noted about %KIND%/{id}")))?;
    Ok(HttpResponse::Ok().json(%SUBJECT%Count { id: id.to_owned(), count: row.value["count"].as_u64().unwrap_or_default() }))
}
