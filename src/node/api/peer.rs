//! Several nodes: what an operator asks of one goes to the nodes it concerns, and what another node asks is answered here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tol_runtime::control::Stop;

use super::{dead_letters, operate, projections, refused, systems};
use crate::http::api::{Control, DeadLetter, RedriveFilter, RedriveOne, Redriven, SystemStatus};
use crate::node::peers::Ask;
use crate::node::refused::is_refused_id;
use crate::node::routing::Owner;
use crate::node::{Node, Open, facts};
use tol_plug::{Kind, Problem};

/// How long another node may take for what an operator asks: as long as a system here may.
const PATIENCE: Duration = Duration::from_secs(35);
/// How long a node may take to confirm an emergency stop.
const STOP_PATIENCE: Duration = Duration::from_millis(1_500);
/// How long a node may take to tell how far its part of a redrive is.
const STATUS_PATIENCE: Duration = Duration::from_secs(5);
/// How long one owner waits for another's sake, at most.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

impl Open {
    /// Who owns a subject.
    pub(super) fn owner_of(&self, subject: &str) -> Owner {
        self.routing.owner(tol_events::id::partition_of(subject, self.partitions))
    }

    /// Whether a subject's partition is this node's.
    pub(crate) fn is_here(&self, subject: &str) -> bool {
        self.owner_of(subject) == Owner::Here
    }
}

fn moving(subject: &str) -> Problem {
    Problem::unavailable(format!("the partition of {subject} is moving from one node to another"), 1)
}

/// Redrives a dead letter where its subject is owned.
pub(super) async fn redrive(node: &Node, id: String, request: RedriveOne, by: String) -> Result<Redriven, Problem> {
    let open = node.opened()?;
    if is_refused_id(&id) {
        return refused::redrive_one(open, id, request, by).await;
    }
    let subject = dead_letters::find(open, &id).await?.subject;
    match open.owner_of(&subject) {
        Owner::Here => dead_letters::redrive_one(node, id, request, by).await,
        Owner::There(url) => open.peers.ask_later(url, Ask::Redrive { id, request, by }, PATIENCE).await,
        Owner::Nobody => Err(moving(&subject)),
    }
}

/// Gives up a dead letter where its subject is owned.
pub(super) async fn discard(node: &Node, id: String, reason: String, by: String) -> Result<DeadLetter, Problem> {
    let open = node.opened()?;
    if is_refused_id(&id) {
        return refused::discard(open, id, reason, by).await;
    }
    let subject = dead_letters::find(open, &id).await?.subject;
    match open.owner_of(&subject) {
        Owner::Here => dead_letters::discard(node, id, reason, by).await,
        Owner::There(url) => open.peers.ask_later(url, Ask::Discard { id, reason, by }, PATIENCE).await,
        Owner::Nobody => Err(moving(&subject)),
    }
}

