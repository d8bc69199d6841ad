//! The OpenFeature Remote Evaluation Protocol, version 0.3: one flag, or all of them, for a context.
//!
//! A flag answers with the semantics of the format it was born in. `targetingKey` is its `userId` or `id`, unless the context has that itself.
//! The protocol knows five reasons; where no rule of a flag with rules chose anything, the one that is said is `UNKNOWN`.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::environment::{Entry, Environment};
use crate::definition::ValueType;
use crate::evaluation::random::Random;
use crate::evaluation::value::{Object, Value};
use crate::evaluation::{Format, flagd, growthbook, unleash};

/// The variant's name where what is served has none.
const UNNAMED: &str = "none";

/// Who asks, read once for all flags.
pub struct Context<'a> {
    unleash: unleash::Context<'a>,
    growthbook: growthbook::Context<'a>,
    flagd: Value<'a>,
    now: DateTime<Utc>,
}

/// Why a request is refused; each is one of OpenFeature's error codes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    Parse(String),
    /// The context is not as it must be.
    #[error("{0}")]
    Context(&'static str),
}

impl Error {
    /// OpenFeature's word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Parse(_) => "PARSE_ERROR",
            Self::Context(_) => "INVALID_CONTEXT",
        }
    }
}

/// What is answered about one flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was evaluated.
    Evaluated,
    /// There is no such flag.
    NotFound,
    /// It cannot be evaluated.
    Failed,
}

