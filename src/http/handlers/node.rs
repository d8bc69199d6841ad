//! The node itself: health, metrics, version, documentation.

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use actix_web::http::header::LOCATION;
use tol_events::{registry, schema as documents};
use tol_plug::{Kind, Outcome, Problem, json};

use super::{Asked, ask};
use crate::http::{catalogue, openapi as document, pages};
use crate::node::registry as plugs;

pub(crate) async fn live(_: Asked) -> Outcome {
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("live\n"))
}

pub(crate) async fn ready(request: Asked) -> Outcome {
    let readiness = request.serving.api.readiness();
    if readiness.ready {
        return json(&readiness);
    }
    let failed: Vec<String> = readiness.checks.iter().filter(|check| !check.ok).map(|check| format!("{}: {}", check.name, check.detail)).collect();
    let checks = serde_json::to_value(&readiness.checks).unwrap_or_default();
    Err(Problem::new(Kind::NOT_READY, failed.join("; ")).with("ready", false).with("checks", checks).retry_after(1))
}

pub(crate) async fn metrics(request: Asked) -> Outcome {
    let text = ask(&request, |node| Ok(node.metrics())).await?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

pub(crate) async fn version(request: Asked) -> Outcome {
    json(&request.serving.api.version())
}

/// How much larger the events of one request may be once another node passes them on: data that is not JSON travels as base64, and
/// attributes leave their headers.
const PASSED_ON_FACTOR: usize = 4;

pub(crate) async fn peer(request: Asked, payload: Payload) -> Outcome {
    let question = request.body_within(payload, request.serving.body_limit.saturating_mul(PASSED_ON_FACTOR)).await?;
    json(&request.serving.api.peer(question.to_vec()).await?)
}

pub(crate) async fn openapi(_: Asked) -> Outcome {
    Ok(HttpResponse::Ok().content_type("application/json").body(document::text()))
}

pub(crate) async fn docs(_: Asked) -> Outcome {
    Ok(HttpResponse::PermanentRedirect().insert_header((LOCATION, "/docs/")).finish())
}

pub(crate) async fn problem_page(request: Asked) -> Outcome {
    let slug = request.path("slug");
    let kind = plugs::problems().find(|kind| kind.slug == slug).ok_or_else(|| Problem::new(Kind::NOT_FOUND, format!("there is no problem \"{slug}\"")))?;
    let accepted = request.header("accept").unwrap_or_default();
    if accepted.contains("text/markdown") || accepted.starts_with("text/plain") {
        return Ok(HttpResponse::Ok().content_type("text/markdown; charset=utf-8").body(kind.page));
    }
    Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").body(pages::html(kind.title, kind.page)))
}

pub(crate) async fn docs_file(request: Asked) -> Outcome {
    let file = request.path("file");
    let found = pages::browser_file(file)?;
    let (content_type, bytes) = found.ok_or_else(|| Problem::new(Kind::NOT_FOUND, format!("the documentation has no file \"{file}\"")))?;
    Ok(HttpResponse::Ok().content_type(content_type).body(bytes))
}

pub(crate) async fn schemas(_: Asked) -> Outcome {
    Ok(HttpResponse::Ok().content_type("application/json").body(catalogue::text()))
}

pub(crate) async fn schema(request: Asked) -> Outcome {
    let event_type = request.path("type");
    let known = registry::known(event_type);
    let known = known.ok_or_else(|| Problem::new(Kind::NOT_FOUND, format!("there is no schema of \"{event_type}\": the type is not one of the known ones")))?;
    Ok(HttpResponse::Ok().content_type("application/schema+json").body(documents::document(known)))
}
