//! flagd's semantics: flags whose targeting is JSONLogic with a few operators more.
//!
//! * `operators` — `fractional`, `sem_ver`, `starts_with`, `ends_with`; `logic` — JSONLogic's operators as flagd's JavaScript core has them
//! * [`CompiledFlags`] — a compiled set; [`Scratch`] — memory that evaluations use again

mod logic;
mod operators;

use std::borrow::Cow;
use std::sync::Arc;

use bumpalo::Bump;
use datalogic_rs::datavalue::NumberValue;
use datalogic_rs::{DataValue, Engine, Logic};
use serde::Deserialize as _;

use super::keyed::Keyed;
use super::value::{Object, Value};

/// References to shared rules may be nested this deep.
const DEPTH: u32 = 32;

/// Why a file of flags is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not JSON.
    #[error("the flags are not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It has another form.
    #[error("flag {flag:?}: {problem}")]
    Form {
        /// The flag.
        flag: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A compiled set of flags.
#[derive(Clone)]
pub struct CompiledFlags {
    engine: Arc<Engine>,
    flags: Keyed<Flag>,
    metadata: Object<'static>,
}

struct Flag {
    enabled: bool,
    default: Option<u32>,
    variants: Box<[(Box<str>, Value<'static>)]>,
    targeting: Targeting,
    metadata: Object<'static>,
}

enum Targeting {
    None,
    /// It cannot be compiled.
    Broken,
    Logic(Box<Logic>),
}

/// Memory for evaluations, used again by the next one.
#[derive(Default)]
pub struct Scratch(Bump);

/// What an evaluation found.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// The value and its variant; none where the caller's own default is to be used.
    pub served: Option<(&'a str, &'a Value<'static>)>,
    /// Why.
    pub reason: Reason,
    /// What went wrong, if the reason is an error.
    pub error: Option<ErrorCode>,
    /// The set's metadata and over it the flag's.
    pub metadata: &'a Object<'static>,
}

/// Why an evaluation came out as it did, in OpenFeature's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The flag has no targeting.
    Static,
    /// Targeting chose nothing, or there is nothing to serve.
    Default,
    /// Targeting chose the variant.
    TargetingMatch,
    /// The flag is disabled.
    Disabled,
    /// See the error code.
    Error,
}

/// What went wrong, in OpenFeature's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// There is no such flag.
    FlagNotFound,
    /// The targeting cannot be compiled.
    ParseError,
    /// The value is of another type than was asked for.
    TypeMismatch,
    /// Targeting failed, or chose a variant that does not exist.
    General,
}

/// The type that a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A text.
    String,
    /// A number.
    Number,
    /// An object or an array.
    Object,
}

impl Reason {
    /// As OpenFeature writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::Default => "DEFAULT",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Disabled => "DISABLED",
            Self::Error => "ERROR",
        }
    }
}

impl ErrorCode {
    /// As OpenFeature writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FlagNotFound => "FLAG_NOT_FOUND",
            Self::ParseError => "PARSE_ERROR",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::General => "GENERAL",
        }
    }
}

impl CompiledFlags {
    /// No flags.
    pub fn empty() -> Self {
        Self { engine: Arc::new(operators::engine()), flags: Keyed::default(), metadata: Object::default() }
    }

