//! Example inputs for the contract suite and the simulation.

use std::collections::BTreeMap;

use serde_json::json;
use tol_events::cdp::{
    AudienceEvaluated, AudienceRequested, ErasureRequested, GraphLink, GraphNode, GraphPart, HomeJoinRequested, HomeMoved, LinkAccepted, LinkOffered, LinkRule,
    LinkWithdrawn, LinksSent, ProfileCreated, SuppressionRequested, UnmergeForwarded, UnmergeRequested,
};
use tol_events::engagement::{Aliased, Grouped, Identified, IdentifierRef, PageViewed, ScreenViewed, Tracked};
use tol_events::{Attribute, DomainEvent, Event, EventTime};

use crate::graph::{link_id, link_of, profile_of};
use crate::projections::SOURCE;

const START: i64 = 1_767_268_800;

fn reference(id: &str, kind: &str) -> IdentifierRef {
    IdentifierRef { identifier_id: id.into(), identifier_type: kind.into() }
}

fn node(id: &str, kind: &str) -> GraphNode {
    GraphNode { identifier_id: id.into(), identifier_type: kind.into(), active: true }
}

fn evidence(one: &str, other: &str, second: i64) -> GraphLink {
    link_of(one, other, EventTime::from_secs(START + second), LinkRule::SameCall, &format!("call-{second}"))
}

fn fact(data: &impl DomainEvent, number: i64) -> Option<Event> {
    Some(data.to_event(number.to_string(), "/examples/cdp").ok()?.at(EventTime::from_secs(START + number)))
}

fn told(data: &impl DomainEvent, number: i64, target: &str) -> Option<Event> {
    let mut event = data.to_event(format!("told-{number}"), SOURCE).ok()?.at(EventTime::from_secs(START + number));
    event.set(Attribute::Target, target);
    Some(event)
}

/// Calls of two people on three devices, and all that identifiers and homes of graphs tell each other.
pub(crate) fn inputs() -> Vec<Event> {
    calls().into_iter().chain(requests()).chain(messages()).flatten().collect()
}

fn calls() -> Vec<Option<Event>> {
    let (user, anonymous) = (reference("u1", "user_id"), reference("a1", "anonymous_id"));
    let visited = PageViewed { identifier_id: "a1".into(), identifier_type: "anonymous_id".into(), name: Some("Home".into()), ..PageViewed::default() };
    let identified = Identified {
        identifier_id: "u1".into(),
        identifier_type: "user_id".into(),
        links: vec![anonymous.clone(), reference("e1", "email")],
        // Null: the simulated door seals nothing, and the owner does.
        traits: BTreeMap::from([("plan".to_owned(), serde_json::Value::Null)]),
        consent: BTreeMap::from([("Advertising".to_owned(), true)]),
        customer_id: Some("42".into()),
        ..Identified::default()
    };
    let elsewhere = Tracked {
        identifier_id: "u2".into(),
        identifier_type: "user_id".into(),
        links: vec![anonymous.clone()],
        event: "Order Completed".into(),
        ..Tracked::default()
    };
    let app =
        ScreenViewed { identifier_id: "u2".into(), identifier_type: "user_id".into(), links: vec![reference("a2", "anonymous_id")], ..ScreenViewed::default() };
    let grouped = Grouped { identifier_id: "u2".into(), identifier_type: "user_id".into(), company_id: "c1".into(), ..Grouped::default() };
    let aliased = Aliased { identifier_id: "u1".into(), identifier_type: "user_id".into(), links: vec![reference("u0", "user_id")], ..Aliased::default() };
    let withdrawn = Identified {
        identifier_id: "u1".into(),
        identifier_type: "user_id".into(),
        consent: BTreeMap::from([("Advertising".to_owned(), false)]),
        ..Identified::default()
    };
    let late = Aliased { identifier_id: "a2".into(), identifier_type: "anonymous_id".into(), links: vec![user], ..Aliased::default() };
    // A device that many people share: the earliest stay linked with it, whoever comes.
    let shared = |number: i64| Tracked {
        identifier_id: "a3".into(),
        identifier_type: "anonymous_id".into(),
        links: (0..10).map(|user| reference(&format!("s{user}"), "user_id")).collect(),
        event: format!("Visit {number}"),
        ..Tracked::default()
    };
    let earlier = shared(0);
    let displacing = Tracked { links: vec![reference("s-early", "user_id")], ..shared(1) };
    vec![
        fact(&visited, 1),
        fact(&identified, 2),
        fact(&elsewhere, 3),
        fact(&app, 4),
        fact(&grouped, 5),
        fact(&aliased, 6),
        fact(&withdrawn, 7),
        fact(&late, 8),
        fact(&earlier, 20),
        fact(&displacing, 9),
    ]
}

