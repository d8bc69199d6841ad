//! GrowthBook's features, and their evaluation for one person.

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use tol_enterprise_feature_flag_system::serving::remote::Error;

use super::{Access, Asked, Need, json, tagged};
use crate::http::handlers::Outcome;
use crate::http::parameters::body;
use crate::http::problem::{Kind, Problem};

/// Attributes and what is forced are small.
const CONTEXT_BYTES: usize = 256 << 10;

/// Tells an SDK that it may follow changes at `/sub/{clientKey}`.
const STREAMS: HeaderName = HeaderName::from_static("x-sse-support");

pub(super) fn features(asked: &Asked) -> Outcome {
    let access = Access::of(asked, Need::Definitions, Some(&asked.key))?;
    let environment = access.environment(&*asked.state.flags.current()?);
    let text = environment.growthbook_payload();
    let mut answer = tagged(asked, text.body.clone(), text.tag.clone());
    answer.headers_mut().insert(STREAMS, HeaderValue::from_static("enabled"));
    Ok(answer)
}

pub(super) async fn evaluated(asked: Asked, payload: Payload) -> Outcome {
    let access = Access::of(&asked, Need::Answers, Some(&asked.key))?;
    let environment = access.environment(&*asked.state.flags.current()?);
    let body = body(&asked.request, payload, CONTEXT_BYTES).await?;
    let text = std::str::from_utf8(&body).map_err(|_| Problem::new(Kind::MalformedJson, "the body is not UTF-8"))?;
    let answer = environment.growthbook_evaluated(text).map_err(|error| match &error {
        Error::Parse(_) => Problem::new(Kind::MalformedJson, error.to_string()),
        Error::Attributes => Problem::new(Kind::InvalidBody, error.to_string()),
    })?;
    Ok(json(&asked, StatusCode::OK, answer.into()))
}
