//! Dead letters: listed from the systems' caches and logs, so that one that is down still shows its own; redriven and discarded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tol_events::EventTime;
use tol_runtime::metric_definitions;
use tol_runtime::owner::{Answered, Parked, Recorded, Redrive, count_parked, read_parked};
use tol_runtime::supervision::actor::Discard;
use tol_runtime::supervision::root::SystemStatus;
use tol_runtime::supervision::{Command, State};

use super::redrive::{self, Request, Selection};
use super::refused;
use super::systems::ask;
use crate::http::api::{DeadLetter, DeadLetterDetail, DeadLetterKind, DeadLetterPage, DeadLetterQuery, RedriveFilter, RedriveOne, Redriven};
use crate::node::refused::is_refused_id;
use crate::node::{Node, Open};
use tol_plug::{Kind, Problem};

/// How long a redrive may take before its request is answered with how far it is.
pub(super) const PATIENCE: Duration = Duration::from_secs(25);

impl Open {
    /// How many inputs of a system are parked, as its cache says.
    pub(crate) fn parked_count(&self, status: &SystemStatus) -> u64 {
        let count = |partition| count_parked(&*self.store, &status.description, partition).unwrap_or_default();
        let count = (0..self.partitions).map(count).sum::<usize>() as u64;
        metric_definitions::system_dead_letters(status.description.name).set(count as f64);
        count
    }

    /// Parked inputs of one system or all, by system, partition, and the order in which they were parked. Blocking.
    pub(super) fn parked(&self, system: Option<&str>) -> Result<Vec<Parked>, Problem> {
        let mut all = Vec::new();
        for status in self.root.statuses().iter().filter(|status| system.is_none_or(|system| status.description.name == system)) {
            // Who runs keeps its cache up to date; for others the log has the rest.
            let log = (!matches!(status.state, State::Running | State::Probing)).then_some(&*self.log);
            for partition in 0..self.partitions {
                let parked = read_parked(&*self.store, log, &status.description, partition);
                let from = all.len();
                all.extend(parked.map_err(|error| Problem::unavailable(format!("dead letters of {}: {error}", status.description.name), 1))?);
                all[from..].sort_by_key(|parked| parked.order);
            }
        }
        Ok(all)
    }
}

/// An attribute of a parked event; what stands for it of a timer or an effect's result.
fn attribute(parked: &Parked, name: &str) -> String {
    match &parked.input {
        Recorded::Event { attributes, .. } => attributes.get(name).cloned().unwrap_or_default(),
        Recorded::Timer { .. } => "timer".to_owned(),
        Recorded::Effect { .. } => "effect".to_owned(),
    }
}

/// A parked input for people. `waiting` counts those behind it.
fn dead_letter(parked: &Parked, waiting: u64) -> DeadLetter {
    DeadLetter {
        id: parked.id.clone(),
        kind: DeadLetterKind::Parked,
        system: parked.system.clone(),
        subject: parked.subject.clone(),
        event_type: attribute(parked, "type"),
        event_id: attribute(parked, "id"),
        position: parked.at.replace('@', ":"),
        attempts: parked.attempts,
        error: parked.error.clone(),
        parked_at: parked.parked_at,
        time: Some(parked.time),
        redrives: parked.redrives,
        waiting,
        released: None,
    }
}

/// Which dead letters are meant.
#[derive(Debug, Default)]
pub(super) struct Filter<'a> {
    pub system: Option<&'a str>,
    pub subject: Option<&'a str>,
    pub event_type: Option<&'a str>,
    pub error: Option<&'a str>,
    pub from: Option<EventTime>,
    pub to: Option<EventTime>,
}

impl Filter<'_> {
    pub(super) fn matches(&self, parked: &Parked) -> bool {
        self.system.is_none_or(|system| parked.system == system)
            && self.matches_parts(&parked.subject, &attribute(parked, "type"), &parked.error, parked.parked_at)
    }

    pub(super) fn matches_parts(&self, subject: &str, event_type: &str, error: &str, at: Option<EventTime>) -> bool {
        self.subject.is_none_or(|wanted| subject == wanted)
            && self.event_type.is_none_or(|wanted| wanted.strip_suffix('*').map_or(event_type == wanted, |begin| event_type.starts_with(begin)))
            && self.error.is_none_or(|text| error.contains(text))
            && self.from.is_none_or(|from| at.is_some_and(|at| at >= from))
            && self.to.is_none_or(|to| at.is_some_and(|at| at <= to))
    }
}

