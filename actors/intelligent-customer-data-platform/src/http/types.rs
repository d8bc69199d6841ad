//! What its routes take and answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{OpenApi, ToSchema};

use super::matching::{MatchRecords, MatchedPairs, MatchedRecords};
use crate::matching::FieldType;
use crate::serving::Profile;

/// A merge to undo.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CdpUnmerge)]
pub(crate) struct Unmerge {
    /// The merge, as the profile's `merges` name it.
    #[schema(example = "5f3c")]
    pub(crate) merge_id: String,
}

/// All that is known of a person.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CdpExport)]
pub(crate) struct Export {
    /// The profile.
    pub(crate) profile: Profile,
    /// What the person did: counts, sums and the last times, by the event's name.
    #[schema(value_type = Object)]
    pub(crate) events: Value,
    /// The customer's number.
    #[schema(required = true)]
    pub(crate) customer_id: Option<String>,
    /// The last calls, the newest last, with what they told.
    #[schema(value_type = Vec<Object>)]
    pub(crate) calls: Vec<Value>,
}

/// An erasure that runs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CdpErasureStarted)]
pub(crate) struct ErasureStarted {
    /// Names the erasure.
    pub(crate) erasure_id: String,
}

/// An erasure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CdpErasure)]
pub(crate) struct Erasure {
    /// `running`, `done` or `failed`.
    #[schema(example = "done")]
    pub(crate) state: String,
    /// What was covered; null while it runs.
    #[schema(value_type = Option<Object>, required = true)]
    pub(crate) certificate: Value,
}

/// Who is to be in an audience.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CdpDefineAudience)]
pub(crate) struct DefineAudience {
    /// The condition; the system's README tells the language.
    #[schema(value_type = Object, example = json!({"trait": "plan", "equals": "pro"}))]
    pub(crate) r#where: Value,
}

/// An audience.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CdpAudience)]
pub(crate) struct Audience {
    /// Its name.
    #[schema(example = "vip")]
    pub(crate) name: String,
    /// Who is in it.
    #[schema(value_type = Object)]
    pub(crate) r#where: Value,
    /// Counts its definitions, from 1.
    pub(crate) version: u64,
    /// How many profiles are in it.
    pub(crate) count: u64,
}

#[derive(OpenApi)]
#[openapi(components(schemas(
    Unmerge,
    Export,
    ErasureStarted,
    Erasure,
    DefineAudience,
    Audience,
    Profile,
    MatchRecords,
    MatchedPairs,
    MatchedRecords,
    FieldType
)))]
struct Components;

/// Schemas of what its routes take and answer.
pub(crate) fn components() -> Value {
    let document = serde_json::to_value(Components::openapi()).unwrap_or_default();
    document.pointer("/components/schemas").cloned().unwrap_or_default()
}
