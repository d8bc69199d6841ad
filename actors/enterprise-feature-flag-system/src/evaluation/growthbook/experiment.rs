//! Compiled experiments: who is in, and with which variation.

use std::borrow::Cow;

use super::condition::Condition;
use super::hash::{Range, bucket_ranges, equal_weights};
use super::js::{to_number, to_text};
use super::url::{OldTarget, Targets};
use crate::evaluation::value::{Object, Value};

/// A compiled experiment, a feature's rule or one that is run by itself.
#[derive(Clone, Debug)]
pub struct Experiment {
    pub(super) key: Box<str>,
    pub(super) variations: Box<[Value<'static>]>,
    /// The key of each variation: that of its description, or else its number.
    pub(super) meta: Box<[Meta]>,
    pub(super) ranges: Box<[Range]>,
    pub(super) hash_attribute: Box<str>,
    pub(super) fallback_attribute: Option<Box<str>>,
    pub(super) seed: Box<str>,
    pub(super) hash_version: f64,
    pub(super) filters: Option<Box<[Filter]>>,
    pub(super) namespace: Option<(Box<str>, Range)>,
    pub(super) condition: Option<Condition>,
    pub(super) parents: Box<[Parent]>,
    pub(super) sticky: Option<Sticky>,
    /// `Some(None)` forces a variation that does not exist.
    pub(super) force: Option<Option<usize>>,
    pub(super) inactive: bool,
    pub(super) stopped: bool,
    /// The pages it runs on, and what the older fields say of it.
    pub(super) targets: Option<Targets>,
    pub(super) old_target: Option<OldTarget>,
    /// One of these must be among the context's groups.
    pub(super) groups: Option<Box<[Box<str>]>>,
    pub(super) bandit: Option<Bandit>,
    /// As SDKs report it.
    definition: Object<'static>,
}

/// What is said about a variation.
#[derive(Clone, Debug, Default)]
pub(super) struct Meta {
    pub(super) key: Box<str>,
    /// Whether the key was given, so that a sticky bucket can name it.
    pub(super) given: bool,
    pub(super) name: Option<Box<str>>,
    pub(super) passthrough: bool,
}

/// A part of everyone that is let in.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) attribute: Box<str>,
    pub(super) seed: Box<str>,
    pub(super) hash_version: f64,
    pub(super) ranges: Box<[Range]>,
}

/// Another feature whose value must satisfy a condition.
#[derive(Clone, Debug)]
pub(super) struct Parent {
    pub(super) id: Box<str>,
    pub(super) condition: Condition,
    /// Whether the whole feature is off where it does not, and not only the rule.
    pub(super) gate: bool,
}

/// How earlier assignments are kept.
#[derive(Clone, Debug)]
pub(super) struct Sticky {
    /// `key__version`
    pub(super) assignment: Box<str>,
    /// People assigned in one of these versions are left out.
    pub(super) blocked: Box<[Box<str>]>,
}

/// Weights by context.
#[derive(Clone, Debug)]
pub(super) struct Bandit {
    pub(super) leaves: Box<[Leaf]>,
    pub(super) fallback: Leaf,
    pub(super) version: Option<Value<'static>>,
}

#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) condition: Condition,
    pub(super) id: Value<'static>,
    pub(super) weights: Value<'static>,
    pub(super) ranges: Box<[Range]>,
    /// Whether the experiment is reported with these weights instead of its own.
    reported: bool,
}

/// A list of blocked versions is not longer than this, whatever a definition says.
const BLOCKED_VERSIONS: f64 = 1000.0;

/// What a rule carries over into the experiment that SDKs report, in their order: if it is there (`true`), or if it is truthy.
const CARRIED: [(&str, bool); 16] = [
    ("coverage", true),
    ("weights", false),
    ("hashAttribute", false),
    ("fallbackAttribute", false),
    ("disableStickyBucketing", false),
    ("bucketVersion", true),
    ("minBucketVersion", true),
    ("namespace", false),
    ("meta", false),
    ("ranges", false),
    ("name", false),
    ("phase", false),
    ("seed", false),
    ("hashVersion", false),
    ("filters", false),
    ("condition", false),
];

