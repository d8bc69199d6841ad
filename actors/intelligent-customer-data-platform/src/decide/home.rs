//! The home of a graph: joins what it is told, moves to a smaller home, and tells which profiles follow.
//!
//! A home that moved never comes back, and moves to smaller ids only. So whatever order messages take, they end at the smallest home of all that
//! belong together, and that home then knows all evidence.

use std::collections::{BTreeMap, BTreeSet};

use tol_events::EventTime;
use tol_events::cdp::{
    GraphNode, GraphPart, HomeJoinRequested, HomeMoved, LinksSent, MergeRefused, ProfilesMerged, ProfilesResolved, ProfilesUnmerged, UnmergeForwarded,
    UnmergeRefused,
};
use tol_system::Decision;

use crate::graph::{Graph, Rules, parting, profile_of, resolve};
use crate::state::Home;
use crate::types;

/// Links that one event carries.
const CHUNK: usize = 100;

/// Takes a part of a graph.
pub(crate) fn told(rules: &Rules, home: &Home, id: &str, part: &GraphPart, decision: &mut Decision) {
    if let Some(parent) = &home.moved_to {
        send(id, parent, part.clone(), decision);
        return;
    }
    // The home of a node that is linked here already was asked to come when the link came.
    let known: BTreeSet<String> = part.nodes.iter().filter(|node| home.links(node)).map(|node| profile_of(&node.identifier_id)).collect();
    let homes: BTreeSet<&str> = part.homes.iter().map(String::as_str).filter(|other| *other != id && !other.is_empty()).collect();
    let mut graph = home.graph.clone();
    let dropped = graph.join(&part.nodes, &part.links);
    let merged: BTreeSet<String> = home.merges.iter().map(|merge| merge.merge_id.clone()).chain(part.merged.iter().cloned()).collect();
    let refused: BTreeSet<String> = home.refused.iter().chain(&part.refused).cloned().collect();
    match homes.first().filter(|smallest| **smallest < id) {
        Some(smallest) => {
            let others = homes.iter().skip(1).map(|other| (*other).to_owned()).collect();
            let whole = GraphPart {
                nodes: graph.nodes,
                links: graph.links,
                homes: others,
                merged: merged.into_iter().collect(),
                refused: refused.into_iter().collect(),
            };
            move_to(id, smallest, whole, decision);
        }
        None => {
            for other in homes.into_iter().filter(|other| !known.contains(*other)) {
                ask(id, other, id, decision);
            }
            for link in dropped {
                refuse(id, "links", [&link.a, &link.b], &link.evidence, decision);
            }
            resolved(rules, home, id, graph, &merged, &refused, decision);
        }
    }
}

/// Is asked to become one with another home.
pub(crate) fn asked_to_join(home: &Home, id: &str, join: &str, decision: &mut Decision) {
    match &home.moved_to {
        Some(parent) if parent == join => {}
        Some(parent) => ask(id, parent, join, decision),
        None if join < id => {
            let merged = home.merges.iter().map(|merge| merge.merge_id.clone()).collect();
            let whole =
                GraphPart { nodes: home.graph.nodes.clone(), links: home.graph.links.clone(), homes: Vec::new(), merged, refused: home.refused.clone() };
            move_to(id, join, whole, decision);
        }
        None if join > id => ask(id, join, id, decision),
        None => {}
    }
}

fn ask(id: &str, to: &str, join: &str, decision: &mut Decision) {
    let asked = HomeJoinRequested { home_id: id.into(), to: to.into(), join: join.into() };
    decision.emit(types::HOME_JOIN_REQUESTED, &asked).target = Some(format!("profile/{to}"));
}

/// Undoes a merge.
pub(crate) fn unmerge(rules: &Rules, home: &Home, id: &str, merge_id: &str, at: EventTime, decision: &mut Decision) {
    if let Some(parent) = &home.moved_to {
        let forwarded = UnmergeForwarded { home_id: id.into(), to: parent.into(), merge_id: merge_id.into(), at };
        decision.emit(types::UNMERGE_FORWARDED, &forwarded).target = Some(format!("profile/{parent}"));
        return;
    }
    let Some(links) = parting(&home.graph, rules, merge_id) else {
        decision.emit(types::UNMERGE_REFUSED, &UnmergeRefused { home_id: id.into(), merge_id: merge_id.into() });
        return;
    };
    let mut graph = home.graph.clone();
    for place in links {
        if let Some(link) = graph.links.get_mut(place) {
            // An alias call that happened later than this was said does not count either: it was known.
            link.voided_at = link.voided_at.max(Some(at)).max(link.alias_at);
        }
    }
    let merged = home.merges.iter().map(|merge| merge.merge_id.clone()).collect();
    resolved(rules, home, id, graph, &merged, &home.refused.iter().cloned().collect(), decision);
}

