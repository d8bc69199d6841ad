//! GrowthBook's features.

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::Path;

use super::{Access, Need, tagged};
use crate::http::handlers::{Outcome, State};

/// Tells an SDK that it may follow changes at `/sub/{clientKey}`.
const STREAMS: HeaderName = HeaderName::from_static("x-sse-support");

pub(super) async fn features(state: State, request: HttpRequest, key: Path<String>) -> Outcome {
    let access = Access::of(&state, &request, Need::Definitions, Some(&key))?;
    let environment = access.environment(&*state.flags.current()?);
    let text = environment.growthbook_payload();
    let mut answer = tagged(&state, &request, text.body.clone(), &text.tag);
    answer.headers_mut().insert(STREAMS, HeaderValue::from_static("enabled"));
    Ok(answer)
}
