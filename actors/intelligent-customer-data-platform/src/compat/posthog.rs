//! PostHog's capture and flags, as its server SDKs use them.
//!
//! PostHog knows one id of a person, `distinct_id`, which is a `user_id` here. Its SDKs send their key in the body, where the node's guard does not look:
//! a node with API keys is given as `host` with the key as the last part of its path, `/compat/posthog/<key>`.

use std::collections::BTreeMap;

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tol_events::EventTime;
use tol_plug::{Access, Body, Content, Cors, Credential, Kind, Outcome, Parameter, Presented, Problem, Protocol, Reply, Route, Spec, with_body};

use super::body::{self, MOST_EVENT_BYTES};
use super::{COLLECT, PROBLEMS, Request, refusal};
use crate::collect::{Call, CallKind, Refused, admit};
use crate::http::SHORT;
use crate::serving::CdpService;

pub(super) const PROTOCOL: Protocol<CdpService> = Protocol {
    name: "posthog",
    credential: Credential(&[Presented::Bearer, Presented::Header("x-api-key"), Presented::Path("key")]),
    cors: Cors::AnyOrigin { exposed: "retry-after" },
    routes: ROUTES,
    error,
};

const SOURCE: &str = "/compat/posthog";
/// Longest batch: PostHog's own limit is 20 MB; an SDK sends 100 events.
const MOST_BATCH: usize = 4 << 20;
/// Calls of one batch.
const MOST_CALLS: usize = 5_000;
/// The question that the flag system answers.
const QUESTION: &str = "flags.evaluate";

static KEY: Parameter = Parameter::path("key", "An API key of the node.", "tol_key");

const BATCH: &str =
    r#"{"api_key":"phc_test","batch":[{"event":"paid","distinct_id":"u1","properties":{"amount":12},"uuid":"4364c47a-aea9-4acf-b5cc-1a049d7aa230"}]}"#;
const ASKED: &str = r#"{"token":"phc_test","distinct_id":"u1","flag_keys_to_evaluate":["demo"]}"#;

const ANSWERS: &[Reply] = &[
    Reply::ok("The events are durable.", Content::AnyJson),
    Reply { status: 400, description: "No event was taken: too large, or none that reads.", content: Content::AnyJson },
    Reply { status: 429, description: "Too much at a time; send the same again after `Retry-After`.", content: Content::AnyJson },
];
const FLAGS: &[Reply] = &[Reply::ok("The flags by key.", Content::AnyJson), ANSWERS[1], ANSWERS[2]];

const fn post(
    operation: &'static str,
    path: &'static str,
    parameters: &'static [&'static Parameter],
    example: &'static str,
    answers: &'static [Reply],
    summary: &'static str,
) -> Spec {
    Spec {
        access: Access::Scope(COLLECT),
        any_query: true,
        parameters,
        body: Body::AnyJson(example),
        body_limit: Some(MOST_BATCH),
        answers,
        problems: PROBLEMS,
        ..Spec::post(operation, path, SHORT, summary)
    }
}

static ROUTES: &[Route<CdpService>] = &[
    post("posthogBatch", "/batch/", &[], BATCH, ANSWERS, "Takes events of a PostHog SDK").by(with_body!(batch)),
    post("posthogKeyedBatch", "/{key}/batch/", &[&KEY], BATCH, ANSWERS, "Takes events of a PostHog SDK, with the key in the path").by(with_body!(batch)),
    post("posthogFlags", "/flags/", &[], ASKED, FLAGS, "Evaluates flags for a person").by(with_body!(flags)),
    post("posthogKeyedFlags", "/{key}/flags/", &[&KEY], ASKED, FLAGS, "Evaluates flags for a person, with the key in the path").by(with_body!(flags)),
];

fn error(problem: &Problem) -> HttpResponse {
    refusal(problem).json(json!({"type": "validation_error", "code": problem.kind.slug, "detail": problem.detail}))
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
    #[serde(default)]
    sent_at: Option<String>,
}

fn unreadable(error: &serde_json::Error) -> Problem {
    Problem::new(if error.is_data() { Kind::INVALID_BODY } else { Kind::MALFORMED_JSON }, error.to_string())
}

async fn batch(request: Request, payload: Payload) -> Outcome {
    let body = body::read(&request, payload).await?;
    let sent: Batch<'_> = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
    if sent.batch.len() > MOST_CALLS {
        return Err(Problem::new(Kind::INVALID_BODY, format!("the batch has {} events; at most {MOST_CALLS} are taken", sent.batch.len())));
    }
    let (now, sent_at) = (request.platform().now(), sent.sent_at.as_deref().and_then(body::time));
    let mut calls = Vec::with_capacity(sent.batch.len());
    for (index, raw) in sent.batch.iter().enumerate() {
        if raw.get().len() > MOST_EVENT_BYTES {
            return Err(Problem::new(Kind::INVALID_BODY, format!("event {index} is {} bytes long; at most {MOST_EVENT_BYTES} are taken", raw.get().len())));
        }
        calls.push((index, call(raw.get(), sent_at, now)));
    }
    let taken = admit(&request.serving, request.platform(), SOURCE, calls).await?;
    let rejected: Vec<Value> = taken.rejected.iter().map(|(index, problem)| json!({"index": index, "error": problem})).collect();
    Ok(if taken.accepted == 0 && !rejected.is_empty() {
        HttpResponse::BadRequest().json(json!({"type": "validation_error", "code": "invalid_event", "detail": "no event was taken", "rejected": rejected}))
    } else if rejected.is_empty() {
        HttpResponse::Ok().json(json!({"status": "Ok"}))
    } else {
        HttpResponse::Ok().json(json!({"status": "Ok", "rejected": rejected}))
    })
}

