//! What other systems may ask: `flags.evaluate`, the answers of flags for a person.
//!
//! The subject is `flag-set/<environment>`. The body has `environment`, `context` with a `targetingKey`, and may have `flags`, the keys that are asked about.
//! The answer has `flags` by key: `enabled`, `variant`, `value` and `reason`. A flag that cannot be evaluated is left out.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tol_plug::question::{Asked, Question};
use tol_plug::{Kind, Platform, Problem};

use crate::serving::Environment;
use crate::serving::ofrep::Context;
use crate::{DEFAULT_ENVIRONMENT, FlagService};

/// The table of questions.
pub(crate) static QUESTIONS: &[Question<FlagService>] = &[Question { name: "flags.evaluate", answer: evaluate }];

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    environment: Option<String>,
    context: Map<String, Value>,
    #[serde(default)]
    flags: Option<Vec<String>>,
}

fn evaluate(service: Arc<FlagService>, platform: Arc<dyn Platform>, asked: Asked) -> BoxFuture<'static, Result<Value, Problem>> {
    Box::pin(async move { answers(&service, &*platform, asked.body) })
}

fn answers(service: &FlagService, platform: &dyn Platform, body: Value) -> Result<Value, Problem> {
    let refused = |problem: String| Problem::new(Kind::INVALID_BODY, problem);
    let body: Body = serde_json::from_value(body).map_err(|error| refused(error.to_string()))?;
    let name = body.environment.as_deref().unwrap_or(DEFAULT_ENVIRONMENT);
    let environment = service.current()?.environment(name).cloned().unwrap_or_else(|| Environment::without_flags(name));
    let text = json!({"context": body.context}).to_string();
    let context = Context::of_request(&text, &environment, platform.now().to_datetime()).map_err(|error| refused(error.to_string()))?;
    let seed = service.seed();
    let one = |key: &String| serde_json::from_slice::<Value>(&environment.ofrep(key, &context, seed).1).unwrap_or_default();
    let found: Vec<Value> = match &body.flags {
        Some(keys) => keys.iter().map(one).collect(),
        None => {
            let all: Value = serde_json::from_slice(&environment.ofrep_all(&context, seed)).unwrap_or_default();
            all["flags"].as_array().cloned().unwrap_or_default()
        }
    };
    let shown: Map<String, Value> = found.iter().filter_map(shown).collect();
    Ok(json!({"flags": shown}))
}

/// One answer. A boolean flag is on or off; another is on where it serves something, under its variant's name or, of text, the text.
fn shown(found: &Value) -> Option<(String, Value)> {
    let (key, value) = (found["key"].as_str()?.to_owned(), found.get("value")?);
    let reason = found["reason"].as_str().unwrap_or_default();
    let (enabled, variant) = match value {
        Value::Bool(on) => (*on, None),
        Value::String(text) => (reason != "DISABLED", Some(text.as_str())),
        _ => (reason != "DISABLED", found["variant"].as_str()),
    };
    Some((key, json!({"enabled": enabled, "variant": variant, "value": value, "reason": reason})))
}