pub(super) fn dead_letters(open: &Open, query: &DeadLetterQuery) -> Result<DeadLetterPage, Problem> {
    let filter = Filter {
        system: query.system.as_deref(),
        subject: query.subject.as_deref(),
        event_type: query.event_type.as_deref(),
        error: query.error.as_deref(),
        from: query.from,
        to: query.to,
    };
    // Parked inputs first, then what was refused in the inbox; one more than asked for tells whether there is a next page.
    let refused_cursor = query.cursor.as_deref().filter(|cursor| is_refused_id(cursor));
    let mut items = if refused_cursor.is_some() { Vec::new() } else { parked_page(open, query, &filter)? };
    items.extend(refused::page(&open.refusals, &filter, refused_cursor, query.limit + 1 - items.len())?);
    let more = items.len() > query.limit;
    items.truncate(query.limit);
    let next_cursor = items.last().filter(|_| more).map(|last| last.id.clone());
    Ok(DeadLetterPage { items, next_cursor })
}

/// Parked inputs behind the query's cursor, one more than its limit at most.
fn parked_page(open: &Open, query: &DeadLetterQuery, filter: &Filter<'_>) -> Result<Vec<DeadLetter>, Problem> {
    let all = open.parked(query.system.as_deref())?;
    // Those behind each, whether the filter wants them or not.
    let mut behind: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut waiting: Vec<u64> = Vec::with_capacity(all.len());
    for parked in all.iter().rev() {
        let count = behind.entry((&parked.system, &parked.subject)).or_default();
        waiting.push(*count);
        *count += 1;
    }
    waiting.reverse();
    let skip = match &query.cursor {
        None => 0,
        Some(cursor) => {
            let place = all.iter().position(|parked| parked.id == *cursor);
            place.ok_or_else(|| Problem::new(Kind::INVALID_CURSOR, "the cursor names a dead letter that is gone; begin again without it"))? + 1
        }
    };
    let matching = all.iter().zip(waiting).skip(skip).filter(|(parked, _)| filter.matches(parked));
    Ok(matching.take(query.limit + 1).map(|(parked, waiting)| dead_letter(parked, waiting)).collect())
}

/// One with its input. Blocking.
pub(super) fn show(open: &Open, id: &str) -> Result<DeadLetterDetail, Problem> {
    if is_refused_id(id) {
        return refused::show(&open.refusals, id);
    }
    let all = open.parked(None)?;
    let parked = all.iter().find(|parked| parked.id == id).ok_or_else(|| Problem::unknown_dead_letter(id))?;
    let waiting = all.iter().filter(|other| (&other.system, &other.subject) == (&parked.system, &parked.subject) && other.order > parked.order).count();
    let event = parked.input.to_event().map(|event| super::events::revealed(open.keys.as_ref(), event));
    let event = event.and_then(|event| serde_json::from_slice(&tol_events::binding::json::encode(&event)).ok());
    Ok(DeadLetterDetail { letter: dead_letter(parked, waiting as u64), event, input: refused::input_of(&parked.input), record: None })
}

/// Reads on a thread that may block.
async fn read(open: &Arc<Open>, system: Option<String>) -> Result<Vec<Parked>, Problem> {
    let reading = open.clone();
    let read = tokio::task::spawn_blocking(move || reading.parked(system.as_deref())).await;
    read.map_err(|_| Problem::unavailable("the node is stopping", 1))?
}

pub(super) async fn find(open: &Arc<Open>, id: &str) -> Result<Parked, Problem> {
    let all = read(open, None).await?;
    all.into_iter().find(|parked| parked.id == id).ok_or_else(|| Problem::unknown_dead_letter(id))
}

fn while_not_stopped(node: &Node) -> Result<(), Problem> {
    let state = node.gate.state();
    if !state.engaged {
        return Ok(());
    }
    let reason = state.reason.unwrap_or_default();
    Err(Problem::new(Kind::EMERGENCY_STOP, format!("nothing is decided while the emergency stop is engaged ({reason}); release it first")))
}

/// Redrives the subject of one, from its first.
pub(super) async fn redrive_one(node: &Node, id: String, request: RedriveOne, by: String) -> Result<Redriven, Problem> {
    let open = node.opened()?;
    while_not_stopped(node)?;
    let parked = find(open, &id).await?;
    if request.event.is_some() {
        let detail = format!("{id} is an input that lies in the log, and a fact is never changed: publish one that corrects it, then discard this one");
        return Err(Problem::new(Kind::WRONG_STATE, detail).with("id", id));
    }
    let filter = RedriveFilter { system: Some(parked.system), subject: Some(parked.subject), reason: request.reason, ..RedriveFilter::default() };
    let redriven = redrive_here(node, uuid::Uuid::new_v4().to_string(), filter, by, false).await?;
    match redriven.failed.first().or(redriven.limited.first()) {
        Some(stayed) if redriven.redriven == 0 => {
            let detail = format!(
                "{} stays parked: {}; mend the cause and redrive it (with force, where it failed too often), or discard it",
                stayed.subject, stayed.problem
            );
            Err(Problem::new(Kind::WRONG_STATE, detail).with("subject", stayed.subject.clone()))
        }
        _ => Ok(redriven),
    }
}

