//! What is asked of the customer data platform.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::EventTime;
use crate::domain::{domain_event, filled};
use crate::engagement::IdentifierRef;

/// `cdp.unmerge_requested.v1`: two profiles that were merged are different persons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnmergeRequested<'a> {
    /// The profile that holds both.
    #[serde(borrow)]
    pub profile_id: Cow<'a, str>,
    /// The merge.
    #[serde(borrow)]
    pub merge_id: Cow<'a, str>,
    /// Who says so.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

domain_event!(UnmergeRequested, "cdp.unmerge_requested.v1", "profile" / profile_id, |this| {
    filled("merge_id", &this.merge_id)?;
});

/// `cdp.audience_requested.v1`: an audience is to have this condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AudienceRequested<'a> {
    /// The audience.
    #[serde(borrow)]
    pub audience: Cow<'a, str>,
    /// Who is in it.
    pub r#where: Value,
    /// Who asks.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

domain_event!(AudienceRequested, "cdp.audience_requested.v1", "audience" / audience, |_this| {});

/// `cdp.audience_evaluated.v1`: whether a profile is in an audience, as the evaluator found. It alone sees opened traits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AudienceEvaluated<'a> {
    /// The profile.
    #[serde(borrow)]
    pub profile_id: Cow<'a, str>,
    /// The audience.
    #[serde(borrow)]
    pub audience: Cow<'a, str>,
    /// The version of the audience's condition.
    pub version: u64,
    /// Whether the profile is in it.
    pub member: bool,
    /// When the passage of time alone may change the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_at: Option<EventTime>,
}

domain_event!(AudienceEvaluated, "cdp.audience_evaluated.v1", "profile" / profile_id, |this| {
    filled("audience", &this.audience)?;
});

/// `cdp.erasure_requested.v1`: a person is to be forgotten.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErasureRequested<'a> {
    /// The erasure.
    #[serde(borrow)]
    pub erasure_id: Cow<'a, str>,
    /// The person's profile.
    #[serde(borrow)]
    pub profile_id: Cow<'a, str>,
    /// Its identifiers.
    pub identifiers: Vec<IdentifierRef>,
    /// Who asks.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

domain_event!(ErasureRequested, "cdp.erasure_requested.v1", "erasure" / erasure_id, |this| {
    filled("profile_id", &this.profile_id)?;
});

/// `cdp.suppression_requested.v1`: nothing is to be made of this identifier any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuppressionRequested<'a> {
    /// The identifier.
    #[serde(borrow)]
    pub identifier_id: Cow<'a, str>,
    /// Who asks.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

domain_event!(SuppressionRequested, "cdp.suppression_requested.v1", "identifier" / identifier_id, |_this| {});