impl Experiment {
    /// Compiles an experiment that is run by itself. `None` if it has no variations.
    pub fn compile(source: &Value<'_>) -> Option<Self> {
        let source = source.as_object()?;
        Self::new(source, source.get("variations")?, &text(source, "key").unwrap_or_default(), true, None)
    }

    /// Compiles a feature's rule. `None` if it has no variations.
    pub(super) fn of_rule(rule: &Object<'_>, feature: &str, bandits: &Value<'_>) -> Option<Self> {
        let variations = [rule.get("contextualVariations"), rule.get("variations")].into_iter().flatten().find(|found| **found != Value::Null)?;
        let key = text(rule, "key").unwrap_or(Cow::Borrowed(feature));
        let bandit = rule.get("contextualBanditRef").and_then(Value::as_str).and_then(|name| bandits.get(name)).filter(|bandit| bandit.is_truthy());
        Self::new(rule, variations, &key, false, bandit)
    }

    fn new(source: &Object<'_>, variations: &Value<'_>, key: &str, alone: bool, bandit: Option<&Value<'_>>) -> Option<Self> {
        let variations: Box<[Value<'static>]> = variations.as_array()?.iter().map(|value| value.clone().into_owned()).collect();
        let coverage = source.get("coverage").map_or(1.0, to_number);
        let ranges = given_ranges(source).unwrap_or_else(|| bucket_ranges(variations.len(), coverage, numbers(source.get("weights")).as_deref()).into());
        let sticky = (!source.get("disableStickyBucketing").is_some_and(Value::is_truthy)).then(|| Sticky {
            assignment: format!("{key}__{}", text(source, "bucketVersion").unwrap_or(Cow::Borrowed("0"))).into(),
            blocked: versions(source.get("minBucketVersion").map_or(0.0, to_number)).map(|version| format!("{key}__{version}").into()).collect(),
        });
        let status = source.get("status").and_then(Value::as_str).filter(|_| alone);
        let mut definition: Vec<_> = vec![("variations".into(), Value::Array(variations.to_vec())), ("key".into(), Value::String(key.to_owned().into()))];
        for (name, present) in CARRIED {
            if let Some(value) = source.get(name).filter(|value| present || value.is_truthy()) {
                definition.push((name.into(), value.clone().into_owned()));
            }
        }
        Some(Self {
            meta: meta(source.get("meta"), variations.len()),
            ranges,
            hash_attribute: text(source, "hashAttribute").unwrap_or(Cow::Borrowed("id")).into(),
            fallback_attribute: text(source, "fallbackAttribute").map(Box::from),
            seed: text(source, "seed").unwrap_or(Cow::Borrowed(key)).into(),
            hash_version: hash_version(source, 1.0),
            filters: filters(source),
            namespace: source.get("namespace").filter(|namespace| namespace.is_truthy()).map(|namespace| {
                let name = namespace.as_array().and_then(|parts| parts.first()).map_or(Cow::Borrowed("undefined"), to_text);
                (name.into(), (item(namespace, 1), item(namespace, 2)))
            }),
            condition: source.get("condition").filter(|condition| condition.is_truthy()).map(Condition::compile),
            parents: if alone { parents(source) } else { Box::default() },
            sticky,
            force: source.get("force").filter(|_| alone).map(index),
            inactive: status == Some("draft") || (alone && source.get("active") == Some(&Value::Bool(false))),
            stopped: status == Some("stopped"),
            targets: Targets::compile(source.get("urlPatterns").filter(|_| alone)),
            old_target: if alone { OldTarget::compile(source) } else { None },
            groups: source
                .get("groups")
                .filter(|groups| alone && groups.is_truthy())
                .map(|groups| groups.as_array().unwrap_or_default().iter().filter_map(Value::as_str).map(Box::from).collect()),
            bandit: bandit.map(|bandit| Bandit::new(bandit, variations.len(), coverage, source)),
            key: key.into(),
            variations,
            definition: Object::new(definition),
        })
    }

    /// Its key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The experiment with fields changed by a context's `overrides`. Its key and what is reported of it stay.
    pub(super) fn overridden(&self, over: &Object<'_>) -> Self {
        let entries = self.definition.iter().chain(over.iter()).map(|(name, value)| (Cow::Owned(name.to_owned()), value.clone()));
        let merged = Object::new(entries.collect());
        let Some(changed) = merged.get("variations").and_then(|variations| Self::new(&merged, variations, &self.key, true, None)) else { return self.clone() };
        let coverage = merged.get("coverage").map_or(1.0, to_number);
        let rebased = |leaf: &Leaf| {
            let weights =
                over.get("weights").filter(|weights| weights.is_truthy()).map_or_else(|| leaf.weights.clone(), |weights| weights.clone().into_owned());
            let ranges = given_ranges(&merged).unwrap_or_else(|| bucket_ranges(changed.variations.len(), coverage, numbers(Some(&weights)).as_deref()).into());
            Leaf { weights, ranges, ..leaf.clone() }
        };
        let bandit = self.bandit.as_ref().map(|bandit| Bandit {
            leaves: bandit.leaves.iter().map(rebased).collect(),
            fallback: rebased(&bandit.fallback),
            version: bandit.version.clone(),
        });
        Self { definition: self.definition.clone(), bandit, ..changed }
    }

    /// As SDKs report it; with the leaf that a contextual bandit chose.
    pub(super) fn report(&self, leaf: Option<&Leaf>) -> Value<'static> {
        let mut entries: Vec<_> = self.definition.iter().map(|(name, value)| (name.to_owned().into(), value.clone())).collect();
        if let (Some(leaf), Some(bandit)) = (leaf, &self.bandit) {
            if leaf.reported {
                entries.retain(|(name, _)| *name != "weights");
                entries.push(("weights".into(), leaf.weights.clone()));
            }
            let mut chosen = vec![("leafId".into(), leaf.id.clone()), ("variationWeights".into(), leaf.weights.clone())];
            chosen.extend(bandit.version.clone().map(|version| ("banditVersion".into(), version)));
            entries.push(("contextualBandit".into(), Value::Object(Object::new(chosen))));
        }
        Value::Object(Object::new(entries))
    }
}

