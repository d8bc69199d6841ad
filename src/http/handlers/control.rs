//! Systems, dead letters, the emergency stop.

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use tol_plug::answer::REASON_MAX;
use tol_plug::{Kind, Outcome, Problem, Reason, json, json_with};

use super::{Asked, ask};
use crate::http::api::{Control, DeadLetterQuery, Erased, RedriveFilter, RedriveOne};

async fn reason(request: &Asked, payload: Payload) -> Result<String, Problem> {
    let Reason { reason } = request.small_json(payload).await?;
    Reason::checked(&reason)
}

/// Erases a person, and answers once this node has dropped all it knew.
pub(crate) async fn erase(request: Asked, payload: Payload) -> Outcome {
    let reason = reason(&request, payload).await?;
    let subject = request.path("subject");
    request.platform().erase(subject, request.caller().name(), &reason).await?;
    json(&Erased { subject: subject.to_owned() })
}

pub(crate) async fn systems(request: Asked) -> Outcome {
    json(&request.serving.api.systems())
}

pub(crate) async fn system(request: Asked) -> Outcome {
    let (name, subject) = (request.path("name").to_owned(), request.query()?.text("subject"));
    let found = ask(&request, move |node| node.system(&name, subject.as_deref())).await?;
    json(&found.ok_or_else(|| Problem::unknown_system(request.path("name")))?)
}

pub(crate) async fn digest(request: Asked) -> Outcome {
    let name = request.path("name").to_owned();
    json(&ask(&request, move |node| node.system_digest(&name)).await?)
}

pub(crate) async fn query(request: Asked) -> Outcome {
    let (system, query) = (request.path("name").to_owned(), request.path("query").to_owned());
    let mut parameters = request.query()?.all();
    let subject = parameters.remove("subject").filter(|subject| !subject.is_empty());
    let subject = subject.ok_or_else(|| Problem::parameter("subject", "is missing; say what is asked about as kind/id, for example customer/42"))?;
    json(&ask(&request, move |node| node.query(&system, &query, &subject, parameters)).await?)
}

async fn control(request: Asked, control: Control) -> Outcome {
    json(&request.serving.api.control(request.path("name"), control, request.caller().name()).await?)
}

pub(crate) async fn pause(request: Asked) -> Outcome {
    control(request, Control::Pause).await
}

pub(crate) async fn resume(request: Asked) -> Outcome {
    control(request, Control::Resume).await
}

pub(crate) async fn restart(request: Asked) -> Outcome {
    control(request, Control::Restart).await
}

pub(crate) async fn effects(request: Asked) -> Outcome {
    json(&request.serving.api.effects(request.query()?.limit()?))
}

pub(crate) async fn dead_letters(request: Asked) -> Outcome {
    let query = request.query()?;
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
    json(&ask(&request, move |node| node.dead_letters(&asked)).await?)
}

pub(crate) async fn redrive_all(request: Asked, payload: Payload) -> Outcome {
    let filter: RedriveFilter = request.small_json(payload).await?;
    check_reason(filter.reason.as_deref())?;
    let redriven = request.serving.api.redrive_all(filter, request.caller().name()).await?;
    let status = if redriven.state == "running" { StatusCode::ACCEPTED } else { StatusCode::OK };
    json_with(status, &redriven)
}

pub(crate) async fn redrive_status(request: Asked) -> Outcome {
    let known = request.serving.api.redrive_status(request.path("id")).await?;
    json(&known.ok_or_else(|| {
        Problem::new(Kind::NOT_FOUND, format!("this node knows of no redrive \"{}\"; it remembers its last 20, until it stops", request.path("id")))
    })?)
}

pub(crate) async fn dead_letter(request: Asked) -> Outcome {
    let id = request.path("id").to_owned();
    json(&ask(&request, move |node| node.dead_letter(&id)).await?)
}

pub(crate) async fn redrive(request: Asked, payload: Payload) -> Outcome {
    // A mended event may be as long as one that is published.
    let how: RedriveOne = request.json(payload).await?;
    check_reason(how.reason.as_deref())?;
    json(&request.serving.api.redrive(request.path("id"), how, request.caller().name()).await?)
}

/// Refuses a reason that is too long to be recorded.
fn check_reason(reason: Option<&str>) -> Result<(), Problem> {
    if reason.is_some_and(|reason| reason.len() > REASON_MAX) {
        return Err(Problem::new(Kind::INVALID_BODY, format!("reason is longer than {REASON_MAX} bytes")));
    }
    Ok(())
}

pub(crate) async fn discard(request: Asked, payload: Payload) -> Outcome {
    let reason = reason(&request, payload).await?;
    json(&request.serving.api.discard(request.path("id"), &reason, request.caller().name()).await?)
}

pub(crate) async fn stop_state(request: Asked) -> Outcome {
    json(&request.serving.api.stop_state())
}

pub(crate) async fn stop(request: Asked, payload: Payload) -> Outcome {
    let reason = reason(&request, payload).await?;
    json(&request.serving.api.stop(&reason, request.caller().name()).await?)
}

pub(crate) async fn release(request: Asked, payload: Payload) -> Outcome {
    let reason = reason(&request, payload).await?;
    json(&request.serving.api.release(&reason, request.caller().name()).await?)
}
