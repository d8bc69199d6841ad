//! `http`: POSTs `payload.body` to `payload.url` with the header `Idempotency-Key`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tol_system::{Effect, Failure, OnStop};

use super::{EffectRunner, RunnerLimits};

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read of an answer.
const MAX_ANSWER: u64 = 1 << 20;

/// The platform's runner `http`.
pub fn runner() -> EffectRunner {
    let limits = RunnerLimits { at_once: 4, tries: 3, limit: 2 * TIMEOUT, on_stop: OnStop::Finish };
    EffectRunner { system: None, name: "http".to_owned(), limits, run: Arc::new(post) }
}

fn post(effect: &Effect) -> Result<Value, Failure> {
    let payload = effect.payload();
    let Some(url) = payload.get("url").and_then(Value::as_str) else { return Err(Failure::permanent("the payload of the request has no url")) };
    let agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build().new_agent();
    let failed = |error: ureq::Error| Failure::retry(format!("POST {url}: {error}"));
    let request = agent.post(url).header("Idempotency-Key", effect.key());
    let mut response = request.send_json(payload.get("body").unwrap_or(&Value::Null)).map_err(failed)?;
    let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string().map_err(failed)?;
    Ok(serde_json::json!({ "status": response.status().as_u16(), "body": text }))
}
