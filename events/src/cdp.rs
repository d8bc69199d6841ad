//! `cdp.*`: who is who, what is known of them, who is in which audience, and who was forgotten.
//!
//! Subjects: `identifier/…` (one value of one type), `profile/…` (a person; also the home of a graph of identifiers), `audience/…`, `erasure/…`.
//!
//! * `graph` — what travels between homes of graphs
//! * `facts` — what is asked of the platform

mod facts;
mod graph;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::EventTime;
use crate::domain::{domain_event, filled};
use crate::engagement::IdentifierRef;
use crate::registry::known_types;

pub use facts::{AudienceEvaluated, AudienceRequested, ErasureRequested, SuppressionRequested, UnmergeRequested};
pub use graph::{
    GraphLink, GraphNode, GraphPart, HomeJoinRequested, HomeMoved, LinkAccepted, LinkOffered, LinkRule, LinkWithdrawn, LinksSent, Merge, MergeRefused,
    ProfileMembers, ProfilesMerged, ProfilesResolved, ProfilesUnmerged, UnmergeForwarded, UnmergeRefused,
};

/// `cdp.profile_created.v1`: an identifier was used for the first time, and is a profile until it is merged into another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileCreated<'a> {
    /// The identifier.
    #[serde(borrow)]
    pub identifier_id: Cow<'a, str>,
    /// Its type.
    #[serde(borrow)]
    pub identifier_type: Cow<'a, str>,
    /// The profile.
    #[serde(borrow)]
    pub profile_id: Cow<'a, str>,
}

domain_event!(ProfileCreated, "cdp.profile_created.v1", "identifier" / identifier_id, |this| {
    filled("profile_id", &this.profile_id)?;
});

/// `cdp.customer_linked.v1`: a person is a customer of that number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CustomerLinked<'a> {
    /// The identifier whose call said so.
    #[serde(borrow)]
    pub identifier_id: Cow<'a, str>,
    /// The profile that the identifier is by itself.
    #[serde(borrow)]
    pub profile_id: Cow<'a, str>,
    /// The customer's number.
    #[serde(borrow)]
    pub customer_id: Cow<'a, str>,
}

domain_event!(CustomerLinked, "cdp.customer_linked.v1", "identifier" / identifier_id, |this| {
    filled("customer_id", &this.customer_id)?;
});

/// `cdp.trait_changed.v1`: traits of a person were told anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TraitChanged<'a> {
    /// The identifier whose call told them.
    #[serde(borrow)]
    pub identifier_id: Cow<'a, str>,
    /// The profile that the identifier is by itself.
    #[serde(borrow)]
    pub profile_id: Cow<'a, str>,
    /// The traits by name; each value is personal.
    #[serde(default)]
    pub traits: BTreeMap<String, Value>,
}

domain_event!(TraitChanged, "cdp.trait_changed.v1", "identifier" / identifier_id, personal["traits.*"], |this| {
    filled("profile_id", &this.profile_id)?;
});

/// `cdp.consent_changed.v1`: a person agreed to a purpose, or withdrew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConsentChanged<'a> {
    /// The identifier whose call said so.
    #[serde(borrow)]
    pub identifier_id: Cow<'a, str>,
    /// The profile that the identifier is by itself.
    #[serde(borrow)]
    pub profile_id: Cow<'a, str>,
    /// What for.
    #[serde(borrow)]
    pub purpose: Cow<'a, str>,
    /// By which channel; `any` where the call names none.
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// Whether the person agrees.
    pub granted: bool,
    /// The id of the fact that proves it.
    #[serde(borrow)]
    pub proof: Cow<'a, str>,
}

domain_event!(ConsentChanged, "cdp.consent_changed.v1", "identifier" / identifier_id, |this| {
    filled("purpose", &this.purpose)?;
    filled("channel", &this.channel)?;
});

/// `cdp.identifier_suppressed.v1`: nothing is made of this identifier any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IdentifierSuppressed<'a> {
    /// The identifier.
    #[serde(borrow)]
    pub identifier_id: Cow<'a, str>,
}

domain_event!(IdentifierSuppressed, "cdp.identifier_suppressed.v1", "identifier" / identifier_id, |_this| {});

/// `cdp.audience_defined.v1`: an audience has a new condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AudienceDefined<'a> {
    /// The audience.
    #[serde(borrow)]
    pub audience: Cow<'a, str>,
    /// Who is in it.
    pub r#where: Value,
    /// Counts its definitions, from 1.
    pub version: u64,
}