fn requests() -> Vec<Option<Event>> {
    let (profile, erasure) = (profile_of("u1"), "x1");
    let audience = |plan: &str| AudienceRequested { audience: "vip".into(), r#where: json!({"trait": "plan", "equals": plan}), by: "ops".into() };
    let evaluated = |member: bool, check_at: Option<i64>| AudienceEvaluated {
        profile_id: profile.clone().into(),
        audience: "vip".into(),
        version: 1,
        member,
        check_at: check_at.map(EventTime::from_secs),
    };
    let erased =
        ErasureRequested { erasure_id: erasure.into(), profile_id: profile.clone().into(), identifiers: vec![reference("u9", "user_id")], by: "ops".into() };
    let suppressed = SuppressionRequested { identifier_id: "a2".into(), by: "ops".into() };
    let unmerge = |merge_id: String| UnmergeRequested { profile_id: "h1".into(), merge_id: merge_id.into(), by: "ops".into() };
    vec![
        fact(&audience("pro"), 10),
        fact(&audience("free"), 11),
        fact(&evaluated(true, Some(START + 60)), 12),
        fact(&evaluated(false, None), 13),
        fact(&evaluated(true, Some(START + 90)), 14),
        fact(&erased, 15),
        fact(&unmerge("none".to_owned()), 16),
        fact(&unmerge(link_id("m1", "m2")), 70),
        fact(&suppressed, 80),
    ]
}

/// What subjects of the system tell each other. A suite that plays no messages is told these.
fn messages() -> Vec<Option<Event>> {
    let part = |one: GraphNode, other: GraphNode, second: i64, homes: &[&str]| GraphPart {
        links: vec![evidence(&one.identifier_id, &other.identifier_id, second)],
        nodes: vec![one, other],
        homes: homes.iter().map(|home| (*home).to_owned()).collect(),
        ..GraphPart::default()
    };
    let offered = LinkOffered { identifier_id: "u1".into(), node: node("u1", "user_id"), to: reference("a1", "anonymous_id"), link: evidence("u1", "a1", 2) };
    let merging = part(node("m1", "user_id"), node("m2", "anonymous_id"), 30, &["z1"]);
    let refused = part(node("m3", "user_id"), node("m2", "anonymous_id"), 31, &[]);
    let accepted = LinkAccepted { identifier_id: "m2".into(), from: reference("m1", "user_id"), part: merging };
    let conflicting = LinkAccepted { identifier_id: "m2".into(), from: reference("m3", "user_id"), part: refused };
    let mut gone = part(node("m4", "user_id"), node("m5", "email"), 32, &[]);
    gone.links.iter_mut().for_each(|link| link.withdrawn = true);
    let withdrawn = LinkWithdrawn { identifier_id: "m4".into(), from: reference("m5", "email"), part: gone };
    let created = ProfileCreated { identifier_id: "m2".into(), identifier_type: "anonymous_id".into(), profile_id: "h1".into() };
    let join = HomeJoinRequested { home_id: "b0".into(), to: "h2".into(), join: "b0".into() };
    let moved = HomeMoved { home_id: "h9".into(), to: "h2".into(), part: part(node("n1", "user_id"), node("n2", "email"), 33, &[]) };
    let sent = LinksSent { home_id: "h9".into(), to: "h2".into(), part: part(node("n1", "user_id"), node("n3", "email"), 34, &[]) };
    let forwarded = UnmergeForwarded { home_id: "h9".into(), to: "h2".into(), merge_id: "none".into(), at: EventTime::from_secs(START + 40) };
    vec![
        told(&offered, 50, "identifier/a1"),
        told(&accepted, 51, "profile/h1"),
        told(&conflicting, 52, "profile/h1"),
        told(&withdrawn, 53, "profile/h1"),
        told(&created, 54, "profile/h1"),
        told(&moved, 55, "profile/h2"),
        told(&join, 56, "profile/h2"),
        told(&sent, 57, "profile/h2"),
        told(&forwarded, 58, "profile/h2"),
    ]
}