impl Bandit {
    fn new(source: &Value<'_>, count: usize, coverage: f64, rule: &Object<'_>) -> Self {
        let leaf = |condition: Option<&Value<'_>>, id: Value<'static>, weights: Option<&Value<'_>>, reported| Leaf {
            condition: condition.map(Condition::compile).unwrap_or_default(),
            id,
            weights: weights
                .filter(|weights| weights.is_truthy())
                .map_or_else(|| Value::Array(equal_weights(count).into_iter().map(Value::Number).collect()), |weights| weights.clone().into_owned()),
            // A rule's own ranges win over weights, whoever sets those.
            ranges: given_ranges(rule).unwrap_or_else(|| bucket_ranges(count, coverage, numbers(weights).as_deref()).into()),
            reported,
        };
        let contexts = source.get("contexts").and_then(Value::as_array).unwrap_or_default();
        let id = |context: &Value<'_>| context.get("leafId").map_or(Value::Null, |id| id.clone().into_owned());
        Self {
            leaves: contexts.iter().map(|context| leaf(context.get("condition"), id(context), context.get("weights"), true)).collect(),
            fallback: leaf(None, Value::Number(-1.0), rule.get("weights"), false),
            version: source.get("banditVersion").map(|version| version.clone().into_owned()),
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn versions(end: f64) -> std::ops::Range<u32> {
    0..end.clamp(0.0, BLOCKED_VERSIONS).ceil() as u32
}

fn meta(source: Option<&Value<'_>>, count: usize) -> Box<[Meta]> {
    let source = source.and_then(Value::as_array).unwrap_or_default();
    (0..count)
        .map(|index| {
            let meta = source.get(index);
            let text = |name: &str| meta.and_then(|meta| meta.get(name)).filter(|text| text.is_truthy()).map(to_text);
            Meta {
                key: text("key").map_or_else(|| index.to_string().into(), Box::from),
                given: matches!(meta.and_then(|meta| meta.get("key")), Some(Value::String(_))),
                name: text("name").map(Box::from),
                passthrough: meta.and_then(|meta| meta.get("passthrough")).is_some_and(Value::is_truthy),
            }
        })
        .collect()
}

/// A field as a text; none if it is not there or JavaScript takes it for false.
pub(super) fn text<'v>(source: &'v Object<'_>, name: &str) -> Option<Cow<'v, str>> {
    source.get(name).filter(|value| value.is_truthy()).map(to_text)
}

/// A variation's number; what is none stands for none.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn index(value: &Value<'_>) -> Option<usize> {
    match value {
        Value::Number(number) if *number >= 0.0 && number.fract() == 0.0 => Some(*number as usize),
        // A key of an array, as JavaScript sees it.
        Value::String(text) => text.parse().ok().filter(|number: &usize| number.to_string() == *text),
        _ => None,
    }
}

/// The version of the hash; 0 and what is no number stand for the default.
pub(super) fn hash_version(source: &Object<'_>, default: f64) -> f64 {
    match source.get("hashVersion") {
        Some(Value::Number(version)) if *version != 0.0 => *version,
        Some(version) if version.is_truthy() => f64::NAN,
        _ => default,
    }
}

/// The number at a place of a list. What is missing compares with nothing.
fn item(source: &Value<'_>, place: usize) -> f64 {
    source.as_array().and_then(|items| items.get(place)).map_or(f64::NAN, to_number)
}

/// A pair of numbers, which are compared as JavaScript compares; what is none lets nobody in.
pub(super) fn range(source: &Value<'_>) -> Range {
    (item(source, 0), item(source, 1))
}

/// The ranges that a rule has of its own. What is no list has none for anybody.
fn given_ranges(source: &Object<'_>) -> Option<Box<[Range]>> {
    let ranges = source.get("ranges").filter(|ranges| ranges.is_truthy())?;
    Some(ranges.as_array().unwrap_or_default().iter().map(range).collect())
}

/// Weights; `None` where equal ones are taken instead.
fn numbers(source: Option<&Value<'_>>) -> Option<Vec<f64>> {
    let number = |item: &Value<'_>| matches!(item, Value::Number(_) | Value::Null | Value::Bool(_)).then(|| to_number(item));
    source?.as_array()?.iter().map(number).collect()
}

/// The filters of a rule or an experiment; `None` if it has none, where its namespace counts.
pub(super) fn filters(source: &Object<'_>) -> Option<Box<[Filter]>> {
    let filters = source.get("filters")?.as_array()?.iter().filter_map(Value::as_object);
    Some(
        filters
            .map(|filter| Filter {
                attribute: text(filter, "attribute").unwrap_or(Cow::Borrowed("id")).into(),
                seed: filter.get("seed").map_or(Cow::Borrowed("undefined"), to_text).into(),
                hash_version: hash_version(filter, 2.0),
                ranges: filter.get("ranges").and_then(Value::as_array).unwrap_or_default().iter().map(range).collect(),
            })
            .collect(),
    )
}

/// The prerequisites of a rule or an experiment.
pub(super) fn parents(source: &Object<'_>) -> Box<[Parent]> {
    let parents = source.get("parentConditions").and_then(Value::as_array).unwrap_or_default();
    parents
        .iter()
        .map(|parent| Parent {
            id: parent.get("id").and_then(Value::as_str).unwrap_or_default().into(),
            condition: parent.get("condition").map(Condition::compile).unwrap_or_default(),
            gate: parent.get("gate").is_some_and(Value::is_truthy),
        })
        .collect()
}
