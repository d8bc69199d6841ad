//! What identifiers and homes of graphs tell each other, and what follows for profiles.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::EventTime;
use crate::domain::{domain_event, filled};
use crate::engagement::IdentifierRef;

/// Why two identifiers are of one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkRule {
    /// One call named both.
    SameCall,
    /// An alias call said so.
    Alias,
}

/// An identifier in a graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct GraphNode {
    /// The identifier.
    pub identifier_id: String,
    /// Its type.
    pub identifier_type: String,
    /// Whether calls were about it, so that it was a profile of its own.
    #[serde(default)]
    pub active: bool,
}

/// All evidence that two identifiers are of one person, or are not. Two such records of one pair are joined field by field; the order does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GraphLink {
    /// The smaller of the two ids.
    pub a: String,
    /// The greater of the two ids.
    pub b: String,
    /// When the earliest evidence happened.
    pub at: EventTime,
    /// What the earliest evidence was.
    pub rule: LinkRule,
    /// The id of the fact that is the earliest evidence.
    pub evidence: String,
    /// When the latest alias call happened, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias_at: Option<EventTime>,
    /// When it was last said that they are different persons, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voided_at: Option<EventTime>,
    /// Whether one of the two has too many earlier links, or was suppressed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

/// A part of a graph on its way to the graph's home.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GraphPart {
    /// Identifiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<GraphNode>,
    /// Links between them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<GraphLink>,
    /// Homes that are to become one with the receiver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub homes: Vec<String>,
    /// Merges that were told already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<String>,
    /// Refused links that were told already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// `cdp.link_offered.v1`: an identifier says to the other one, its target, that they are of one person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkOffered<'a> {
    /// The identifier.
    #[serde(borrow)]
    pub identifier_id: Cow<'a, str>,
    /// The identifier as a node.
    pub node: GraphNode,
    /// The other one.
    pub to: IdentifierRef,
    /// The evidence.
    pub link: GraphLink,
}

domain_event!(LinkOffered, "cdp.link_offered.v1", "identifier" / identifier_id, |_this| {});

/// `cdp.link_accepted.v1`: the other identifier agrees, and tells its home, the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkAccepted<'a> {
    /// The identifier that agrees.
    #[serde(borrow)]
    pub identifier_id: Cow<'a, str>,
    /// The identifier that offered.
    pub from: IdentifierRef,
    /// Both identifiers, the link, and the home of the one that offered.
    pub part: GraphPart,
}

domain_event!(LinkAccepted, "cdp.link_accepted.v1", "identifier" / identifier_id, |_this| {});

/// `cdp.link_withdrawn.v1`: an identifier has too many earlier links, or was suppressed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinkWithdrawn<'a> {
    /// The identifier.
    #[serde(borrow)]
    pub identifier_id: Cow<'a, str>,
    /// The other one.
    pub from: IdentifierRef,
    /// The link.
    pub part: GraphPart,
}

domain_event!(LinkWithdrawn, "cdp.link_withdrawn.v1", "identifier" / identifier_id, |_this| {});

/// `cdp.links_sent.v1`: a home that is none any more passes on what it got; the target is where it moved to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LinksSent<'a> {
    /// The sender.
    #[serde(borrow)]
    pub home_id: Cow<'a, str>,
    /// The receiver.
    #[serde(borrow)]
    pub to: Cow<'a, str>,
    /// What it passes on.
    pub part: GraphPart,
}

domain_event!(LinksSent, "cdp.links_sent.v1", "profile" / home_id, |this| {
    filled("to", &this.to)?;
});

/// `cdp.home_moved.v1`: a graph has a new home, the target, with a smaller id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HomeMoved<'a> {
    /// The old home.
    #[serde(borrow)]
    pub home_id: Cow<'a, str>,
    /// The new home.
    #[serde(borrow)]
    pub to: Cow<'a, str>,
    /// The graph, or its first part.
    pub part: GraphPart,
}

domain_event!(HomeMoved, "cdp.home_moved.v1", "profile" / home_id, |this| {
    filled("to", &this.to)?;
});

/// `cdp.home_join_requested.v1`: the target is to become one with another home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HomeJoinRequested<'a> {
    /// The sender.
    #[serde(borrow)]
    pub home_id: Cow<'a, str>,
    /// The receiver.
    #[serde(borrow)]
    pub to: Cow<'a, str>,
    /// The home to become one with.
    #[serde(borrow)]
    pub join: Cow<'a, str>,
}