/// Redrives here and on every other node what is theirs, under one id. A dry run asks nobody: every node knows all dead letters.
pub(super) async fn redrive_all(node: &Node, filter: RedriveFilter, by: String) -> Result<Redriven, Problem> {
    let open = node.opened()?;
    if filter.dry_run {
        return Ok(dead_letters::selected(open, &filter, false, true).await?.dry_run());
    }
    if !open.routing.owns_all() {
        let all = dead_letters::selected(open, &filter, false, false).await?;
        if let Some(moving) = all.partitions().find(|partition| open.routing.owner(*partition) == Owner::Nobody) {
            return Err(Problem::unavailable(format!("partition {moving} is moving from one node to another; nothing was redriven, ask again"), 1));
        }
    }
    let until = tokio::time::Instant::now() + if filter.background { Duration::ZERO } else { dead_letters::PATIENCE };
    let id = uuid::Uuid::new_v4().to_string();
    let begun = RedriveFilter { background: true, ..filter };
    dead_letters::redrive_here(node, id.clone(), begun.clone(), by.clone(), true).await?;
    let mut refused = None;
    for (url, answer) in ask_others::<Redriven>(open, |_| Ask::RedriveAll { id: id.clone(), filter: begun.clone(), by: by.clone() }, PATIENCE).await {
        match answer {
            Ok(_) => open.redrives.joined(&id, url),
            Err(problem) => refused = Some(partly(&url, "redrive", problem)),
        }
    }
    if let Some(problem) = refused {
        return Err(problem.with("redrive", id));
    }
    let mut pause = Duration::from_millis(5);
    loop {
        let status = redrive_status(open, &id).await?.ok_or_else(|| Problem::unavailable("the redrive is forgotten", 1))?;
        if status.state != "running" || tokio::time::Instant::now() >= until {
            return Ok(status);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// How far a redrive is on all nodes that take part. Only the node that was asked for it knows them all; any other knows its own part.
pub(super) async fn redrive_status(open: &Open, id: &str) -> Result<Option<Redriven>, Problem> {
    let Some(known) = open.redrives.known(id) else { return Ok(None) };
    let mut whole = known.part;
    let there = open.routing.others();
    for url in known.others {
        let asked = open.peers.ask_later::<Option<Redriven>>(url.clone(), Ask::RedriveStatus { id: id.to_owned() }, STATUS_PATIENCE).await;
        match asked {
            Ok(Some(part)) => add(&mut whole, part),
            Err(problem) if there.contains(&url) => return Err(problem),
            Ok(None) | Err(_) => gave_up(&mut whole, format!("the node at {url} went away half-way; redrive again what is left")),
        }
    }
    Ok(Some(whole))
}

/// Adds another node's part.
fn add(whole: &mut Redriven, part: Redriven) {
    whole.selected += part.selected;
    whole.held_back += part.held_back;
    whole.redriven += part.redriven;
    whole.ids.extend(part.ids);
    whole.failed.extend(part.failed);
    whole.limited.extend(part.limited);
    match part.state.as_str() {
        "failed" => gave_up(whole, part.problem.unwrap_or_default()),
        // It runs as long as any part does, even if another one gave up.
        "running" => whole.state = part.state,
        _ => {}
    }
}

fn gave_up(whole: &mut Redriven, problem: String) {
    if whole.state != "running" {
        whole.state = "failed".to_owned();
    }
    whole.problem = Some(whole.problem.take().map_or(problem.clone(), |before| format!("{before}; {problem}")));
}

/// Pauses, resumes or restarts a system on every node.
pub(super) async fn control(node: &Node, name: String, control: Control, by: String) -> Result<SystemStatus, Problem> {
    let open = node.opened()?;
    systems::record(open, &name, control, &by).await?;
    let others = ask_others::<Value>(open, |_| Ask::Control { system: name.clone(), control, by: by.clone() }, PATIENCE);
    let (here, others) = futures_util::future::join(systems::follow(open, &node.gate, name.clone(), control, by.clone()), others).await;
    for (url, answer) in others {
        if let Err(problem) = answer {
            return Err(partly(&url, "order", problem));
        }
    }
    here
}

fn partly(url: &str, what: &str, problem: Problem) -> Problem {
    Problem { detail: format!("the {what} was carried out here and not on {url}: {}", problem.detail), ..problem }
}

/// Stops the other nodes ahead of the record on `control`, and says which confirmed it.
pub(super) async fn stop_others(open: &Open, stop: &Stop) -> Vec<String> {
    let answers = ask_others::<Value>(open, |_| Ask::Stop(stop.clone()), STOP_PATIENCE).await;
    answers.into_iter().filter(|(_, answer)| answer.is_ok()).map(|(url, _)| url).collect()
}

/// Asks every other node at once.
async fn ask_others<T: serde::de::DeserializeOwned + Send + 'static>(
    open: &Open,
    ask: impl Fn(&str) -> Ask,
    patience: Duration,
) -> Vec<(String, Result<T, Problem>)> {
    let others: BTreeSet<String> = open.routing.others();
    let asked = others.into_iter().map(|url| {
        let answer = open.peers.ask_later(url.clone(), ask(&url), patience);
        async move { (url, answer.await) }
    });
    futures_util::future::join_all(asked).await
}

fn answered<T: Serialize>(answer: Result<T, Problem>) -> Result<Value, Problem> {
    serde_json::to_value(answer?).map_err(|error| Problem::internal(error.to_string()))
}

/// Answers another node, by this node alone.
pub(super) async fn answer(node: &Node, question: Vec<u8>) -> Result<Value, Problem> {
    let ask: Ask = serde_json::from_slice(&question).map_err(|error| {
        let kind = if error.is_data() { Kind::INVALID_BODY } else { Kind::MALFORMED_JSON };
        Problem::new(kind, error.to_string())
    })?;
    if let Ask::Stop(stop) = ask {
        // Open or not: the record on `control` follows, from here if from nowhere else.
        node.stops.told(&node.gate, stop);
        let _ = operate::quiet(node).await; // who asks waits no longer than its own patience
        return Ok(Value::Null);
    }
    let open = node.opened()?.clone();
    match ask {
        Ask::Facts(passed) => {
            let facts = node.take_passed_on(passed)?;
            answered(admit(open, facts).await)
        }
        Ask::Redrive { id, request, by } => {
            must_be_here(&open, &id).await?;
            answered(dead_letters::redrive_one(node, id, request, by).await)
        }
        Ask::Discard { id, reason, by } => {
            must_be_here(&open, &id).await?;
            answered(dead_letters::discard(node, id, reason, by).await)
        }
        Ask::RedriveAll { id, filter, by } => answered(dead_letters::redrive_here(node, id, filter, by, false).await),
        Ask::RedriveStatus { id } => answered(Ok(open.redrives.known(&id).map(|known| known.part))),
        Ask::Control { system, control, by } => answered(systems::follow(&open, &node.gate, system, control, by).await),
        Ask::Question { question, subject, body } => super::platform::answer(node, &question, tol_plug::question::Asked { subject, body }).await,
        Ask::Covering { system, partition, position, timeout_ms } => {
            if !open.routing.own().contains(&partition.partition) {
                return Err(facts::not_owner());
            }
            let deadline = tokio::time::Instant::now() + Duration::from_millis(timeout_ms).min(LONGEST_WAIT);
            answered(projections::covering_here(&open, &system, &partition, position, deadline).await)
        }
        Ask::Stop(_) => Ok(Value::Null),
    }
}

async fn must_be_here(open: &Arc<Open>, id: &str) -> Result<(), Problem> {
    let parked = dead_letters::find(open, id).await?;
    if open.is_here(&parked.subject) { Ok(()) } else { Err(facts::not_owner()) }
}

async fn admit(open: Arc<Open>, facts: Vec<crate::node::publish::Fact>) -> Result<tol_plug::platform::Published, Problem> {
    let permit = open.passing.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Problem::unavailable("too much is being passed on to this node; send the same events again in a moment", 1))?;
    let admitted = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        open.admit_and_wait(facts)
    });
    admitted.await.unwrap_or_else(|_| Err(Problem::unavailable("the node is stopping", 1)))
}
