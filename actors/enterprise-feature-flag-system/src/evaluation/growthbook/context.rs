//! Who asks: GrowthBook's attributes, and what an SDK knows besides.

use std::borrow::Cow;
use std::sync::Arc;

use super::groups::Groups;
use crate::evaluation::value::{Object, Value};

/// Names that only an SDK's context has, so that one without `attributes` is known for what it is.
const SDK_ONLY: [&str; 7] =
    ["forcedVariations", "forcedFeatureValues", "forcedFeatures", "stickyBucketAssignmentDocs", "savedGroups", "attributeOverrides", "overrides"];

/// Forced features as remote evaluation is sent them, pairs of key and value, or as an object.
fn forced<'a>(source: &Value<'a>) -> Option<Object<'a>> {
    let pairs = match source {
        Value::Object(object) => return Some(object.clone()),
        Value::Array(pairs) => pairs.iter().filter_map(Value::as_array),
        _ => return None,
    };
    let entry = |pair: &[Value<'a>]| Some((Cow::Owned(pair.first()?.as_str()?.to_owned()), pair.get(1)?.clone()));
    Some(Object::new(pairs.filter_map(entry).collect()))
}

/// The context of an evaluation.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// The attributes that conditions and hashes read.
    pub attributes: Value<'a>,
    /// The page's address, which may force a variation.
    pub url: &'a str,
    /// Whether experiments run at all.
    pub enabled: bool,
    /// Whether only forced variations are given.
    pub qa_mode: bool,
    /// Variations by experiment, forced from outside.
    pub forced_variations: Option<Object<'a>>,
    /// Values by feature, forced from outside.
    pub forced_features: Option<Object<'a>>,
    /// The groups somebody is in, as the older SDKs have them.
    pub groups: Option<Object<'a>>,
    /// Saved groups that win over those of the set.
    pub(super) saved_groups: Option<Arc<Groups>>,
    /// Earlier assignments, by `attribute||value`; `None` if assignments are not kept.
    pub sticky: Option<Object<'a>>,
}

impl<'a> Context<'a> {
    /// A context of these attributes.
    pub fn new(attributes: Value<'a>) -> Self {
        Self {
            attributes,
            url: "",
            enabled: true,
            qa_mode: false,
            forced_variations: None,
            forced_features: None,
            groups: None,
            saved_groups: None,
            sticky: None,
        }
    }

    /// What an SDK calls its context: an object that has the `attributes` beside the `url`, what is forced, and what earlier evaluations assigned. An object
    /// that has none of it is the attributes themselves.
    pub fn of_sdk(given: &'a Value<'a>) -> Self {
        let Value::Object(fields) = given else { return Self::new(given.clone()) };
        let object = |name: &str| fields.get(name).and_then(Value::as_object).cloned();
        let attributes = match fields.get("attributes") {
            Some(Value::Object(attributes)) => attributes.clone(),
            _ if SDK_ONLY.iter().any(|name| matches!(fields.get(name), Some(Value::Object(_) | Value::Array(_)))) => Object::default(),
            _ => return Self::new(given.clone()),
        };
        let attributes = match fields.get("attributeOverrides").and_then(Value::as_object) {
            Some(over) => Object::new(attributes.iter().chain(over.iter()).map(|(name, value)| (Cow::Owned(name.to_owned()), value.clone())).collect()),
            None => attributes,
        };
        Self {
            url: fields.get("url").and_then(Value::as_str).unwrap_or_default(),
            enabled: fields.get("enabled") != Some(&Value::Bool(false)),
            qa_mode: fields.get("qaMode").is_some_and(Value::is_truthy),
            forced_variations: object("forcedVariations"),
            forced_features: object("forcedFeatureValues").or_else(|| fields.get("forcedFeatures").and_then(forced)),
            groups: object("groups"),
            saved_groups: fields.get("savedGroups").filter(|groups| groups.is_truthy()).map(|groups| Arc::new(Groups::compile(groups))),
            sticky: object("stickyBucketAssignmentDocs"),
            ..Self::new(Value::Object(attributes))
        }
    }

    /// Reads the attributes from JSON.
    ///
    /// # Errors
    /// If the text is not JSON.
    pub fn from_json(json: &'a str) -> Result<Self, serde_json::Error> {
        Ok(Self::new(Value::parse(json)?))
    }
}
