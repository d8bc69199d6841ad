//! Dead letters: listed from the systems' caches and logs, so that one that is down still shows its own; redriven and discarded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tol_events::EventTime;
use tol_runtime::metric_definitions;
use tol_runtime::owner::{Answered, Parked, Recorded, count_parked, read_parked};
use tol_runtime::supervision::actor::Discard;
use tol_runtime::supervision::root::SystemStatus;
use tol_runtime::supervision::{Command, State};

use super::redrive::{self, Request, Selection};
use super::systems::ask;
use crate::http::api::{DeadLetter, DeadLetterPage, DeadLetterQuery, RedriveFilter, Redriven};
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
    }
}

/// Which dead letters are meant.
#[derive(Debug, Default)]
pub(super) struct Filter<'a> {
    pub subject: Option<&'a str>,
    pub event_type: Option<&'a str>,
    pub error: Option<&'a str>,
    pub from: Option<EventTime>,
    pub to: Option<EventTime>,
}

impl Filter<'_> {
    pub(super) fn matches(&self, parked: &Parked) -> bool {
        self.subject.is_none_or(|subject| parked.subject == subject)
            && self.event_type.is_none_or(|wanted| {
                let found = attribute(parked, "type");
                wanted.strip_suffix('*').map_or(found == wanted, |begin| found.starts_with(begin))
            })
            && self.error.is_none_or(|text| parked.error.contains(text))
            && self.from.is_none_or(|from| parked.parked_at.is_some_and(|at| at >= from))
            && self.to.is_none_or(|to| parked.parked_at.is_some_and(|at| at <= to))
    }
}

pub(super) fn dead_letters(open: &Open, query: &DeadLetterQuery) -> Result<DeadLetterPage, Problem> {
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
    let filter =
        Filter { subject: query.subject.as_deref(), event_type: query.event_type.as_deref(), error: query.error.as_deref(), from: query.from, to: query.to };
    let skip = match &query.cursor {
        None => 0,
        Some(cursor) => {
            let place = all.iter().position(|parked| parked.id == *cursor);
            place.ok_or_else(|| Problem::new(Kind::INVALID_CURSOR, "the cursor names a dead letter that is gone; begin again without it"))? + 1
        }
    };
    let mut matching = all.iter().zip(waiting).skip(skip).filter(|(parked, _)| filter.matches(parked));
    let items: Vec<DeadLetter> = matching.by_ref().take(query.limit).map(|(parked, waiting)| dead_letter(parked, waiting)).collect();
    let next_cursor = items.last().filter(|_| matching.next().is_some()).map(|last| last.id.clone());
    Ok(DeadLetterPage { items, next_cursor })
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
pub(super) async fn redrive_one(node: &Node, id: String, by: String) -> Result<Redriven, Problem> {
    let open = node.opened()?;
    while_not_stopped(node)?;
    let parked = find(open, &id).await?;
    let filter = RedriveFilter { system: Some(parked.system), subject: Some(parked.subject), ..RedriveFilter::default() };
    let redriven = redrive_here(node, uuid::Uuid::new_v4().to_string(), filter, by).await?;
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

/// What a filter selects; `here_only`: of the partitions that are this node's.
pub(super) async fn selected(open: &Arc<Open>, filter: &RedriveFilter, here_only: bool) -> Result<Selection, Problem> {
    if let Some(system) = &filter.system
        && !open.root.statuses().iter().any(|status| status.description.name == system)
    {
        return Err(Problem::unknown_system(system));
    }
    let mut all = read(open, filter.system.clone()).await?;
    all.retain(|parked| !here_only || open.is_here(&parked.subject));
    let meant = Filter {
        subject: filter.subject.as_deref(),
        event_type: filter.event_type.as_deref(),
        error: filter.error.as_deref(),
        from: filter.from,
        to: filter.to,
    };
    Ok(redrive::select(all, &meant))
}

/// Begins this node's part of the redrive `id`, and waits for its end unless it is to run in the background.
pub(super) async fn redrive_here(node: &Node, id: String, filter: RedriveFilter, by: String) -> Result<Redriven, Problem> {
    let open = node.opened()?;
    while_not_stopped(node)?;
    let selection = selected(open, &filter, true).await?;
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

pub(super) async fn discard(open: &Arc<Open>, id: String, reason: String, by: String) -> Result<DeadLetter, Problem> {
    let parked = find(open, &id).await?;
    let discard = Discard { partition: parked.partition, id: id.clone(), by, reason };
    let discarded: Result<Answered, String> = ask(open, &parked.system.clone(), |reply| Command::Discard(discard, reply)).await?;
    match discarded {
        Ok(Answered::Discarded(false)) => Err(Problem::unknown_dead_letter(&id)),
        Ok(_) => Ok(dead_letter(&parked, 0)),
        Err(problem) => Err(Problem::unavailable(problem, 1)),
    }
}