/// Reads one event.
fn call(text: &str, sent_at: Option<EventTime>, now: EventTime) -> Result<Call, Refused> {
    let wrong = |field: &'static str| move |problem: String| Refused::Field { field, problem };
    let sent: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| Refused::Field { field: "the event", problem: format!("no object that reads: {error}") })?;
    let name = sent.get("event").and_then(Value::as_str).filter(|name| !name.is_empty()).ok_or(Refused::Missing("event"))?;
    let mut properties = body::object(sent.get("properties")).map_err(wrong("properties"))?;
    let distinct =
        body::id(sent.get("distinct_id").or_else(|| properties.get("distinct_id"))).map_err(wrong("distinct_id"))?.ok_or(Refused::Missing("distinct_id"))?;
    let given = match sent.get("timestamp") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let parsed = value.as_str().and_then(body::time);
            Some(parsed.ok_or_else(|| Refused::Field { field: "timestamp", problem: "no RFC 3339 time".to_owned() })?)
        }
    };
    let message_id = match body::id(sent.get("uuid")).map_err(wrong("uuid"))? {
        Some(id) => id,
        None => uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, text.as_bytes()).to_string(),
    };
    let kind = match name {
        "$identify" | "$set" => CallKind::Identify,
        "$create_alias" => CallKind::Alias,
        "$groupidentify" => CallKind::Group,
        "$pageview" => CallKind::Page,
        "$screen" => CallKind::Screen,
        _ => CallKind::Track,
    };
    let mut call = Call::new(kind, message_id, body::corrected(given, sent_at, now));
    call.identifiers = vec![("user_id".to_owned(), distinct.clone())];
    match kind {
        CallKind::Identify => {
            for place in ["$set_once", "$set"] {
                call.traits.extend(body::object(sent.get(place)).map_err(wrong("$set"))?);
                call.traits.extend(body::object(properties.get(place)).map_err(wrong("$set"))?);
            }
            // The visitor's id until now: the same person under another name.
            if let Some(before) = body::id(properties.get("$anon_distinct_id")).map_err(wrong("$anon_distinct_id"))?.filter(|before| *before != distinct) {
                call.identifiers.push(("anonymous_id".to_owned(), before));
            }
            call.context = properties;
        }
        CallKind::Alias => {
            let alias = body::id(properties.get("alias")).map_err(wrong("alias"))?.ok_or(Refused::Missing("properties.alias"))?;
            call.aliases = vec![("user_id".to_owned(), alias)];
            call.context = properties;
        }
        CallKind::Group => {
            call.group = body::id(properties.get("$group_key")).map_err(wrong("$group_key"))?;
            call.traits = body::object(properties.get("$group_set")).map_err(wrong("$group_set"))?;
            call.context = properties;
        }
        _ => {
            call.name = if kind == CallKind::Track { Some(name.to_owned()) } else { None };
            // Traits that an event brings along.
            properties.remove("$set");
            call.properties = properties;
        }
    }
    Ok(call)
}

#[derive(Deserialize)]
struct Asked {
    distinct_id: Value,
    #[serde(default)]
    person_properties: Option<Map<String, Value>>,
    #[serde(default)]
    flag_keys_to_evaluate: Option<Vec<String>>,
}

/// What the flag system answers about one flag.
#[derive(Deserialize)]
struct Flag {
    enabled: bool,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    reason: String,
}

async fn flags(request: Request, payload: Payload) -> Outcome {
    let body = body::read(&request, payload).await?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
    let distinct = body::id(Some(&asked.distinct_id)).ok().flatten().ok_or_else(|| Problem::new(Kind::INVALID_BODY, "distinct_id is no text"))?;
    let environment = request.caller().attribute("environment").unwrap_or("production").to_owned();
    let mut context = asked.person_properties.unwrap_or_default();
    context.insert("targetingKey".to_owned(), distinct.into());
    let question = json!({"environment": environment, "context": context, "flags": asked.flag_keys_to_evaluate});
    let (found, failed) = match request.platform().ask(QUESTION, &format!("flag-set/{environment}"), question).await {
        Ok(answer) => match serde_json::from_value::<BTreeMap<String, Flag>>(answer["flags"].clone()) {
            Ok(found) => (found, false),
            Err(_) => (BTreeMap::new(), true),
        },
        // An SDK keeps its defaults where flags could not be computed.
        Err(_) => (BTreeMap::new(), true),
    };
    let shown = |(key, flag): (String, Flag)| {
        let payload =
            if flag.value.is_object() || flag.value.is_array() || flag.value.is_number() { Value::String(flag.value.to_string()) } else { Value::Null };
        let answer = json!({
            "key": key,
            "enabled": flag.enabled,
            "variant": flag.variant,
            "reason": {"code": flag.reason, "description": flag.reason, "condition_index": Value::Null},
            "metadata": {"id": 0, "version": 1, "description": Value::Null, "payload": payload},
        });
        (key, answer)
    };
    let flags: BTreeMap<String, Value> = found.into_iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(json!({
        "flags": flags,
        "errorsWhileComputingFlags": failed,
        "requestId": uuid::Uuid::new_v4().to_string(),
        "quotaLimited": [],
    })))
}
