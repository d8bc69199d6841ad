//! The node itself: health, metrics, version, documentation.

use actix_web::http::header::{ACCEPT, LOCATION};
use actix_web::web::{Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use tol_events::{registry, schema as schemas};

use super::{Outcome, State, ask, json};
use crate::http::parameters::body;
use crate::http::problem::{Kind, Problem};
use crate::http::{openapi as document, pages};

pub(crate) async fn live() -> Outcome {
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("live\n"))
}

pub(crate) async fn ready(state: State) -> Outcome {
    let readiness = state.api.readiness();
    if readiness.ready {
        return json(&readiness);
    }
    let failed: Vec<String> = readiness.checks.iter().filter(|check| !check.ok).map(|check| format!("{}: {}", check.name, check.detail)).collect();
    let checks = serde_json::to_value(&readiness.checks).unwrap_or_default();
    Err(Problem::new(Kind::NotReady, failed.join("; ")).with("ready", false).with("checks", checks).retry_after(1))
}

pub(crate) async fn metrics(state: State) -> Outcome {
    let text = ask(&state, |node| Ok(node.metrics())).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

pub(crate) async fn version(state: State) -> Outcome {
    json(&state.api.version())
}

/// How much larger the events of one request may be once another node passes them on: data that is not JSON travels as base64, and
/// attributes leave their headers.
const PASSED_ON_FACTOR: usize = 4;

pub(crate) async fn peer(state: State, request: HttpRequest, payload: Payload) -> Outcome {
    let question = body(&request, payload, state.body_limit.saturating_mul(PASSED_ON_FACTOR)).await?;
    json(&state.api.peer(question.to_vec()).await?)
}

pub(crate) async fn openapi() -> Outcome {
    Ok(HttpResponse::Ok().content_type("application/json").body(document::text()))
}

pub(crate) async fn docs() -> Outcome {
    Ok(HttpResponse::PermanentRedirect().insert_header((LOCATION, "/docs/")).finish())
}

pub(crate) async fn problem_page(request: HttpRequest, slug: Path<String>) -> Outcome {
    let kind = Kind::from_slug(&slug).ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no problem \"{slug}\"")))?;
    let accepted = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepted.contains("text/markdown") || accepted.starts_with("text/plain") {
        return Ok(HttpResponse::Ok().content_type("text/markdown; charset=utf-8").body(kind.page()));
    }
    Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(pages::html(kind.title(), kind.page())))
}

pub(crate) async fn docs_file(file: Path<String>) -> Outcome {
    let found = pages::browser_file(&file)?;
    let (content_type, bytes) = found.ok_or_else(|| Problem::new(Kind::NotFound, format!("the documentation has no file \"{file}\"")))?;
    Ok(HttpResponse::Ok().content_type(content_type).body(bytes))
}

pub(crate) async fn schema(event_type: Path<String>) -> Outcome {
    let known = registry::known(&event_type);
    let known = known.ok_or_else(|| Problem::new(Kind::NotFound, format!("there is no schema of \"{event_type}\": the type is not one of the known ones")))?;
    Ok(HttpResponse::Ok().content_type("application/schema+json").body(schemas::document(known)))
}
