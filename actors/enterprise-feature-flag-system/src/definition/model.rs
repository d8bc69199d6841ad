//! What a flag is, whatever the format it came in or goes out by.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tol_events::EventTime;

use crate::evaluation::Format;

/// The whole, where shares are counted in ten-thousandths.
pub const WHOLE: u32 = crate::rollout::WHOLE;
/// Services that a flag may name.
const SERVICES: usize = 20;

/// One flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name, unique in its set.
    pub key: String,
    /// What it serves.
    #[serde(rename = "type")]
    pub value_type: ValueType,
    /// The format it was born in: its hash decides who is in a percentage, for ever, so that nobody changes sides.
    pub family: Format,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The project it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// `release`, `experiment`, `kill-switch`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// Services whose deployments and incidents concern it: a rollout goes no further meanwhile.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub services: BTreeSet<String>,
    /// Values by the name of their variant; a variant without a value is `null`. An environment may have its own.
    #[serde(default)]
    pub variants: BTreeMap<String, Value>,
    /// How it behaves, by environment.
    #[serde(default)]
    pub environments: BTreeMap<String, Environment>,
}

/// What a flag serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// On or off.
    Boolean,
    /// A text.
    String,
    /// A number.
    Number,
    /// Anything else, or values of several types.
    Object,
}

impl ValueType {
    /// The type of values; a boolean if there are none.
    pub fn of<'v>(values: impl IntoIterator<Item = &'v Value>) -> Self {
        let kind = |value: &Value| match value {
            Value::Bool(_) => Self::Boolean,
            Value::String(_) => Self::String,
            Value::Number(_) => Self::Number,
            Value::Null | Value::Array(_) | Value::Object(_) => Self::Object,
        };
        let mut kinds = values.into_iter().map(kind);
        let first = kinds.next().unwrap_or(Self::Boolean);
        if kinds.all(|other| other == first) { first } else { Self::Object }
    }
}

/// A flag in one environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Whether it is on at all.
    pub enabled: bool,
    /// The kill switch: off, whatever else is said, until it is released.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub killed: bool,
    /// The variants here, where they are not the flag's: what is imported into one environment never changes another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variants: Option<BTreeMap<String, Value>>,
    /// The first that matches decides.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What is served where none matches; nothing if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Serve>,
    /// What a rule that says no more than "on" serves; just on if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Split>,
    /// Other flags that come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prerequisites: Vec<Prerequisite>,
    /// What is to happen later, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Scheduled>,
    /// Fields of the family's format that nothing here stands for.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// The flag as it was imported, where writing it anew gives another text. It holds as long as it says what stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Value>,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            enabled: true,
            killed: false,
            variants: None,
            rules: Vec::new(),
            otherwise: None,
            on: None,
            prerequisites: Vec::new(),
            schedule: Vec::new(),
            extra: Map::new(),
            source: None,
        }
    }
}

impl Environment {
    /// Whether it serves at all.
    pub fn is_live(&self) -> bool {
        self.enabled && !self.killed
    }
}

/// Who is served what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rule {
    /// Said in the common model.
    Targeted(Targeted),
    /// What the common model cannot say, as the family's format says it.
    Native {
        /// The rule.
        rule: Value,
        /// What has no counterpart.
        why: String,
    },
}

/// Who is served what, in the common model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Targeted {
    /// All must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<Constraint>,
    /// All constraints of all of these must hold too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<i64>,
    /// A part of those; everyone if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// What they are served.
    pub serve: Serve,
    /// Fields of the family's format that nothing here stands for.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// A part of everyone; who is in stays in as it grows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// How many, in ten-thousandths.
    pub part: u32,
    /// The attribute that is hashed; the format's own choice if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What is hashed with it; the flag's key if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

/// What is served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "serve", rename_all = "snake_case")]
pub enum Serve {
    /// On; with the variants of [`Environment::on`], if there are any.
    #[default]
    On,
    /// One variant.
    Variant {
        /// Its name.
        name: String,
    },
    /// Variants by weight.
    Split(Split),
}

/// Variants by weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The attribute that is hashed; the format's own choice if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What is hashed with it; the flag's key if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Whole that the weights are parts of; 0 if all are equal, whatever they say.
    pub of: u32,
    /// In the order that the hash counts through.
    pub parts: Vec<Part>,
}

