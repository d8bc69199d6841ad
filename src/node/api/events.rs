//! Events: taking them in, finding them again, how one led to another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tol_events::personal::{self, KeyStore};
use tol_events::{Attribute, Event};
use tol_events::{Position, TopicPartition};
use tol_projections::index::{Located, SearchQuery as IndexQuery, is_indexed};
use tol_runtime::admission::{Candidate, Refusal};

use crate::http::api::{Trace, TraceNode};
use crate::node::facts::{ANSWERED_WITHIN, PATIENCE, answer_of};
use crate::node::publish::{Fact, Prepared};
use crate::node::{Node, Open, publish as prepare};
use tol_plug::Answer;
use tol_plug::platform::{EventPage, LoggedEvent, Published, SearchQuery, Warning};
use tol_plug::request::{known, run_blocking};
use tol_plug::{Kind, Problem};

/// Events of one trace, at most.
const TRACED: usize = 10_000;

pub(super) fn publish(node: &Node, events: Vec<Event>) -> Answer<'_, Published> {
    let open = match node.opened() {
        Ok(open) => open,
        Err(problem) => return known(Err(problem)),
    };
    // The source of each event is told when its id clashes.
    let sources: Vec<String> = events.iter().map(|event| event.get(Attribute::Source).to_owned()).collect();
    let facts: Vec<Fact> = events.into_iter().map(Fact::sent).collect();
    if !open.owns(&facts) {
        return Box::pin(pass_on(open.clone(), facts));
    }
    if !open.prepares_at_once(&facts) {
        let preparing = open.clone();
        let prepared = tokio::task::spawn_blocking(move || preparing.prepare(facts));
        return Box::pin(async move {
            let Prepared { candidates, ids, warnings } = prepared.await.unwrap_or_else(|_| Err(Problem::unavailable("the node is stopping", 1)))?;
            answered(open, hand_in(open, candidates, ids), &sources, warnings).await
        });
    }
    match open.prepare(facts) {
        Ok(Prepared { candidates, ids, warnings }) => {
            let admitted = hand_in(open, candidates, ids);
            Box::pin(async move { answered(open, admitted, &sources, warnings).await })
        }
        Err(problem) => known(Err(problem)),
    }
}

type Admitted = oneshot::Receiver<Result<tol_runtime::admission::Published, Refusal>>;

/// Hands candidates to admission at once.
fn hand_in(open: &Open, candidates: Vec<Candidate>, ids: Vec<String>) -> Admitted {
    let (sender, answer) = oneshot::channel();
    open.admission.publish(candidates, ids, Box::new(move |published| drop(sender.send(published))));
    answer
}

async fn answered(open: &Open, admitted: Admitted, sources: &[String], warnings: Vec<Warning>) -> Result<Published, Problem> {
    match tokio::time::timeout(ANSWERED_WITHIN, admitted).await {
        Ok(Ok(Ok(published))) => Ok(answer_of(published, warnings)),
        Ok(Ok(Err(refusal))) => Err(open.refused(refusal, sources)),
        Ok(Err(_)) | Err(_) => Err(Problem::unavailable("admission ended or hangs; GET /readyz tells why", 5)),
    }
}

/// Facts of which another node owns a part.
async fn pass_on(open: Arc<Open>, facts: Vec<Fact>) -> Result<Published, Problem> {
    // One bad event refuses the request before any part of it is stored.
    for (index, fact) in facts.iter().enumerate() {
        prepare::check(index, fact)?;
    }
    let busy = || Problem::unavailable("too much is being passed on to other nodes; send the same events again in a moment, the same ids are safe", 1);
    let permit = open.passing.clone().try_acquire_owned().map_err(|_| busy())?;
    let settled = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        open.settle(facts, PATIENCE)
    });
    settled.await.unwrap_or_else(|_| Err(Problem::unavailable("the node is stopping", 1)))
}

fn failed(error: &tol_projections::Error) -> Problem {
    match error {
        tol_projections::Error::Cursor => Problem::new(Kind::INVALID_CURSOR, error.to_string()),
        other => Problem::unavailable(other.to_string(), 1),
    }
}

