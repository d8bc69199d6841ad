//! Audiences.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use tol_events::DomainEvent as _;
use tol_events::cdp::AudienceRequested;
use tol_plug::platform::Decided;
use tol_plug::{Kind, Outcome, Plug as _, Problem, json};
use tol_system::Projection as _;

use super::Request;
use super::profiles::unknown;
use super::types::{Audience, DefineAudience};
use crate::Cdp;
use crate::audiences::Condition;
use crate::projections::Audiences;

const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);
/// Longest name, bytes.
const LONGEST: usize = 100;

pub(super) async fn define(request: Request, payload: Payload) -> Outcome {
    let name = request.path("name").to_owned();
    if name.len() > LONGEST || name.chars().any(|c| c.is_control() || c == '/') {
        return Err(Problem::new(Kind::INVALID_PATH, format!("the name of an audience has at most {LONGEST} bytes, and no slash")));
    }
    let asked: DefineAudience = request.json(payload).await?;
    Condition::read(&asked.r#where).map_err(|error| Problem::new(Kind::INVALID_BODY, error.to_string()))?;
    let data = AudienceRequested { audience: (&*name).into(), r#where: asked.r#where.clone(), by: request.caller().name().into() };
    let fact = data.to_event(uuid::Uuid::new_v4().to_string(), "/cdp").map_err(|error| Problem::internal(error.to_string()))?;
    let decided = request.platform().decide(Cdp::NAME, vec![fact.at(request.platform().now())], PATIENCE).await?;
    if matches!(decided, Decided::Pending(_)) {
        return Ok(HttpResponse::Accepted().finish());
    }
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        match request.platform().row(Audiences::NAME, &name, None)? {
            Some(row) if row.value["where"] == asked.r#where => return shown(&request, &name),
            _ if tokio::time::Instant::now() >= until => return Ok(HttpResponse::Accepted().finish()),
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

pub(super) fn show(request: &Request) -> Outcome {
    shown(request, request.path("name"))
}

fn shown(request: &Request, name: &str) -> Outcome {
    let row = request.platform().row(Audiences::NAME, name, None)?.ok_or_else(|| unknown(&format!("audience {name}")))?;
    let version = row.value["version"].as_u64().unwrap_or_default();
    json(&Audience { name: name.to_owned(), r#where: row.value["where"].clone(), version, count: request.serving.members.count(name) })
}
