//! Systems: where they stand, what they know, what operators do to them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tol_events::EventTime;
use tol_kafka::TopicPartition;
use tol_runtime::control::{ControlGate, StopState};
use tol_runtime::owner::{DigestError, digest_states};
use tol_runtime::supervision::actor::Question;
use tol_runtime::supervision::machine::State;
use tol_runtime::supervision::{Command, root};
use tol_system::QueryError;

use crate::http::api::{Control, SystemDetail, SystemDigest, SystemStatus, Uptime};
use crate::node::Open;
use crate::node::routing::Owner;
use tol_plug::{Kind, Problem};

/// How long a busy system may take to answer a question about itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a system stands; `halted` while the emergency stop is engaged, unless an operator or a failure keeps it from deciding as well.
fn state_of(status: &root::SystemStatus, stopped: bool) -> &'static str {
    match status.state {
        State::Waiting if stopped => "halted",
        State::Waiting => "waiting",
        State::Running | State::Probing if status.paused => "paused",
        State::Running if stopped => "halted",
        State::Running => "running",
        State::Restarting => "restarting",
        State::Degraded | State::Probing => "degraded",
        State::Stopped => "stopped",
    }
}

/// Records of its inputs that a system has not decided: the ends of what it reads, less where it stands. What another node owns is counted
/// there: only the owner knows where it stands, beyond what it has recorded.
fn lag_of(open: &Open, status: &root::SystemStatus) -> u64 {
    let mut lag = 0;
    for number in (0..open.partitions).filter(|number| !matches!(open.routing.owner(*number), Owner::There(_))) {
        // One that did not run yet has decided nothing.
        let snapshot = status.partitions.iter().find(|snapshot| snapshot.partition == number);
        for spec in &status.description.inputs {
            let partition = TopicPartition::new(spec.topic, number);
            let Ok(end) = open.log.known_end(&partition) else { continue };
            let done = snapshot.and_then(|snapshot| snapshot.inputs.get(&partition).copied()).unwrap_or(0);
            lag += end.saturating_sub(done);
        }
    }
    lag
}

/// Why a system is halted, else what it failed of last.
fn reason_of(status: &root::SystemStatus, stop: &StopState) -> Option<String> {
    if state_of(status, stop.engaged) == "halted" { Some(told(stop)) } else { status.last_error.clone() }
}

/// The emergency stop that is engaged, in one line.
pub(super) fn told(stop: &StopState) -> String {
    let since = stop.since.map_or_else(|| "?".to_owned(), |since| since.to_string());
    format!("emergency stop since {since} by {}: {}", stop.by.as_deref().unwrap_or("?"), stop.reason.as_deref().unwrap_or("no reason given"))
}

fn status(open: &Open, stop: &StopState, status: &root::SystemStatus, ledger: Option<&Value>) -> SystemStatus {
    let total = |count: fn(&tol_runtime::owner::Counts) -> u64| status.partitions.iter().map(|partition| count(&partition.counts)).sum();
    let lag = lag_of(open, status);
    SystemStatus {
        name: status.description.name.to_owned(),
        version: status.description.code_version.to_owned(),
        state: state_of(status, stop.engaged).to_owned(),
        reason: reason_of(status, stop),
        lag,
        restarts: status.restarts,
        dead_letters: open.parked_count(status),
        consumed: total(|counts| counts.consumed),
        emitted: total(|counts| counts.emitted),
        uptime: ledger.and_then(|ledger| uptime(ledger, status.description.uptime_target)),
    }
}

/// Sets the gauges that are measured, of all systems. Asks nobody, so that `/metrics` shows them however busy a system is.
pub(crate) fn measure(open: &Open) {
    for status in open.root.statuses() {
        tol_runtime::metric_definitions::system_lag_events(status.description.name).set(lag_of(open, &status) as f64);
        open.parked_count(&status);
    }
    if let Err(error) = open.refusals.catch_up() {
        tracing::debug!(%error, "refused records of inbox could not be counted");
    }
    crate::node::metric_definitions::inbox_refused_waiting().set(open.refusals.count() as f64);
}

/// The hub's ledger of a system. `None` when the hub is away. Blocking.
fn ledger(open: &Open, name: &str) -> Option<Value> {
    observe(open, "tree-of-life-system", &format!("system/{name}"))
}

