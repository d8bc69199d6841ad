//! From a graph to profiles: the same for the same evidence, whatever its order of arrival.
//!
//! Links are taken in the order of their evidence's time. A link joins the two groups of its ends unless a limit forbids it: one profile has at most
//! so many identifiers of a type. Ids of one type that alias calls made one count once.

use std::collections::{BTreeMap, BTreeSet};

use tol_events::cdp::{GraphLink, Merge, ProfileMembers};
use tol_events::engagement::IdentifierRef;

use super::links::{Graph, is_live, link_id, profile_of, rank};
use super::rules::{MOST_NAMES, Rules};

/// A link that a limit refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The link.
    pub link_id: String,
    /// The type of which there would be too many.
    pub limit: String,
    /// Its ends.
    pub identifiers: [String; 2],
    /// Its evidence.
    pub evidence: String,
}

/// What follows from a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Profiles of two identifiers or more, sorted by id. Whoever is in none is a profile alone.
    pub profiles: Vec<ProfileMembers>,
    /// Links that made one profile of two, in the order in which they did.
    pub merges: Vec<Merge>,
    /// Links that limits refuse.
    pub refused: Vec<Refusal>,
}

/// A set of joined nodes, by their places in the graph.
#[derive(Clone)]
struct Group {
    members: Vec<usize>,
    /// Of each type, the alias classes of its members: a class counts once.
    classes: BTreeMap<usize, BTreeSet<usize>>,
    active: bool,
}

struct Resolver<'g> {
    graph: &'g Graph,
    rules: &'g Rules,
    /// The number of each node's type.
    types: Vec<&'g str>,
    type_of: Vec<usize>,
    /// The alias class of each node.
    class_of: Vec<usize>,
    /// The group of each node, by the place of one of its members.
    group_of: Vec<usize>,
    groups: BTreeMap<usize, Group>,
    /// Links that joined two groups.
    tree: Vec<(usize, usize, usize)>,
}

/// Gives the profiles of a graph.
pub fn resolve(graph: &Graph, rules: &Rules) -> Resolution {
    let mut resolution = Resolution::default();
    let resolver = Resolver::run(graph, rules, &mut resolution);
    for group in resolver.groups.values().filter(|group| group.members.len() > 1) {
        let members = resolver.ordered(group).into_iter().map(|place| resolver.reference(place)).collect();
        resolution.profiles.push(ProfileMembers { profile_id: resolver.profile_id(group), identifiers: members });
    }
    resolution.profiles.sort_by(|one, other| one.profile_id.cmp(&other.profile_id));
    resolution
}

/// Gives the links to void so that the two profiles that a link joined are apart: all between its two sides. `None` where it joins nothing.
pub fn parting(graph: &Graph, rules: &Rules, merge_id: &str) -> Option<Vec<usize>> {
    let resolver = Resolver::run(graph, rules, &mut Resolution::default());
    let (_, start, end) = *resolver.tree.iter().find(|(link, ..)| link_id(&graph.links[*link].a, &graph.links[*link].b) == merge_id)?;
    let mut side = BTreeSet::from([start]);
    loop {
        let before = side.len();
        for (link, a, b) in &resolver.tree {
            let is_this = (*a, *b) == (start, end) && link_id(&graph.links[*link].a, &graph.links[*link].b) == merge_id;
            if !is_this && side.contains(a) != side.contains(b) {
                side.extend([*a, *b]);
            }
        }
        if side.len() == before {
            break;
        }
    }
    let group = &resolver.groups[&resolver.group_of[start]];
    let other: BTreeSet<usize> = group.members.iter().copied().filter(|member| !side.contains(member)).collect();
    let crosses = |link: &GraphLink| {
        let (Some(a), Some(b)) = (resolver.place(&link.a), resolver.place(&link.b)) else { return false };
        (side.contains(&a) && other.contains(&b)) || (side.contains(&b) && other.contains(&a))
    };
    Some(graph.links.iter().enumerate().filter(|(_, link)| crosses(link)).map(|(at, _)| at).collect())
}

impl<'g> Resolver<'g> {
    fn run(graph: &'g Graph, rules: &'g Rules, resolution: &mut Resolution) -> Self {
        let mut types: Vec<&str> = graph.nodes.iter().map(|node| node.identifier_type.as_str()).collect();
        types.sort_unstable();
        types.dedup();
        let type_of = graph.nodes.iter().map(|node| types.binary_search(&node.identifier_type.as_str()).unwrap_or_default()).collect();
        let mut resolver = Self {
            graph,
            rules,
            types,
            type_of,
            class_of: (0..graph.nodes.len()).collect(),
            group_of: (0..graph.nodes.len()).collect(),
            groups: BTreeMap::new(),
            tree: Vec::new(),
        };
        let mut live: Vec<usize> = (0..graph.links.len()).filter(|at| is_live(&graph.links[*at])).collect();
        live.sort_by(|one, other| rank(&graph.links[*one]).cmp(&rank(&graph.links[*other])));
        resolver.alias_classes(&live);
        for (place, node) in graph.nodes.iter().enumerate() {
            let classes = BTreeMap::from([(resolver.type_of[place], BTreeSet::from([resolver.class_of[place]]))]);
            resolver.groups.insert(place, Group { members: vec![place], classes, active: node.active });
        }
        for at in live {
            resolver.take(at, resolution);
        }
        resolver
    }

