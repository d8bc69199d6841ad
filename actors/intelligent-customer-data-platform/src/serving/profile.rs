//! A profile as it is now: its graph tells who belongs to it, and each of its identifiers what was told. Nothing of it is stored, so a merge and its
//! undoing move nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tol_events::cdp::ProfileMembers;
use tol_events::engagement::IdentifierRef;
use tol_plug::{Platform, Problem};
use tol_system::Projection as _;
use utoipa::ToSchema;

use crate::activity::Activity;
use crate::audiences::Facts;
use crate::graph::{Rules, profile_of};
use crate::projections::{Identifiers, Profiles};

/// Homes that one look-up follows. Each has a smaller id than the one before, so real chains are short.
const MOST_HOMES: usize = 256;

/// An identifier of a profile.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CdpIdentifier)]
pub(crate) struct ShownIdentifier {
    /// Its type.
    #[serde(rename = "type")]
    #[schema(example = "user_id")]
    pub(crate) identifier_type: String,
    /// Its value.
    #[schema(example = "u1")]
    pub(crate) value: String,
}

/// What a person agreed to.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CdpConsent)]
pub(crate) struct ShownConsent {
    /// What for.
    #[schema(example = "Advertising")]
    pub(crate) purpose: String,
    /// By which channel.
    #[schema(example = "any")]
    pub(crate) channel: String,
    /// Whether the person agrees.
    pub(crate) granted: bool,
    /// When that was said.
    #[schema(format = DateTime)]
    pub(crate) at: String,
}

/// A merge that made the profile.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CdpMerge)]
pub(crate) struct ShownMerge {
    /// Names the merge, to undo it.
    pub(crate) merge_id: String,
    /// The profile that became a part of this one.
    pub(crate) merged: String,
    /// The profile that stayed.
    pub(crate) kept: String,
    /// Why: `same_call` or `alias`.
    #[schema(example = "same_call")]
    pub(crate) rule: String,
    /// The id of the fact that is the evidence.
    pub(crate) evidence: String,
}

/// A profile.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = CdpProfile)]
pub(crate) struct Profile {
    /// Its id.
    pub(crate) profile_id: String,
    /// Its identifiers, the strongest first.
    pub(crate) identifiers: Vec<ShownIdentifier>,
    /// Its traits by name.
    #[schema(value_type = Object)]
    pub(crate) traits: BTreeMap<String, Value>,
    /// The audiences that it is in.
    pub(crate) audiences: Vec<String>,
    /// What it agreed to.
    pub(crate) consent: Vec<ShownConsent>,
    /// The merges that made it.
    pub(crate) merges: Vec<ShownMerge>,
    /// Its identifiers as the log names them.
    #[serde(skip)]
    pub(crate) members: Vec<IdentifierRef>,
    /// What it did.
    #[serde(skip)]
    pub(crate) events: BTreeMap<String, Activity>,
    /// The home of its graph.
    #[serde(skip)]
    pub(crate) home: String,
    /// The customer's number.
    #[serde(skip)]
    pub(crate) customer_id: Option<String>,
}

/// A row of `profiles`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HomeRow {
    identifier: Option<IdentifierRef>,
    moved_to: Option<String>,
    profiles: Vec<ProfileMembers>,
    merges: Vec<MergeRow>,
    audiences: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct MergeRow {
    merge_id: String,
    kept: String,
    merged: String,
    rule: String,
    evidence: String,
}

/// A row of `identifiers`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IdentifierRow {
    #[serde(rename = "type")]
    identifier_type: String,
    value: Value,
    traits: BTreeMap<String, Value>,
    told: BTreeMap<String, (i64, String)>,
    events: BTreeMap<String, Activity>,
    consent: BTreeMap<String, (bool, i64)>,
    customer_id: Option<String>,
    suppressed: bool,
}

fn read<T: serde::de::DeserializeOwned + Default>(platform: &dyn Platform, projection: &str, key: &str) -> Result<Option<T>, Problem> {
    let Some(row) = platform.row(projection, key, None)? else { return Ok(None) };
    serde_json::from_value(row.value).map(Some).map_err(|error| Problem::internal(format!("row {key} of {projection} does not read: {error}")))
}

/// The home that a graph ended at, with its row.
fn home_of(platform: &dyn Platform, profile_id: &str) -> Result<(String, HomeRow), Problem> {
    let mut home = profile_id.to_owned();
    for _ in 0..MOST_HOMES {
        let row: HomeRow = read(platform, Profiles::NAME, &format!("profile/{home}"))?.unwrap_or_default();
        match row.moved_to {
            Some(next) => home = next,
            None => return Ok((home, row)),
        }
    }
    Err(Problem::unavailable(format!("the graph of profile {profile_id} moves; ask again"), 1))
}

/// The profile of an identifier; `None` where it is unknown or was forgotten. Blocking.
pub(crate) fn by_identifier(platform: &dyn Platform, rules: &Rules, identifier_id: &str) -> Result<Option<Profile>, Problem> {
    let Some(row) = read::<IdentifierRow>(platform, Identifiers::NAME, &format!("identifier/{identifier_id}"))? else { return Ok(None) };
    if row.suppressed || row.identifier_type.is_empty() {
        return Ok(None);
    }
    let me = IdentifierRef { identifier_id: identifier_id.to_owned(), identifier_type: row.identifier_type };
    let (home, graph) = home_of(platform, &profile_of(identifier_id))?;
    let members = graph.profiles.iter().find(|profile| profile.identifiers.contains(&me)).cloned();
    let members = members.unwrap_or_else(|| ProfileMembers { profile_id: profile_of(identifier_id), identifiers: vec![me] });
    put_together(platform, rules, home, graph, members).map(Some)
}