    /// Reads and compiles a file of flags.
    ///
    /// # Errors
    /// If it is not JSON, or a flag has no variants, no known state or a default that is none of its variants.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let source = Value::deserialize(&mut deserializer)?;
        deserializer.end()?;
        let empty = Object::default();
        let evaluators = source.get("$evaluators").and_then(Value::as_object).unwrap_or(&empty);
        let metadata = source.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
        let engine = operators::engine();
        let form = |problem: &str| Error::Form { flag: String::new(), problem: problem.to_owned() };
        let sources: Vec<(&str, &Value<'_>)> = match source.get("flags") {
            Some(Value::Object(flags)) => flags.iter().collect(),
            Some(Value::Array(flags)) => {
                let keyed = |flag| Value::get(flag, "key").and_then(Value::as_str).map(|key| (key, flag));
                flags.iter().map(keyed).collect::<Option<_>>().ok_or_else(|| form("a flag of a list needs a key"))?
            }
            _ => return Err(form("the file has no flags")),
        };
        let mut flags = Vec::with_capacity(sources.len());
        for (key, source) in sources {
            let problem = |problem: &str| Error::Form { flag: key.to_owned(), problem: problem.to_owned() };
            flags.push((Arc::from(key), Flag::compile(source, evaluators, metadata, &engine).map_err(problem)?));
        }
        let Value::Object(metadata) = Value::Object(metadata.clone()).into_owned() else { return Err(form("metadata is no object")) };
        Ok(Self { engine: Arc::new(engine), flags: flags.into_iter().collect(), metadata })
    }

    /// Puts flags in place of those of their keys, or takes them away, and leaves the others as they are. One that is refused is taken away.
    pub fn set<'s>(&mut self, changes: impl IntoIterator<Item = (&'s str, Option<&'s Value<'s>>)>, evaluators: &Value<'_>) {
        let empty = Object::default();
        let evaluators = evaluators.as_object().unwrap_or(&empty);
        let compiled = |source: &Value<'_>| Flag::compile(source, evaluators, &self.metadata, &self.engine).ok();
        let changes: Vec<_> = changes.into_iter().map(|(key, source)| (Arc::from(key), source.and_then(compiled))).collect();
        self.flags.set(changes);
    }

    /// The keys of all flags, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.flags.iter().map(|(key, _)| key)
    }

    /// Whether a flag answers the same to everybody.
    pub(crate) fn is_fixed(&self, key: &str) -> bool {
        self.flags.get(key).is_some_and(|flag| !flag.enabled || !matches!(flag.targeting, Targeting::Logic(_)))
    }

    /// Evaluates a flag for a context at a time (seconds since 1970).
    pub fn evaluate<'a>(&'a self, key: &str, context: &Value<'_>, now: i64, scratch: &mut Scratch) -> Evaluation<'a> {
        let Some(flag) = self.flags.get(key) else {
            return Evaluation { served: None, reason: Reason::Error, error: Some(ErrorCode::FlagNotFound), metadata: &self.metadata };
        };
        let found = |served, reason, error| Evaluation { served, reason, error, metadata: &flag.metadata };
        if !flag.enabled {
            return found(None, Reason::Disabled, None);
        }
        let default = flag.default.and_then(|position| flag.served(position));
        let logic = match &flag.targeting {
            Targeting::None if default.is_none() => return found(None, Reason::Default, None),
            Targeting::None => return found(default, Reason::Static, None),
            Targeting::Broken => return found(None, Reason::Error, Some(ErrorCode::ParseError)),
            Targeting::Logic(logic) => logic,
        };
        scratch.0.reset();
        let data = data(context, key, now, &scratch.0);
        match self.engine.evaluate(logic, data, &scratch.0) {
            Ok(DataValue::Null) => found(default, Reason::Default, None),
            Ok(chosen) => match flag.variant(chosen).and_then(|position| flag.served(position)) {
                Some(served) => found(Some(served), Reason::TargetingMatch, None),
                None => found(None, Reason::Error, Some(ErrorCode::General)),
            },
            Err(_) => found(None, Reason::Error, Some(ErrorCode::General)),
        }
    }

    /// The same, where a value of another type is an error.
    pub fn evaluate_as<'a>(&'a self, kind: Kind, key: &str, context: &Value<'_>, now: i64, scratch: &mut Scratch) -> Evaluation<'a> {
        let found = self.evaluate(key, context, now, scratch);
        match found.served {
            Some((_, value)) if kind_of(value) != kind => Evaluation { served: None, reason: Reason::Error, error: Some(ErrorCode::TypeMismatch), ..found },
            _ => found,
        }
    }
}

fn kind_of(value: &Value<'_>) -> Kind {
    match value {
        Value::Bool(_) => Kind::Boolean,
        Value::String(_) => Kind::String,
        Value::Number(_) => Kind::Number,
        Value::Null | Value::Array(_) | Value::Object(_) => Kind::Object,
    }
}

