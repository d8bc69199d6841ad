//! GrowthBook's features, and their evaluation for one person.

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use tol_plug::{Body, Content, Credential, Handler, Kind, Outcome, Parameter, Presented, Problem, Protocol, Reply, Route, Spec, with_body};

use super::{CONTEXT_BYTES, CORS, DEFINITIONS, EVALUATE, environment_of, get, json, post, stream, tagged, text_of};
use crate::serving::remote::Error;
use crate::{FlagService, Request};

/// GrowthBook's SDKs send the token in the path.
const TOKEN: &[Presented] = &[Presented::Path("key"), Presented::Authorization, Presented::Header("x-api-key")];
/// Tells an SDK that it may follow changes at `/sub/{clientKey}`.
const STREAMS: HeaderName = HeaderName::from_static("x-sse-support");

pub(super) const PROTOCOL: Protocol<FlagService> =
    Protocol { name: "growthbook", credential: Credential(TOKEN), cors: CORS, routes: ROUTES, error: Problem::to_response };

static KEY: Parameter = Parameter::path("key", "The client's key: an API key of the node.", "sdk-abc");

static ROUTES: &[Route<FlagService>] = &[
    Spec {
        parameters: &[&KEY],
        answers: &[Reply::ok("The features.", Content::AnyJson)],
        ..get("growthbookFeatures", "/api/features/{*key}", DEFINITIONS, "Lists features with their rules")
    }
    .by(Handler::Immediate(features)),
    Spec {
        parameters: &[&KEY],
        body: Body::AnyJson("{\"attributes\":{\"id\":\"7\"}}"),
        body_limit: Some(CONTEXT_BYTES),
        answers: &[Reply::ok("The features for that person.", Content::AnyJson)],
        ..post("growthbookEvaluate", "/api/eval/{*key}", EVALUATE, "Evaluates features for one person")
    }
    .by(with_body!(evaluated)),
    Spec {
        parameters: &[&KEY],
        answers: &[Reply::ok("The features at each change.", Content::Other("text/event-stream"))],
        problems: &[Kind::TOO_MANY_STREAMS],
        ..get("growthbookStream", "/sub/{*key}", DEFINITIONS, "Follows features")
    }
    .by(Handler::Immediate(stream::growthbook)),
];

fn features(request: &Request) -> Outcome {
    let environment = environment_of(request)?;
    let text = environment.growthbook_payload();
    let mut answer = tagged(request, text.body.clone(), text.tag.clone());
    answer.headers_mut().insert(STREAMS, HeaderValue::from_static("enabled"));
    Ok(answer)
}

async fn evaluated(request: Request, payload: Payload) -> Outcome {
    let environment = environment_of(&request)?;
    let body = request.body(payload).await?;
    let answer = environment.growthbook_evaluated(text_of(&body)?).map_err(|error| match &error {
        Error::Parse(_) => Problem::new(Kind::MALFORMED_JSON, error.to_string()),
        Error::Attributes => Problem::new(Kind::INVALID_BODY, error.to_string()),
    })?;
    Ok(json(&request, StatusCode::OK, answer.into()))
}
