//! Unleash's client and frontend APIs.

use actix_web::dev::Payload;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use tol_plug::query::Query;
use tol_plug::{Access, Body, Content, Credential, Handler, Kind, Outcome, Problem, Protocol, Reply, Route, Spec, with_body};

use super::{CONTEXT_BYTES, CORS, DEFINITIONS, EVALUATE, TOKEN, environment_of, get, post, quoted, reports, stream, tag_of, tagged, text_of};
use crate::evaluation::unleash::Context;
use crate::serving::{Environment, Since, context_of};
use crate::{FlagService, Request};

pub(super) const PROTOCOL: Protocol<FlagService> =
    Protocol { name: "unleash", credential: Credential(TOKEN), cors: CORS, routes: ROUTES, error: Problem::to_response };

/// What SDKs say of themselves, for both kinds of them.
const REGISTER: Spec = Spec {
    body: Body::AnyJson("{\"appName\":\"shop\"}"),
    body_limit: Some(CONTEXT_BYTES),
    answers: &[ACCEPTED],
    ..post("unleashRegister", "/api/client/register", DEFINITIONS, "Registers an SDK")
};
/// What SDKs count, for both kinds of them.
const METRICS: Spec = Spec {
    body: Body::AnyJson("{\"appName\":\"shop\",\"bucket\":null}"),
    answers: &[ACCEPTED],
    problems: reports::PROBLEMS,
    ..post("unleashMetrics", "/api/client/metrics", DEFINITIONS, "Reports what an SDK counted and measured")
};
const ACCEPTED: Reply = Reply { status: 202, description: "It is taken.", content: Content::Empty };

static ROUTES: &[Route<FlagService>] = &[
    Spec {
        answers: &[Reply::ok("The toggles that are on.", Content::AnyJson)],
        ..get("unleashFrontend", "/api/frontend", EVALUATE, "Evaluates all toggles for a context in the query")
    }
    .by(Handler::Immediate(frontend)),
    Spec {
        body: Body::AnyJson("{\"context\":{\"userId\":\"7\"}}"),
        body_limit: Some(CONTEXT_BYTES),
        answers: &[Reply::ok("The toggles that are on.", Content::AnyJson)],
        ..post("unleashFrontendPost", "/api/frontend", EVALUATE, "Evaluates all toggles for a context in the body")
    }
    .by(with_body!(frontend_post)),
    Spec {
        answers: &[Reply::ok("The features.", Content::AnyJson)],
        ..get("unleashFeatures", "/api/client/features", DEFINITIONS, "Lists features with their rules")
    }
    .by(Handler::Immediate(features)),
    Spec { answers: &[Reply::ok("What has changed.", Content::AnyJson)], ..get("unleashDelta", "/api/client/delta", DEFINITIONS, "Lists changes of features") }
        .by(Handler::Immediate(delta)),
    Spec {
        answers: &[Reply::ok("Everything, then each change.", Content::Other("text/event-stream"))],
        problems: &[Kind::TOO_MANY_STREAMS],
        ..get("unleashStream", "/api/client/streaming", DEFINITIONS, "Follows features")
    }
    .by(Handler::Immediate(stream::unleash)),
    REGISTER.by(with_body!(register)),
    METRICS.by(with_body!(reports::take)),
    Spec { operation: "unleashFrontendRegister", path: "/api/frontend/client/register", access: Access::Scope(EVALUATE), ..REGISTER }.by(with_body!(register)),
    Spec { operation: "unleashFrontendMetrics", path: "/api/frontend/client/metrics", access: Access::Scope(EVALUATE), ..METRICS }
        .by(with_body!(reports::take)),
];

/// The first specification whose clients know segments.
const SEGMENTS_SINCE: (u32, u32) = (4, 2);

fn features(request: &Request) -> Outcome {
    let environment = environment_of(request)?;
    let text = environment.features(knows_segments(request.http()));
    let wanted = Wanted::of(request.query()?);
    if wanted == Wanted::default() {
        return Ok(tagged(request, text.body.clone(), text.tag.clone()));
    }
    let body = wanted.among(&environment, &text.body);
    let tag = tag_of(&body);
    Ok(tagged(request, body, tag))
}

/// Which features a client asks for: of each list that is not empty, one must hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    prefixes: Vec<String>,
    projects: Vec<String>,
    tags: Vec<String>,
}

impl Wanted {
    fn of(query: Query<'_>) -> Self {
        let mut wanted = Self::default();
        for (name, value) in query.pairs().filter(|(_, value)| !value.is_empty()) {
            match name.trim_end_matches("[]") {
                "namePrefix" => wanted.prefixes.push(value.into_owned()),
                "project" => wanted.projects.push(value.into_owned()),
                "tag" => wanted.tags.push(value.into_owned()),
                _ => {}
            }
        }
        if wanted.projects.iter().any(|project| project == "*") {
            wanted.projects.clear();
        }
        wanted
    }

    fn among(&self, environment: &Environment, body: &[u8]) -> Bytes {
        let mut whole: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(features) = whole.get_mut("features").and_then(serde_json::Value::as_array_mut) {
            features.retain(|feature| {
                let text = |name: &str| feature.get(name).and_then(serde_json::Value::as_str);
                let name = text("name").unwrap_or_default();
                // Of a feature without a project nothing is known.
                let of_project = |project: &String| text("project").is_none_or(|own| own == project);
                (self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| name.starts_with(prefix)))
                    && (self.projects.is_empty() || self.projects.iter().any(of_project))
                    && (self.tags.is_empty() || environment.is_tagged(name, &self.tags))
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

fn delta(request: &Request) -> Outcome {
    let environment = environment_of(request)?;
    let text = match environment.since(request.header("if-none-match")) {
        Since::Nothing => return Ok(tagged(request, Bytes::new(), environment.delta_tag())),
        Since::Changes(text) | Since::Everything(text) => text,
    };
    Ok(tagged(request, text.body, text.tag))
}

/// Answers 202 and records nothing: what an SDK says of itself is no fact about the business; its reports name their sender.
async fn register(request: Request, payload: Payload) -> Outcome {
    let body = request.body(payload).await?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&body).map_err(|error| Problem::new(Kind::MALFORMED_JSON, error.to_string()))?;
    Ok(HttpResponse::Accepted().finish())
}

fn frontend(request: &Request) -> Outcome {
    let environment = environment_of(request)?;
    let query = request.query()?;
    Ok(answer(request, &environment, context_of(query.pairs(), request.platform().now().to_datetime())))
}

async fn frontend_post(request: Request, payload: Payload) -> Outcome {
    let environment = environment_of(&request)?;
    let body = request.body(payload).await?;
    let text = text_of(&body)?;
    let context = Context::from_json(if text.is_empty() { "{}" } else { text }, request.platform().now().to_datetime());
    let context = context.map_err(|error| Problem::new(Kind::MALFORMED_JSON, format!("the context does not read: {error}")))?;
    Ok(answer(&request, &environment, context))
}

fn answer<'c>(request: &Request, environment: &'c Environment, mut context: Context<'c>) -> HttpResponse {
    // The token says which environment it is, not the caller.
    context.environment = Some(environment.name().into());
    if context.remote_address.is_none() {
        context.remote_address = request.peer().map(|address| address.ip().to_string().into());
    }
    let (body, hash) = environment.frontend(&context, request.serving.seed());
    tagged(request, body.into(), quoted(hash))
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
