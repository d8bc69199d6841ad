//! What operators need: dead letters, the emergency stop, readiness, metrics, version.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tol_config::LogKind;
use tol_runtime::owner::{Parked, Recorded};
use tol_runtime::supervision::Command;

use super::systems::ask;
use crate::http::api::{Check, DeadLetter, DeadLetterPage, DeadLetterQuery, Readiness, RedriveFilter, Redriven, StopState, Topic, Version};
use crate::http::problem::{Kind, Problem};
use crate::node::{Node, Open};

/// Dead letters held in memory for one answer, at most.
const MOST: usize = 100_000;

impl Open {
    /// Parked inputs of a system, as far as they are known without asking it.
    pub(crate) fn parked_count(&self, system: &str) -> u64 {
        let count = self.parked_of(system, MOST).len() as u64;
        metrics::gauge!("tol_system_dead_letters", "system" => system.to_owned()).set(count as f64);
        count
    }

    /// Parked inputs of a system. Blocking.
    fn parked_of(&self, system: &str, limit: usize) -> Vec<Parked> {
        let (sender, answer) = std::sync::mpsc::sync_channel(1);
        let asked = self.root.command(system, Command::Parked(limit, Box::new(move |parked| drop(sender.send(parked)))));
        if asked { answer.recv_timeout(Duration::from_secs(5)).unwrap_or_default() } else { Vec::new() }
    }

    fn system_names(&self) -> Vec<String> {
        self.root.statuses().into_iter().map(|status| status.description.name.to_owned()).collect()
    }
}

/// A parked input for people. `waiting` counts those behind it.
fn dead_letter(parked: &Parked, waiting: u64) -> DeadLetter {
    let attribute = |name: &str| match &parked.input {
        Recorded::Event { attributes, .. } => attributes.get(name).cloned().unwrap_or_default(),
        Recorded::Timer { .. } => "timer".to_owned(),
        Recorded::Effect { .. } => "effect".to_owned(),
    };
    DeadLetter {
        id: parked.id.clone(),
        system: parked.system.clone(),
        subject: parked.subject.clone(),
        event_type: attribute("type"),
        event_id: attribute("id"),
        position: parked.at.replace('@', ":"),
        attempts: parked.attempts,
        error: parked.error.clone(),
        parked_at: Some(parked.time),
        waiting,
    }
}

fn matching(mut parked: Vec<Parked>, subject: Option<&str>) -> Vec<Parked> {
    parked.retain(|one| subject.is_none_or(|subject| one.subject == subject));
    parked.sort_by(|a, b| (&a.system, a.partition, a.order).cmp(&(&b.system, b.partition, b.order)));
    parked
}

pub(super) fn dead_letters(open: &Open, query: &DeadLetterQuery) -> Result<DeadLetterPage, Problem> {
    let names = open.system_names();
    let asked: Vec<String> = names.into_iter().filter(|name| query.system.as_ref().is_none_or(|system| system == name)).collect();
    let all = matching(asked.iter().flat_map(|name| open.parked_of(name, MOST)).collect(), query.subject.as_deref());
    let skip = match &query.cursor {
        None => 0,
        Some(cursor) => {
            let place = all.iter().position(|parked| parked.id == *cursor);
            place.ok_or_else(|| Problem::new(Kind::InvalidCursor, "the cursor names a dead letter that is gone; begin again without it"))? + 1
        }
    };
    let behind = |parked: &Parked| {
        all.iter().filter(|other| other.system == parked.system && other.subject == parked.subject && other.order > parked.order).count() as u64
    };
    let items: Vec<DeadLetter> = all.iter().skip(skip).take(query.limit).map(|parked| dead_letter(parked, behind(parked))).collect();
    let more = skip + items.len() < all.len();
    let next_cursor = items.last().filter(|_| more).map(|last| last.id.clone());
    Ok(DeadLetterPage { items, next_cursor })
}

