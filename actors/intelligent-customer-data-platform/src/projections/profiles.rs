//! Graphs by their homes, what a profile was made of, the audiences of each profile, and erasures.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tol_events::cdp::{
    AudienceCheckDue, AudienceCheckScheduled, AudienceEntered, AudienceExited, Certificate, ErasureFailed, HomeMoved, KeyDestructionRequested, LinkRule, Merge,
    ProfileCreated, ProfileMembers, ProfilesResolved, SubjectKeyDestroyed,
};
use tol_events::engagement::IdentifierRef;
use tol_events::{DomainEvent as _, Event, EventTime, EventView};
use tol_system::projection::{Error, refuse_other_version};
use tol_system::{Projection, Rows};

use super::{OWN_TOPIC, SOURCE};
use crate::types;

/// A subject `profile/…` or `erasure/…`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The identifier that this profile was made of, and its type.
    pub identifier: Option<(String, String)>,
    /// Where the graph moved to.
    pub moved_to: Option<String>,
    /// Counts what the home told, so that the newer of two rows is known.
    pub changes: u64,
    /// The profiles of the graph: id, and identifiers with their types.
    pub profiles: Vec<(String, Vec<(String, String)>)>,
    /// The merges: id, kept, merged, rule, evidence.
    pub merges: Vec<(String, String, String, String, String)>,
    /// The audiences.
    pub audiences: BTreeSet<String>,
    /// When a window of an audience slides next, in microseconds.
    pub checks: BTreeMap<String, i64>,
    /// The erasure: profile, state, certificate as JSON.
    pub erasure: Option<(String, String, String)>,
}

/// The projection `profiles`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Profiles;

const READS: &[&str] = &[
    types::PROFILE_CREATED,
    types::HOME_MOVED,
    types::PROFILES_RESOLVED,
    types::AUDIENCE_ENTERED,
    types::AUDIENCE_EXITED,
    types::AUDIENCE_CHECK_SCHEDULED,
    types::AUDIENCE_CHECK_DUE,
    types::KEY_DESTRUCTION_REQUESTED,
    types::SUBJECT_KEY_DESTROYED,
    types::ERASURE_FAILED,
];

