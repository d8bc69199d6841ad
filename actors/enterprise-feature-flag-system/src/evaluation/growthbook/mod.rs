//! GrowthBook's semantics, as its SDK specification 0.8 and its JavaScript SDK define them.
//!
//! * [`Condition`], `groups`, `js`, `regex` — conditions, compared as JavaScript compares
//! * [`Experiment`], [`hash`] — bucketing; `url` — the pages it runs on
//! * [`encrypted`] — payloads for SDK connections that encrypt
//! * [`Features`] — a compiled set, to evaluate against a [`Context`]

mod condition;
mod context;
pub mod encrypted;
mod evaluate;
mod experiment;
mod groups;
pub mod hash;
mod js;
mod regex;
mod report;
mod url;

use std::borrow::Cow;
use std::sync::Arc;

use self::condition::Scope;
use self::experiment::{Filter, Parent, filters, hash_version, parents, range, text};
use self::groups::Groups;
use self::hash::Range;
use super::keyed::Keyed;
use super::value::{Object, Value};

pub use self::condition::Condition;
pub use self::context::Context;
pub use self::evaluate::{Assignment, ExperimentResult, FeatureResult, Source};
pub use self::experiment::Experiment;
pub(crate) use self::js::{compare_texts, text_to_number};

/// A compiled set of features.
#[derive(Clone, Debug, Default)]
pub struct Features {
    features: Keyed<Feature>,
    groups: Arc<Groups>,
}

/// A compiled feature.
#[derive(Clone, Debug)]
struct Feature {
    default: Value<'static>,
    rules: Box<[Rule]>,
}

#[derive(Clone, Debug)]
struct Rule {
    id: Box<str>,
    parents: Box<[Parent]>,
    filters: Option<Box<[Filter]>>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Force {
        value: Value<'static>,
        condition: Option<Condition>,
        rollout: Option<Rollout>,
    },
    Experiment(Box<Experiment>),
    /// Neither: it is passed over.
    Nothing,
}

/// Who a forced value reaches.
#[derive(Clone, Debug)]
struct Rollout {
    seed: Box<str>,
    attribute: Box<str>,
    fallback: Option<Box<str>>,
    sticky: bool,
    hash_version: f64,
    part: Part,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Nobody,
    Range(Range),
    Coverage(f64),
}

