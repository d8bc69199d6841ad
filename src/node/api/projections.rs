//! Rows, digests and rebuilds.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tol_events::{Position, TopicPartition};
use tol_projections::{AsOf, AsOfState};
use tol_runtime::owner::Uncovered;
use tol_runtime::supervision::Command;

use crate::http::api::{Digest, ProjectionStatus, RebuildState, RebuildStatus, SetAsideEvent, SetAsidePage};
use crate::node::Open;
use crate::node::peers::Ask;
use crate::node::routing::Owner;
use tol_plug::platform::{Folded, Item, Past, Row, RowPage, RowsQuery};
use tol_plug::{Kind, Problem};

/// How long another node is asked to wait before it is asked again.
const ASKED_FOR: Duration = Duration::from_secs(2);
/// How much longer its answer may take.
const ANSWERED_IN: Duration = Duration::from_secs(1);

/// Wait before an owner that is away, or moving, is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// An error of the projections as a problem.
pub(super) fn problem(name: &str, error: &tol_projections::Error) -> Problem {
    use tol_projections::Error;
    match error {
        Error::Unknown(_) => Problem::unknown_projection(name),
        Error::Cursor => Problem::new(Kind::INVALID_CURSOR, error.to_string()),
        Error::NotOneSubject(_) => Problem::new(Kind::WHOLE_PROJECTION_ONLY, error.to_string()),
        Error::Busy(_) => Problem::new(Kind::JOB_RUNNING, error.to_string()).retry_after(1),
        other => Problem::unavailable(other.to_string(), 5),
    }
}

fn parsed(positions: BTreeMap<String, Position>) -> BTreeMap<TopicPartition, Position> {
    positions.into_iter().filter_map(|(partition, position)| Some((partition.parse().ok()?, position))).collect()
}

fn as_of(past: Past) -> AsOf {
    match past {
        Past::AsOf(time) => AsOf::EventTime(time),
        Past::KnownAt(time) => AsOf::KnownAt(time),
    }
}

pub(super) fn rebuild_status(status: tol_projections::RebuildStatus) -> RebuildStatus {
    let state = match status.state {
        tol_projections::RebuildState::Idle => RebuildState::None,
        tol_projections::RebuildState::Running => RebuildState::Running,
        tol_projections::RebuildState::Done => RebuildState::Done,
        tol_projections::RebuildState::Failed => RebuildState::Failed,
        tol_projections::RebuildState::Cancelled => RebuildState::Cancelled,
    };
    RebuildStatus { state, progress: status.progress, events_per_second: status.events_per_second, generation: status.generation, problem: status.problem }
}

pub(super) fn statuses(open: &Open) -> Vec<ProjectionStatus> {
    let of = |status: tol_projections::ProjectionStatus| {
        let positions = parsed(status.positions);
        // Measured against the log as it ends now: a projection knows only the ends it has seen.
        let lag_in = |(partition, next): (&TopicPartition, &Position)| open.log.bounds(partition).map_or(0, |bounds| bounds.end.saturating_sub(*next));
        ProjectionStatus {
            name: status.name.to_owned(),
            version: status.version,
            rows_version: status.rows_version,
            generation: status.generation,
            lag: positions.iter().map(lag_in).sum(),
            positions,
            set_aside: status.set_aside,
            rebuild: rebuild_status(status.rebuild),
            failed: status.failed,
        }
    };
    open.engine.status().into_iter().map(of).collect()
}

pub(super) fn set_aside(open: &Open, name: &str, limit: usize, cursor: Option<&str>) -> Result<SetAsidePage, Problem> {
    let page = open.engine.set_aside(name, limit, cursor).map_err(|error| problem(name, &error))?;
    let of = |aside: tol_projections::SetAsideEvent| SetAsideEvent {
        position: format!("{}:{}", aside.at, aside.position),
        id: aside.id,
        source: aside.source,
        event_type: aside.event_type,
        subject: aside.subject,
        recorded_at: aside.recorded_at,
        problem: aside.problem,
    };
    Ok(SetAsidePage { items: page.items.into_iter().map(of).collect(), next_cursor: page.next_cursor })
}

