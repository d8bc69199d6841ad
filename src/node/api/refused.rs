//! Records that admission refused from Kafka's `inbox`, as dead letters: shown, admitted after all, given up. Any node does it, since admission finds
//! the owner of each fact.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tol_events::{Attribute, Event, binding, id};

use super::dead_letters::Filter;
use crate::http::api::{DeadLetter, DeadLetterDetail, DeadLetterKind, InboxRecord, RedriveOne, Redriven};
use crate::node::inbox::is_final;
use crate::node::publish::Fact;
use crate::node::refused::{HUB, Raw, Refusals, Row};
use crate::node::{Open, refused};
use tol_plug::{Kind, Problem};

/// How long the owner of a fact is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

fn away(error: &refused::Error) -> Problem {
    Problem::unavailable(format!("refused records of inbox: {error}"), 1)
}

/// A refused record for people.
pub(super) fn dead_letter(row: &Row) -> DeadLetter {
    DeadLetter {
        id: row.id(),
        kind: DeadLetterKind::Refused,
        system: HUB.to_owned(),
        subject: row.subject.clone(),
        event_type: row.event_type.clone(),
        event_id: row.event_id.clone(),
        position: format!("inbox/{}:{}", row.partition, row.position),
        attempts: 1,
        error: row.error.clone(),
        parked_at: row.refused_at,
        ..DeadLetter::default()
    }
}

impl Filter<'_> {
    fn matches_refused(&self, row: &Row) -> bool {
        self.system.is_none_or(|system| system == HUB) && self.matches_parts(&row.subject, &row.event_type, &row.error, row.refused_at)
    }
}

/// At most `limit` that match, behind the one with the id `after`. Blocking.
pub(super) fn page(refusals: &Refusals, filter: &Filter<'_>, after: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, Problem> {
    let mut letters = Vec::new();
    if limit > 0 && filter.system.is_none_or(|system| system == HUB) {
        refusals.catch_up().map_err(|error| away(&error))?;
        let take = |row: Row| {
            if filter.matches_refused(&row) {
                letters.push(dead_letter(&row));
            }
            letters.len() < limit
        };
        refusals.each(after, take).map_err(|error| away(&error))?;
    }
    Ok(letters)
}

/// Ids of all that match. Blocking.
pub(super) fn ids(refusals: &Refusals, filter: &Filter<'_>) -> Result<Vec<String>, Problem> {
    Ok(page(refusals, filter, None, usize::MAX)?.into_iter().map(|letter| letter.id).collect())
}

fn find(refusals: &Refusals, id: &str) -> Result<(Row, Raw), Problem> {
    let row = refusals.find(id).map_err(|error| away(&error))?.ok_or_else(|| Problem::unknown_dead_letter(id))?;
    let raw = refusals.raw(&row).map_err(|error| away(&error))?;
    Ok((row, raw))
}

/// One with what its publisher wrote. Blocking.
pub(super) fn show(refusals: &Refusals, id: &str) -> Result<DeadLetterDetail, Problem> {
    let (row, raw) = find(refusals, id)?;
    let event = refusals.decode(&row, &raw).ok().and_then(|event| serde_json::from_slice(&binding::json::encode(&event)).ok());
    let (text, base64) = match raw.value.map(String::from_utf8) {
        Some(Ok(text)) => (Some(text), None),
        Some(Err(bytes)) => (None, Some(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes.as_bytes()))),
        None => (None, None),
    };
    Ok(DeadLetterDetail {
        letter: dead_letter(&row),
        event,
        input: None,
        record: Some(InboxRecord { headers: raw.headers, value: text, value_base64: base64 }),
    })
}

/// Reads a mended event: what it lacks of id and subject it has from the record's place.
fn mended(event: Value, row: &Row, cluster: &str) -> Result<Event, Problem> {
    let default_id = || id::of_inbox_position(cluster, row.partition, row.position).to_string();
    let text = serde_json::to_vec(&event).map_err(|error| Problem::new(Kind::INVALID_BODY, error.to_string()))?;
    let structured = [("content-type", binding::STRUCTURED.as_bytes())];
    binding::kafka::decode(structured.into_iter(), &text, Some(&default_id))
        .map_err(|error| Problem::new(Kind::INVALID_EVENT, format!("the mended event: {error}")))
}

/// Admits a record after all, or the mended event in its place. Blocking.
pub(super) fn redrive(open: &Open, id: &str, request: RedriveOne, by: &str) -> Result<(), Problem> {
    let (row, raw) = find(&open.refusals, id)?;
    let is_mended = request.event.is_some();
    let stays = |problem: String| {
        let detail = format!("{id} stays refused: {problem}; redrive it with a mended event, or discard it");
        Problem::new(Kind::WRONG_STATE, detail).with("id", id)
    };
    let event = match request.event {
        Some(event) => mended(event, &row, &open.log.identity())?,
        None => open.refusals.decode(&row, &raw).map_err(stays)?,
    };
    let admitted = (event.get(Attribute::Source).to_owned(), event.get(Attribute::Id).to_owned());
    // Without its place in the inbox: a partition of facts takes none below the last it has from there.
    match open.settle(vec![Fact::sent(event)], PATIENCE) {
        Ok(_) => {}
        Err(problem) if is_final(&problem) && !is_mended => return Err(stays(problem.detail)),
        Err(problem) => return Err(problem),
    }
    open.refusals.redriven(&row, by, &request.reason.unwrap_or_default(), is_mended, admitted).map_err(|error| away(&error))
}

/// [`redrive`] of one, on a thread that may block.
pub(super) async fn redrive_one(open: &Arc<Open>, id: String, request: RedriveOne, by: String) -> Result<Redriven, Problem> {
    let (working, name) = (open.clone(), id.clone());
    let done = tokio::task::spawn_blocking(move || redrive(&working, &name, request, &by)).await;
    done.unwrap_or_else(|_| Err(Problem::unavailable("the node is stopping", 1)))?;
    let state = "done".to_owned();
    Ok(Redriven { id: uuid::Uuid::new_v4().to_string(), state, selected: 1, redriven: 1, ids: vec![id], ..Redriven::default() })
}

/// Gives a record up.
pub(super) async fn discard(open: &Arc<Open>, id: String, reason: String, by: String) -> Result<DeadLetter, Problem> {
    let working = open.clone();
    let done = tokio::task::spawn_blocking(move || {
        let row = working.refusals.find(&id).map_err(|error| away(&error))?.ok_or_else(|| Problem::unknown_dead_letter(&id))?;
        working.refusals.discarded(&row, &by, &reason).map_err(|error| away(&error))?;
        Ok(dead_letter(&row))
    });
    done.await.unwrap_or_else(|_| Err(Problem::unavailable("the node is stopping", 1)))
}

/// What a parked input was, where it is no event.
pub(super) fn input_of(recorded: &tol_runtime::owner::Recorded) -> Option<Value> {
    use tol_runtime::owner::Recorded;
    match recorded {
        Recorded::Event { .. } => None,
        Recorded::Timer { id, due } => Some(json!({ "kind": "timer", "id": id, "due": due })),
        Recorded::Effect { request_id, outcome, at } => Some(json!({ "kind": "effect", "request_id": request_id, "outcome": outcome, "at": at })),
    }
}