impl Features {
    /// Reads an answer of `GET /api/features/{clientKey}` (`{"features", "savedGroups", "contextualBandits"}`) or a bare map of features.
    ///
    /// # Errors
    /// If the text is not a JSON object.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        let payload = Value::parse(json)?;
        if payload.as_object().is_none() {
            return Err(serde::de::Error::custom("expected an object of features"));
        }
        // A map of features may have one called `features`, but that would not be a map of maps with rules or values.
        let wrapped = payload.get("features").and_then(Value::as_object).filter(|features| {
            ["defaultValue", "rules"].iter().all(|name| features.get(name).is_none()) || features.iter().all(|(_, feature)| feature.as_object().is_some())
        });
        Ok(match wrapped {
            Some(_) => Self::compile(
                payload.get("features").unwrap_or(&Value::Null),
                payload.get("savedGroups").unwrap_or(&Value::Null),
                payload.get("contextualBandits").unwrap_or(&Value::Null),
            ),
            None => Self::compile(&payload, &Value::Null, &Value::Null),
        })
    }

    /// Compiles a map of features, its saved groups and its contextual bandits.
    pub fn compile(features: &Value<'_>, saved_groups: &Value<'_>, bandits: &Value<'_>) -> Self {
        let sources = features.as_object().into_iter().flat_map(Object::iter).filter(|(_, feature)| feature.is_truthy());
        let features = sources.map(|(key, source)| (key.into(), Feature::compile(key, source, bandits))).collect();
        Self { features, groups: Arc::new(Groups::compile(saved_groups)) }
    }

    /// Puts features in place of those of their keys, or takes them away, and leaves the others as they are.
    pub fn set<'s>(&mut self, changes: impl IntoIterator<Item = (&'s str, Option<&'s Value<'s>>)>, bandits: &Value<'_>) {
        let compiled = |key: &str, source: &Value<'_>| source.is_truthy().then(|| Feature::compile(key, source, bandits));
        self.features.set(changes.into_iter().map(|(key, source)| (key.into(), source.and_then(|source| compiled(key, source)))));
    }

    /// The keys of all features, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|(key, _)| key)
    }

    /// Whether a feature answers the same to everybody.
    pub(crate) fn is_fixed(&self, key: &str) -> bool {
        self.get(key).is_some_and(|feature| feature.rules.is_empty())
    }

    fn get(&self, key: &str) -> Option<&Feature> {
        self.features.get(key)
    }

    /// Whether a condition holds for attributes, with the groups of this set.
    pub fn condition_holds(&self, condition: &Condition, attributes: &Value<'_>) -> bool {
        condition.holds(attributes, &mut Scope::new(&self.groups))
    }

    /// The groups of the context win over those of the set.
    fn scope<'s>(&'s self, context: &'s Context<'_>) -> Scope<'s> {
        Scope::new(context.saved_groups.as_ref().unwrap_or(&self.groups))
    }

    /// These features with their experiments changed by key, as a context's `overrides` change them.
    pub fn overridden(&self, overrides: &Object<'_>) -> Self {
        let mut changed = Vec::new();
        for (key, feature) in self.features.iter() {
            let mut feature = feature.clone();
            let mut found = false;
            for rule in &mut feature.rules {
                let Kind::Experiment(experiment) = &mut rule.kind else { continue };
                let Some(over) = overrides.get(experiment.key()).filter(|over| over.is_truthy()).and_then(Value::as_object) else { continue };
                **experiment = experiment.overridden(over);
                found = true;
            }
            if found {
                changed.push((Arc::from(key), Some(feature)));
            }
        }
        let mut features = self.clone();
        features.features.set(changed);
        features
    }
}

impl Feature {
    fn compile(key: &str, source: &Value<'_>, bandits: &Value<'_>) -> Self {
        let rules = source.get("rules").and_then(Value::as_array).unwrap_or_default();
        Self {
            default: source.get("defaultValue").map_or(Value::Null, |value| value.clone().into_owned()),
            rules: rules.iter().filter_map(Value::as_object).map(|rule| Rule::compile(rule, key, bandits)).collect(),
        }
    }
}

impl Rule {
    fn compile(source: &Object<'_>, feature: &str, bandits: &Value<'_>) -> Self {
        let kind = match source.get("force") {
            Some(value) => Kind::Force {
                value: value.clone().into_owned(),
                condition: source.get("condition").filter(|condition| condition.is_truthy()).map(Condition::compile),
                rollout: Rollout::compile(source, feature),
            },
            None => Experiment::of_rule(source, feature, bandits).map_or(Kind::Nothing, |experiment| Kind::Experiment(Box::new(experiment))),
        };
        Self { id: source.get("id").and_then(Value::as_str).unwrap_or_default().into(), parents: parents(source), filters: filters(source), kind }
    }
}

impl Rollout {
    /// `None` if everyone is reached.
    fn compile(source: &Object<'_>, feature: &str) -> Option<Self> {
        let part = match (source.get("range").filter(|range| range.is_truthy()), source.get("coverage")) {
            (Some(source), _) => Part::Range(range(source)),
            (None, Some(Value::Number(0.0))) => Part::Nobody,
            (None, Some(coverage)) => Part::Coverage(js::to_number(coverage)),
            (None, None) => return None,
        };
        Some(Self {
            seed: text(source, "seed").unwrap_or(Cow::Borrowed(feature)).into(),
            attribute: text(source, "hashAttribute").unwrap_or(Cow::Borrowed("id")).into(),
            fallback: text(source, "fallbackAttribute").map(Box::from),
            sticky: !source.get("disableStickyBucketing").is_some_and(Value::is_truthy),
            hash_version: hash_version(source, 1.0),
            part,
        })
    }
}

#[cfg(test)]
mod tests;
