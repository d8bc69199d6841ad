//! Who asks: GrowthBook's attributes, and what an SDK knows besides.

use crate::evaluation::value::{Object, Value};

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
    /// Earlier assignments, by `attribute||value`; `None` if assignments are not kept.
    pub sticky: Option<Object<'a>>,
}

impl<'a> Context<'a> {
    /// A context of these attributes.
    pub fn new(attributes: Value<'a>) -> Self {
        Self { attributes, url: "", enabled: true, qa_mode: false, forced_variations: None, forced_features: None, groups: None, sticky: None }
    }

    /// Reads the attributes from JSON.
    ///
    /// # Errors
    /// If the text is not JSON.
    pub fn from_json(json: &'a str) -> Result<Self, serde_json::Error> {
        Ok(Self::new(Value::parse(json)?))
    }
}