/// Waits until the index has read a system's own position `end` (exclusive); false when the time is up first.
pub(super) async fn indexed(open: &Open, (at, end): &(TopicPartition, Position), until: tokio::time::Instant) -> Result<bool, Problem> {
    while open.index.cursor(at).position < *end {
        if tokio::time::Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    Ok(true)
}

/// An event for people: personal fields are readable again, unless the person was erased.
pub(crate) fn readable(keys: &dyn KeyStore, event: Event, at: TopicPartition, position: Position) -> LoggedEvent {
    LoggedEvent { event: revealed(keys, event), position: Some((at, position)) }
}

/// An event with its personal fields opened, as far as their keys are there.
pub(super) fn revealed(keys: &dyn KeyStore, mut event: Event) -> Event {
    match personal::decrypt_data(&event.data, personal::person_of(&event), keys) {
        Ok(std::borrow::Cow::Owned(data)) => event.data = data,
        Ok(std::borrow::Cow::Borrowed(_)) => {}
        Err(error) => tracing::warn!(%error, person = personal::person_of(&event), "personal data cannot be read"),
    }
    event
}

fn logged(open: &Open, located: Located) -> LoggedEvent {
    readable(open.keys.as_ref(), located.event, located.at, located.position)
}

pub(super) fn search(open: &Open, query: &SearchQuery) -> Result<EventPage, Problem> {
    let mut index_query = IndexQuery {
        subject: query.filter.subject.clone(),
        event_type: query.filter.event_type.clone(),
        correlation: query.filter.correlation.clone(),
        from: query.from,
        to: query.to,
        limit: query.limit,
        cursor: query.cursor.clone(),
    };
    // One answer looks at a bounded number of pages; an empty one with a cursor says: go on.
    for _ in 0..20 {
        let page = open.index.search(&index_query).map_err(|error| failed(&error))?;
        let items: Vec<LoggedEvent> = page.items.into_iter().map(|located| logged(open, located)).collect();
        if !items.is_empty() || page.next_cursor.is_none() {
            return Ok(EventPage { items, next_cursor: page.next_cursor });
        }
        index_query.cursor = page.next_cursor;
    }
    Ok(EventPage { items: Vec::new(), next_cursor: index_query.cursor })
}

/// How often it is looked whether the index has read a position.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until the index has read positions, on a thread that may block each time it looks.
pub(super) async fn wait_indexed(open: &Arc<Open>, positions: Vec<(TopicPartition, Position)>, timeout: Duration) -> Result<bool, Problem> {
    if let Some((partition, _)) = positions.iter().find(|(partition, _)| !is_indexed(&partition.topic) || partition.partition >= open.partitions) {
        // Waiting for it would only end with the time that the client gave.
        return Err(Problem::parameter("min_position", format!("the log has no {partition}; give a position that POST /events answered")));
    }
    let deadline = tokio::time::Instant::now() + timeout;
    let positions = Arc::new(positions);
    loop {
        let (open, wanted) = (open.clone(), positions.clone());
        if run_blocking(move || Ok(open.index.reached(&wanted))).await? {
            return Ok(true);
        }
        if tokio::time::Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub(super) fn timeline(open: &Open, subject: &str, limit: usize, cursor: Option<&str>) -> Result<EventPage, Problem> {
    let page = open.index.timeline(subject, limit, cursor).map_err(|error| failed(&error))?;
    Ok(EventPage { items: page.items.into_iter().map(|located| logged(open, located)).collect(), next_cursor: page.next_cursor })
}

pub(super) fn by_id(open: &Open, id: &str, source: Option<&str>) -> Result<Vec<LoggedEvent>, Problem> {
    let found = open.index.by_id(id).map_err(|error| failed(&error))?;
    Ok(found
        .into_iter()
        .filter(|located| source.is_none_or(|source| located.event.get(Attribute::Source) == source))
        .map(|located| logged(open, located))
        .collect())
}

pub(super) fn trace(open: &Open, correlation: &str) -> Result<Trace, Problem> {
    let mut query = IndexQuery { correlation: Some(correlation.to_owned()), limit: 500, ..IndexQuery::default() };
    let mut events: Vec<Located> = Vec::new();
    loop {
        let page = open.index.search(&query).map_err(|error| failed(&error))?;
        events.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() || events.len() >= TRACED {
            break;
        }
    }
    let truncated = query.cursor.is_some();
    let ids: BTreeSet<String> = events.iter().map(|located| located.event.get(Attribute::Id).to_owned()).collect();
    let count = events.len();
    let mut by_cause: BTreeMap<Option<String>, Vec<Located>> = BTreeMap::new();
    for located in events {
        let own = located.event.get(Attribute::Id);
        let cause = located.event.attributes.get(&Attribute::CausationId).filter(|cause| ids.contains(*cause) && *cause != own).cloned();
        by_cause.entry(cause).or_default().push(located);
    }
    let roots = by_cause.remove(&None).unwrap_or_default().into_iter().map(|root| node(open, root, &mut by_cause, 0)).collect();
    Ok(Trace { correlation: correlation.to_owned(), events: count, truncated, roots })
}

/// Depth is bounded: causes that form a ring (ids of outside senders may) end there.
fn node(open: &Open, located: Located, by_cause: &mut BTreeMap<Option<String>, Vec<Located>>, depth: usize) -> TraceNode {
    let caused = if depth < 100 { by_cause.remove(&Some(located.event.get(Attribute::Id).to_owned())).unwrap_or_default() } else { Vec::new() };
    let children = caused.into_iter().map(|child| node(open, child, by_cause, depth + 1)).collect();
    TraceNode { event: logged(open, located), children }
}