impl Projection for Profiles {
    type Row = Row;
    const NAME: &'static str = "profiles";
    const VERSION: u32 = 1;
    const TOPIC: &'static str = OWN_TOPIC;
    const ROW_BYTES: usize = 512;

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Row>) -> Result<(), Error> {
        refuse_other_version(event.event_type(), READS)?;
        match event.event_type() {
            types::PROFILE_CREATED => {
                let created: ProfileCreated<'_> = event.data_as()?;
                let row = rows.get_mut(&format!("profile/{}", created.profile_id))?;
                row.identifier = Some((created.identifier_id.into_owned(), created.identifier_type.into_owned()));
            }
            types::HOME_MOVED => {
                let moved: HomeMoved<'_> = event.data_as()?;
                let row = rows.get_mut(event.subject())?;
                row.changes += 1;
                row.moved_to = Some(moved.to.into_owned());
                (row.profiles, row.merges) = (Vec::new(), Vec::new());
            }
            types::PROFILES_RESOLVED => {
                let resolved: ProfilesResolved<'_> = event.data_as()?;
                let row = rows.get_mut(event.subject())?;
                row.changes += 1;
                row.profiles = resolved.profiles.into_iter().map(members).collect();
                row.merges = resolved.merges.into_iter().map(told).collect();
            }
            types::AUDIENCE_ENTERED => {
                let entered: AudienceEntered<'_> = event.data_as()?;
                rows.get_mut(event.subject())?.audiences.insert(entered.audience.into_owned());
            }
            types::AUDIENCE_EXITED => {
                let exited: AudienceExited<'_> = event.data_as()?;
                rows.get_mut(event.subject())?.audiences.remove(&*exited.audience);
            }
            types::AUDIENCE_CHECK_SCHEDULED => {
                let scheduled: AudienceCheckScheduled<'_> = event.data_as()?;
                let row = rows.get_mut(event.subject())?;
                match scheduled.at {
                    Some(at) => drop(row.checks.insert(scheduled.audience.into_owned(), at.as_micros())),
                    None => drop(row.checks.remove(&*scheduled.audience)),
                }
            }
            types::AUDIENCE_CHECK_DUE => {
                let due: AudienceCheckDue<'_> = event.data_as()?;
                rows.get_mut(event.subject())?.checks.remove(&*due.audience);
            }
            types::KEY_DESTRUCTION_REQUESTED => {
                let requested: KeyDestructionRequested<'_> = event.data_as()?;
                rows.get_mut(event.subject())?.erasure = Some((requested.profile_id.into_owned(), "running".into(), "null".into()));
            }
            types::SUBJECT_KEY_DESTROYED => {
                let destroyed: SubjectKeyDestroyed<'_> = event.data_as()?;
                let certificate = serde_json::to_string(&destroyed.certificate).unwrap_or_default();
                rows.get_mut(event.subject())?.erasure = Some((destroyed.profile_id.into_owned(), "done".into(), certificate));
            }
            types::ERASURE_FAILED => {
                let failed: ErasureFailed<'_> = event.data_as()?;
                if let Some(erasure) = &mut rows.get_mut(event.subject())?.erasure {
                    (erasure.1, erasure.2) = ("failed".into(), json!({"problem": failed.problem}).to_string());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A profile's identifier may lie in another partition than its home; the rest lies in one.
    fn merge(a: Row, b: Row) -> Row {
        let newer = |row: &Row| (row.changes, row.audiences.len(), row.erasure.is_some());
        let (mut kept, other) = if newer(&a) >= newer(&b) { (a, b) } else { (b, a) };
        kept.identifier = kept.identifier.max(other.identifier);
        kept.audiences.extend(other.audiences);
        kept.checks.extend(other.checks);
        kept.erasure = kept.erasure.max(other.erasure);
        kept
    }

    fn value(row: &Row, key: &str) -> Value {
        if let Some((profile_id, state, certificate)) = &row.erasure {
            let certificate: Value = serde_json::from_str(certificate).unwrap_or_default();
            return json!({"erasure": key, "profile_id": profile_id, "state": state, "certificate": certificate});
        }
        let reference = |(id, kind): &(String, String)| IdentifierRef { identifier_id: id.clone(), identifier_type: kind.clone() };
        json!({
            "identifier": row.identifier.as_ref().map(reference),
            "moved_to": row.moved_to,
            "profiles": row.profiles.iter().map(|(id, members)| ProfileMembers {
                profile_id: id.clone(),
                identifiers: members.iter().map(reference).collect(),
            }).collect::<Vec<_>>(),
            "merges": row.merges.iter().map(|(merge_id, kept, merged, rule, evidence)| {
                json!({"merge_id": merge_id, "kept": kept, "merged": merged, "rule": rule, "evidence": evidence})
            }).collect::<Vec<_>>(),
            "audiences": row.audiences,
            "checks": row.checks,
        })
    }

    fn examples(&self) -> Vec<Event> {
        let reference = IdentifierRef { identifier_id: "a1".into(), identifier_type: "anonymous_id".into() };
        let merge = Merge { merge_id: "m1".into(), kept: "p1".into(), merged: "p2".into(), rule: LinkRule::SameCall, evidence: "1".into() };
        let resolved = ProfilesResolved {
            home_id: "p1".into(),
            nodes: Vec::new(),
            links: Vec::new(),
            profiles: vec![ProfileMembers { profile_id: "p1".into(), identifiers: vec![reference.clone()] }],
            merges: vec![merge],
            refused: Vec::new(),
        };
        let certificate = Certificate { identifiers: vec!["a1".into()], covered: vec!["keys".into()] };
        let events = [
            ProfileCreated { identifier_id: "a1".into(), identifier_type: "anonymous_id".into(), profile_id: "p2".into() }.to_event("1", SOURCE),
            resolved.to_event("2", SOURCE),
            HomeMoved { home_id: "p2".into(), to: "p1".into(), part: Default::default() }.to_event("3", SOURCE),
            AudienceEntered { profile_id: "p1".into(), audience: "vip".into() }.to_event("4", SOURCE),
            AudienceEntered { profile_id: "p1".into(), audience: "new".into() }.to_event("5", SOURCE),
            AudienceExited { profile_id: "p1".into(), audience: "new".into() }.to_event("6", SOURCE),
            AudienceCheckScheduled { profile_id: "p1".into(), audience: "vip".into(), at: Some(EventTime::from_secs(1_767_268_800)) }.to_event("10", SOURCE),
            AudienceCheckScheduled { profile_id: "p1".into(), audience: "new".into(), at: Some(EventTime::from_secs(1_767_268_900)) }.to_event("11", SOURCE),
            AudienceCheckDue { profile_id: "p1".into(), audience: "vip".into() }.to_event("12", SOURCE),
            KeyDestructionRequested { erasure_id: "x1".into(), profile_id: "p1".into(), identifiers: vec![reference] }.to_event("7", SOURCE),
            ErasureFailed { erasure_id: "x1".into(), problem: "the key store is away".into() }.to_event("8", SOURCE),
            SubjectKeyDestroyed { erasure_id: "x1".into(), profile_id: "p1".into(), certificate }.to_event("9", SOURCE),
        ];
        events.into_iter().flatten().collect()
    }
}

fn members(profile: ProfileMembers) -> (String, Vec<(String, String)>) {
    let identifiers = profile.identifiers.into_iter().map(|reference| (reference.identifier_id, reference.identifier_type));
    (profile.profile_id, identifiers.collect())
}

fn told(merge: Merge) -> (String, String, String, String, String) {
    let rule = match merge.rule {
        LinkRule::SameCall => "same_call",
        LinkRule::Alias => "alias",
    };
    (merge.merge_id, merge.kept, merge.merged, rule.to_owned(), merge.evidence)
}
