//! From what supervision observed to what the hub says about a system.

use tol_events::supervision::{
    SystemDegradedObserved, SystemFailedObserved, SystemRecoveredObserved, SystemRestartedObserved, SystemStartedObserved, SystemStoppedObserved,
};
use tol_events::tree::{SystemDegraded, SystemFailed, SystemRecovered, SystemRestarted, SystemStarted, SystemStopped};
use tol_events::{DomainEvent, EventView};
use tol_system::{Decision, Error, read};

use crate::state::{Ledger, Phase};

const STARTED: &str = SystemStartedObserved::<'static>::TYPE;
const FAILED: &str = SystemFailedObserved::<'static>::TYPE;
const RESTARTED: &str = SystemRestartedObserved::<'static>::TYPE;
const DEGRADED: &str = SystemDegradedObserved::<'static>::TYPE;
const RECOVERED: &str = SystemRecoveredObserved::<'static>::TYPE;
const STOPPED: &str = SystemStoppedObserved::<'static>::TYPE;

pub(crate) fn decide(state: &Ledger, event: &EventView<'_>, decision: &mut Decision) -> Result<(), Error> {
    match event.event_type() {
        STARTED => {
            let seen: SystemStartedObserved<'_> = read(event)?;
            // Nobody saw it stop: it ran until the installation's clock fell silent, and no longer than that.
            let unseen = seen.last_alive.filter(|alive| state.phase == Phase::Up && event.time().is_some_and(|started| *alive < started));
            let down_since = unseen.map(|alive| alive.max(state.booked_until));
            decision.emit(crate::STARTED, &SystemStarted { system: seen.system, node: seen.node, planned: seen.planned, down_since });
        }
        FAILED => {
            let seen: SystemFailedObserved<'_> = read(event)?;
            decision.emit(crate::FAILED, &SystemFailed { system: seen.system, node: seen.node, error: seen.error });
        }
        RESTARTED => {
            let seen: SystemRestartedObserved<'_> = read(event)?;
            let restarted = SystemRestarted { system: seen.system, node: seen.node, attempt: seen.attempt, backoff_ms: seen.backoff_ms };
            decision.emit(crate::RESTARTED, &restarted);
        }
        DEGRADED => {
            let seen: SystemDegradedObserved<'_> = read(event)?;
            if state.phase != Phase::Degraded {
                decision.emit(crate::DEGRADED, &SystemDegraded { system: seen.system, node: seen.node, reason: seen.reason });
            }
        }
        RECOVERED => {
            let seen: SystemRecoveredObserved<'_> = read(event)?;
            if state.phase != Phase::Up {
                decision.emit(crate::RECOVERED, &SystemRecovered { system: seen.system, node: seen.node });
            }
        }
        STOPPED => {
            let seen: SystemStoppedObserved<'_> = read(event)?;
            decision.emit(crate::STOPPED, &SystemStopped { system: seen.system, node: seen.node, planned: seen.planned });
        }
        _ => {}
    }
    Ok(())
}