    fn place(&self, identifier_id: &str) -> Option<usize> {
        self.graph.nodes.binary_search_by(|node| node.identifier_id.as_str().cmp(identifier_id)).ok()
    }

    /// Ids of one type that alias calls made one, as far as one identifier may have names.
    fn alias_classes(&mut self, live: &[usize]) {
        let mut sizes = vec![1usize; self.graph.nodes.len()];
        for at in live {
            let link = &self.graph.links[*at];
            let (Some(a), Some(b)) = (self.place(&link.a), self.place(&link.b)) else { continue };
            let (one, other) = (self.class_of[a], self.class_of[b]);
            if link.alias_at.is_none() || self.type_of[a] != self.type_of[b] || one == other || sizes[one] + sizes[other] > MOST_NAMES {
                continue;
            }
            let (kept, gone) = (one.min(other), one.max(other));
            sizes[kept] += sizes[gone];
            self.class_of.iter_mut().filter(|class| **class == gone).for_each(|class| *class = kept);
        }
    }

    /// Joins the groups of a link's ends, unless a limit forbids it.
    fn take(&mut self, at: usize, resolution: &mut Resolution) {
        let link = &self.graph.links[at];
        let (Some(a), Some(b)) = (self.place(&link.a), self.place(&link.b)) else { return };
        let (one, other) = (self.group_of[a], self.group_of[b]);
        if one == other {
            return;
        }
        if let Some(limit) = self.exceeded(&self.groups[&one], &self.groups[&other]) {
            let refusal = Refusal {
                link_id: link_id(&link.a, &link.b),
                limit: limit.to_owned(),
                identifiers: [link.a.clone(), link.b.clone()],
                evidence: link.evidence.clone(),
            };
            resolution.refused.push(refusal);
            return;
        }
        let (Some(first), Some(second)) = (self.groups.remove(&one), self.groups.remove(&other)) else { return };
        let (kept, gone) = (one.min(other), one.max(other));
        let before = [self.profile_id(&first), self.profile_id(&second)];
        let both_active = first.active && second.active;
        let mut joined = first;
        joined.members.extend(second.members);
        for (of_type, classes) in second.classes {
            joined.classes.entry(of_type).or_default().extend(classes);
        }
        joined.active |= second.active;
        self.group_of.iter_mut().filter(|group| **group == gone).for_each(|group| *group = kept);
        self.tree.push((at, a, b));
        if both_active {
            let after = self.profile_id(&joined);
            let merged = if before[0] == after { &before[1] } else { &before[0] };
            resolution.merges.push(Merge {
                merge_id: link_id(&link.a, &link.b),
                merged: merged.clone(),
                kept: after,
                rule: link.rule,
                evidence: link.evidence.clone(),
            });
        }
        self.groups.insert(kept, joined);
    }

    /// The type of which two groups have too many together.
    fn exceeded(&self, one: &Group, other: &Group) -> Option<&'g str> {
        one.classes.iter().find_map(|(of_type, classes)| {
            let together = other.classes.get(of_type).map_or(0, |more| more.difference(classes).count()) + classes.len();
            let more_than_before = other.classes.contains_key(of_type);
            (more_than_before && together > self.rules.of(self.types[*of_type]).limit).then_some(self.types[*of_type])
        })
    }

    /// The members, the strongest first: used by calls, then by the type's priority, then by id.
    fn ordered(&self, group: &Group) -> Vec<usize> {
        let mut members = group.members.clone();
        members.sort_by_key(|place| self.strength(*place));
        members
    }

    fn strength(&self, place: usize) -> (bool, u32, &'g str) {
        let node = &self.graph.nodes[place];
        (!node.active, self.rules.of(&node.identifier_type).priority, node.identifier_id.as_str())
    }

    /// A profile is named by its strongest identifier.
    fn profile_id(&self, group: &Group) -> String {
        let strongest = group.members.iter().min_by_key(|place| self.strength(**place));
        strongest.map(|place| profile_of(&self.graph.nodes[*place].identifier_id)).unwrap_or_default()
    }

    fn reference(&self, place: usize) -> IdentifierRef {
        let node = &self.graph.nodes[place];
        IdentifierRef { identifier_id: node.identifier_id.clone(), identifier_type: node.identifier_type.clone() }
    }
}
