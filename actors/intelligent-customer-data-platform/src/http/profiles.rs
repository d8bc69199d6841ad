//! Profiles and erasures.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use serde_json::{Value, json};
use tol_events::cdp::{ErasureRequested, UnmergeRequested};
use tol_events::{DomainEvent, Event};
use tol_plug::platform::Decided;
use tol_plug::{Kind, Outcome, Platform, Plug as _, Problem, json as answer};
use tol_system::Projection as _;

use super::Request;
use super::types::{Erasure, ErasureStarted, Export, Unmerge};
use crate::Cdp;
use crate::collect::normal;
use crate::projections::Profiles;
use crate::serving::{Profile, by_identifier, by_profile};

/// How long a request waits until it is decided.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a row is looked at that is to change.
const LOOK: Duration = Duration::from_millis(5);
/// Calls of each identifier in an export.
const CALLS: usize = 1_000;

pub(super) fn unknown(what: &str) -> Problem {
    Problem::new(Kind::ROW_NOT_FOUND, format!("there is no {what}"))
}

pub(super) async fn lookup(request: Request) -> Outcome {
    let query = request.query()?;
    let (identifier_type, value) = (query.text("type").unwrap_or_default(), query.text("value").unwrap_or_default());
    let identifier_id = request.serving.id(&identifier_type, &normal(&identifier_type, &value))?;
    let rules = request.serving.rules.clone();
    let found = request.block(move |platform| by_identifier(platform, &rules, &identifier_id)).await?;
    answer(&found.ok_or_else(|| unknown("profile with that identifier"))?)
}

async fn profile(request: &Request) -> Result<Profile, Problem> {
    let (rules, id) = (request.serving.rules.clone(), request.path("id").to_owned());
    let found = request.block(move |platform| by_profile(platform, &rules, &id)).await?;
    found.ok_or_else(|| unknown(&format!("profile {}", request.path("id"))))
}

pub(super) async fn export(request: Request) -> Outcome {
    let profile = profile(&request).await?;
    let members = profile.members.clone();
    let calls =
        request.block(move |platform| calls_of(platform, members.iter().map(|member| format!("identifier/{}", member.identifier_id)).collect())).await?;
    let events = serde_json::to_value(&profile.events).map_err(|error| Problem::internal(error.to_string()))?;
    let customer_id = profile.customer_id.clone();
    answer(&Export { profile, events, customer_id, calls })
}

/// What was told about these subjects, opened.
fn calls_of(platform: &dyn Platform, subjects: Vec<String>) -> Result<Vec<Value>, Problem> {
    let mut found = Vec::new();
    for subject in subjects {
        for logged in platform.timeline(&subject, CALLS, None)?.items {
            let event = logged.event;
            let event_type = event.get(tol_events::Attribute::Type).to_owned();
            if !event_type.starts_with("engagement.") {
                continue;
            }
            let data: Value = serde_json::from_slice(&platform.reveal(&subject, &event.data)?).unwrap_or_default();
            found.push(json!({"type": event_type, "id": event.get(tol_events::Attribute::Id), "time": event.get(tol_events::Attribute::Time), "data": data}));
        }
    }
    found.sort_by(|one, other| one["time"].as_str().cmp(&other["time"].as_str()));
    Ok(found)
}

pub(super) async fn unmerge(request: Request, payload: Payload) -> Outcome {
    let asked: Unmerge = request.json(payload).await?;
    let before = profile(&request).await?;
    if !before.merges.iter().any(|merge| merge.merge_id == asked.merge_id) {
        return Err(unknown(&format!("merge {} in profile {}", asked.merge_id, before.profile_id)));
    }
    let data = UnmergeRequested { profile_id: (&*before.home).into(), merge_id: (&*asked.merge_id).into(), by: request.caller().name().into() };
    let fact = fact(&data, uuid::Uuid::new_v4().to_string(), &request)?;
    let decided = request.platform().decide(Cdp::NAME, vec![fact], PATIENCE).await?;
    if matches!(decided, Decided::Pending(_)) {
        return Ok(HttpResponse::Accepted().finish());
    }
    // The home may have moved meanwhile: what counts is what the rows show.
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let now = profile(&request).await?;
        if !now.merges.iter().any(|merge| merge.merge_id == asked.merge_id) {
            return answer(&now);
        }
        if tokio::time::Instant::now() >= until {
            return Ok(HttpResponse::Accepted().finish());
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn fact(data: &impl DomainEvent, id: String, request: &Request) -> Result<Event, Problem> {
    let event = data.to_event(id, "/cdp").map_err(|error| Problem::internal(error.to_string()))?;
    Ok(event.at(request.platform().now()))
}

pub(super) async fn erase(request: Request) -> Outcome {
    let profile = profile(&request).await?;
    let erasure_id = uuid::Uuid::new_v4().to_string();
    let data = ErasureRequested {
        erasure_id: (&*erasure_id).into(),
        profile_id: (&*profile.profile_id).into(),
        identifiers: profile.members.clone(),
        by: request.caller().name().into(),
    };
    let fact = fact(&data, erasure_id.clone(), &request)?;
    request.platform().decide(Cdp::NAME, vec![fact], PATIENCE).await?;
    // Whoever asks for the erasure finds it.
    let until = tokio::time::Instant::now() + PATIENCE;
    while request.platform().row(Profiles::NAME, &format!("erasure/{erasure_id}"), None)?.is_none() && tokio::time::Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
    Ok(HttpResponse::Accepted().json(ErasureStarted { erasure_id }))
}

pub(super) fn erasure(request: &Request) -> Outcome {
    let id = request.path("erasure_id");
    let row = request.platform().row(Profiles::NAME, &format!("erasure/{id}"), None)?.ok_or_else(|| unknown(&format!("erasure {id}")))?;
    let state = row.value["state"].as_str().ok_or_else(|| unknown(&format!("erasure {id}")))?.to_owned();
    answer(&Erasure { state, certificate: row.value["certificate"].clone() })
}