/// A variant and its weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The variant's name.
    pub variant: String,
    /// Its part of the whole.
    pub weight: u32,
    /// Fields of the family's format that nothing here stands for.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// A condition on one attribute of the context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// The attribute, as the family's format calls it.
    pub attribute: String,
    /// The comparison.
    pub operator: Operator,
    /// What it is compared with: any of them.
    pub values: Vec<String>,
    /// Whether the answer is turned round.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inverted: bool,
    /// Whether letters' case is ignored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_case: bool,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // each says what it is
pub enum Operator {
    /// Equal, as the format's plainest comparison has it.
    Equals,
    In,
    NotIn,
    StartsWith,
    EndsWith,
    Contains,
    NumberEquals,
    NumberAbove,
    NumberAtLeast,
    NumberBelow,
    NumberAtMost,
    DateAfter,
    DateBefore,
    VersionEquals,
    VersionAbove,
    VersionAtLeast,
    VersionBelow,
    VersionAtMost,
    Matches,
    InNetwork,
}

/// Another flag that must be on (or off) first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prerequisite {
    /// The other flag's key.
    pub flag: String,
    /// Whether it must be on.
    pub enabled: bool,
    /// Which of its variants must be served; any if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<String>,
}

/// A change that is due later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// When.
    pub at: EventTime,
    /// Whether the flag is on from then.
    pub enabled: bool,
}

impl Definition {
    /// What speaks against it: one sentence a problem, empty if nothing does.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.key.is_empty() {
            found.push("the key is empty; a flag needs a name".to_owned());
        }
        if self.services.len() > SERVICES || self.services.contains("") {
            found.push(format!("services must be at most {SERVICES}, each with a name"));
        }
        for (name, environment) in &self.environments {
            let mut broken = |problem: String| found.push(format!("environment {name}: {problem}"));
            let mut check = |place: &str, serve: &Serve| {
                let names: Vec<&str> = match serve {
                    Serve::On => Vec::new(),
                    Serve::Variant { name } => vec![name],
                    Serve::Split(split) => split.parts.iter().map(|part| part.variant.as_str()).collect(),
                };
                let variants = environment.variants.as_ref().unwrap_or(&self.variants);
                for name in names.into_iter().filter(|name| !variants.contains_key(*name)) {
                    broken(format!("{place} serves \"{name}\", which is no variant of the flag"));
                }
            };
            for (index, rule) in environment.rules.iter().enumerate() {
                if let Rule::Targeted(rule) = rule {
                    check(&format!("rule {index}"), &rule.serve);
                }
            }
            if let Some(otherwise) = &environment.otherwise {
                check("otherwise", otherwise);
            }
            if let Some(split) = &environment.on {
                check("on", &Serve::Split(split.clone()));
            }
            for (index, rule) in environment.rules.iter().enumerate() {
                if let Rule::Targeted(Targeted { share: Some(share), .. }) = rule
                    && share.part > WHOLE
                {
                    broken(format!("rule {index} reaches {} of {WHOLE}; at most the whole can be reached", share.part));
                }
            }
            if environment.prerequisites.iter().any(|prerequisite| prerequisite.flag == self.key) {
                broken("the flag is its own prerequisite".to_owned());
            }
            if environment.schedule.windows(2).any(|pair| pair[0].at >= pair[1].at) {
                broken("the schedule is not in the order of time".to_owned());
            }
        }
        found
    }
}

/// Who an evaluation is about, in each format.
pub(super) fn subject_attribute(format: Format) -> &'static str {
    match format {
        Format::Unleash => "userId",
        Format::GrowthBook => "id",
        Format::Flagd => "targetingKey",
    }
}

/// An attribute of a flag in another format's words; the subject's own name differs, all others are the same.
pub(super) fn attribute(flag: &Definition, name: &str, to: Format) -> Result<String, String> {
    if flag.family == to {
        return Ok(name.to_owned());
    }
    if name == subject_attribute(flag.family) {
        return Ok(subject_attribute(to).to_owned());
    }
    if name == subject_attribute(to) {
        return Err(format!("its attribute \"{name}\" means the subject in {}", to.name()));
    }
    Ok(name.to_owned())
}
