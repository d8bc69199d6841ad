//! Segment's HTTP tracking API, which RudderStack's SDKs speak too.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tol_events::EventTime;
use tol_plug::platform::Platform;
use tol_plug::{Access, Body, Content, Cors, Credential, Kind, Outcome, Presented, Problem, Protocol, Reply, Route, Spec, with_body};

use super::body::{self, MOST_BYTES, MOST_EVENT_BYTES};
use super::{COLLECT, PROBLEMS, Request, refusal};
use crate::collect::{Call, CallKind, Refused, Taken, admit};
use crate::http::SHORT;
use crate::serving::CdpService;

pub(super) const PROTOCOL: Protocol<CdpService> = Protocol {
    name: "segment",
    credential: Credential(&[Presented::BasicUser, Presented::Bearer, Presented::Header("x-api-key")]),
    cors: Cors::AnyOrigin { exposed: "retry-after" },
    routes: ROUTES,
    error,
};

/// The source of its facts.
const SOURCE: &str = "/compat/segment";
/// Calls of one batch.
const MOST_CALLS: usize = 5_000;

const ANSWERS: &[Reply] = &[
    Reply::ok("The calls are durable. `rejected` names those that were not taken, by their place.", Content::AnyJson),
    Reply { status: 400, description: "No call was taken: too large, or none that reads.", content: Content::AnyJson },
    Reply { status: 429, description: "Too much at a time; send the same again after `Retry-After`.", content: Content::AnyJson },
];

const fn post(operation: &'static str, path: &'static str, example: &'static str, summary: &'static str) -> Spec {
    Spec {
        access: Access::Scope(COLLECT),
        any_query: true,
        body: Body::AnyJson(example),
        body_limit: Some(MOST_BYTES),
        answers: ANSWERS,
        problems: PROBLEMS,
        ..Spec::post(operation, path, SHORT, summary)
    }
}

