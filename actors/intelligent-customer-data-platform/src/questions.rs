//! What other systems may ask: `cdp.lookup`, the profile of an identifier.
//!
//! The body has `type` and `value`. The answer is the profile as `GET /cdp/profiles/lookup` gives it; null where it is unknown.

use std::pin::Pin;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tol_plug::question::{Asked, Question};
use tol_plug::request::run_blocking;
use tol_plug::{Kind, Platform, Problem};

use crate::collect::normal;
use crate::serving::{CdpService, by_identifier};

/// The table of questions.
pub(crate) static QUESTIONS: &[Question<CdpService>] = &[Question { name: "cdp.lookup", answer: lookup }];

#[derive(Deserialize)]
struct Wanted {
    r#type: String,
    value: String,
}

fn lookup(service: Arc<CdpService>, platform: Arc<dyn Platform>, asked: Asked) -> Pin<Box<dyn Future<Output = Result<Value, Problem>> + Send>> {
    Box::pin(async move {
        let wanted: Wanted = serde_json::from_value(asked.body).map_err(|error| Problem::new(Kind::INVALID_BODY, error.to_string()))?;
        let identifier_id = service.id(&wanted.r#type, &normal(&wanted.r#type, &wanted.value))?;
        let found = run_blocking(move || by_identifier(&*platform, &service.rules, &identifier_id)).await?;
        serde_json::to_value(found).map_err(|error| Problem::internal(error.to_string()))
    })
}
