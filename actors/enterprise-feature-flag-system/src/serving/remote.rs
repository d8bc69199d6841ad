//! GrowthBook's remote evaluation: each feature's definition for one person alone, so that no rule leaves the server.

use super::Environment;
use crate::evaluation::growthbook::Context;
use crate::evaluation::value::{Object, Value, write_string};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    Parse(String),
    /// It has no attributes.
    #[error("the body has no object \"attributes\"; send {{\"attributes\": {{\"id\": \"…\"}}}}")]
    Attributes,
}

impl Environment {
    /// What GrowthBook's `POST /api/eval/{clientKey}` answers to `{"attributes": …, "forcedVariations": …, "forcedFeatures": …, "url": …}`. Of an
    /// experiment somebody is in it says what SDKs report about it, and nothing of its other variations.
    ///
    /// # Errors
    /// If the body has no attributes.
    pub fn growthbook_evaluated(&self, body: &str) -> Result<String, Error> {
        let asked = Value::parse(body).map_err(|error| Error::Parse(error.to_string()))?;
        asked.get("attributes").and_then(Value::as_object).ok_or(Error::Attributes)?;
        // An SDK's context may say more than remote evaluation takes: saved groups, overrides of definitions.
        let taken = ["attributes", "forcedVariations", "forcedFeatures", "url"];
        let fields = asked.as_object().into_iter().flat_map(Object::iter).filter(|(name, _)| taken.contains(name));
        let asked = Value::Object(Object::new(fields.map(|(name, value)| (name.to_owned().into(), value.clone())).collect()));
        let context = Context::of_sdk(&asked);
        let mut answer = String::with_capacity(64 + self.growthbook().keys().map(|key| key.len() + 40).sum::<usize>());
        answer.push_str(r#"{"status":200,"features":{"#);
        for (at, key) in self.growthbook().keys().enumerate() {
            if at > 0 {
                answer.push(',');
            }
            write_string(key, &mut answer);
            answer.push(':');
            self.growthbook().evaluate(key, &context).reduced().write_json(&mut answer);
        }
        answer.push_str(r#"},"experiments":[]}"#);
        Ok(answer)
    }
}