domain_event!(AudienceDefined, "cdp.audience_defined.v1", "audience" / audience, |this| {
    crate::domain::at_least_one("version", this.version)?;
});

/// Declares what happened to a profile and an audience.
macro_rules! membership {
    ($(#[$doc:meta])* $name:ident, $event_type:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $name<'a> {
            /// The profile.
            #[serde(borrow)]
            pub profile_id: Cow<'a, str>,
            /// The audience.
            #[serde(borrow)]
            pub audience: Cow<'a, str>,
        }

        domain_event!($name, $event_type, "profile" / profile_id, |this| {
            filled("audience", &this.audience)?;
        });
    };
}

membership!(
    /// `cdp.audience_entered.v1`: a person is in an audience now.
    AudienceEntered, "cdp.audience_entered.v1"
);
membership!(
    /// `cdp.audience_exited.v1`: a person is no longer in an audience.
    AudienceExited, "cdp.audience_exited.v1"
);

/// `cdp.audience_check_scheduled.v1`: when a profile is to be evaluated again because a window slides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AudienceCheckScheduled<'a> {
    /// The profile.
    #[serde(borrow)]
    pub profile_id: Cow<'a, str>,
    /// The audience.
    #[serde(borrow)]
    pub audience: Cow<'a, str>,
    /// When; absent where no passage of time changes the answer.
    #[serde(default)]
    pub at: Option<EventTime>,
}

domain_event!(AudienceCheckScheduled, "cdp.audience_check_scheduled.v1", "profile" / profile_id, |this| {
    filled("audience", &this.audience)?;
});

membership!(
    /// `cdp.audience_check_due.v1`: a window slid, so that the answer may be another one.
    AudienceCheckDue, "cdp.audience_check_due.v1"
);

/// `cdp.key_destruction_requested.v1`: the keys of a person's identifiers are to be destroyed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyDestructionRequested<'a> {
    /// The erasure.
    #[serde(borrow)]
    pub erasure_id: Cow<'a, str>,
    /// The profile that is erased.
    #[serde(borrow)]
    pub profile_id: Cow<'a, str>,
    /// Its identifiers when that was asked for.
    pub identifiers: Vec<IdentifierRef>,
}

domain_event!(KeyDestructionRequested, "cdp.key_destruction_requested.v1", "erasure" / erasure_id, |this| {
    filled("profile_id", &this.profile_id)?;
});

/// What an erasure covered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// Identifiers whose keys were destroyed.
    pub identifiers: Vec<String>,
    /// What was covered beside the keys, in words.
    pub covered: Vec<String>,
}

/// `cdp.subject_key_destroyed.v1`: a person's keys are gone, and with them everything that was sealed with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubjectKeyDestroyed<'a> {
    /// The erasure.
    #[serde(borrow)]
    pub erasure_id: Cow<'a, str>,
    /// The profile that was erased.
    #[serde(borrow)]
    pub profile_id: Cow<'a, str>,
    /// What was covered.
    pub certificate: Certificate,
}

domain_event!(SubjectKeyDestroyed, "cdp.subject_key_destroyed.v1", "erasure" / erasure_id, |this| {
    filled("profile_id", &this.profile_id)?;
});

/// `cdp.erasure_failed.v1`: keys could not be destroyed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErasureFailed<'a> {
    /// The erasure.
    #[serde(borrow)]
    pub erasure_id: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub problem: Cow<'a, str>,
}

domain_event!(ErasureFailed, "cdp.erasure_failed.v1", "erasure" / erasure_id, |this| {
    filled("problem", &this.problem)?;
});

known_types![
    ProfileCreated,
    CustomerLinked,
    TraitChanged,
    ConsentChanged,
    IdentifierSuppressed,
    AudienceDefined,
    AudienceEntered,
    AudienceExited,
    AudienceCheckScheduled,
    AudienceCheckDue,
    KeyDestructionRequested,
    SubjectKeyDestroyed,
    ErasureFailed,
    AudienceEvaluated,
    AudienceRequested,
    ErasureRequested,
    SuppressionRequested,
    UnmergeRequested,
    HomeJoinRequested,
    HomeMoved,
    LinkAccepted,
    LinkOffered,
    LinkWithdrawn,
    LinksSent,
    MergeRefused,
    ProfilesMerged,
    ProfilesResolved,
    ProfilesUnmerged,
    UnmergeForwarded,
    UnmergeRefused,
];