impl Flag {
    fn compile(source: &Value<'_>, evaluators: &Object<'_>, metadata: &Object<'_>, engine: &Engine) -> Result<Self, &'static str> {
        let enabled = match source.get("state").and_then(Value::as_str) {
            Some("ENABLED") => true,
            Some("DISABLED") => false,
            _ => return Err("the state is neither ENABLED nor DISABLED"),
        };
        let variants = source.get("variants").and_then(Value::as_object).ok_or("there are no variants")?;
        let variants: Box<[(Box<str>, Value<'static>)]> = variants.iter().map(|(name, value)| (name.into(), value.clone().into_owned())).collect();
        let position = |name: &str| variants.iter().zip(0..).find(|((variant, _), _)| variant.as_ref() == name).map(|(_, position)| position);
        let default = match source.get("defaultVariant") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) if name.is_empty() => None,
            Some(Value::String(name)) => Some(position(name).ok_or("the default variant is none of the variants")?),
            Some(_) => return Err("the default variant is no text"),
        };
        let targeting = match source.get("targeting") {
            None | Some(Value::Null) => Targeting::None,
            Some(Value::Object(rule)) if rule.is_empty() => Targeting::None,
            Some(rule) => match resolved(rule, evaluators, DEPTH, logic::Mode::Compiled).and_then(|rule| engine.compile(rule.to_json().as_str()).ok()) {
                Some(logic) => Targeting::Logic(Box::new(logic)),
                None => Targeting::Broken,
            },
        };
        // The flag's metadata wins over the set's.
        let own = source.get("metadata").and_then(Value::as_object).into_iter().flat_map(Object::iter);
        let entries = metadata.iter().chain(own).map(|(name, value)| (Cow::Owned(name.to_owned()), value.clone().into_owned())).collect();
        Ok(Self { enabled, default, variants, targeting, metadata: Object::new(entries) })
    }

    fn served(&self, position: u32) -> Option<(&str, &Value<'static>)> {
        self.variants.get(position as usize).map(|(name, value)| (name.as_ref(), value))
    }

    /// The variant that targeting chose; what is no text is written as JavaScript writes it.
    fn variant(&self, chosen: &DataValue<'_>) -> Option<u32> {
        let mut buffer = ryu_js::Buffer::new();
        let written;
        #[allow(clippy::cast_precision_loss)]
        let name = match chosen {
            DataValue::String(name) => name,
            DataValue::Number(NumberValue::Integer(number)) => buffer.format(*number as f64),
            DataValue::Number(NumberValue::Float(number)) => buffer.format(*number),
            chosen => {
                written = logic::text(chosen);
                written.as_ref()
            }
        };
        self.variants.iter().zip(0..).find(|((variant, _), _)| variant.as_ref() == name).map(|(_, position)| position)
    }
}

/// A rule as the engine takes it: references to shared rules are replaced. `None` if those refer to each other or an operator is not known.
fn resolved<'v>(rule: &Value<'v>, evaluators: &Object<'v>, depth: u32, mode: logic::Mode) -> Option<Value<'v>> {
    Some(match rule {
        Value::Object(object) => {
            if let (1, Some(Value::String(name))) = (object.len(), object.get("$ref")) {
                return resolved(evaluators.get(name)?, evaluators, depth.checked_sub(1)?, mode);
            }
            let known = |(key, _): &(&str, &Value<'_>)| operators::KNOWN.contains(key);
            if !object.iter().all(|entry| known(&entry)) {
                return None;
            }
            let entry = |(key, value): (&str, &Value<'v>)| {
                let mode = mode.within(key, value);
                Some(logic::as_operation(key, resolved(value, evaluators, depth, mode)?, mode))
            };
            Value::Object(Object::new(object.iter().map(entry).collect::<Option<_>>()?))
        }
        Value::Array(items) => Value::Array(items.iter().map(|item| resolved(item, evaluators, depth, mode)).collect::<Option<_>>()?),
        other => other.clone(),
    })
}

/// The context as JSONLogic sees it, with flagd's own properties.
fn data<'a>(context: &'a Value<'_>, flag: &'a str, now: i64, arena: &'a Bump) -> &'a DataValue<'a> {
    let properties = arena.alloc_slice_copy(&[("flagKey", DataValue::String(flag)), ("timestamp", DataValue::Number(NumberValue::Integer(now)))]);
    let own = std::iter::once(("$flagd", DataValue::Object(properties)));
    let entries = context.as_object().into_iter().flat_map(Object::iter).filter(|(key, _)| *key != "$flagd").map(|(key, value)| (key, convert(value, arena)));
    let entries = bumpalo::collections::Vec::from_iter_in(entries.chain(own), arena);
    arena.alloc(DataValue::Object(entries.into_bump_slice()))
}

fn convert<'a>(value: &'a Value<'_>, arena: &'a Bump) -> DataValue<'a> {
    match value {
        Value::Null => DataValue::Null,
        Value::Bool(bool) => DataValue::Bool(*bool),
        Value::Number(number) => DataValue::Number(NumberValue::from_f64(*number)),
        Value::String(text) => DataValue::String(text),
        Value::Array(items) => DataValue::Array(arena.alloc_slice_fill_iter(items.iter().map(|item| convert(item, arena)))),
        Value::Object(object) => {
            let entries = bumpalo::collections::Vec::from_iter_in(object.iter().map(|(key, value)| (key, convert(value, arena))), arena);
            DataValue::Object(entries.into_bump_slice())
        }
    }
}

#[cfg(test)]
mod tests;