/// Dead letters of one system, or of all that answer: one that is down must not keep operators from those of the others.
async fn parked_everywhere(open: &Open, system: Option<&str>) -> Result<Vec<Parked>, Problem> {
    if let Some(system) = system {
        if !open.system_names().iter().any(|name| name == system) {
            return Err(Problem::unknown_system(system));
        }
        return ask(open, system, |reply| Command::Parked(MOST, reply)).await;
    }
    let mut all = Vec::new();
    for name in open.system_names() {
        match ask(open, &name, |reply| Command::Parked(MOST, reply)).await {
            Ok(parked) => all.extend(parked),
            Err(problem) => tracing::warn!(system = name, %problem, "its dead letters are left out"),
        }
    }
    Ok(all)
}

pub(super) async fn find(open: &Open, id: &str) -> Result<Parked, Problem> {
    let all = parked_everywhere(open, None).await?;
    all.into_iter().find(|parked| parked.id == id).ok_or_else(|| Problem::unknown_dead_letter(id))
}

pub(super) async fn redrive(open: &Open, id: String, by: String) -> Result<Redriven, Problem> {
    let parked = find(open, &id).await?;
    tracing::info!(id, by, subject = parked.subject, "redrive");
    redrive_subjects(open, vec![parked]).await
}

/// `here_only`: of the partitions that are this node's.
pub(super) async fn redrive_all(open: &Open, filter: RedriveFilter, by: String, here_only: bool) -> Result<Redriven, Problem> {
    let mut all = matching(parked_everywhere(open, filter.system.as_deref()).await?, filter.subject.as_deref());
    all.retain(|parked| !here_only || open.is_here(&parked.subject));
    if filter.dry_run {
        return Ok(Redriven { redriven: all.len() as u64, ids: all.into_iter().map(|parked| parked.id).collect(), dry_run: true });
    }
    tracing::info!(by, count = all.len(), "redrive of all");
    redrive_subjects(open, all).await
}

/// Redrives the subjects of these dead letters, each in its order, and says which of the subjects' dead letters are gone.
async fn redrive_subjects(open: &Open, parked: Vec<Parked>) -> Result<Redriven, Problem> {
    let mut subjects: Vec<(String, String)> = parked.iter().map(|parked| (parked.system.clone(), parked.subject.clone())).collect();
    subjects.sort();
    subjects.dedup();
    let before = parked_everywhere(open, None).await?;
    let mut refused = None;
    for (system, subject) in &subjects {
        let answer: Result<u64, String> = ask(open, system, |reply| Command::Redrive(subject.clone(), reply)).await?;
        if let Err(problem) = answer {
            refused = Some((subject.clone(), problem));
        }
    }
    let after: std::collections::BTreeSet<String> = parked_everywhere(open, None).await?.into_iter().map(|parked| parked.id).collect();
    let ids: Vec<String> =
        before.into_iter().filter(|old| subjects.contains(&(old.system.clone(), old.subject.clone())) && !after.contains(&old.id)).map(|old| old.id).collect();
    match refused {
        Some((subject, problem)) if ids.is_empty() => {
            Err(Problem::new(Kind::WrongState, format!("{subject} failed again and stays parked: {problem}; mend the cause, or discard it"))
                .with("subject", subject))
        }
        _ => Ok(Redriven { redriven: ids.len() as u64, ids, dry_run: false }),
    }
}

pub(super) async fn discard(open: &Open, id: String, reason: String) -> Result<DeadLetter, Problem> {
    let parked = find(open, &id).await?;
    let discarded: Result<u64, String> = ask(open, &parked.system.clone(), |reply| Command::Discard(id.clone(), reason, reply)).await?;
    match discarded {
        Ok(0) => Err(Problem::unknown_dead_letter(&id)),
        Ok(_) => Ok(dead_letter(&parked, 0)),
        Err(problem) => Err(Problem::unavailable(problem, 1)),
    }
}

pub(super) fn stop_state(node: &Node, recorded: bool) -> StopState {
    let state = node.gate.state();
    let confirmed = if state.engaged { node.url.get().cloned().into_iter().collect() } else { Vec::new() };
    StopState { engaged: state.engaged, reason: state.reason, by: state.by, since: state.since, recorded, confirmed }
}

