//! The fold of the hub's own events into a system's ledger. Time is the events' own.

use tol_events::EventView;
use tol_events::tree::{SystemDegraded, SystemFailed, SystemRecovered, SystemRestarted, SystemStarted, SystemStopped};
use tol_system::{Error, read};

use crate::state::{Ledger, Phase};
use crate::{DEGRADED, FAILED, RECOVERED, RESTARTED, STARTED, STOPPED};

pub(crate) fn evolve(state: &mut Ledger, event: &EventView<'_>) -> Result<(), Error> {
    let at = event.time().unwrap_or(state.booked_until);
    let was_up = state.phase == Phase::Up;
    match event.event_type() {
        STARTED => {
            let started: SystemStarted<'_> = read(event)?;
            state.system = started.system.into_owned();
            state.starts += 1;
            state.unobserved_stops += u64::from(was_up);
            if let Some(down_since) = started.down_since.filter(|since| was_up && *since < at) {
                state.incidents += 1;
                state.enter(Phase::Stopped, down_since);
            }
            state.enter(Phase::Up, at);
        }
        FAILED => {
            let failed: SystemFailed<'_> = read(event)?;
            state.system = failed.system.into_owned();
            state.last_error = Some(failed.error.into_owned());
            state.incidents += u64::from(was_up);
            // A probe of a degraded system that fails leaves it degraded; one that an operator stopped did not fail by itself.
            let phase = if matches!(state.phase, Phase::Degraded | Phase::StoppedAsPlanned) { state.phase } else { Phase::Failed };
            state.enter(phase, at);
        }
        RESTARTED => {
            let restarted: SystemRestarted<'_> = read(event)?;
            state.system = restarted.system.into_owned();
            state.restarts += 1;
            state.incidents += u64::from(was_up); // its failure was not observed
            state.enter(Phase::Up, at);
        }
        DEGRADED => {
            let degraded: SystemDegraded<'_> = read(event)?;
            state.system = degraded.system.into_owned();
            state.last_error = Some(degraded.reason.into_owned());
            state.degradations += 1;
            state.incidents += u64::from(was_up);
            state.enter(Phase::Degraded, at);
        }
        RECOVERED => {
            let recovered: SystemRecovered<'_> = read(event)?;
            state.system = recovered.system.into_owned();
            state.enter(Phase::Up, at);
        }
        STOPPED => {
            let stopped: SystemStopped<'_> = read(event)?;
            state.system = stopped.system.into_owned();
            state.incidents += u64::from(was_up && !stopped.planned);
            state.enter(if stopped.planned { Phase::StoppedAsPlanned } else { Phase::Stopped }, at);
        }
        unknown => return Err(Error::UnknownOwnEvent(unknown.to_owned())),
    }
    Ok(())
}