/// Tells the graph as it is now, and what changed in profiles.
fn resolved(rules: &Rules, home: &Home, id: &str, graph: Graph, merged: &BTreeSet<String>, refused: &BTreeSet<String>, decision: &mut Decision) {
    let resolution = resolve(&graph, rules);
    let now_refused: Vec<String> = resolution.refused.iter().map(|refusal| refusal.link_id.clone()).collect();
    let stand: BTreeSet<String> = resolution.merges.iter().map(|merge| merge.merge_id.clone()).collect();
    // Another home may have told merges that do not stand here: that is news, though the graph is not.
    if graph == home.graph && resolution.merges == home.merges && now_refused == home.refused && *merged == stand {
        return;
    }
    for merge in resolution.merges.iter().filter(|merge| !merged.contains(&merge.merge_id)) {
        let merged = ProfilesMerged {
            home_id: id.into(),
            merge_id: (&*merge.merge_id).into(),
            kept: (&*merge.kept).into(),
            merged: (&*merge.merged).into(),
            rule: merge.rule,
            evidence: (&*merge.evidence).into(),
        };
        decision.emit(types::PROFILES_MERGED, &merged);
    }
    for merge_id in merged.difference(&stand) {
        decision.emit(types::PROFILES_UNMERGED, &ProfilesUnmerged { home_id: id.into(), merge_id: merge_id.into() });
    }
    for refusal in resolution.refused.iter().filter(|refusal| !refused.contains(&refusal.link_id)) {
        refuse(id, &refusal.limit, [&refusal.identifiers[0], &refusal.identifiers[1]], &refusal.evidence, decision);
    }
    let snapshot = ProfilesResolved {
        home_id: id.into(),
        nodes: graph.nodes,
        links: graph.links,
        profiles: resolution.profiles,
        merges: resolution.merges,
        refused: now_refused,
    };
    decision.emit(types::PROFILES_RESOLVED, &snapshot);
}

fn refuse(id: &str, limit: &str, identifiers: [&str; 2], evidence: &str, decision: &mut Decision) {
    let identifiers = identifiers.map(str::to_owned).to_vec();
    decision
        .emit(types::MERGE_REFUSED, &MergeRefused { refused_by: format!("profile/{id}").into(), limit: limit.into(), identifiers, evidence: evidence.into() });
}

/// Passes a part on to where the graph moved to.
fn send(id: &str, to: &str, part: GraphPart, decision: &mut Decision) {
    for part in chunks(part) {
        decision.emit(types::LINKS_SENT, &LinksSent { home_id: id.into(), to: to.into(), part }).target = Some(format!("profile/{to}"));
    }
}

fn move_to(id: &str, to: &str, whole: GraphPart, decision: &mut Decision) {
    let mut parts = chunks(whole).into_iter();
    let first = parts.next().unwrap_or_default();
    decision.emit(types::HOME_MOVED, &HomeMoved { home_id: id.into(), to: to.into(), part: first }).target = Some(format!("profile/{to}"));
    for part in parts {
        decision.emit(types::LINKS_SENT, &LinksSent { home_id: id.into(), to: to.into(), part }).target = Some(format!("profile/{to}"));
    }
}

/// Parts of bounded size. Each link travels with its nodes; what is no link travels with the first part.
fn chunks(whole: GraphPart) -> Vec<GraphPart> {
    if whole.links.len() <= CHUNK {
        return vec![whole];
    }
    let nodes: BTreeMap<&str, &GraphNode> = whole.nodes.iter().map(|node| (node.identifier_id.as_str(), node)).collect();
    let mut parts: Vec<GraphPart> = Vec::new();
    for links in whole.links.chunks(CHUNK) {
        let ends: BTreeSet<&str> = links.iter().flat_map(|link| [link.a.as_str(), link.b.as_str()]).collect();
        let nodes = ends.into_iter().filter_map(|end| nodes.get(end).map(|node| (*node).clone())).collect();
        parts.push(GraphPart { nodes, links: links.to_vec(), ..GraphPart::default() });
    }
    if let Some(first) = parts.first_mut() {
        let linked: BTreeSet<&str> = whole.links.iter().flat_map(|link| [link.a.as_str(), link.b.as_str()]).collect();
        first.nodes.extend(whole.nodes.iter().filter(|node| !linked.contains(node.identifier_id.as_str())).cloned());
        (first.homes, first.merged, first.refused) = (whole.homes.clone(), whole.merged.clone(), whole.refused.clone());
    }
    parts
}