/// What a ledger says of a system's uptime until now.
fn uptime(report: &Value, target: f64) -> Option<Uptime> {
    let as_of = report.get("as_of").and_then(Value::as_str).and_then(EventTime::parse)?;
    // The ledger ends at the last observation; what has lasted since is added to the phase it is in.
    let lasted = EventTime::from(chrono::Utc::now()).micros_since(as_of).max(0);
    let phase = report.get("phase").and_then(Value::as_str).unwrap_or_default();
    let counted_as = match phase {
        "up" => "up",
        "stopped_as_planned" => "planned_down",
        "unknown" => "",
        _ => "down",
    };
    let micros = |field: &str| {
        let until_then = report.pointer(&format!("/total/{field}")).and_then(Value::as_i64).unwrap_or(0);
        if counted_as == field { until_then + lasted } else { until_then }
    };
    let (up, down, planned) = (micros("up"), micros("down"), micros("planned_down"));
    let ppm = |share: f64| (share * 1e6).round() as u32;
    let availability = if up + down == 0 { 1.0 } else { up as f64 / (up + down) as f64 };
    let since = Some(as_of.plus_micros(-(up + down + planned - lasted)));
    Some(Uptime { target_ppm: ppm(target), ppm: ppm(availability), down_s: down as u64 / 1_000_000, planned_down_s: planned as u64 / 1_000_000, since })
}

/// Asks a system for its state about a subject. `None` when it is away. Blocking.
pub(super) fn observe(open: &Open, system: &str, subject: &str) -> Option<Value> {
    let (sender, answer) = std::sync::mpsc::sync_channel(1);
    let reply = Box::new(move |value| drop(sender.send(value)));
    open.root.command(system, Command::Observe(subject.to_owned(), reply)).then(|| answer.recv_timeout(PATIENCE).ok()).flatten()
}

/// Asks a system one of its own questions. Blocking.
pub(super) fn query(open: &Open, system: &str, question: Question) -> Result<Value, Problem> {
    let Some(status) = open.root.statuses().into_iter().find(|status| status.description.name == system) else { return Err(Problem::unknown_system(system)) };
    let (sender, answer) = std::sync::mpsc::sync_channel(1);
    let asked = open.root.command(system, Command::Query(question, Box::new(move |value| drop(sender.send(value)))));
    match asked.then(|| answer.recv_timeout(PATIENCE).ok()).flatten() {
        Some(Ok(value)) => Ok(value),
        Some(Err(QueryError::Parameter { name, problem })) => Err(Problem::parameter(&name, problem)),
        Some(Err(QueryError::Unknown(query))) => {
            Err(Problem::new(Kind::NOT_FOUND, format!("{system} has no query {query}; GET /openapi.json lists the queries of all systems")))
        }
        None => Err(Problem::unavailable(format!("{system} does not answer now (it is {})", state_of(&status, false)), 1)),
    }
}

pub(super) fn all(open: &Open, gate: &ControlGate) -> Vec<SystemStatus> {
    let stop = gate.state();
    // A hub that does not answer about one system is not waited for again.
    let mut hub_is_away = false;
    let with_ledger = |found: &root::SystemStatus| {
        let ledger = if hub_is_away { None } else { ledger(open, found.description.name) };
        hub_is_away |= ledger.is_none();
        status(open, &stop, found, ledger.as_ref())
    };
    open.root.statuses().iter().map(with_ledger).collect()
}

pub(super) fn one(open: &Open, gate: &ControlGate, name: &str, subject: Option<&str>) -> Result<Option<SystemDetail>, Problem> {
    let Some(found) = open.root.statuses().into_iter().find(|found| found.description.name == name) else { return Ok(None) };
    let mut details: BTreeMap<String, Value> = BTreeMap::new();
    details.insert("description".into(), serde_json::to_value(&found.description).unwrap_or_default());
    details.insert("partitions".into(), serde_json::to_value(&*found.partitions).unwrap_or_default());
    details.insert("abandoned_threads".into(), json!(found.abandoned));
    if let Some(subject) = subject {
        let state =
            observe(open, name, subject).ok_or_else(|| Problem::unavailable(format!("{name} does not answer now (it is {})", state_of(&found, false)), 1))?;
        details.insert("subject".into(), json!({ "subject": subject, "state": state }));
    }
    let ledger = ledger(open, name);
    let status = status(open, &gate.state(), &found, ledger.as_ref());
    if let Some(ledger) = ledger {
        details.insert("uptime_ledger".into(), ledger);
    }
    Ok(Some(SystemDetail { status, details }))
}