/// The profile of that id, or the one that it became a part of. Blocking.
pub(crate) fn by_profile(platform: &dyn Platform, rules: &Rules, profile_id: &str) -> Result<Option<Profile>, Problem> {
    let (home, graph) = home_of(platform, profile_id)?;
    if let Some(members) = graph.profiles.iter().find(|profile| profile.profile_id == profile_id).cloned() {
        let profile = put_together(platform, rules, home, graph, members)?;
        return Ok((!profile.identifiers.is_empty()).then_some(profile));
    }
    let with_it = graph.profiles.iter().flat_map(|profile| &profile.identifiers).find(|member| profile_of(&member.identifier_id) == profile_id).cloned();
    let own = read::<HomeRow>(platform, Profiles::NAME, &format!("profile/{profile_id}"))?.and_then(|row| row.identifier);
    match with_it.or(own) {
        Some(identifier) => by_identifier(platform, rules, &identifier.identifier_id),
        None => Ok(None),
    }
}

fn put_together(platform: &dyn Platform, rules: &Rules, home: String, graph: HomeRow, members: ProfileMembers) -> Result<Profile, Problem> {
    let audiences = match read::<HomeRow>(platform, Profiles::NAME, &format!("profile/{}", members.profile_id))? {
        Some(row) => row.audiences,
        None => Vec::new(),
    };
    let natives: Vec<String> = members.identifiers.iter().map(|member| profile_of(&member.identifier_id)).collect();
    let merges = graph.merges.into_iter().filter(|merge| natives.contains(&merge.kept) && natives.contains(&merge.merged));
    let mut profile = Profile {
        profile_id: members.profile_id,
        identifiers: Vec::new(),
        traits: BTreeMap::new(),
        audiences,
        consent: Vec::new(),
        merges: merges.map(|MergeRow { merge_id, kept, merged, rule, evidence }| ShownMerge { merge_id, merged, kept, rule, evidence }).collect(),
        members: Vec::new(),
        events: BTreeMap::new(),
        home,
        customer_id: None,
    };
    let mut told: BTreeMap<String, ((i64, String), Value)> = BTreeMap::new();
    let mut consent: BTreeMap<String, (bool, i64)> = BTreeMap::new();
    let mut ordered = members.identifiers;
    ordered.sort_by_key(|member| rules.of(&member.identifier_type).priority);
    for member in ordered {
        let subject = format!("identifier/{}", member.identifier_id);
        let Some(row) = read::<IdentifierRow>(platform, Identifiers::NAME, &subject)?.filter(|row| !row.suppressed) else { continue };
        let opened = opened(platform, &subject, &row)?;
        if let Some(value) = opened["value"].as_str() {
            profile.identifiers.push(ShownIdentifier { identifier_type: member.identifier_type.clone(), value: value.to_owned() });
        }
        profile.members.push(member);
        for (name, value) in opened["traits"].as_object().into_iter().flatten() {
            let by = row.told.get(name).cloned().unwrap_or_default();
            if told.get(name).is_none_or(|(known, _)| *known < by) {
                told.insert(name.clone(), (by, value.clone()));
            }
        }
        for (purpose, (granted, at)) in row.consent {
            // The newest word counts; of two at one time, the withdrawal.
            let known = consent.entry(purpose).or_insert((granted, at));
            if (known.1, !known.0) < (at, !granted) {
                *known = (granted, at);
            }
        }
        for (name, activity) in &row.events {
            profile.events.entry(name.clone()).or_default().join(activity);
        }
        profile.customer_id = profile.customer_id.max(row.customer_id);
    }
    profile.traits = told.into_iter().filter(|(_, (_, value))| !value.is_null()).map(|(name, (_, value))| (name, value)).collect();
    let shown = |(purpose, (granted, at)): (String, (bool, i64))| {
        let at = tol_events::EventTime::from_micros(at).to_string();
        ShownConsent { purpose, channel: "any".to_owned(), granted, at }
    };
    profile.consent = consent.into_iter().map(shown).collect();
    Ok(profile)
}

/// What was told about an identifier, with its key. A sealed value of an erased person opens to null.
fn opened(platform: &dyn Platform, subject: &str, row: &IdentifierRow) -> Result<Value, Problem> {
    let sealed = serde_json::to_vec(&json!({"value": row.value, "traits": row.traits})).map_err(|error| Problem::internal(error.to_string()))?;
    let plain = platform.reveal(subject, &sealed)?;
    serde_json::from_slice(&plain).map_err(|error| Problem::internal(format!("what is known of {subject} does not read: {error}")))
}

impl Profile {
    /// What audiences ask about.
    pub(crate) fn facts(&self) -> Facts {
        Facts {
            traits: self.traits.clone(),
            events: self.events.clone(),
            consent: self.consent.iter().map(|consent| (consent.purpose.clone(), consent.granted)).collect(),
        }
    }
}