/// Waits until a projection holds positions. A position of a topic that the projection is not folded from is first translated:
/// the system that writes its topic says which own position covers that input.
pub(super) async fn wait_for(open: &Open, name: String, positions: Vec<(TopicPartition, Position)>, timeout: Duration) -> Result<bool, Problem> {
    let deadline = tokio::time::Instant::now() + timeout;
    let topic = open.engine.topic(&name).map_err(|error| problem(&name, &error))?;
    let mut direct: Vec<(TopicPartition, Position)> = Vec::new();
    for (partition, position) in positions {
        // Waiting for it would only end with the time that the client gave.
        let may_exist = partition.partition < open.partitions && (partition.topic.starts_with("facts.") || partition.topic.ends_with(".events"));
        if !may_exist {
            return Err(Problem::parameter("min_position", format!("the log has no {partition}; give a position that POST /events answered")));
        }
        if *partition.topic == *topic {
            direct.push((partition, position));
            continue;
        }
        let Some(system) = topic.strip_suffix(".events") else {
            let detail = format!("{name} is folded from {topic}; a position of {partition} says nothing about it");
            return Err(Problem::parameter("min_position", detail));
        };
        match covering(open, system, &partition, position, deadline).await? {
            Some((_, 0)) => {}
            Some((own, end)) => direct.push((own, end - 1)),
            None => return Ok(false),
        }
    }
    let mut changes = open.engine.watch(&name).map_err(|error| problem(&name, &error))?;
    loop {
        changes.borrow_and_update();
        if open.engine.reached(&name, &direct).map_err(|error| problem(&name, &error))? {
            return Ok(true);
        }
        match tokio::time::timeout_at(deadline, changes.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return open.engine.reached(&name, &direct).map_err(|error| problem(&name, &error)),
        }
    }
}

