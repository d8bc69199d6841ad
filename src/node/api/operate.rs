//! What operators need: the emergency stop, readiness, metrics, version.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tol_config::LogKind;
use tol_runtime::control::Stop;

use crate::http::api::{Readiness, StopState, Topic, Version};
use crate::node::Node;
use tol_plug::Problem;
use tol_plug::platform::Check;

/// How long an emergency stop waits for what had begun before.
const CONFIRM_WITHIN: Duration = Duration::from_millis(200);

pub(super) fn stop_state(node: &Node, recorded: bool) -> StopState {
    let state = node.gate.state();
    let confirmed = if state.engaged { node.url.get().cloned().into_iter().collect() } else { Vec::new() };
    StopState {
        engaged: state.engaged,
        reason: state.reason,
        by: state.by,
        since: state.since,
        recorded,
        confirmed,
        still_deciding: Vec::new(),
        effects_running: node.gate.effects(),
    }
}

pub(super) async fn stop(node: &Node, reason: String, by: String) -> Result<StopState, Problem> {
    let stop = Stop { id: uuid::Uuid::new_v4().to_string(), node: node.config.node.name.clone(), reason, by, time: chrono::Utc::now().into() };
    let (sender, answer) = oneshot::channel();
    node.stops.engage(&node.gate, stop.clone(), Box::new(move |recorded| drop(sender.send(recorded))));
    // Where the node is not open, nothing decides yet, and nothing will while the gate is closed.
    let Ok(open) = node.opened() else { return Ok(stop_state(node, false)) };
    let on_record = async {
        let recorded = matches!(tokio::time::timeout(Duration::from_secs(2), answer).await, Ok(Ok(Ok(()))));
        if node.config.log_kind() == LogKind::Kafka {
            // A node that does not confirm, or that nobody knows yet, either reads the record or loses its lease.
            tokio::time::sleep(Duration::from_millis(node.config.stop.lease_ms)).await;
        }
        recorded
    };
    let others = super::peer::stop_others(open, &stop);
    let (others, recorded, still_deciding) = futures_util::future::join3(others, on_record, quiet(node)).await;
    let mut state = StopState { still_deciding, ..stop_state(node, recorded) };
    state.confirmed.extend(others);
    Ok(state)
}

/// Waits, with the gate closed, until no decision and no effect that began before runs on this node, but not for long; names the systems
/// that still decide then.
pub(super) async fn quiet(node: &Node) -> Vec<String> {
    let until = tokio::time::Instant::now() + CONFIRM_WITHIN;
    loop {
        let deciding = node.gate.deciding();
        if (deciding.is_empty() && node.gate.effects() == 0) || tokio::time::Instant::now() >= until {
            return deciding.into_iter().collect();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
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

/// The emergency stop is no fault of the node: facts are taken and queries answered, so the check passes and says that nothing is decided.
fn stop_check(node: &Node) -> Check {
    let state = node.gate.state();
    let detail = if state.engaged { format!("engaged, nothing is decided: {}", super::systems::told(&state)) } else { "not engaged".to_owned() };
    Check { name: "emergency stop".to_owned(), ok: true, detail }
}

pub(super) fn readiness(node: &Node) -> Readiness {
    let check = |name: &str, ok: bool, detail: String| Check { name: name.to_owned(), ok, detail };
    let Some(open) = node.open.get() else {
        let mut checks = vec![check("node", false, node.phase()), stop_check(node)];
        checks.extend(node.plugs.checks());
        return Readiness { ready: false, checks };
    };
    let health = open.log.health();
    let trouble = open.store.trouble();
    let (failed, projections) = folding(open.engine.status());
    let admission = open.admission.failed();
    let (assigned, active) = open.admission.gates();
    let disagreeing = open.routing.disagreeing();
    let informed = open.control.rounds.load(Ordering::Relaxed) > 0;
    crate::node::standing::look(node);
    let mut checks = vec![
        check("node", true, node.phase()),
        check("log", health.ready, health.detail),
        check("store", trouble.is_none(), trouble.map_or_else(|| "ok".to_owned(), |problem| format!("{problem}; it is opened anew as soon as that goes"))),
        check("admission", admission.is_none(), admission.unwrap_or_else(|| "ok".to_owned())),
        check(
            "partitions",
            assigned.is_some_and(|assigned| active >= assigned),
            format!("{active} of {} partitions of facts are claimed", assigned.map_or("?".to_owned(), |count| count.to_string())),
        ),
        check(
            "systems",
            disagreeing.is_none(),
            disagreeing.map_or_else(
                || "ok".to_owned(),
                |url| format!("the node at {url} runs other systems or has other uptime targets; give all nodes the same [systems] and start them again"),
            ),
        ),
        stop_check(node),
        check("control", informed, if informed { "ok".to_owned() } else { "control was not read yet".to_owned() }),
        check("projections", !failed, projections),
    ];
    checks.extend(node.plugs.checks());
    Readiness { ready: checks.iter().all(|check| check.ok), checks }
}

/// Whether a projection stopped; and which did, and which set events aside, for people. What is set aside is no reason to send a node nothing more.
fn folding(projections: Vec<tol_projections::ProjectionStatus>) -> (bool, String) {
    let mut details = Vec::new();
    let mut failed = false;
    for projection in projections {
        let (name, set_aside) = (projection.name, projection.set_aside);
        if let Some(problem) = projection.failed {
            failed = true;
            details.push(format!("{name}: {problem}"));
        }
        if set_aside > 0 {
            details.push(format!("{name} could not fold {set_aside} events and left them out; GET /projections/{name}/set-aside lists them"));
        }
    }
    (failed, if details.is_empty() { "ok".to_owned() } else { details.join("; ") })
}

pub(super) fn metrics(node: &Node) -> String {
    // What has to be measured a thread of its own measures: whoever watches the node must not wait for what it watches.
    node.metrics.render()
}

pub(super) fn version(node: &Node) -> Version {
    let topics = node.open.get().and_then(|open| open.log.topics().ok()).unwrap_or_default();
    Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: crate::commit::commit().map(str::to_owned),
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
