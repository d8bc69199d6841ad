//! The OpenFeature Remote Evaluation Protocol.

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use serde_json::json as json_of;
use tol_plug::{Body, Content, Credential, Outcome, Parameter, Problem, Protocol, Reply, Route, Spec, with_body};

use super::{CONTEXT_BYTES, CORS, EVALUATE, TOKEN, environment_of, json, post, tag_of, tagged};
use crate::serving::ofrep::{Context, Error, Outcome as Found};
use crate::{FlagService, Request};

pub(super) const PROTOCOL: Protocol<FlagService> =
    Protocol { name: "ofrep", credential: Credential(TOKEN), cors: CORS, routes: ROUTES, error: Problem::to_response };

static KEY: Parameter = Parameter::path("key", "The flag's key; it may hold slashes.", "new-checkout");

static ROUTES: &[Route<FlagService>] = &[
    Spec {
        body: Body::AnyJson("{\"context\":{\"targetingKey\":\"7\"}}"),
        body_limit: Some(CONTEXT_BYTES),
        answers: &[
            Reply::ok("The answers of all flags.", Content::AnyJson),
            Reply { status: 304, description: "Nothing has changed since the tag that was sent.", content: Content::Empty },
            Reply { status: 400, description: "The context does not read; OFREP's error says why.", content: Content::AnyJson },
        ],
        ..post("ofrepEvaluateAll", "/ofrep/v1/evaluate/flags", EVALUATE, "Evaluates all flags for a context")
    }
    .by(with_body!(all)),
    Spec {
        parameters: &[&KEY],
        body: Body::AnyJson("{\"context\":{\"targetingKey\":\"7\"}}"),
        body_limit: Some(CONTEXT_BYTES),
        answers: &[
            Reply::ok("The flag's answer.", Content::AnyJson),
            Reply {
                status: 400,
                description: "The context does not read, or the flag cannot be evaluated; OFREP's error says why.",
                content: Content::AnyJson,
            },
            Reply { status: 404, description: "There is no such flag; OFREP's error says so.", content: Content::AnyJson },
        ],
        ..post("ofrepEvaluate", "/ofrep/v1/evaluate/flags/{*key}", EVALUATE, "Evaluates a flag for a context")
    }
    .by(with_body!(one)),
];

async fn one(request: Request, payload: Payload) -> Outcome {
    let environment = environment_of(&request)?;
    let (body, key, now) = (request.body(payload).await?, request.path("key"), request.platform().now().to_datetime());
    let (found, answer) = match text_of(&body).and_then(|text| Context::of_request(text, &environment, now)) {
        Ok(context) => environment.ofrep(key, &context, request.serving.seed()),
        Err(error) => (Found::Failed, json_of!({"key": key, "errorCode": error.code(), "errorDetails": error.to_string()}).to_string().into_bytes()),
    };
    let status = match found {
        Found::Evaluated => StatusCode::OK,
        Found::NotFound => StatusCode::NOT_FOUND,
        Found::Failed => StatusCode::BAD_REQUEST,
    };
    Ok(json(&request, status, answer.into()))
}

async fn all(request: Request, payload: Payload) -> Outcome {
    let environment = environment_of(&request)?;
    let (body, now) = (request.body(payload).await?, request.platform().now().to_datetime());
    match text_of(&body).and_then(|text| Context::of_request(text, &environment, now)) {
        Ok(context) => {
            let answer = environment.ofrep_all(&context, request.serving.seed());
            let tag = tag_of(&answer);
            Ok(tagged(&request, answer.into(), tag))
        }
        Err(error) => {
            let answer = json_of!({"errorCode": error.code(), "errorDetails": error.to_string()});
            Ok(HttpResponse::BadRequest().content_type("application/json").body(answer.to_string()))
        }
    }
}

fn text_of(body: &Bytes) -> Result<&str, Error> {
    std::str::from_utf8(body).map_err(|error| Error::Parse(error.to_string()))
}
