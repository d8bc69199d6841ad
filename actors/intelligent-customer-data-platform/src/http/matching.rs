//! `POST /cdp/match`: which of these records are about the same person? Nothing is recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use serde::Serialize;
use tokio::sync::Semaphore;
use tol_plug::{Access, Body, Content, Example, Kind, Outcome, Platform, Problem, Reply, Request, Route, Scope, Spec, body, with_body};
use utoipa::ToSchema;

use super::SHORT;
use crate::matching::{FieldType, MatchRequest, MatchedPair, match_records};

/// Longest body, bytes.
const BODY_LIMIT: usize = 10 << 20;
/// Requests that are matched at the same time; each takes a core.
static RUNNING: Semaphore = Semaphore::const_new(1);
/// Requests whose body is held in memory.
static HELD: Semaphore = Semaphore::const_new(4);
/// How long a request waits for those before it.
const PATIENCE: Duration = Duration::from_secs(20);

const EXAMPLE: &str = r#"{"fields":{"given_name":"name","surname":"name","date_of_birth":"date"},"left":[{"id":"1","given_name":"Ann","surname":"Miller","date_of_birth":"1980-02-29"}],"right":[{"id":"9","given_name":"Anne","surname":"Miller","date_of_birth":"1980-02-29"}],"threshold":0.5}"#;

const ANSWERS: &[Reply] = &[Reply::ok("The pairs, in the order of their ids.", Content::Json("MatchedPairs"))];

/// The row of the table of routes.
pub(crate) const fn route<S: 'static>() -> Route<S> {
    Spec {
        description: "Learns from the records alone how much each field tells (Fellegi and Sunter; weights by EM, values by how rare they are) and compares \
                      those that share something rare. The same records give the same pairs in any order. Nothing is recorded.",
        access: Access::Scope(Scope::READ),
        body: Body::Json("MatchRecords"),
        body_limit: Some(BODY_LIMIT),
        answers: ANSWERS,
        problems: &[Kind::UNAVAILABLE],
        example: Example::json(EXAMPLE),
        ..Spec::post("cdpMatch", "/cdp/match", SHORT, "Matches records of people")
    }
    .by(with_body!(matched))
}

async fn matched<S: 'static>(request: Request<S>, payload: Payload) -> Outcome {
    let _held = HELD.try_acquire().map_err(|_| busy())?;
    let text = body::json_text(request.http(), payload, request.parts.limits).await?;
    let running = tokio::time::timeout(PATIENCE, RUNNING.acquire()).await;
    let running = running.ok().and_then(Result::ok).ok_or_else(busy)?;
    let answer = request
        .block(move |platform| {
            // Held until the work is done, also if the client has gone.
            let _running = running;
            answer(platform, &text)
        })
        .await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(answer))
}

fn busy() -> Problem {
    Problem::unavailable("other records are being matched; send the request again", 5)
}

fn answer(platform: &dyn Platform, text: &str) -> Result<Vec<u8>, Problem> {
    let began = platform.now();
    let wanted: MatchRequest<'_> = serde_json::from_str(if text.is_empty() { "{}" } else { text }).map_err(|error| {
        let kind = if error.is_data() { Kind::INVALID_BODY } else { Kind::MALFORMED_JSON };
        Problem::new(kind, error.to_string())
    })?;
    let pairs = match_records(&wanted).map_err(|error| Problem::new(Kind::INVALID_BODY, error.to_string()))?;
    let seconds = (platform.now().as_micros() - began.as_micros()) as f64 / 1e6;
    serde_json::to_vec(&Found { pairs, seconds }).map_err(|error| Problem::internal(format!("the pairs could not be written as JSON: {error}")))
}

#[derive(Serialize)]
struct Found<'a> {
    pairs: Vec<MatchedPair<'a>>,
    seconds: f64,
}

/// Records to match.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes the body of `POST /cdp/match` in the document; `MatchRequest` reads it")]
pub(crate) struct MatchRecords {
    /// The fields to compare, with their types; at most 32. Other members of records are not looked at.
    fields: BTreeMap<String, FieldType>,
    /// Records: `id`, at most 128 bytes, and a text, number or null for each field.
    left: Vec<BTreeMap<String, serde_json::Value>>,
    /// Records to find among `left`; where absent, those of `left` are matched with each other.
    right: Option<Vec<BTreeMap<String, serde_json::Value>>>,
    /// Least probability of a pair, above 0 and at most 1.
    #[schema(default = 0.5)]
    threshold: Option<f64>,
}

/// A pair of records that are probably about the same person.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes `MatchedPair` in the document")]
pub(crate) struct MatchedRecords {
    /// Id of the record of `left`; within `left`, the lesser of the two.
    left: String,
    /// Id of the record of `right`; within `left`, the greater of the two.
    right: String,
    /// The probability that both are about the same person.
    probability: f64,
}

/// The pairs that were found.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes the answer of `POST /cdp/match` in the document")]
pub(crate) struct MatchedPairs {
    /// In the order of their ids.
    pairs: Vec<MatchedRecords>,
    /// How long matching took.
    seconds: f64,
}
