//! Unleash's client and frontend APIs.

use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use chrono::Utc;
use tol_enterprise_feature_flag_system::evaluation::unleash::Context;
use tol_enterprise_feature_flag_system::serving::{Environment, Since, context_of};

use super::{Access, Need, reports, tag_of, tagged};
use crate::http::handlers::{Outcome, State};
use crate::http::parameters::{Query, body};
use crate::http::problem::{Kind, Problem};

/// A context is small.
const CONTEXT_BYTES: usize = 256 << 10;
/// The first specification whose clients know segments.
const SEGMENTS_SINCE: (u32, u32) = (4, 2);

pub(super) async fn features(state: State, request: HttpRequest) -> Outcome {
    let access = Access::of(&state, &request, Need::Definitions, None)?;
    let environment = access.environment(&*state.flags.current()?);
    let text = environment.features(knows_segments(&request));
    let wanted = Wanted::of(&Query::of(&request)?);
    if wanted == Wanted::default() {
        return Ok(tagged(&state, &request, text.body.clone(), &text.tag));
    }
    let body = wanted.among(&text.body);
    let tag = tag_of(&body);
    Ok(tagged(&state, &request, body, &tag))
}

/// Which features a client asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    prefix: Option<String>,
    project: Option<String>,
}

impl Wanted {
    fn of(query: &Query) -> Self {
        Self { prefix: query.text("namePrefix"), project: query.text("project").filter(|project| project != "*") }
    }

    fn among(&self, body: &[u8]) -> Bytes {
        let mut whole: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(features) = whole.get_mut("features").and_then(serde_json::Value::as_array_mut) {
            let text = |feature: &serde_json::Value, name: &str| feature.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
            features.retain(|feature| {
                self.prefix.as_ref().is_none_or(|prefix| text(feature, "name").is_some_and(|name| name.starts_with(prefix)))
                    && self.project.as_ref().is_none_or(|project| text(feature, "project").is_none_or(|own| own == *project))
            });
        }
        whole.to_string().into()
    }
}

/// Clients of two specifications ask at the same time; those who name none are older than segments.
fn knows_segments(request: &HttpRequest) -> bool {
    let version = request.headers().get("unleash-client-spec").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), minor) => (major, minor.unwrap_or(0)) >= SEGMENTS_SINCE,
        (None, _) => false,
    }
}

pub(super) async fn delta(state: State, request: HttpRequest) -> Outcome {
    let access = Access::of(&state, &request, Need::Definitions, None)?;
    let environment = access.environment(&*state.flags.current()?);
    let known = request.headers().get("if-none-match").and_then(|value| value.to_str().ok());
    let text = match environment.since(known) {
        Since::Nothing => return Ok(tagged(&state, &request, Bytes::new(), &environment.delta_tag())),
        Since::Changes(text) | Since::Everything(text) => text,
    };
    Ok(tagged(&state, &request, text.body.clone(), &text.tag))
}

/// What an SDK says of itself is not a fact about the business; who reads it is told in its reports.
async fn register(state: State, request: HttpRequest, payload: Payload, need: Need) -> Outcome {
    Access::of(&state, &request, need, None)?;
    let text = body(&request, payload, CONTEXT_BYTES).await?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&text).map_err(|error| Problem::new(Kind::MalformedJson, error.to_string()))?;
    Ok(HttpResponse::Accepted().finish())
}

pub(super) async fn register_client(state: State, request: HttpRequest, payload: Payload) -> Outcome {
    register(state, request, payload, Need::Definitions).await
}

pub(super) async fn register_frontend(state: State, request: HttpRequest, payload: Payload) -> Outcome {
    register(state, request, payload, Need::Answers).await
}

pub(super) async fn client_metrics(state: State, request: HttpRequest, payload: Payload) -> Outcome {
    let access = Access::of(&state, &request, Need::Definitions, None)?;
    reports::taken(&state, &request, payload, &access).await
}

pub(super) async fn frontend_metrics(state: State, request: HttpRequest, payload: Payload) -> Outcome {
    let access = Access::of(&state, &request, Need::Answers, None)?;
    reports::taken(&state, &request, payload, &access).await
}

pub(super) async fn frontend(state: State, request: HttpRequest) -> Outcome {
    let access = Access::of(&state, &request, Need::Answers, None)?;
    let environment = access.environment(&*state.flags.current()?);
    let query = Query::of(&request)?;
    let context = context_of(query.pairs(), Utc::now());
    Ok(answer(&state, &request, &environment, context))
}

pub(super) async fn frontend_post(state: State, request: HttpRequest, payload: Payload) -> Outcome {
    let access = Access::of(&state, &request, Need::Answers, None)?;
    let environment = access.environment(&*state.flags.current()?);
    let body = body(&request, payload, CONTEXT_BYTES).await?;
    let text = std::str::from_utf8(&body).map_err(|_| Problem::new(Kind::MalformedJson, "the body is not UTF-8"))?;
    let context = Context::from_json(if text.is_empty() { "{}" } else { text }, Utc::now());
    let context = context.map_err(|error| Problem::new(Kind::MalformedJson, format!("the context does not read: {error}")))?;
    Ok(answer(&state, &request, &environment, context))
}

fn answer(state: &State, request: &HttpRequest, environment: &Environment, mut context: Context<'_>) -> HttpResponse {
    // The token says which environment it is, not the caller.
    context.environment = Some(environment.name().to_owned().into());
    if context.remote_address.is_none() {
        context.remote_address = request.peer_addr().map(|address| address.ip().to_string().into());
    }
    let body = environment.frontend(&context, state.flags.seed());
    let tag = tag_of(&body);
    tagged(state, request, body.into(), &tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn clients_since_specification_4_2_know_segments() {
        for (version, knows) in [("6.1.0", true), ("5.2.0", true), ("4.2.0", true), ("4.1.9", false), ("undefined", false), ("", false)] {
            let request = TestRequest::default().insert_header(("unleash-client-spec", version)).to_http_request();
            assert_eq!(knows_segments(&request), knows, "{version}");
        }
        assert!(!knows_segments(&TestRequest::default().to_http_request()));
    }
}
