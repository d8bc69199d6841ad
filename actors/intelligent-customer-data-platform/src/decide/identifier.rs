//! What a call about an identifier leads to, and what other identifiers tell it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tol_events::cdp::{
    ConsentChanged, CustomerLinked, GraphLink, GraphNode, GraphPart, IdentifierSuppressed, LinkAccepted, LinkOffered, LinkRule, LinkWithdrawn, MergeRefused,
    ProfileCreated, TraitChanged,
};
use tol_events::engagement::IdentifierRef;
use tol_events::{EventTime, EventView};
use tol_system::{Decision, Error};

use crate::graph::links::{is_live, rank};
use crate::graph::{Rules, link_of, profile_of};
use crate::state::{Identifier, KeptLink};
use crate::types;

/// The channel of a consent that names none.
const ANY_CHANNEL: &str = "any";

/// What a call tells, whatever its kind.
#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    identifier_id: Cow<'a, str>,
    #[serde(borrow)]
    identifier_type: Cow<'a, str>,
    #[serde(default)]
    links: Vec<IdentifierRef>,
    #[serde(default)]
    traits: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    consent: BTreeMap<String, bool>,
    #[serde(default)]
    customer_id: Option<Cow<'a, str>>,
    /// Admission says it of a person whose key is gone.
    #[serde(default)]
    erased: bool,
}

/// A call of an SDK.
pub(crate) fn called(rules: &Rules, state: &Identifier, event: &EventView<'_>, decision: &mut Decision) -> Result<(), Error> {
    let call: Call<'_> = event.data_as().map_err(|problem| Error::malformed(event, problem))?;
    if event.subject().strip_prefix("identifier/") != Some(&*call.identifier_id) {
        return Err(Error::malformed(event, "its data is about another identifier than its subject"));
    }
    if state.suppressed || call.erased {
        return Ok(());
    }
    let at = event.time().unwrap_or_default();
    let profile_id = profile_of(&call.identifier_id);
    if !state.active {
        let created = ProfileCreated {
            identifier_id: (&*call.identifier_id).into(),
            identifier_type: (&*call.identifier_type).into(),
            profile_id: (&*profile_id).into(),
        };
        let draft = decision.emit(types::PROFILE_CREATED, &created);
        // Whoever is in a graph already: its home learns that this was a profile of its own.
        draft.target = (!state.links.is_empty()).then(|| format!("profile/{profile_id}"));
    }
    let rule = if event.event_type() == types::ALIASED { LinkRule::Alias } else { LinkRule::SameCall };
    let mut links = Links { rules, me: node(&call.identifier_id, &call.identifier_type, true), kept: state.links.clone(), decision };
    for (index, other) in call.links.iter().enumerate() {
        // An alias call names one other identifier; what else it names stands beside it.
        let rule = if index == 0 { rule } else { LinkRule::SameCall };
        links.offer(other, link_of(&call.identifier_id, &other.identifier_id, at, rule, event.id()));
    }
    if event.event_type() == types::IDENTIFIED {
        identified(state, &call, at, event.id(), decision);
    }
    Ok(())
}

fn identified(state: &Identifier, call: &Call<'_>, at: EventTime, proof: &str, decision: &mut Decision) {
    let profile_id = profile_of(&call.identifier_id);
    if let Some(traits) = call.traits.as_ref().filter(|traits| !traits.is_empty()) {
        let changed = TraitChanged { identifier_id: (&*call.identifier_id).into(), profile_id: (&*profile_id).into(), traits: traits.clone() };
        decision.emit(types::TRAIT_CHANGED, &changed);
    }
    for (purpose, granted) in &call.consent {
        // The newest word counts; of two at one time, the withdrawal.
        let newer = state.consent.get(purpose).is_none_or(|known| (known.at, !known.granted) < (at, !granted));
        if newer && !purpose.is_empty() {
            let changed = ConsentChanged {
                identifier_id: (&*call.identifier_id).into(),
                profile_id: (&*profile_id).into(),
                purpose: purpose.into(),
                channel: ANY_CHANNEL.into(),
                granted: *granted,
                proof: proof.into(),
            };
            decision.emit(types::CONSENT_CHANGED, &changed);
        }
    }
    if let Some(customer_id) = call.customer_id.as_ref().filter(|customer_id| !customer_id.is_empty() && ***customer_id != state.customer_id) {
        let linked = CustomerLinked { identifier_id: (&*call.identifier_id).into(), profile_id: profile_id.into(), customer_id: (&**customer_id).into() };
        decision.emit(types::CUSTOMER_LINKED, &linked).target = Some(format!("customer/{customer_id}"));
    }
}

fn node(identifier_id: &str, identifier_type: &str, active: bool) -> GraphNode {
    GraphNode { identifier_id: identifier_id.to_owned(), identifier_type: identifier_type.to_owned(), active }
}

/// Where all that is said of a link begins its way to the graph's home, whichever end says it: at the first home of its smaller end. So one home at a
/// time knows a link, and a merge is told once.
fn first_home(part: &GraphPart) -> Option<String> {
    part.links.first().map(|link| format!("profile/{}", profile_of(&link.a)))
}