fn text<'a>(value: &Value<'a>) -> Option<Cow<'a, str>> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(bool) => Some(if *bool { "true" } else { "false" }.into()),
        Value::Number(_) => Some(value.to_json().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

impl<'a> Context<'a> {
    /// Reads a request's body: `{"context": {"targetingKey": …, …}}`.
    ///
    /// # Errors
    /// If it has no context, or the context is none.
    pub fn of_request(body: &'a str, environment: &Environment, now: DateTime<Utc>) -> Result<Self, Error> {
        let body = Value::parse(body).map_err(|error| Error::Parse(error.to_string()))?;
        let attributes = body.get("context").ok_or(Error::Context("the body has no \"context\"; send {\"context\": {\"targetingKey\": \"…\"}}"))?;
        let Value::Object(attributes) = attributes.clone() else {
            return Err(Error::Context("\"context\" is no object; send {\"context\": {\"targetingKey\": \"…\"}}"));
        };
        let key = match attributes.get("targetingKey") {
            None | Some(Value::Null) => None,
            Some(Value::String(key)) => Some(key.clone()),
            Some(_) => return Err(Error::Context("\"targetingKey\" is no text")),
        };
        let mut unleash = unleash::Context::at(now);
        unleash.environment = Some(environment.name.clone().into());
        for (name, value) in attributes.iter() {
            let Some(value) = text(value) else { continue };
            match name {
                "userId" => unleash.user_id = Some(value),
                "sessionId" => unleash.session_id = Some(value),
                "appName" => unleash.app_name = Some(value),
                "remoteAddress" => unleash.remote_address = Some(value),
                "environment" => unleash.environment = Some(value),
                "currentTime" => unleash = unleash.with_current_time(value),
                name => unleash.set(name.to_owned(), value),
            }
        }
        if unleash.user_id.is_none() {
            unleash.user_id.clone_from(&key);
        }
        let flagd = Value::Object(attributes);
        let growthbook = match (&flagd, key) {
            (Value::Object(attributes), Some(key)) if attributes.get("id").is_none() => {
                let own = attributes.iter().map(|(name, value)| (Cow::Owned(name.to_owned()), value.clone()));
                Value::Object(Object::new(own.chain([(Cow::Borrowed("id"), Value::String(key))]).collect()))
            }
            _ => flagd.clone(),
        };
        Ok(Self { unleash, growthbook: growthbook::Context::new(growthbook), flagd, now })
    }
}

/// Memory for the evaluations of one request.
struct Memory {
    random: Random,
    scratch: flagd::Scratch,
    json: String,
}

impl Environment {
    /// The answer about one flag, and what kind of answer it is.
    pub fn ofrep(&self, key: &str, context: &Context<'_>, seed: u64) -> (Outcome, Vec<u8>) {
        let mut body = Vec::with_capacity(192);
        let Some(entry) = self.entries.get(key) else {
            let (key, details) = (serde_json::Value::from(key), serde_json::Value::from(format!("there is no flag {key:?} in {}", self.name)));
            return (Outcome::NotFound, format!(r#"{{"key":{key},"errorCode":"FLAG_NOT_FOUND","errorDetails":{details}}}"#).into_bytes());
        };
        let outcome = self.answer(key, entry, context, &mut Memory::new(seed), &mut body);
        (outcome, body)
    }

    /// The answers about all flags.
    pub fn ofrep_all(&self, context: &Context<'_>, seed: u64) -> Vec<u8> {
        let mut memory = Memory::new(seed);
        let flags = self.entries.iter();
        let mut body = Vec::with_capacity(16 + flags.len() * 96);
        body.extend_from_slice(br#"{"flags":["#);
        let first = body.len();
        for (key, entry) in flags {
            if body.len() > first {
                body.push(b',');
            }
            self.answer(key, entry, context, &mut memory, &mut body);
        }
        body.extend_from_slice(b"]}");
        body
    }

    fn answer(&self, key: &str, entry: &Entry, context: &Context<'_>, memory: &mut Memory, body: &mut Vec<u8>) -> Outcome {
        let fixed = entry.fixed.get_or_init(|| {
            self.is_fixed(key, entry).then(|| {
                let mut body = Vec::new();
                self.evaluated(key, entry, context, &mut Memory::new(0), &mut body);
                String::from_utf8(body).unwrap_or_default().into()
            })
        });
        if let Some(fixed) = fixed {
            body.extend_from_slice(fixed.as_bytes());
            return if fixed.contains(r#","errorCode":"#) { Outcome::Failed } else { Outcome::Evaluated };
        }
        self.evaluated(key, entry, context, memory, body)
    }

    fn is_fixed(&self, key: &str, entry: &Entry) -> bool {
        match entry.family {
            Format::Unleash => self.unleash.get(key).is_none_or(unleash::Flag::is_fixed),
            Format::GrowthBook => !entry.live || self.growthbook().is_fixed(key),
            Format::Flagd => self.flagd().is_fixed(key),
        }
    }

    fn evaluated(&self, key: &str, entry: &Entry, context: &Context<'_>, memory: &mut Memory, body: &mut Vec<u8>) -> Outcome {
        let mut say = Writer { entry, body };
        if !entry.live && entry.family != Format::Unleash {
            return say.value("DISABLED", "disabled", "");
        }
        match entry.family {
            Format::Unleash => {
                let found = self.unleash.evaluate(key, &context.unleash, &mut memory.random);
                let reason = match found.reason {
                    unleash::Reason::NotFound | unleash::Reason::Broken => return say.error("PARSE_ERROR", "the flag cannot be evaluated"),
                    unleash::Reason::Disabled => "DISABLED",
                    unleash::Reason::Dependency | unleash::Reason::NoMatch => "UNKNOWN",
                    unleash::Reason::Match => "TARGETING_MATCH",
                    unleash::Reason::Static if found.variant.is_some() => "SPLIT",
                    unleash::Reason::Static => "STATIC",
                };
                let name = if found.enabled { "enabled" } else { "disabled" };
                match found.variant {
                    Some(variant) => say.value(reason, &variant.name, entry.variants.iter().find(|one| one.name == variant.name).map_or("", |one| &one.text)),
                    // A flag of values that serves none leaves the caller's own.
                    None if entry.kind != ValueType::Boolean || !entry.variants.is_empty() => say.value(reason, name, ""),
                    None => say.value(reason, name, if found.enabled { "true" } else { "false" }),
                }
            }
            Format::GrowthBook => {
                let found = self.growthbook().evaluate(key, &context.growthbook);
                let reason = match found.source {
                    growthbook::Source::UnknownFeature | growthbook::Source::CyclicPrerequisite => {
                        return say
                            .error("GENERAL", "the flag cannot be evaluated: its prerequisites are in a circle, or it cannot be said in GrowthBook's terms");
                    }
                    growthbook::Source::Force => "TARGETING_MATCH",
                    growthbook::Source::Experiment => "SPLIT",
                    growthbook::Source::DefaultValue if self.growthbook().is_fixed(key) => "STATIC",
                    _ => "UNKNOWN",
                };
                memory.json.clear();
                if *found.value != Value::Null {
                    found.value.write_json(&mut memory.json);
                }
                let known = entry.variants.iter().find(|one| *one.plain == memory.json);
                let name = found.experiment.as_ref().map(|(_, result)| result.key).or(known.map(|one| &*one.name));
                say.value(reason, name.unwrap_or(UNNAMED), known.map_or(memory.json.as_str(), |one| &one.text))
            }
            Format::Flagd => {
                let found = self.flagd().evaluate(key, &context.flagd, context.now.timestamp(), &mut memory.scratch);
                let reason = match found.reason {
                    flagd::Reason::Error => {
                        return say
                            .error(found.error.map_or("GENERAL", flagd::ErrorCode::as_str), "its targeting failed, or chose a variant that does not exist");
                    }
                    flagd::Reason::Default => "UNKNOWN",
                    reason => reason.as_str(),
                };
                let Some((name, value)) = found.served else { return say.value(reason, UNNAMED, "") };
                if let Some(known) = entry.variants.iter().find(|one| *one.name == *name) {
                    return say.value(reason, name, &known.text);
                }
                memory.json.clear();
                value.write_json(&mut memory.json);
                say.value(reason, name, &memory.json)
            }
        }
    }
}

impl Memory {
    fn new(seed: u64) -> Self {
        Self { random: Random::seeded(seed), scratch: flagd::Scratch::default(), json: String::new() }
    }
}

struct Writer<'w> {
    entry: &'w Entry,
    body: &'w mut Vec<u8>,
}

impl Writer<'_> {
    fn put(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.body.extend_from_slice(part.as_bytes()));
    }

    /// Without a value the caller's own is used. There is always a variant: the Python provider fails where it is missing.
    fn value(&mut self, reason: &str, variant: &str, value: &str) -> Outcome {
        let entry = self.entry;
        self.put(&[r#"{"key":"#, &entry.key_text, r#","reason":""#, reason, r#"","variant":"#]);
        // Most names are words.
        if variant.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_. ".contains(&byte)) {
            self.put(&["\"", variant, "\""]);
        } else {
            self.put(&[&serde_json::Value::from(variant).to_string()]);
        }
        if !value.is_empty() {
            self.put(&[r#","value":"#, value]);
        }
        self.put(&["}"]);
        Outcome::Evaluated
    }

    fn error(&mut self, code: &str, details: &str) -> Outcome {
        let entry = self.entry;
        self.put(&[r#"{"key":"#, &entry.key_text, r#","errorCode":""#, code, r#"","errorDetails":""#, details, "\"}"]);
        Outcome::Failed
    }
}
