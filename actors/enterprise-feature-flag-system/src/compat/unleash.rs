//! Unleash's client and frontend APIs.

use actix_web::dev::Payload;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use chrono::Utc;
use tol_enterprise_feature_flag_system::evaluation::unleash::Context;
use tol_enterprise_feature_flag_system::serving::{Environment, Since, context_of};

use super::{Access, Asked, Need, quoted, reports, tag_of, tagged};
use crate::http::handlers::Outcome;
use crate::http::parameters::{Query, body};
use crate::http::problem::{Kind, Problem};

/// A context is small.
const CONTEXT_BYTES: usize = 256 << 10;
/// The first specification whose clients know segments.
const SEGMENTS_SINCE: (u32, u32) = (4, 2);

pub(super) fn features(asked: &Asked) -> Outcome {
    let access = Access::of(asked, Need::Definitions, None)?;
    let environment = access.environment(&*asked.state.flags.current()?);
    let text = environment.features(knows_segments(&asked.request));
    let wanted = Wanted::of(Query::of(&asked.request)?);
    if wanted == Wanted::default() {
        return Ok(tagged(asked, text.body.clone(), text.tag.clone()));
    }
    let body = wanted.among(&environment, &text.body);
    let tag = tag_of(&body);
    Ok(tagged(asked, body, tag))
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

pub(super) fn delta(asked: &Asked) -> Outcome {
    let access = Access::of(asked, Need::Definitions, None)?;
    let environment = access.environment(&*asked.state.flags.current()?);
    let known = asked.request.headers().get("if-none-match").and_then(|value| value.to_str().ok());
    let text = match environment.since(known) {
        Since::Nothing => return Ok(tagged(asked, Bytes::new(), environment.delta_tag())),
        Since::Changes(text) | Since::Everything(text) => text,
    };
    Ok(tagged(asked, text.body, text.tag))
}

/// What an SDK says of itself is not a fact about the business; who reads it is told in its reports.
pub(super) async fn register(asked: Asked, payload: Payload, need: Need) -> Outcome {
    Access::of(&asked, need, None)?;
    let text = body(&asked.request, payload, CONTEXT_BYTES).await?;
    serde_json::from_slice::<serde::de::IgnoredAny>(&text).map_err(|error| Problem::new(Kind::MalformedJson, error.to_string()))?;
    Ok(HttpResponse::Accepted().finish())
}

pub(super) async fn metrics(asked: Asked, payload: Payload, need: Need) -> Outcome {
    let access = Access::of(&asked, need, None)?;
    reports::taken(&asked, payload, &access).await
}

pub(super) fn frontend(asked: &Asked) -> Outcome {
    let access = Access::of(asked, Need::Answers, None)?;
    let environment = access.environment(&*asked.state.flags.current()?);
    let query = Query::of(&asked.request)?;
    Ok(answer(asked, &environment, context_of(query.pairs(), Utc::now())))
}

pub(super) async fn frontend_post(asked: Asked, payload: Payload) -> Outcome {
    let access = Access::of(&asked, Need::Answers, None)?;
    let environment = access.environment(&*asked.state.flags.current()?);
    let body = body(&asked.request, payload, CONTEXT_BYTES).await?;
    let text = std::str::from_utf8(&body).map_err(|_| Problem::new(Kind::MalformedJson, "the body is not UTF-8"))?;
    let context = Context::from_json(if text.is_empty() { "{}" } else { text }, Utc::now());
    let context = context.map_err(|error| Problem::new(Kind::MalformedJson, format!("the context does not read: {error}")))?;
    Ok(answer(&asked, &environment, context))
}

fn answer<'c>(asked: &Asked, environment: &'c Environment, mut context: Context<'c>) -> HttpResponse {
    // The token says which environment it is, not the caller.
    context.environment = Some(environment.name().into());
    if context.remote_address.is_none() {
        context.remote_address = asked.request.peer_addr().map(|address| address.ip().to_string().into());
    }
    let (body, hash) = environment.frontend(&context, asked.state.flags.seed());
    tagged(asked, body.into(), quoted(hash))
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