domain_event!(HomeJoinRequested, "cdp.home_join_requested.v1", "profile" / home_id, |this| {
    filled("join", &this.join)?;
});

/// A profile and its identifiers, the strongest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileMembers {
    /// The profile.
    pub profile_id: String,
    /// Its identifiers.
    pub identifiers: Vec<IdentifierRef>,
}

/// A link that made one profile of two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Merge {
    /// The merge, named by its link.
    pub merge_id: String,
    /// The profile that stayed.
    pub kept: String,
    /// The profile that became a part of it.
    pub merged: String,
    /// Why.
    pub rule: LinkRule,
    /// The id of the fact that is the evidence.
    pub evidence: String,
}

/// `cdp.profiles_resolved.v1`: a graph as its home knows it now, and the profiles that follow from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProfilesResolved<'a> {
    /// The home.
    #[serde(borrow)]
    pub home_id: Cow<'a, str>,
    /// All identifiers.
    pub nodes: Vec<GraphNode>,
    /// All links.
    pub links: Vec<GraphLink>,
    /// The profiles.
    pub profiles: Vec<ProfileMembers>,
    /// The merges.
    pub merges: Vec<Merge>,
    /// Links that a limit refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

domain_event!(ProfilesResolved, "cdp.profiles_resolved.v1", "profile" / home_id, |_this| {});

/// `cdp.profiles_merged.v1`: two profiles are one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProfilesMerged<'a> {
    /// The home of their graph.
    #[serde(borrow)]
    pub home_id: Cow<'a, str>,
    /// The merge.
    #[serde(borrow)]
    pub merge_id: Cow<'a, str>,
    /// The profile that stays.
    #[serde(borrow)]
    pub kept: Cow<'a, str>,
    /// The profile that is a part of it now.
    #[serde(borrow)]
    pub merged: Cow<'a, str>,
    /// Why.
    pub rule: LinkRule,
    /// The id of the fact that is the evidence.
    #[serde(borrow)]
    pub evidence: Cow<'a, str>,
}

domain_event!(ProfilesMerged, "cdp.profiles_merged.v1", "profile" / home_id, |this| {
    filled("merge_id", &this.merge_id)?;
});

/// `cdp.profiles_unmerged.v1`: a merge is undone: asked for, or evidence that came late shows that it should not have been.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProfilesUnmerged<'a> {
    /// The home of their graph.
    #[serde(borrow)]
    pub home_id: Cow<'a, str>,
    /// The merge.
    #[serde(borrow)]
    pub merge_id: Cow<'a, str>,
}

domain_event!(ProfilesUnmerged, "cdp.profiles_unmerged.v1", "profile" / home_id, |this| {
    filled("merge_id", &this.merge_id)?;
});

/// `cdp.merge_refused.v1`: a limit forbids that two identifiers are of one profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MergeRefused<'a> {
    /// The subject that refused: an identifier with too many links, or the home of a graph.
    #[serde(borrow)]
    pub refused_by: Cow<'a, str>,
    /// The type of identifier of which there would be too many; `links` where the graph is too large.
    #[serde(borrow)]
    pub limit: Cow<'a, str>,
    /// The two identifiers.
    pub identifiers: Vec<String>,
    /// The id of the fact that is the evidence.
    #[serde(borrow)]
    pub evidence: Cow<'a, str>,
}

domain_event!(MergeRefused, "cdp.merge_refused.v1", "" / refused_by, |this| {
    filled("limit", &this.limit)?;
});

/// `cdp.unmerge_forwarded.v1`: a request to undo a merge is passed on to where the graph moved to, the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnmergeForwarded<'a> {
    /// The sender.
    #[serde(borrow)]
    pub home_id: Cow<'a, str>,
    /// The receiver.
    #[serde(borrow)]
    pub to: Cow<'a, str>,
    /// The merge.
    #[serde(borrow)]
    pub merge_id: Cow<'a, str>,
    /// When that was asked for.
    pub at: EventTime,
}

domain_event!(UnmergeForwarded, "cdp.unmerge_forwarded.v1", "profile" / home_id, |this| {
    filled("to", &this.to)?;
});

/// `cdp.unmerge_refused.v1`: there is no such merge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnmergeRefused<'a> {
    /// The home.
    #[serde(borrow)]
    pub home_id: Cow<'a, str>,
    /// The merge that was asked for.
    #[serde(borrow)]
    pub merge_id: Cow<'a, str>,
}

domain_event!(UnmergeRefused, "cdp.unmerge_refused.v1", "profile" / home_id, |this| {
    filled("merge_id", &this.merge_id)?;
});
