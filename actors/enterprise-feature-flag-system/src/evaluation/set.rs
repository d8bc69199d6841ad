//! One interface to the three formats: compile a set from its own JSON, ask it about flags, get answers of one form.

use std::str::FromStr;

use chrono::{DateTime, Utc};

use super::random::Random;
use super::value::Value;
use super::{flagd, growthbook, unleash};

/// Whose semantics a set has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Unleash's `GET /api/client/features`.
    Unleash,
    /// GrowthBook's `GET /api/features/{clientKey}`, or its map of features alone.
    GrowthBook,
    /// A flagd file.
    Flagd,
}

/// Why a set cannot be compiled or asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a format that is known.
    #[error("unknown format {0:?}: use unleash, growthbook or flagd")]
    Format(String),
    /// The definitions are not of the format.
    #[error("the definitions are not of the format: {0}")]
    Definitions(#[source] serde_json::Error),
    /// The flagd file is refused.
    #[error(transparent)]
    Flagd(#[from] flagd::Error),
    /// The context is no JSON object.
    #[error("the context is no JSON object: {0}")]
    Context(#[source] serde_json::Error),
}

impl Format {
    /// Its name, as it is given to import, export and evaluation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unleash => "unleash",
            Self::GrowthBook => "growthbook",
            Self::Flagd => "flagd",
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "unleash" => Ok(Self::Unleash),
            "growthbook" => Ok(Self::GrowthBook),
            "flagd" => Ok(Self::Flagd),
            other => Err(Error::Format(other.to_owned())),
        }
    }
}

/// A compiled set of any format.
// One of these exists for each set of definitions, so their sizes do not matter.
#[allow(clippy::large_enum_variant)]
pub enum Set {
    /// Unleash's semantics.
    Unleash(unleash::CompiledFeatures),
    /// GrowthBook's semantics.
    GrowthBook(growthbook::Features),
    /// flagd's semantics.
    Flagd(flagd::CompiledFlags),
}

/// The answer about one flag.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Answer {
    /// Whether it is on: for a flag of values, whether one is served.
    pub enabled: bool,
    /// What is served: Unleash's payload, GrowthBook's value, flagd's value; else whether it is on. `null` where the caller's default applies.
    pub value: Value<'static>,
    /// The variant's name: `disabled` for Unleash if there is none, as its SDKs say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Why, in the format's words.
    pub reason: &'static str,
    /// What went wrong, in OpenFeature's words.
    #[serde(rename = "errorCode", skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
}

impl Set {
    /// Compiles definitions.
    ///
    /// # Errors
    /// If they are not of the format.
    pub fn compile(format: Format, definitions: &str) -> Result<Self, Error> {
        Ok(match format {
            Format::Unleash => Self::Unleash(unleash::CompiledFeatures::from_json(definitions).map_err(Error::Definitions)?),
            Format::GrowthBook => Self::GrowthBook(growthbook::Features::from_json(definitions).map_err(Error::Definitions)?),
            Format::Flagd => Self::Flagd(flagd::CompiledFlags::from_json(definitions)?),
        })
    }

    /// The names of all flags, sorted.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Unleash(flags) => flags.iter().map(unleash::Flag::name).collect(),
            Self::GrowthBook(features) => features.keys().collect(),
            Self::Flagd(flags) => flags.keys().collect(),
        }
    }

    /// The answers about flags, in their order. The context is read once for all of them; randomness comes from the seed.
    ///
    /// # Errors
    /// If the context is no JSON object.
    pub fn evaluate(&self, context: &str, flags: &[&str], now: DateTime<Utc>, seed: u64) -> Result<Vec<Answer>, Error> {
        self.borrowed().evaluate(context, flags, now, seed)
    }

    fn borrowed(&self) -> Compiled<'_> {
        match self {
            Self::Unleash(set) => Compiled::Unleash(set),
            Self::GrowthBook(set) => Compiled::GrowthBook(set),
            Self::Flagd(set) => Compiled::Flagd(set),
        }
    }
}

/// A compiled set that somebody else holds.
#[derive(Clone, Copy)]
pub(crate) enum Compiled<'a> {
    Unleash(&'a unleash::CompiledFeatures),
    GrowthBook(&'a growthbook::Features),
    Flagd(&'a flagd::CompiledFlags),
}

impl Compiled<'_> {
    /// As [`Set::evaluate`].
    pub(crate) fn evaluate(self, context: &str, flags: &[&str], now: DateTime<Utc>, seed: u64) -> Result<Vec<Answer>, Error> {
        match self {
            Self::Unleash(set) => {
                let context = unleash::Context::from_json(context, now).map_err(Error::Context)?;
                let mut random = Random::seeded(seed);
                Ok(flags.iter().map(|name| of_unleash(set.evaluate(name, &context, &mut random))).collect())
            }
            Self::GrowthBook(set) => {
                let given = object(context)?;
                let context = growthbook::Context::of_sdk(&given);
                let overridden = given.get("overrides").and_then(Value::as_object).map(|overrides| set.overridden(overrides));
                let set = overridden.as_ref().unwrap_or(set);
                Ok(flags.iter().map(|name| of_growthbook(&set.evaluate(name, &context))).collect())
            }
            Self::Flagd(set) => {
                let context = object(context)?;
                let mut scratch = flagd::Scratch::default();
                Ok(flags.iter().map(|name| of_flagd(set.evaluate(name, &context, now.timestamp(), &mut scratch))).collect())
            }
        }
    }
}

fn object(json: &str) -> Result<Value<'_>, Error> {
    match Value::parse(json).map_err(Error::Context)? {
        found @ Value::Object(_) => Ok(found),
        _ => Err(Error::Context(serde::de::Error::custom("expected an object"))),
    }
}

