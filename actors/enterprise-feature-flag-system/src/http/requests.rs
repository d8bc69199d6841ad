//! Admits requests about flags and waits until this node serves what came of them.

use std::collections::BTreeMap;
use std::time::Duration;

use tol_events::{Attribute, Event, Position, TopicPartition};
use tol_plug::Problem;

use super::import::Wanted;
use super::types::{FlagView, FlagsPending};
use crate::Request;
use crate::problems::{REQUEST_REFUSED, UNKNOWN_FLAG, VERSION_CONFLICT};

/// The projection that says what came of it.
pub(super) const PROJECTION: &str = "flags";
/// Requests admitted at a time: what an import of ten thousand flags needs at once stays bounded.
const CHUNK: usize = 500;
/// Names of flags that one answer lists.
const NAMED: usize = 100;

/// What became of a request about one flag.
pub(super) enum RequestOutcome {
    /// It is served.
    Served(Box<FlagView>),
    /// It is recorded, and not decided yet.
    Pending(FlagsPending),
}

/// Admits requests, in parts.
pub(super) async fn admit(request: &Request, events: Vec<Event>) -> Result<Vec<(TopicPartition, Position)>, Problem> {
    let mut positions: BTreeMap<TopicPartition, Position> = BTreeMap::new();
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let part: Vec<Event> = events.by_ref().take(CHUNK).collect();
        for (partition, position) in request.platform().admit(part).await?.positions {
            let highest = positions.entry(partition).or_insert(position);
            *highest = (*highest).max(position);
        }
    }
    Ok(positions.into_iter().collect())
}

/// What keeps requests from being decided, where something is known to.
fn why_pending(request: &Request) -> String {
    if *request.platform().stopped().borrow() {
        return "the emergency stop is engaged; it is decided when that is released".to_owned();
    }
    "it is recorded and not decided yet; GET /systems/enterprise-feature-flag-system tells how far it is".to_owned()
}

pub(super) fn pending(request: &Request, mut keys: Vec<String>) -> FlagsPending {
    let pending_count = keys.len();
    keys.truncate(NAMED);
    FlagsPending { state: "pending", detail: why_pending(request), pending: keys, pending_count }
}

/// A row of the projection as people see it.
pub(super) fn flag(value: serde_json::Value) -> Result<FlagView, Problem> {
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
    let kind = if base.is_some_and(|base| base != version) { VERSION_CONFLICT } else { REQUEST_REFUSED };
    Problem::new(kind, format!("flag \"{key}\": {problem}")).with("flag", key).with("version", version)
}

/// Has one request about a flag admitted and decided. `base` is the version that it changes, if it names one.
pub(super) async fn decide(request: &Request, key: &str, base: Option<u64>, event: Event, patience: Duration) -> Result<RequestOutcome, Problem> {
    let id = event.get(Attribute::Id).to_owned();
    let positions = admit(request, vec![event]).await?;
    if !request.platform().wait_for(PROJECTION, positions, patience).await? {
        return Ok(RequestOutcome::Pending(pending(request, vec![key.to_owned()])));
    }
    let row = request.platform().row(PROJECTION, &format!("flag/{key}"), None)?.ok_or_else(|| unknown(key))?;
    if let Some(problem) = refusal(&row.value, &id) {
        return Err(refused(key, &problem, &row.value, base));
    }
    Ok(RequestOutcome::Served(Box::new(flag(row.value)?)))
}

/// There is no such flag.
pub(super) fn unknown(key: &str) -> Problem {
    Problem::new(UNKNOWN_FLAG, format!("there is no flag \"{key}\"; GET /flags lists them, PUT /flags/{{key}} makes one")).with("flag", key)
}

/// Those of many requests that are not granted.
#[derive(Default)]
pub(super) struct Unmet {
    /// Not decided, or decided and changed again since.
    pub(super) pending: Vec<String>,
    /// Refused, with why.
    pub(super) refused: Vec<(String, String)>,
    /// Refused because the flag had moved on: to be asked again from what is served now.
    pub(super) moved_on: usize,
}

/// Has many requests admitted and decided.
pub(super) async fn decide_all(request: &Request, wanted: Vec<Wanted>, patience: Duration) -> Result<Unmet, Problem> {
    let (wanted, events) = split(wanted);
    let platform = request.platform();
    let positions = admit(request, events).await?;
    let visible = platform.wait_for(PROJECTION, positions, patience).await?;
    let set = request.serving.server.current();
    let mut unmet = Unmet::default();
    for (one, id) in wanted.into_iter().filter(|(one, _)| !one.is_met(&set)) {
        let row = platform.row(PROJECTION, &one.subject(), None)?.map(|row| row.value).unwrap_or_default();
        match refusal(&row, &id) {
            Some(_) if one.base_version.is_some_and(|base| row["version"] != base) => unmet.moved_on += 1,
            Some(problem) => unmet.refused.push((one.key, problem)),
            None if visible => unmet.moved_on += 1,
            None => unmet.pending.push(one.key),
        }
    }
    Ok(unmet)
}

/// The events, and what is wanted of each with its id.
fn split(wanted: Vec<Wanted>) -> (Vec<(Wanted, String)>, Vec<Event>) {
    let mut events = Vec::with_capacity(wanted.len());
    let mut kept = Vec::with_capacity(wanted.len());
    for mut one in wanted {
        let event = std::mem::replace(&mut one.event, Event::new("", "", "", ""));
        let id = event.get(Attribute::Id).to_owned();
        events.push(event);
        kept.push((one, id));
    }
    (kept, events)
}
