//! `usage.*`: what customers do with the product. Subject: `customer/{customer_id}`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{at_least_one, domain_event, filled};
use crate::registry::known_types;

fn one() -> u64 {
    1
}

/// `usage.feature_used.v1`: a customer used a feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeatureUsed<'a> {
    /// Who used it.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
    /// The feature's name.
    #[serde(borrow)]
    pub feature: Cow<'a, str>,
    /// How often, 1 or more; 1 when absent.
    #[serde(default = "one")]
    pub count: u64,
}

domain_event!(FeatureUsed, "usage.feature_used.v1", "customer" / customer_id, |this| {
    filled("feature", &this.feature)?;
    at_least_one("count", this.count)?;
});

known_types![FeatureUsed];
