//! A graph of identifiers: nodes, and the evidence between them. Joining two graphs is commutative, associative and idempotent, so that the order in
//! which evidence arrives, and how often, cannot show.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tol_events::EventTime;
use tol_events::cdp::{GraphLink, GraphNode, LinkRule};

/// Most links of one graph; beyond, the earliest stay.
pub const MOST_LINKS: usize = 512;

/// Nodes by id, and links by their two ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// Sorted by id.
    pub nodes: Vec<GraphNode>,
    /// Sorted by the two ids.
    pub links: Vec<GraphLink>,
}

/// Makes the record of one piece of evidence.
pub fn link_of(one: &str, other: &str, at: EventTime, rule: LinkRule, evidence: &str) -> GraphLink {
    let (a, b) = if one < other { (one, other) } else { (other, one) };
    GraphLink {
        a: a.to_owned(),
        b: b.to_owned(),
        at,
        rule,
        evidence: evidence.to_owned(),
        alias_at: (rule == LinkRule::Alias).then_some(at),
        voided_at: None,
        withdrawn: false,
    }
}

/// Joins what two records say of one pair: the earliest evidence, the latest alias, the latest objection.
pub fn join_link(mine: &mut GraphLink, other: &GraphLink) {
    if earliest(other) < earliest(mine) {
        (mine.at, mine.rule) = (other.at, other.rule);
        mine.evidence.clone_from(&other.evidence);
    }
    mine.alias_at = mine.alias_at.max(other.alias_at);
    mine.voided_at = mine.voided_at.max(other.voided_at);
    mine.withdrawn |= other.withdrawn;
}

fn earliest(link: &GraphLink) -> (EventTime, LinkRule, &str) {
    (link.at, link.rule, &link.evidence)
}

/// Whether the link counts: nobody withdrew it, and nobody said since its last alias call that the two are different persons.
pub fn is_live(link: &GraphLink) -> bool {
    !link.withdrawn && link.voided_at.is_none_or(|voided| link.alias_at.is_some_and(|alias| alias > voided))
}

/// The place of a link among others: earlier evidence first, then an order of its own.
pub fn rank(link: &GraphLink) -> (EventTime, &str, &str, &str) {
    (link.at, &link.evidence, &link.a, &link.b)
}

/// Names a link, and the merge that it led to.
pub fn link_id(a: &str, b: &str) -> String {
    let (a, b) = if a < b { (a, b) } else { (b, a) };
    blake3::Hasher::new_derive_key("tree-of-life 2026 cdp merge").update(a.as_bytes()).update(b"\0").update(b.as_bytes()).finalize().to_hex()[..24].to_owned()
}

/// The profile that an identifier is by itself, and the first home of its graph.
pub fn profile_of(identifier_id: &str) -> String {
    blake3::Hasher::new_derive_key("tree-of-life 2026 cdp profile").update(identifier_id.as_bytes()).finalize().to_hex()[..32].to_owned()
}

impl Graph {
    /// Tells whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.links.is_empty()
    }

    /// Finds a node.
    pub fn node(&self, identifier_id: &str) -> Option<&GraphNode> {
        self.nodes.binary_search_by(|node| node.identifier_id.as_str().cmp(identifier_id)).ok().map(|at| &self.nodes[at])
    }

    /// Joins nodes and links, and gives the links for which there is no room, with their nodes.
    pub fn join(&mut self, nodes: &[GraphNode], links: &[GraphLink]) -> Vec<GraphLink> {
        let mut by_id: BTreeMap<String, GraphNode> = self.nodes.drain(..).map(|node| (node.identifier_id.clone(), node)).collect();
        for node in nodes {
            by_id.entry(node.identifier_id.clone()).and_modify(|mine| mine.active |= node.active).or_insert_with(|| node.clone());
        }
        let mut by_ends: BTreeMap<(String, String), GraphLink> = self.links.drain(..).map(|link| ((link.a.clone(), link.b.clone()), link)).collect();
        for link in links {
            by_ends.entry((link.a.clone(), link.b.clone())).and_modify(|mine| join_link(mine, link)).or_insert_with(|| link.clone());
        }
        let mut kept: Vec<GraphLink> = by_ends.into_values().collect();
        let mut dropped = Vec::new();
        if kept.len() > MOST_LINKS {
            kept.sort_by(|one, other| rank(one).cmp(&rank(other)));
            dropped = kept.split_off(MOST_LINKS);
            kept.sort_by(|one, other| (&one.a, &one.b).cmp(&(&other.a, &other.b)));
            let linked: BTreeSet<&String> = kept.iter().flat_map(|link| [&link.a, &link.b]).collect();
            by_id.retain(|id, _| linked.contains(id));
        }
        self.nodes = by_id.into_values().collect();
        self.links = kept;
        dropped
    }
}