pub(super) async fn stop(node: &Node, reason: String, by: String) -> Result<StopState, Problem> {
    let Ok(open) = node.opened() else {
        // Not open: nothing decides yet, and nothing will while the gate is closed.
        node.gate.engage(&reason, &by, chrono::Utc::now().into());
        return Ok(stop_state(node, false));
    };
    let (sender, answer) = oneshot::channel();
    open.control.engage(&reason, &by, Box::new(move |recorded| drop(sender.send(recorded))));
    let on_record = async {
        let recorded = matches!(tokio::time::timeout(Duration::from_secs(2), answer).await, Ok(Ok(Ok(()))));
        if node.config.log_kind() == LogKind::Kafka {
            // A node that does not confirm, or that nobody knows yet, either reads the record or loses its lease.
            tokio::time::sleep(Duration::from_millis(node.config.stop.lease_ms)).await;
        }
        recorded
    };
    let (others, recorded) = futures_util::future::join(super::peer::stop_others(open, &reason, &by), on_record).await;
    let mut state = stop_state(node, recorded);
    state.confirmed.extend(others);
    Ok(state)
}

pub(super) async fn release(node: &Node, reason: String, by: String) -> Result<StopState, Problem> {
    let open = node.opened()?;
    let (sender, answer) = oneshot::channel();
    open.control.release(&reason, &by, Box::new(move |recorded| drop(sender.send(recorded))));
    match tokio::time::timeout(Duration::from_secs(5), answer).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(problem))) => return Err(Problem::unavailable(format!("the release could not be recorded, the stop holds: {problem}"), 1)),
        _ => return Err(Problem::unavailable("the release was not recorded in time; the stop holds until it is", 1)),
    }
    for _ in 0..200 {
        if !node.gate.state().engaged {
            open.root.wake_all();
            return Ok(stop_state(node, true));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(Problem::unavailable("the release is recorded and not read back yet; ask GET /emergency-stop", 1))
}

pub(super) fn readiness(node: &Node) -> Readiness {
    let check = |name: &str, ok: bool, detail: String| Check { name: name.to_owned(), ok, detail };
    let Some(open) = node.open.get() else {
        return Readiness { ready: false, checks: vec![check("node", false, node.phase())] };
    };
    let health = open.log.health();
    let trouble = open.store.trouble();
    let failed: Vec<String> =
        open.engine.status().into_iter().filter_map(|status| status.failed.map(|problem| format!("{}: {problem}", status.name))).collect();
    let admission = open.admission.failed();
    let (assigned, active) = open.admission.gates();
    let informed = open.control.rounds.load(Ordering::Relaxed) > 0;
    let checks = vec![
        check("node", true, node.phase()),
        check("log", health.ready, health.detail),
        check("store", trouble.is_none(), trouble.map_or_else(|| "ok".to_owned(), |problem| format!("{problem}; it is opened anew as soon as that goes"))),
        check("admission", admission.is_none(), admission.unwrap_or_else(|| "ok".to_owned())),
        check(
            "partitions",
            assigned.is_some_and(|assigned| active >= assigned),
            format!("{active} of {} partitions of facts are claimed", assigned.map_or("?".to_owned(), |count| count.to_string())),
        ),
        check("control", informed, if informed { "ok".to_owned() } else { "control was not read yet".to_owned() }),
        check("projections", failed.is_empty(), if failed.is_empty() { "ok".to_owned() } else { failed.join("; ") }),
    ];
    Readiness { ready: checks.iter().all(|check| check.ok), checks }
}

pub(super) fn metrics(node: &Node) -> String {
    if let Some(open) = node.open.get() {
        // Gauges that are measured when they are asked for.
        let _ = super::systems::all(open);
    }
    node.metrics.render()
}

pub(super) fn version(node: &Node) -> Version {
    let topics = node.open.get().and_then(|open| open.log.topics().ok()).unwrap_or_default();
    Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("TOL_COMMIT").map(str::to_owned),
        node: node.config.node.name.clone(),
        url: node.url.get().cloned().unwrap_or_default(),
        log: match node.config.log_kind() {
            LogKind::Embedded => "embedded".to_owned(),
            LogKind::Kafka => "kafka".to_owned(),
        },
        cluster: node.open.get().map(|open| open.log.identity()).unwrap_or_default(),
        topics: topics.into_iter().map(|(name, partitions)| Topic { name, partitions }).collect(),
    }
}
