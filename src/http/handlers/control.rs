//! Systems, dead letters, the emergency stop.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::web::{Path, Payload};
use serde::Deserialize;

use super::{Outcome, State, ask, caller, json, json_with};
use crate::http::api::{Control, DeadLetterQuery, RedriveFilter};
use crate::http::parameters::{Query, json_body};
use crate::http::problem::{Kind, Problem};

/// Longest reason, characters: it is written to the log.
const REASON_MAX: usize = 4_096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    pub(super) reason: String,
}

async fn reason(request: &HttpRequest, payload: Payload) -> Result<String, Problem> {
    let Reason { reason } = json_body(request, payload).await?;
    match reason.trim() {
        "" => Err(Problem::new(Kind::InvalidBody, "reason is empty; say why, it is recorded")),
        long if long.chars().count() > REASON_MAX => Err(Problem::new(Kind::InvalidBody, format!("reason is longer than {REASON_MAX} characters"))),
        text => Ok(text.to_owned()),
    }
}

pub(crate) async fn systems(state: State) -> Outcome {
    json(&state.api.systems())
}

pub(crate) async fn system(state: State, request: HttpRequest, name: Path<String>) -> Outcome {
    let (name, subject) = (name.into_inner(), Query::of(&request)?.text("subject"));
    let asked = name.clone();
    let found = ask(&state, move |node| node.system(&asked, subject.as_deref())).await?;
    json(&found.ok_or_else(|| Problem::unknown_system(&name))?)
}

pub(crate) async fn query(state: State, request: HttpRequest, path: Path<(String, String)>) -> Outcome {
    let (system, query) = path.into_inner();
    let mut parameters = Query::of(&request)?.all();
    let subject = parameters.remove("subject").filter(|subject| !subject.is_empty());
    let subject = subject.ok_or_else(|| Problem::parameter("subject", "is missing; say what is asked about as kind/id, for example customer/42"))?;
    json(&ask(&state, move |node| node.query(&system, &query, &subject, parameters)).await?)
}

async fn control(state: State, request: HttpRequest, name: Path<String>, control: Control) -> Outcome {
    json(&state.api.control(&name, control, &caller(&request)).await?)
}

pub(crate) async fn pause(state: State, request: HttpRequest, name: Path<String>) -> Outcome {
    control(state, request, name, Control::Pause).await
}

pub(crate) async fn resume(state: State, request: HttpRequest, name: Path<String>) -> Outcome {
    control(state, request, name, Control::Resume).await
}

pub(crate) async fn restart(state: State, request: HttpRequest, name: Path<String>) -> Outcome {
    control(state, request, name, Control::Restart).await
}

pub(crate) async fn dead_letters(state: State, request: HttpRequest) -> Outcome {
    let query = Query::of(&request)?;
    let asked = DeadLetterQuery {
        system: query.text("system"),
        subject: query.text("subject"),
        event_type: query.text("type"),
        error: query.text("error"),
        from: query.start_of("from")?,
        to: query.end_of("to")?,
        limit: query.limit()?,
        cursor: query.text("cursor"),
    };
    json(&ask(&state, move |node| node.dead_letters(&asked)).await?)
}

pub(crate) async fn redrive_all(state: State, request: HttpRequest, payload: Payload) -> Outcome {
    let filter: RedriveFilter = json_body(&request, payload).await?;
    if filter.reason.as_ref().is_some_and(|reason| reason.len() > REASON_MAX) {
        return Err(Problem::new(Kind::InvalidBody, format!("reason is longer than {REASON_MAX} bytes")));
    }
    let redriven = state.api.redrive_all(filter, &caller(&request)).await?;
    let status = if redriven.state == "running" { StatusCode::ACCEPTED } else { StatusCode::OK };
    json_with(status, &redriven)
}

pub(crate) async fn redrive_status(state: State, id: Path<String>) -> Outcome {
    let known = state.api.redrive_status(&id).await?;
    json(&known.ok_or_else(|| Problem::new(Kind::NotFound, format!("this node knows of no redrive \"{id}\"; it remembers its last 20, until it stops")))?)
}

pub(crate) async fn redrive(state: State, request: HttpRequest, id: Path<String>) -> Outcome {
    json(&state.api.redrive(&id, &caller(&request)).await?)
}

pub(crate) async fn discard(state: State, request: HttpRequest, id: Path<String>, payload: Payload) -> Outcome {
    let reason = reason(&request, payload).await?;
    json(&state.api.discard(&id, &reason, &caller(&request)).await?)
}

pub(crate) async fn stop_state(state: State) -> Outcome {
    json(&state.api.stop_state())
}

pub(crate) async fn stop(state: State, request: HttpRequest, payload: Payload) -> Outcome {
    let reason = reason(&request, payload).await?;
    json(&state.api.stop(&reason, &caller(&request)).await?)
}

pub(crate) async fn release(state: State, request: HttpRequest, payload: Payload) -> Outcome {
    let reason = reason(&request, payload).await?;
    json(&state.api.release(&reason, &caller(&request)).await?)
}
