//! What the system remembers about one subject: an identifier, the home of a graph, a profile in audiences, an audience, or an erasure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tol_events::EventTime;
use tol_events::cdp::{GraphLink, GraphNode, Merge};
use tol_events::engagement::IdentifierRef;

use crate::graph::Graph;

/// The fold of the system's own events of one subject. A subject uses the parts of its kind; empty parts are not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Of `identifier/…`.
    #[serde(skip_serializing_if = "is_default")]
    pub identifier: Identifier,
    /// Of `profile/…`.
    #[serde(skip_serializing_if = "is_default")]
    pub home: Home,
    /// Of `profile/…`: the audiences it is in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub audiences: BTreeMap<String, Membership>,
    /// Of `audience/…`: how often it was defined.
    #[serde(skip_serializing_if = "is_default")]
    pub audience_version: u64,
    /// Of `audience/…`: its condition as canonical text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub audience_where: String,
    /// Of `erasure/…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erasure: Option<Erasure>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identifier {
    /// Its type, once a call was about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identifier_type: String,
    /// Whether a call was about it, so that it is a profile.
    #[serde(skip_serializing_if = "is_default")]
    pub active: bool,
    /// Whether nothing is made of it any more.
    #[serde(skip_serializing_if = "is_default")]
    pub suppressed: bool,
    /// The links that it keeps, by the other identifier.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, KeptLink>,
    /// The latest word on each purpose.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub consent: BTreeMap<String, Consent>,
    /// The customer's number that was told last.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub customer_id: String,
}

/// A link that an identifier keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLink {
    /// The other identifier's type.
    pub identifier_type: String,
    /// The evidence.
    pub link: GraphLink,
}

/// The latest word on a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Whether the person agrees.
    pub granted: bool,
    /// When that was said.
    pub at: EventTime,
}

/// The home of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Home {
    /// Where the graph moved to; always a smaller id, so that no circle can arise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<String>,
    /// The graph; empty where it moved.
    #[serde(skip_serializing_if = "Graph::is_empty")]
    pub graph: Graph,
    /// The merges that were told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub merges: Vec<Merge>,
    /// The refused links that were told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

impl Home {
    /// Whether the node has a link in the graph that nobody withdrew.
    pub(crate) fn links(&self, node: &GraphNode) -> bool {
        let id = &node.identifier_id;
        self.graph.links.iter().any(|link| !link.withdrawn && (link.a == *id || link.b == *id))
    }
}

/// Whether a profile is in an audience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Whether it is.
    pub member: bool,
    /// When it is evaluated again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_at: Option<EventTime>,
}

/// An erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// The profile.
    pub profile_id: String,
    /// Its identifiers.
    pub identifiers: Vec<IdentifierRef>,
    /// Whether it is done.
    pub done: bool,
}
