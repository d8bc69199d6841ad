//! The fold of the system's own events.

use tol_events::EventView;
use tol_events::cdp::{
    AudienceCheckDue, AudienceCheckScheduled, AudienceDefined, AudienceEntered, AudienceExited, ConsentChanged, CustomerLinked, HomeMoved,
    KeyDestructionRequested, LinkAccepted, LinkOffered, LinkWithdrawn, ProfileCreated, ProfilesResolved,
};
use tol_system::{Error, Evolution, read};

use crate::decide::CHECK;
use crate::graph::Graph;
use crate::graph::links::join_link;
use crate::state::{Consent, Erasure, Identifier, KeptLink, State};
use crate::types;

/// The runner that destroys keys.
pub(crate) const ERASE: &str = "erase";

/// Folds one own event.
pub(crate) fn evolve(state: &mut State, event: &EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
    match event.event_type() {
        types::PROFILE_CREATED => {
            let created: ProfileCreated<'_> = read(event)?;
            state.identifier.active = true;
            state.identifier.identifier_type = created.identifier_type.into_owned();
        }
        types::LINK_OFFERED => {
            let offered: LinkOffered<'_> = read(event)?;
            keep(&mut state.identifier, &offered.to.identifier_id, &offered.to.identifier_type, &offered.link);
        }
        types::LINK_ACCEPTED => {
            let accepted: LinkAccepted<'_> = read(event)?;
            for link in &accepted.part.links {
                keep(&mut state.identifier, &accepted.from.identifier_id, &accepted.from.identifier_type, link);
            }
            if let Some(me) = accepted.part.nodes.iter().find(|node| node.identifier_id == accepted.identifier_id) {
                state.identifier.identifier_type.clone_from(&me.identifier_type);
            }
        }
        types::LINK_WITHDRAWN => {
            let withdrawn: LinkWithdrawn<'_> = read(event)?;
            state.identifier.links.remove(&withdrawn.from.identifier_id);
        }
        types::IDENTIFIER_SUPPRESSED => state.identifier.suppressed = true,
        types::CONSENT_CHANGED => {
            let changed: ConsentChanged<'_> = read(event)?;
            let consent = Consent { granted: changed.granted, at: event.time().unwrap_or_default() };
            state.identifier.consent.insert(changed.purpose.into_owned(), consent);
        }
        types::CUSTOMER_LINKED => state.identifier.customer_id = read::<CustomerLinked<'_>>(event)?.customer_id.into_owned(),
        types::HOME_MOVED => {
            let moved: HomeMoved<'_> = read(event)?;
            state.home = crate::state::Home { moved_to: Some(moved.to.into_owned()), ..Default::default() };
        }
        types::PROFILES_RESOLVED => {
            let resolved: ProfilesResolved<'_> = read(event)?;
            state.home.graph = Graph { nodes: resolved.nodes, links: resolved.links };
            (state.home.merges, state.home.refused) = (resolved.merges, resolved.refused);
        }
        types::AUDIENCE_DEFINED => {
            let defined: AudienceDefined<'_> = read(event)?;
            (state.audience_version, state.audience_where) = (defined.version, defined.r#where.to_string());
        }
        types::AUDIENCE_ENTERED => state.audiences.entry(read::<AudienceEntered<'_>>(event)?.audience.into_owned()).or_default().member = true,
        types::AUDIENCE_EXITED => state.audiences.entry(read::<AudienceExited<'_>>(event)?.audience.into_owned()).or_default().member = false,
        types::AUDIENCE_CHECK_SCHEDULED => {
            let scheduled: AudienceCheckScheduled<'_> = read(event)?;
            let timer = format!("{CHECK}{}", scheduled.audience);
            match scheduled.at {
                Some(at) => evolution.set_timer(timer, at),
                None => evolution.cancel_timer(timer),
            }
            state.audiences.entry(scheduled.audience.into_owned()).or_default().check_at = scheduled.at;
        }
        types::AUDIENCE_CHECK_DUE => state.audiences.entry(read::<AudienceCheckDue<'_>>(event)?.audience.into_owned()).or_default().check_at = None,
        types::KEY_DESTRUCTION_REQUESTED => {
            let requested: KeyDestructionRequested<'_> = read(event)?;
            let payload = serde_json::to_value(&requested).map_err(|problem| Error::malformed(event, problem))?;
            evolution.request_effect(ERASE, payload);
            state.erasure = Some(Erasure { profile_id: requested.profile_id.into_owned(), identifiers: requested.identifiers, done: false });
        }
        types::SUBJECT_KEY_DESTROYED => {
            if let Some(erasure) = &mut state.erasure {
                erasure.done = true;
            }
        }
        // Another try may be asked for.
        types::ERASURE_FAILED => state.erasure = None,
        types::TRAIT_CHANGED
        | types::LINKS_SENT
        | types::HOME_JOIN_REQUESTED
        | types::PROFILES_MERGED
        | types::PROFILES_UNMERGED
        | types::MERGE_REFUSED
        | types::UNMERGE_FORWARDED
        | types::UNMERGE_REFUSED => {}
        other => return Err(Error::UnknownOwnEvent(other.to_owned())),
    }
    Ok(())
}

fn keep(identifier: &mut Identifier, other: &str, identifier_type: &str, link: &tol_events::cdp::GraphLink) {
    match identifier.links.get_mut(other) {
        Some(kept) => join_link(&mut kept.link, link),
        None => drop(identifier.links.insert(other.to_owned(), KeptLink { identifier_type: identifier_type.to_owned(), link: link.clone() })),
    }
}
