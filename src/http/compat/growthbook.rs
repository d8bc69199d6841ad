//! GrowthBook's features.

use actix_web::http::header::{HeaderName, HeaderValue};

use super::{Access, Asked, Need, tagged};
use crate::http::handlers::Outcome;

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
