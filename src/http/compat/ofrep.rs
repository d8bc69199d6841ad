//! The OpenFeature Remote Evaluation Protocol.

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use chrono::Utc;
use serde_json::json;
use tol_enterprise_feature_flag_system::serving::ofrep::{Context, Error, Outcome as Found};

use super::{Access, LAST_KNOWN, Need, tag_of, tagged};
use crate::http::handlers::{Outcome, State};
use crate::http::parameters::body;

/// A context is small.
const CONTEXT_BYTES: usize = 256 << 10;

pub(super) async fn one(state: State, request: HttpRequest, payload: Payload, key: Path<String>) -> Outcome {
    let access = Access::of(&state, &request, Need::Answers, None)?;
    let environment = access.environment(&*state.flags.current()?);
    let text = body(&request, payload, CONTEXT_BYTES).await?;
    let (found, answer) = match read(&text).and_then(|text| Context::of_request(text, &environment, Utc::now())) {
        Ok(context) => environment.ofrep(&key, &context, state.flags.seed()),
        Err(error) => (Found::Failed, json!({"key": *key, "errorCode": error.code(), "errorDetails": error.to_string()}).to_string().into_bytes()),
    };
    let status = match found {
        Found::Evaluated => StatusCode::OK,
        Found::NotFound => StatusCode::NOT_FOUND,
        Found::Failed => StatusCode::BAD_REQUEST,
    };
    let mut response = HttpResponse::build(status);
    if let Some(known_at) = state.flags.last_known() {
        response.insert_header((LAST_KNOWN, known_at));
    }
    Ok(response.content_type("application/json").body(answer))
}

pub(super) async fn all(state: State, request: HttpRequest, payload: Payload) -> Outcome {
    let access = Access::of(&state, &request, Need::Answers, None)?;
    let environment = access.environment(&*state.flags.current()?);
    let text = body(&request, payload, CONTEXT_BYTES).await?;
    match read(&text).and_then(|text| Context::of_request(text, &environment, Utc::now())) {
        Ok(context) => {
            let answer = environment.ofrep_all(&context, state.flags.seed());
            let tag = tag_of(&answer);
            Ok(tagged(&state, &request, answer.into(), &tag))
        }
        Err(error) => {
            let answer = json!({"errorCode": error.code(), "errorDetails": error.to_string()});
            Ok(HttpResponse::BadRequest().content_type("application/json").body(answer.to_string()))
        }
    }
}

fn read(body: &Bytes) -> Result<&str, Error> {
    std::str::from_utf8(body).map_err(|error| Error::Parse(error.to_string()))
}