/// The links of an identifier while one input is decided.
struct Links<'a> {
    rules: &'a Rules,
    me: GraphNode,
    kept: BTreeMap<String, KeptLink>,
    decision: &'a mut Decision,
}

impl Links<'_> {
    /// Offers a link to the other identifier, if it is news and among the earliest.
    fn offer(&mut self, other: &IdentifierRef, link: GraphLink) {
        if other.identifier_id == self.me.identifier_id || !self.keep(other, &link) {
            return;
        }
        let offered = LinkOffered { identifier_id: (&*self.me.identifier_id).into(), node: self.me.clone(), to: other.clone(), link };
        self.decision.emit(types::LINK_OFFERED, &offered).target = Some(format!("identifier/{}", other.identifier_id));
    }

    /// Keeps a link that another identifier offered, and tells the home of this one.
    fn accept(&mut self, from: &GraphNode, link: GraphLink) {
        let other = IdentifierRef { identifier_id: from.identifier_id.clone(), identifier_type: from.identifier_type.clone() };
        if other.identifier_id == self.me.identifier_id || !self.keep(&other, &link) {
            return;
        }
        let homes = vec![profile_of(&link.b)];
        let part = GraphPart { nodes: vec![from.clone(), self.me.clone()], links: vec![link], homes, ..GraphPart::default() };
        let home = first_home(&part);
        let accepted = LinkAccepted { identifier_id: (&*self.me.identifier_id).into(), from: other, part };
        self.decision.emit(types::LINK_ACCEPTED, &accepted).target = home;
    }

    /// Whether the link is news, and among the earliest to identifiers of that type. One that it displaces is withdrawn.
    fn keep(&mut self, other: &IdentifierRef, link: &GraphLink) -> bool {
        if let Some(known) = self.kept.get_mut(&other.identifier_id) {
            let before = known.link.clone();
            crate::graph::links::join_link(&mut known.link, link);
            return known.link != before;
        }
        let most = self.rules.degree(&other.identifier_type);
        let mut of_type: Vec<&KeptLink> = self.kept.values().filter(|kept| kept.identifier_type == other.identifier_type).collect();
        of_type.sort_by(|one, another| rank(&one.link).cmp(&rank(&another.link)));
        let displaced = of_type.get(most.saturating_sub(1)).map(|last| (*last).clone());
        match displaced {
            Some(last) if rank(&last.link) < rank(link) => {
                self.refuse(other, link);
                return false;
            }
            Some(last) => {
                let id = if last.link.a == self.me.identifier_id { last.link.b.clone() } else { last.link.a.clone() };
                let gone = IdentifierRef { identifier_id: id, identifier_type: last.identifier_type.clone() };
                self.refuse(&gone, &last.link);
                self.withdraw(&gone, last.link);
            }
            None => {}
        }
        self.kept.insert(other.identifier_id.clone(), KeptLink { identifier_type: other.identifier_type.clone(), link: link.clone() });
        true
    }

    fn refuse(&mut self, other: &IdentifierRef, link: &GraphLink) {
        let refused = MergeRefused {
            refused_by: format!("identifier/{}", self.me.identifier_id).into(),
            limit: (&*other.identifier_type).into(),
            identifiers: vec![self.me.identifier_id.clone(), other.identifier_id.clone()],
            evidence: (&*link.evidence).into(),
        };
        self.decision.emit(types::MERGE_REFUSED, &refused);
    }

    fn withdraw(&mut self, other: &IdentifierRef, link: GraphLink) {
        self.kept.remove(&other.identifier_id);
        let part = GraphPart {
            nodes: vec![self.me.clone(), node(&other.identifier_id, &other.identifier_type, false)],
            links: vec![GraphLink { withdrawn: true, ..link }],
            ..GraphPart::default()
        };
        let home = first_home(&part);
        let withdrawn = LinkWithdrawn { identifier_id: (&*self.me.identifier_id).into(), from: other.clone(), part };
        self.decision.emit(types::LINK_WITHDRAWN, &withdrawn).target = home;
    }
}

/// Another identifier says that both are of one person.
pub(crate) fn offered(rules: &Rules, state: &Identifier, offered: &LinkOffered<'_>, decision: &mut Decision) {
    if state.suppressed || !is_live(&offered.link) {
        return;
    }
    let me = node(&offered.to.identifier_id, &offered.to.identifier_type, state.active);
    Links { rules, me, kept: state.links.clone(), decision }.accept(&offered.node, offered.link.clone());
}

/// Nothing is made of the identifier any more, and nobody is linked with it.
pub(crate) fn suppressed(rules: &Rules, state: &Identifier, identifier_id: &str, decision: &mut Decision) {
    if state.suppressed {
        return;
    }
    decision.emit(types::IDENTIFIER_SUPPRESSED, &IdentifierSuppressed { identifier_id: identifier_id.into() });
    let me = node(identifier_id, &state.identifier_type, state.active);
    let mut links = Links { rules, me, kept: state.links.clone(), decision };
    for (other, kept) in &state.links {
        links.withdraw(&IdentifierRef { identifier_id: other.clone(), identifier_type: kept.identifier_type.clone() }, kept.link.clone());
    }
}