/// The conditions of a request's filter.
fn conditions(filter: &RedriveFilter) -> Filter<'_> {
    Filter {
        system: filter.system.as_deref(),
        subject: filter.subject.as_deref(),
        event_type: filter.event_type.as_deref(),
        error: filter.error.as_deref(),
        from: filter.from,
        to: filter.to,
    }
}

/// What a filter selects; `here_only`: of the partitions that are this node's. With `refused` records of the inbox too, which belong to no partition
/// of a system: the node that is asked redrives them all.
pub(super) async fn selected(open: &Arc<Open>, filter: &RedriveFilter, here_only: bool, refused: bool) -> Result<Selection, Problem> {
    if let Some(system) = &filter.system
        && !open.root.statuses().iter().any(|status| status.description.name == system)
    {
        return Err(Problem::unknown_system(system));
    }
    let mut all = read(open, filter.system.clone()).await?;
    all.retain(|parked| !here_only || open.is_here(&parked.subject));
    let mut selection = redrive::select(all, &conditions(filter));
    if refused {
        let (reading, filter) = (open.clone(), filter.clone());
        let ids = tokio::task::spawn_blocking(move || refused::ids(&reading.refusals, &conditions(&filter)));
        selection.refused = ids.await.unwrap_or_else(|_| Err(Problem::unavailable("the node is stopping", 1)))?;
    }
    Ok(selection)
}

/// Begins this node's part of the redrive `id`, and waits for its end unless it is to run in the background.
pub(super) async fn redrive_here(node: &Node, id: String, filter: RedriveFilter, by: String, refused: bool) -> Result<Redriven, Problem> {
    let open = node.opened()?;
    while_not_stopped(node)?;
    let selection = selected(open, &filter, true, refused).await?;
    let request = Request { by, reason: filter.reason.unwrap_or_default(), force: filter.force };
    open.redrives.start(open, id.clone(), selection, request)?;
    let until = tokio::time::Instant::now() + if filter.background { Duration::ZERO } else { PATIENCE };
    loop {
        let known = open.redrives.known(&id).ok_or_else(|| Problem::unavailable("the redrive is forgotten", 1))?;
        if known.part.state != "running" || tokio::time::Instant::now() >= until {
            return Ok(known.part);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Gives one up, and has what only waited behind it decided.
pub(super) async fn discard(node: &Node, id: String, reason: String, by: String) -> Result<DeadLetter, Problem> {
    let open = node.opened()?;
    while_not_stopped(node)?;
    let parked = find(open, &id).await?;
    let behind = only_waiting_behind(&read(open, Some(parked.system.clone())).await?, &parked);
    let discard = Discard { partition: parked.partition, id: id.clone(), by: by.clone(), reason: reason.clone() };
    let discarded: Result<Answered, String> = ask(open, &parked.system.clone(), |reply| Command::Discard(discard, reply)).await?;
    match discarded {
        Ok(Answered::Discarded(false)) => return Err(Problem::unknown_dead_letter(&id)),
        Ok(_) => {}
        Err(problem) => return Err(Problem::unavailable(problem, 1)),
    }
    let mut letter = dead_letter(&parked, 0);
    if let Some(through) = behind {
        let reason = format!("{id} was discarded: {reason}");
        let behind = Redrive { subject: parked.subject.clone(), through, id: uuid::Uuid::new_v4().to_string(), by, reason, force: false };
        let left = "what waits behind it was not decided yet; `POST /dead-letters/redrive` has it decided";
        match ask(open, &parked.system, |reply| Command::Redrive(parked.partition, vec![behind], reply)).await {
            Ok(Ok(Answered::Redriven(outcome))) => letter.released = Some(outcome.gone.len() as u64),
            Ok(Ok(_)) => {}
            Ok(Err(problem)) => return Err(Problem::unavailable(format!("{id} is discarded, and {left}: {problem}"), 1)),
            Err(problem) => return Err(Problem { detail: format!("{id} is discarded, and {left}: {}", problem.detail), ..problem }),
        }
    }
    Ok(letter)
}

/// The order of the last input that waits for no other reason than `first`, which is the first of its subject. `None` where there is none.
fn only_waiting_behind(all: &[Parked], first: &Parked) -> Option<u64> {
    let mut subject: Vec<&Parked> = all.iter().filter(|other| other.subject == first.subject && other.partition == first.partition).collect();
    subject.sort_by_key(|parked| parked.order);
    let (head, rest) = subject.split_first()?;
    // Before it another one failed, for which they wait as well.
    if head.id != first.id {
        return None;
    }
    rest.iter().take_while(|parked| parked.came_behind()).last().map(|parked| parked.order)
}
