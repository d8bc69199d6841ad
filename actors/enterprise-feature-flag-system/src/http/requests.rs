//! Requests about flags: made a fact, admitted, and waited for until this node serves what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tol_events::Event;
use tol_kafka::{Position, TopicPartition};

use super::super::State;
use crate::flags::import::Wanted;
use crate::http::api::{Flag, FlagsPending};
use crate::http::problem::{Kind, Problem};

/// The projection that says what came of it.
pub(super) const PROJECTION: &str = "flags";
/// Requests admitted at a time: what an import of ten thousand flags needs at once stays bounded.
const CHUNK: usize = 500;
/// Names of flags that one answer lists.
const NAMED: usize = 100;

/// What became of a request about one flag.
pub(super) enum Outcome {
    /// It is served.
    Served(Box<Flag>),
    /// It is recorded, and not decided yet.
    Pending(FlagsPending),
}

/// Admits requests, in parts.
pub(super) async fn admit(state: &State, events: Vec<Event>) -> Result<Vec<(TopicPartition, Position)>, Problem> {
    let mut positions: BTreeMap<TopicPartition, Position> = BTreeMap::new();
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let part: Vec<Event> = events.by_ref().take(CHUNK).collect();
        for (partition, position) in state.api.publish(part).await?.positions {
            let highest = positions.entry(partition).or_insert(position);
            *highest = (*highest).max(position);
        }
    }
    Ok(positions.into_iter().collect())
}

/// What keeps requests from being decided, where something is known to.
fn why_pending(state: &State) -> String {
    if state.api.stop_state().engaged {
        return "the emergency stop is engaged; it is decided when that is released".to_owned();
    }
    "it is recorded and not decided yet; GET /systems/enterprise-feature-flag-system tells how far it is".to_owned()
}

pub(super) fn pending(state: &State, mut keys: Vec<String>) -> FlagsPending {
    let pending_count = keys.len();
    keys.truncate(NAMED);
    FlagsPending { state: "pending", detail: why_pending(state), pending: keys, pending_count }
}

/// A row of the projection as people see it.
pub(super) fn flag(value: serde_json::Value) -> Result<Flag, Problem> {
    serde_json::from_value(value).map_err(|problem| Problem::internal(format!("a flag's row does not read: {problem}")))
}

/// What a request was refused for, if it was.
fn refusal(row: &serde_json::Value, request: &str) -> Option<String> {
    let refused = row["refused"].as_array()?.iter().find(|refused| refused["request"] == request)?;
    refused["problem"].as_str().map(str::to_owned)
}

/// A refusal as a problem: a conflict if the flag has moved on from the version that was changed.
fn refused(key: &str, problem: &str, row: &serde_json::Value, base: Option<u64>) -> Problem {
    let version = row["version"].as_u64().unwrap_or_default();
    let kind = if base.is_some_and(|base| base != version) { Kind::VersionConflict } else { Kind::RequestRefused };
    Problem::new(kind, format!("flag \"{key}\": {problem}")).with("flag", key).with("version", version)
}

/// Has one request about a flag admitted and decided. `base` is the version that it changes, if it names one.
pub(super) async fn decide(state: &State, key: &str, base: Option<u64>, event: Event, patience: Duration) -> Result<Outcome, Problem> {
    let (request, subject) = (event.get(tol_events::Attribute::Id).to_owned(), format!("flag/{key}"));
    let positions = admit(state, vec![event]).await?;
    if !state.api.wait_for(PROJECTION, positions, patience).await? {
        return Ok(Outcome::Pending(pending(state, vec![key.to_owned()])));
    }
    let row = state.api.row(PROJECTION, &subject, None)?.ok_or_else(|| unknown(key))?;
    if let Some(problem) = refusal(&row.value, &request) {
        return Err(refused(key, &problem, &row.value, base));
    }
    Ok(Outcome::Served(Box::new(flag(row.value)?)))
}

/// There is no such flag.
pub(super) fn unknown(key: &str) -> Problem {
    Problem::new(Kind::UnknownFlag, format!("there is no flag \"{key}\"; GET /flags lists them, PUT /flags/{{key}} makes one")).with("flag", key)
}

/// What became of many requests.
#[derive(Default)]
pub(super) struct Settled {
    /// Not decided, or decided and changed again since.
    pub(super) pending: Vec<String>,
    /// Refused, with why.
    pub(super) refused: Vec<(String, String)>,
    /// Refused because the flag had moved on: to be asked again from what is served now.
    pub(super) moved_on: usize,
}

/// Has many requests admitted and decided.
pub(super) async fn decide_all(state: &State, wanted: Vec<Wanted>, patience: Duration) -> Result<Settled, Problem> {
    let (wanted, events) = split(wanted);
    let positions = admit(state, events).await?;
    let visible = state.api.wait_for(PROJECTION, positions, patience).await?;
    let set = state.api.flags().current();
    let mut settled = Settled::default();
    for (one, request) in wanted.into_iter().filter(|(one, _)| !one.is_met(&set)) {
        let row = state.api.row(PROJECTION, &one.subject(), None)?.map(|row| row.value).unwrap_or_default();
        match refusal(&row, &request) {
            Some(_) if one.base_version.is_some_and(|base| row["version"] != base) => settled.moved_on += 1,
            Some(problem) => settled.refused.push((one.key, problem)),
            None if visible => settled.moved_on += 1,
            None => settled.pending.push(one.key),
        }
    }
    Ok(settled)
}

/// The events, and what is wanted of each with its id.
fn split(wanted: Vec<Wanted>) -> (Vec<(Wanted, String)>, Vec<Event>) {
    let mut events = Vec::with_capacity(wanted.len());
    let mut kept = Vec::with_capacity(wanted.len());
    for mut one in wanted {
        let event = std::mem::replace(&mut one.event, Event::new("", "", "", ""));
        let id = event.get(tol_events::Attribute::Id).to_owned();
        events.push(event);
        kept.push((one, id));
    }
    (kept, events)
}