/// The own position of a system that covers an input: its owner knows. None where that is not said in time.
pub(super) async fn covering(
    open: &Open,
    system: &str,
    partition: &TopicPartition,
    position: Position,
    deadline: tokio::time::Instant,
) -> Result<Option<(TopicPartition, Position)>, Problem> {
    while tokio::time::Instant::now() < deadline {
        let turn = deadline.min(tokio::time::Instant::now() + ASKED_FOR);
        let Owner::There(url) = open.routing.owner(partition.partition) else {
            // Here, or nowhere yet: the partition may move meanwhile.
            match covering_here(open, system, partition, position, turn).await? {
                Some(covering) => return Ok(Some(covering)),
                None => continue,
            }
        };
        let wait = turn.saturating_duration_since(tokio::time::Instant::now());
        let ask = Ask::Covering { system: system.to_owned(), partition: partition.clone(), position, timeout_ms: wait.as_millis() as u64 };
        match open.peers.ask_later(url, ask, wait + ANSWERED_IN).await {
            Ok(Some(covering)) => return Ok(Some(covering)),
            Ok(None) => {}
            Err(problem) if problem.kind == Kind::INVALID_PARAMETER => return Err(problem),
            Err(problem) => {
                tracing::debug!(%problem, system, %partition, "its owner does not tell what covers an input");
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }
    Ok(None)
}

/// The same, as this node knows it. The question waits with the owner, which answers when it commits what it decided from that input. None where
/// the owner was lost or the time is over.
pub(super) async fn covering_here(
    open: &Open,
    system: &str,
    partition: &TopicPartition,
    position: Position,
    deadline: tokio::time::Instant,
) -> Result<Option<(TopicPartition, Position)>, Problem> {
    let (sender, answer) = oneshot::channel();
    let patience = deadline.saturating_duration_since(tokio::time::Instant::now());
    let reply = Box::new(move |covered| drop(sender.send(covered)));
    let asked = open.root.command(system, Command::Covering(partition.clone(), position, patience, reply));
    let answered = if asked { tokio::time::timeout_at(deadline, answer).await.ok().and_then(Result::ok) } else { None };
    match answered {
        Some(Ok(covering)) => Ok(Some(covering)),
        Some(Err(refusal @ Uncovered::NotRead)) => {
            Err(Problem::parameter("min_position", format!("{refusal}: {system} decides nothing from a position of {partition}")))
        }
        Some(Err(refusal @ Uncovered::Busy(_))) => Err(Problem::unavailable(format!("{system}: {refusal}"), 1)),
        Some(Err(Uncovered::Late)) => Ok(None),
        // The system is away, or its owner begins anew.
        Some(Err(Uncovered::NotOwned)) | None => {
            tokio::time::sleep_until(deadline.min(tokio::time::Instant::now() + ASK_AGAIN)).await;
            Ok(None)
        }
    }
}

/// What `read` answers of the present, and the version of the rows it rests on where that is an older one.
fn of_version<T>(open: &Open, name: &str, read: impl Fn() -> Result<T, tol_projections::Error>) -> Result<(T, Option<u32>), Problem> {
    let version = || open.engine.older_rows(name).map_err(|error| problem(name, &error));
    loop {
        let before = version()?;
        let answer = read().map_err(|error| problem(name, &error))?;
        // Else the new rows were swapped in meanwhile, which happens once.
        if version()? == before {
            return Ok((answer, before));
        }
    }
}

pub(super) fn row(open: &Open, name: &str, key: &str, past: Option<Past>) -> Result<Option<Row>, Problem> {
    // Before the row is read: what is below is in it.
    let positions = parsed(open.engine.positions(name).map_err(|error| problem(name, &error))?);
    let (value, rows_version) = match past {
        None => of_version(open, name, || open.engine.get(name, key))?,
        Some(past) => (open.engine.as_of_key(&open.index, name, key, as_of(past)).map_err(|error| problem(name, &error))?, None),
    };
    let Some(value) = value else { return Ok(None) };
    Ok(Some(Row { key: key.to_owned(), value, as_of: past.map(Past::time), positions, rows_version }))
}

/// Starts (or finds) the temporary generation of `past`; what it says when it is not folded yet.
fn folded(open: &Open, name: &str, past: Past) -> Result<Option<f64>, Problem> {
    match open.engine.as_of_all(name, as_of(past)).map_err(|error| problem(name, &error))? {
        AsOfState::Done { .. } => Ok(None),
        AsOfState::Running { progress } => Ok(Some(progress)),
    }
}

pub(super) fn rows(open: &Open, name: &str, query: &RowsQuery) -> Result<Folded<RowPage>, Problem> {
    let (page, rows_version) = match query.past {
        None => of_version(open, name, || open.engine.list(name, query.limit, query.cursor.as_deref()))?,
        Some(past) => {
            if let Some(progress) = folded(open, name, past)? {
                return Ok(Folded::Running { progress });
            }
            match open.engine.as_of_list(name, as_of(past), query.limit, query.cursor.as_deref()).map_err(|error| problem(name, &error))? {
                Some(page) => (page, None),
                None => return Ok(Folded::Running { progress: 0.0 }),
            }
        }
    };
    let items = page.items.into_iter().map(|item| Item { key: item.key, value: item.value }).collect();
    Ok(Folded::Done(RowPage { items, next_cursor: page.next_cursor, rows_version }))
}

pub(super) fn digest(open: &Open, name: &str, past: Option<Past>) -> Result<Folded<Digest>, Problem> {
    let (digest, rows_version) = match past {
        None => of_version(open, name, || open.engine.digest(name))?,
        Some(past) => {
            if let Some(progress) = folded(open, name, past)? {
                return Ok(Folded::Running { progress });
            }
            match open.engine.as_of_digest(name, as_of(past)).map_err(|error| problem(name, &error))? {
                Some(digest) => (digest, None),
                None => return Ok(Folded::Running { progress: 0.0 }),
            }
        }
    };
    Ok(Folded::Done(Digest { digest: digest.digest, rows: digest.rows, positions: parsed(digest.positions), rows_version }))
}