fn of_unleash(found: unleash::Evaluation<'_>) -> Answer {
    let payload = found.variant.and_then(|variant| variant.payload.as_ref());
    Answer {
        enabled: found.enabled,
        value: payload.map_or(Value::Bool(found.enabled), |payload| Value::String(payload.value.clone().into())),
        variant: Some(found.variant.map_or_else(|| "disabled".to_owned(), |variant| variant.name.to_string())),
        reason: match found.reason {
            unleash::Reason::NotFound => "NOT_FOUND",
            unleash::Reason::Disabled => "DISABLED",
            unleash::Reason::Broken => "ERROR",
            unleash::Reason::Dependency => "PREREQUISITE",
            unleash::Reason::NoMatch => "DEFAULT",
            unleash::Reason::Match => "TARGETING_MATCH",
            unleash::Reason::Static => "STATIC",
        },
        error: match found.reason {
            unleash::Reason::NotFound => Some("FLAG_NOT_FOUND"),
            unleash::Reason::Broken => Some("PARSE_ERROR"),
            _ => None,
        },
    }
}

fn of_growthbook(found: &growthbook::FeatureResult<'_>) -> Answer {
    Answer {
        enabled: found.is_on(),
        value: found.value.clone().into_owned(),
        variant: found.experiment.as_ref().map(|(_, result)| result.key.to_owned()),
        reason: found.source.as_str(),
        error: (found.source == growthbook::Source::UnknownFeature).then_some("FLAG_NOT_FOUND"),
    }
}

fn of_flagd(found: flagd::Evaluation<'_>) -> Answer {
    Answer {
        enabled: found.served.is_some_and(|(_, value)| *value != Value::Bool(false)),
        value: found.served.map_or(Value::Null, |(_, value)| value.clone()),
        variant: found.served.map(|(variant, _)| variant.to_owned()),
        reason: found.reason.as_str(),
        error: found.error.map(flagd::ErrorCode::as_str),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn ask(format: &str, definitions: &str, context: &str, flag: &str) -> Answer {
        let set = Set::compile(format.parse().unwrap(), definitions).unwrap();
        set.evaluate(context, &[flag], DateTime::UNIX_EPOCH, 1).unwrap().remove(0)
    }

    #[test]
    fn the_three_formats_answer_in_one_form() {
        let unleash =
            r#"{"features": [{"name": "f", "enabled": true, "variants": [{"name": "v", "weight": 1, "payload": {"type": "string", "value": "x"}}]}]}"#;
        let growthbook = r#"{"f": {"defaultValue": 0, "rules": [{"key": "e", "variations": ["a", "b"], "weights": [0, 1]}]}}"#;
        let flagd = r#"{"flags": {"f": {"state": "ENABLED", "defaultVariant": "on", "variants": {"on": {"a": 1}}}}}"#;
        for (format, definitions, context, expected) in [
            ("unleash", unleash, r#"{"userId": "1"}"#, r#"{"enabled":true,"value":"x","variant":"v","reason":"STATIC"}"#),
            ("growthbook", growthbook, r#"{"id": "1"}"#, r#"{"enabled":true,"value":"b","variant":"1","reason":"experiment"}"#),
            ("flagd", flagd, "{}", r#"{"enabled":true,"value":{"a":1},"variant":"on","reason":"STATIC"}"#),
        ] {
            assert_eq!(serde_json::to_string(&ask(format, definitions, context, "f")).unwrap(), expected);
            assert_eq!(ask(format, definitions, context, "unknown").error, Some("FLAG_NOT_FOUND"));
        }
    }

    #[test]
    fn growthbooks_context_is_its_attributes_or_has_them_beside_what_is_forced() {
        let features = r#"{"f": {"defaultValue": "no", "rules": [{"condition": {"plan": "pro"}, "force": "yes"}]}}"#;
        let value = |context: &str| serde_json::to_string(&ask("growthbook", features, context, "f").value).unwrap();
        assert_eq!(value(r#"{"plan": "pro"}"#), r#""yes""#);
        assert_eq!(value(r#"{"attributes": {"plan": "pro"}}"#), r#""yes""#);
        assert_eq!(value(r#"{"attributes": {}, "forcedFeatureValues": {"f": "forced"}}"#), r#""forced""#);
    }

    #[test]
    fn what_is_no_format_definition_or_context_is_refused() {
        assert!("launchdarkly".parse::<Format>().is_err());
        for format in ["unleash", "growthbook", "flagd"] {
            assert!(Set::compile(format.parse().unwrap(), "[]").is_err(), "{format}");
        }
        let set = Set::compile(Format::Flagd, r#"{"flags": {}}"#).unwrap();
        assert!(set.evaluate("[]", &["f"], DateTime::UNIX_EPOCH, 0).is_err());
        assert!(set.names().is_empty());
    }
}