static ROUTES: &[Route<CdpService>] = &[
    post(
        "segmentBatch",
        "/v1/batch",
        r#"{"batch":[{"type":"track","userId":"u1","event":"Order Completed","messageId":"m1"}]}"#,
        "Takes calls of a Segment SDK",
    )
    .by(with_body!(batch)),
    post("segmentIdentify", "/v1/identify", r#"{"userId":"u1","traits":{"plan":"pro"},"messageId":"m2"}"#, "Takes traits of a person").by(with_body!(identify)),
    post("segmentTrack", "/v1/track", r#"{"userId":"u1","event":"Order Completed","messageId":"m3"}"#, "Takes what a person did").by(with_body!(track)),
    post("segmentPage", "/v1/page", r#"{"anonymousId":"a1","name":"Home","messageId":"m4"}"#, "Takes a page that a person looked at").by(with_body!(page)),
    post("segmentScreen", "/v1/screen", r#"{"anonymousId":"a1","name":"Start","messageId":"m5"}"#, "Takes a screen that a person looked at")
        .by(with_body!(screen)),
    post("segmentGroup", "/v1/group", r#"{"userId":"u1","groupId":"g1","messageId":"m6"}"#, "Takes a group that a person belongs to").by(with_body!(group)),
    post("segmentAlias", "/v1/alias", r#"{"userId":"u1","previousId":"a1","messageId":"m7"}"#, "Takes another name of a person").by(with_body!(alias)),
];

/// Segment's shape of an error.
fn error(problem: &Problem) -> HttpResponse {
    refusal(problem).json(json!({"success": false, "code": problem.kind.slug, "message": problem.detail}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'a> {
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
    #[serde(default)]
    sent_at: Option<String>,
    #[serde(default)]
    context: Option<Map<String, Value>>,
}

async fn batch(request: Request, payload: Payload) -> Outcome {
    let body = body::read(&request, payload).await?;
    let sent: Batch<'_> = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
    if sent.batch.len() > MOST_CALLS {
        return Err(Problem::new(Kind::INVALID_BODY, format!("the batch has {} calls; at most {MOST_CALLS} are taken", sent.batch.len())));
    }
    let now = request.platform().now();
    let sent_at = sent.sent_at.as_deref().and_then(body::time);
    let mut calls = Vec::with_capacity(sent.batch.len());
    for (index, raw) in sent.batch.iter().enumerate() {
        if raw.get().len() > MOST_EVENT_BYTES {
            return Err(too_long(index, raw.get().len()));
        }
        calls.push((index, call(raw.get(), None, sent_at, now, sent.context.as_ref())));
    }
    answer(admit_calls(&request, calls).await?, sent.batch.len())
}

fn too_long(index: usize, bytes: usize) -> Problem {
    Problem::new(Kind::INVALID_BODY, format!("event {index} is {bytes} bytes long; at most {MOST_EVENT_BYTES} are taken")).with("index", index)
}

fn unreadable(error: &serde_json::Error) -> Problem {
    Problem::new(if error.is_data() { Kind::INVALID_BODY } else { Kind::MALFORMED_JSON }, error.to_string())
}

async fn admit_calls(request: &Request, calls: Vec<(usize, Result<Call, Refused>)>) -> Result<Taken, Problem> {
    let platform: &Arc<dyn Platform> = request.platform();
    admit(&request.serving, platform, SOURCE, calls).await
}

fn answer(taken: Taken, calls: usize) -> Outcome {
    if taken.rejected.is_empty() {
        return Ok(HttpResponse::Ok().json(json!({"success": true})));
    }
    let rejected: Vec<Value> = taken.rejected.iter().map(|(index, problem)| json!({"index": index, "error": problem})).collect();
    let body = json!({"success": taken.accepted > 0, "accepted": taken.accepted, "rejected": rejected});
    Ok(if taken.accepted == 0 && calls > 0 { HttpResponse::BadRequest().json(body) } else { HttpResponse::Ok().json(body) })
}

async fn one(request: Request, payload: Payload, kind: CallKind) -> Outcome {
    let body = body::read(&request, payload).await?;
    if body.len() > MOST_EVENT_BYTES {
        return Err(too_long(0, body.len()));
    }
    let text = std::str::from_utf8(&body).map_err(|_| Problem::new(Kind::MALFORMED_JSON, "the body is not UTF-8"))?;
    // What is no JSON object is the body's fault, not the call's.
    serde_json::from_str::<Map<String, Value>>(text).map_err(|error| unreadable(&error))?;
    let call = call(text, Some(kind), None, request.platform().now(), None);
    answer(admit_calls(&request, vec![(0, call)]).await?, 1)
}

macro_rules! single {
    ($($name:ident = $kind:ident),*) => { $(async fn $name(request: Request, payload: Payload) -> Outcome { one(request, payload, CallKind::$kind).await })* };
}

single!(identify = Identify, track = Track, page = Page, screen = Screen, group = Group, alias = Alias);

/// Reads one call. `kind` is the route's; in a batch each call names its own.
fn call(text: &str, kind: Option<CallKind>, sent_at: Option<EventTime>, now: EventTime, shared: Option<&Map<String, Value>>) -> Result<Call, Refused> {
    let wrong = |field: &'static str| move |problem: String| Refused::Field { field, problem };
    let sent: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| Refused::Field { field: "the call", problem: format!("no object that reads: {error}") })?;
    let kind = match (kind, sent.get("type").and_then(Value::as_str)) {
        (Some(kind), _) => kind,
        (None, Some("identify")) => CallKind::Identify,
        (None, Some("track")) => CallKind::Track,
        (None, Some("page")) => CallKind::Page,
        (None, Some("screen")) => CallKind::Screen,
        (None, Some("group")) => CallKind::Group,
        (None, Some("alias")) => CallKind::Alias,
        (None, Some(other)) => {
            return Err(Refused::Field { field: "type", problem: format!("\"{}\", which is no call", other.chars().take(40).collect::<String>()) });
        }
        (None, None) => return Err(Refused::Missing("type")),
    };
    let given = match sent.get("originalTimestamp").or_else(|| sent.get("timestamp")) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(body::time(text).ok_or_else(|| Refused::Field { field: "timestamp", problem: "no RFC 3339 time".to_owned() })?),
        Some(_) => return Err(Refused::Field { field: "timestamp", problem: "no text".to_owned() }),
    };
    let sent_at = sent.get("sentAt").and_then(Value::as_str).and_then(body::time).or(sent_at);
    let message_id = match body::id(sent.get("messageId")).map_err(wrong("messageId"))? {
        Some(id) => id,
        // The same call, sent again, is the same text.
        None => uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).to_string(),
    };
    let mut call = Call::new(kind, message_id, body::corrected(given, sent_at, now));
    let user = body::id(sent.get("userId")).map_err(wrong("userId"))?;
    let anonymous = body::id(sent.get("anonymousId")).map_err(wrong("anonymousId"))?;
    if user.is_none() && anonymous.is_none() {
        return Err(Refused::Missing("userId or anonymousId"));
    }
    call.identifiers.extend(user.map(|id| ("user_id".to_owned(), id)));
    call.identifiers.extend(anonymous.map(|id| ("anonymous_id".to_owned(), id)));
    if kind == CallKind::Alias {
        let previous = body::id(sent.get("previousId")).map_err(wrong("previousId"))?.ok_or(Refused::Missing("previousId"))?;
        // The previous id may be a user's or a visitor's: nothing tells which, so both are meant.
        call.aliases = vec![("user_id".to_owned(), previous.clone()), ("anonymous_id".to_owned(), previous)];
    }
    call.context = body::object(sent.get("context")).map_err(wrong("context"))?;
    for (name, value) in shared.into_iter().flatten() {
        call.context.entry(name.clone()).or_insert_with(|| value.clone());
    }
    call.traits = body::object(sent.get("traits")).map_err(wrong("traits"))?;
    if kind == CallKind::Identify && call.traits.is_empty() {
        // RudderStack's SDKs put them there.
        call.traits = body::object(call.context.get("traits")).map_err(wrong("context.traits"))?;
    }
    call.properties = body::object(sent.get("properties")).map_err(wrong("properties"))?;
    let name = if kind == CallKind::Track { sent.get("event") } else { sent.get("name") };
    call.name = body::id(name).map_err(wrong(if kind == CallKind::Track { "event" } else { "name" }))?;
    call.group = body::id(sent.get("groupId")).map_err(wrong("groupId"))?;
    Ok(call)
}
