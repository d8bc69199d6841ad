//! The business rules: one input, one subject.
//!
//! * `identifier` — calls about an identifier, and links that others offer
//! * `home` — graphs and their homes
//! * `people` — audiences and erasures

mod home;
mod identifier;
mod people;

use tol_events::EventView;
use tol_events::cdp::{
    AudienceEvaluated, AudienceRequested, ErasureRequested, GraphNode, GraphPart, HomeJoinRequested, HomeMoved, LinkAccepted, LinkOffered, LinkWithdrawn,
    LinksSent, ProfileCreated, SuppressionRequested, UnmergeForwarded, UnmergeRequested,
};
use tol_events::{DomainEvent, EventTime};
use tol_system::{Decision, EffectOutcome, Error, read};

use crate::audiences::Condition;
use crate::graph::Rules;
use crate::state::State;
use crate::types;

pub(crate) use people::CHECK;

/// Decides a fact, or what another subject of the system tells this one.
pub(crate) fn decide(rules: &Rules, state: &State, event: &EventView<'_>, decision: &mut Decision) -> Result<(), Error> {
    match event.event_type() {
        call if types::CALLS.contains(&call) => identifier::called(rules, &state.identifier, event, decision),
        types::SUPPRESSION_REQUESTED => {
            let asked: SuppressionRequested<'_> = read(event)?;
            identifier::suppressed(rules, &state.identifier, &asked.identifier_id, decision);
            Ok(())
        }
        types::UNMERGE_REQUESTED => {
            let asked: UnmergeRequested<'_> = read(event)?;
            home::unmerge(rules, &state.home, &asked.profile_id, &asked.merge_id, event.time().unwrap_or_default(), decision);
            Ok(())
        }
        types::AUDIENCE_REQUESTED => {
            let asked: AudienceRequested<'_> = read(event)?;
            Condition::read(&asked.r#where).map_err(|problem| Error::malformed(event, problem))?;
            people::audience_requested(state, &asked, decision);
            Ok(())
        }
        types::AUDIENCE_EVALUATED => people::evaluated(state, &read::<AudienceEvaluated<'_>>(event)?, decision),
        types::ERASURE_REQUESTED => people::erasure_requested(state, &read::<ErasureRequested<'_>>(event)?, decision),
        told if types::TOLD.contains(&told) => {
            // An own event without a target tells nobody.
            let Some(target) = event.target() else { return Ok(()) };
            decide_told(rules, state, event, target, decision)
        }
        _ => Ok(()),
    }
}

fn decide_told(rules: &Rules, state: &State, event: &EventView<'_>, target: &str, decision: &mut Decision) -> Result<(), Error> {
    let Some((kind, id)) = target.split_once('/') else { return Ok(()) };
    let home = &state.home;
    let mut tell = |part: &GraphPart| home::told(rules, home, id, part, decision);
    match (kind, event.event_type()) {
        ("identifier", types::LINK_OFFERED) => {
            let offered: LinkOffered<'_> = told(event)?;
            if offered.to.identifier_id != id || offered.node.identifier_id != *offered.identifier_id {
                return Err(Error::malformed(event, "it offers a link of other identifiers than its subject and its target"));
            }
            identifier::offered(rules, &state.identifier, &offered, decision);
        }
        ("profile", types::LINK_ACCEPTED) => tell(&told::<LinkAccepted<'_>>(event)?.part),
        ("profile", types::LINK_WITHDRAWN) => tell(&told::<LinkWithdrawn<'_>>(event)?.part),
        ("profile", types::LINKS_SENT) => tell(&told::<LinksSent<'_>>(event)?.part),
        ("profile", types::HOME_MOVED) => tell(&told::<HomeMoved<'_>>(event)?.part),
        ("profile", types::PROFILE_CREATED) => {
            let created: ProfileCreated<'_> = told(event)?;
            let node = GraphNode { identifier_id: created.identifier_id.into_owned(), identifier_type: created.identifier_type.into_owned(), active: true };
            tell(&GraphPart { nodes: vec![node], ..GraphPart::default() });
        }
        ("profile", types::HOME_JOIN_REQUESTED) => home::asked_to_join(home, id, &told::<HomeJoinRequested<'_>>(event)?.join, decision),
        ("profile", types::UNMERGE_FORWARDED) => {
            let asked: UnmergeForwarded<'_> = told(event)?;
            home::unmerge(rules, home, id, &asked.merge_id, asked.at, decision);
        }
        _ => {}
    }
    Ok(())
}

/// Reads an own event of another subject.
fn told<'a, T: DomainEvent + serde::Deserialize<'a>>(event: &EventView<'a>) -> Result<T, Error> {
    let data: T = event.data_as().map_err(|problem| Error::malformed(event, problem))?;
    data.validate().map_err(|problem| Error::malformed(event, problem))?;
    Ok(data)
}

/// A window of an audience slid.
pub(crate) fn due(state: &State, id: &str, subject: &str, due: EventTime, decision: &mut Decision) {
    people::check_due(state, id, subject, due, decision);
}

/// The keys of a person were destroyed, or could not be.
pub(crate) fn effect(state: &State, subject: &str, outcome: &EffectOutcome, decision: &mut Decision) {
    people::keys_destroyed(state, subject, outcome, decision);
}
