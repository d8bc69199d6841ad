//! The JSON that Unleash servers send: full responses and deltas.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Features and segments, as `GET /api/client/features` answers them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Definitions {
    /// The format's version.
    pub version: u32,
    /// The features.
    pub features: Vec<Feature>,
    /// Constraints that several strategies share.
    #[serde(deserialize_with = "null_is_default")]
    pub segments: Vec<Segment>,
}

/// One feature.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Feature {
    /// Its name, unique in the set.
    pub name: String,
    /// Whether it is on at all.
    #[serde(default)]
    pub enabled: bool,
    /// It is on for whom any of these is; for everyone if there is none.
    #[serde(default, deserialize_with = "null_is_default")]
    pub strategies: Vec<Strategy>,
    /// What it serves, unless the strategy that matched has variants of its own.
    #[serde(default, deserialize_with = "null_is_default")]
    pub variants: Vec<Variant>,
    /// Other features that must be on (or off) first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub dependencies: Vec<Dependency>,
    /// Whether SDKs shall report each evaluation.
    #[serde(default, deserialize_with = "null_is_default")]
    pub impression_data: bool,
    /// The project it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// `release`, `experiment`, `kill-switch`, …
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether it has outlived its purpose.
    #[serde(default, deserialize_with = "null_is_default")]
    pub stale: bool,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// One way to be on.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Strategy {
    /// `default`, `flexibleRollout`, `userWithId`, …
    pub name: String,
    /// What the strategy of that name takes.
    #[serde(default, deserialize_with = "parameters")]
    pub parameters: BTreeMap<String, String>,
    /// All must hold.
    #[serde(default, deserialize_with = "null_is_default")]
    pub constraints: Vec<Constraint>,
    /// All constraints of all of these must hold too.
    #[serde(default, deserialize_with = "null_is_default")]
    pub segments: Vec<i64>,
    /// What is served when this strategy matched.
    #[serde(default, deserialize_with = "null_is_default")]
    pub variants: Vec<Variant>,
}

/// A condition on one field of the context.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Constraint {
    /// The field.
    pub context_name: String,
    /// The comparison, e.g. `STR_CONTAINS`.
    pub operator: String,
    /// Whether letters' case is ignored.
    #[serde(default, deserialize_with = "null_is_default")]
    pub case_insensitive: bool,
    /// Whether the answer is turned round.
    #[serde(default, deserialize_with = "null_is_default")]
    pub inverted: bool,
    /// What it is compared with, for the operators that take several.
    #[serde(default, deserialize_with = "texts", skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// What it is compared with, for the operators that take one.
    #[serde(default, deserialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// One thing to serve.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Its share of all weights.
    #[serde(default)]
    pub weight: i32,
    /// Which field decides who sees which; that of the first variant counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<String>,
    /// What it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    /// Who always sees it.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

/// What a variant carries.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Payload {
    /// `string`, `json`, `csv` or `number`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The content, always text.
    #[serde(deserialize_with = "text")]
    pub value: String,
}

/// Contexts that always see a variant.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// The field.
    pub context_name: String,
    /// Its values.
    #[serde(default, deserialize_with = "null_is_default")]
    pub values: Vec<String>,
}

/// A feature that must be on (or off) first.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// The other feature.
    pub feature: String,
    /// Whether it must be on; by default it must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Which of its variants must be served; any if empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variants: Option<Vec<String>>,
}

/// Constraints that several strategies share.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Segment {
    /// What strategies refer to.
    pub id: i64,
    /// All must hold.
    #[serde(default, deserialize_with = "null_is_default")]
    pub constraints: Vec<Constraint>,
}

/// A delta: events to apply in order.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Delta {
    /// The events.
    pub events: Vec<DeltaEvent>,
}

/// One change.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum DeltaEvent {
    /// Everything anew.
    Hydration {
        /// All features.
        features: Vec<Feature>,
        /// All segments.
        #[serde(default)]
        segments: Vec<Segment>,
    },
    /// A feature was added or changed.
    FeatureUpdated {
        /// The feature.
        feature: Feature,
    },
    /// A feature is gone.
    FeatureRemoved {
        /// Its name.
        feature_name: String,
    },
    /// A segment was added or changed.
    SegmentUpdated {
        /// The segment.
        segment: Segment,
    },
    /// A segment is gone.
    SegmentRemoved {
        /// Its id.
        segment_id: i64,
    },
}

impl Definitions {
    /// Reads a full response, or a delta from nothing.
    ///
    /// # Errors
    /// If the text is not of either form.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Form {
            events: Option<serde::de::IgnoredAny>,
        }
        let form: Form = serde_json::from_str(json)?;
        if form.events.is_none() {
            return serde_json::from_str(json);
        }
        let mut definitions = Self::default();
        definitions.apply(serde_json::from_str(json)?);
        Ok(definitions)
    }

    /// Applies a delta.
    pub fn apply(&mut self, delta: Delta) {
        for event in delta.events {
            match event {
                DeltaEvent::Hydration { features, segments } => (self.features, self.segments) = (features, segments),
                DeltaEvent::FeatureUpdated { feature } => put(&mut self.features, feature, |a, b| a.name == b.name),
                DeltaEvent::FeatureRemoved { feature_name } => self.features.retain(|feature| feature.name != feature_name),
                DeltaEvent::SegmentUpdated { segment } => put(&mut self.segments, segment, |a, b| a.id == b.id),
                DeltaEvent::SegmentRemoved { segment_id } => self.segments.retain(|segment| segment.id != segment_id),
            }
        }
    }
}

/// Replaces the item that is the same, or adds it.
fn put<T>(items: &mut Vec<T>, item: T, same: impl Fn(&T, &T) -> bool) {
    match items.iter_mut().find(|known| same(known, &item)) {
        Some(known) => *known = item,
        None => items.push(item),
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A scalar where Unleash has text: its own server writes strings, people's files also numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(serde_json::Number),
    Bool(bool),
}

impl From<Scalar> for String {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => text,
            Scalar::Number(number) => number.to_string(),
            Scalar::Bool(bool) => bool.to_string(),
        }
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Scalar::deserialize(deserializer).map(String::from)
}

fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Scalar>::deserialize(deserializer)?.map(String::from))
}

fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Ok(Option::<Vec<Scalar>>::deserialize(deserializer)?.map(|items| items.into_iter().map(String::from).collect()))
}

/// Parameters whose value is `null` are left out.
fn parameters<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let found = Option::<BTreeMap<String, Option<Scalar>>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(found.into_iter().filter_map(|(name, value)| Some((name, String::from(value?)))).collect())
}