/// The digest of a system's states, read from the node's caches: the system is not asked, and need not run. Blocking.
pub(super) fn digest(open: &Open, name: &str) -> Result<SystemDigest, Problem> {
    let description = found(open, name)?.description;
    let digest = match digest_states(open.store.as_ref(), &open.log.identity(), &description, open.partitions) {
        Ok(digest) => digest,
        Err(problem @ DigestError::Busy(_)) => return Err(Problem::unavailable(format!("{name}: {problem}"), 1)),
        Err(DigestError::Cache(problem)) => return Err(Problem::unavailable(format!("the cache of {name} does not read: {problem}"), 5)),
    };
    let positions = digest.positions.into_iter().filter_map(|(partition, position)| Some((partition.parse().ok()?, position))).collect();
    Ok(SystemDigest { digest: digest.digest, subjects: digest.subjects, state_version: description.state_version, positions })
}

fn found(open: &Open, name: &str) -> Result<root::SystemStatus, Problem> {
    open.root.statuses().into_iter().find(|found| found.description.name == name).ok_or_else(|| Problem::unknown_system(name))
}

/// Writes to `control` what all nodes are to follow: a pause holds also for those that start later. A restart is no record, it is over at once.
pub(super) async fn record(open: &Open, name: &str, control: Control, by: &str) -> Result<(), Problem> {
    let found = found(open, name)?;
    let paused = match control {
        Control::Pause => true,
        Control::Resume => false,
        Control::Restart => return Ok(()),
    };
    if found.paused == paused {
        return Err(Problem::new(Kind::WRONG_STATE, format!("{name} is {} already", state_of(&found, false))));
    }
    let (sender, answer) = oneshot::channel();
    open.control.pause(name, paused, by, Box::new(move |recorded| drop(sender.send(recorded))));
    match tokio::time::timeout(Duration::from_secs(5), answer).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(problem))) => Err(Problem::unavailable(format!("it could not be recorded, {name} is {} as before: {problem}", state_of(&found, false)), 1)),
        _ => Err(Problem::unavailable(format!("it was not recorded in time; GET /systems/{name} tells where {name} stands"), 1)),
    }
}

/// Does on this node what an operator wants: carries a restart out, or waits until a recorded pause or resumption holds.
pub(super) async fn follow(open: &Open, gate: &ControlGate, name: String, control: Control, by: String) -> Result<SystemStatus, Problem> {
    let before = found(open, &name)?;
    tracing::info!(system = name, ?control, by, "an operator steps in");
    if control == Control::Restart && !open.root.order(&name, root::Order::Restart) {
        return Err(Problem::unavailable("the root of supervision is busy", 1));
    }
    // `control` is read, and the root takes orders, in their own time; wait until it shows.
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let Ok(now) = found(open, &name) else { break };
        let shows = match control {
            Control::Pause => now.paused && !gate.deciding().contains(&name),
            Control::Resume => !now.paused,
            Control::Restart => now.state == State::Running && now.restarts > before.restarts,
        };
        if shows {
            open.root.wake_all();
            return Ok(status_without_questions(&now, &gate.state()));
        }
    }
    Err(Problem::unavailable(format!("{name} did not follow in time; GET /systems/{name} tells where it stands"), 1))
}

/// The status without asking the hub: an async thread must not wait for it.
fn status_without_questions(found: &root::SystemStatus, stop: &StopState) -> SystemStatus {
    SystemStatus {
        name: found.description.name.to_owned(),
        version: found.description.code_version.to_owned(),
        state: state_of(found, stop.engaged).to_owned(),
        reason: reason_of(found, stop),
        restarts: found.restarts,
        ..SystemStatus::default()
    }
}

/// Asks a system on an async thread.
pub(super) async fn ask<T: Send + 'static>(open: &Open, system: &str, command: impl FnOnce(Box<dyn FnOnce(T) + Send>) -> Command) -> Result<T, Problem> {
    let (sender, answer) = oneshot::channel();
    let away = || Problem::unavailable(format!("{system} does not answer now; GET /systems/{system} tells why"), 1);
    if !open.root.command(system, command(Box::new(move |value| drop(sender.send(value))))) {
        return Err(away());
    }
    tokio::time::timeout(Duration::from_secs(30), answer).await.ok().and_then(Result::ok).ok_or_else(away)
}
