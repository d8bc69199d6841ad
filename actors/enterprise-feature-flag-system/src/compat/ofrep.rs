//! The OpenFeature Remote Evaluation Protocol.

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use chrono::Utc;
use serde_json::json as json_of;
use tol_enterprise_feature_flag_system::serving::ofrep::{Context, Error, Outcome as Found};

use super::{Access, Asked, Need, json, tag_of, tagged};
use crate::http::handlers::Outcome;
use crate::http::parameters::body;

/// A context is small.
const CONTEXT_BYTES: usize = 256 << 10;

pub(super) async fn one(asked: Asked, payload: Payload) -> Outcome {
    let access = Access::of(&asked, Need::Answers, None)?;
    let environment = access.environment(&*asked.state.flags.current()?);
    let (text, key) = (body(&asked.request, payload, CONTEXT_BYTES).await?, &asked.key);
    let (found, answer) = match read(&text).and_then(|text| Context::of_request(text, &environment, Utc::now())) {
        Ok(context) => environment.ofrep(key, &context, asked.state.flags.seed()),
        Err(error) => (Found::Failed, json_of!({"key": key, "errorCode": error.code(), "errorDetails": error.to_string()}).to_string().into_bytes()),
    };
    let status = match found {
        Found::Evaluated => StatusCode::OK,
        Found::NotFound => StatusCode::NOT_FOUND,
        Found::Failed => StatusCode::BAD_REQUEST,
    };
    Ok(json(&asked, status, answer.into()))
}

pub(super) async fn all(asked: Asked, payload: Payload) -> Outcome {
    let access = Access::of(&asked, Need::Answers, None)?;
    let environment = access.environment(&*asked.state.flags.current()?);
    let text = body(&asked.request, payload, CONTEXT_BYTES).await?;
    match read(&text).and_then(|text| Context::of_request(text, &environment, Utc::now())) {
        Ok(context) => {
            let answer = environment.ofrep_all(&context, asked.state.flags.seed());
            let tag = tag_of(&answer);
            Ok(tagged(&asked, answer.into(), tag))
        }
        Err(error) => {
            let answer = json_of!({"errorCode": error.code(), "errorDetails": error.to_string()});
            Ok(HttpResponse::BadRequest().content_type("application/json").body(answer.to_string()))
        }
    }
}

fn read(body: &Bytes) -> Result<&str, Error> {
    std::str::from_utf8(body).map_err(|error| Error::Parse(error.to_string()))
}
