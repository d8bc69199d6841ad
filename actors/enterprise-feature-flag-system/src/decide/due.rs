//! What is due by the clock alone: schedules and staleness. A timer that was parked is decided later, when the flag may be another one.

use tol_events::EventTime;
use tol_events::flags::{FlagChanged, FlagStale};
use tol_system::Decision;

use super::{SYSTEM, object};
use crate::state::Flag;
use crate::{FLAG_CHANGED, FLAG_STALE};

pub(super) fn stale(state: &Flag, due: EventTime, decision: &mut Decision) {
    if let Some(definition) = state.definition.as_ref().filter(|_| state.stale_at == Some(due)) {
        let stale = FlagStale { key: definition.key.as_str().into(), version: state.version, since: due, owner: definition.owner.as_deref().map(Into::into) };
        decision.emit(FLAG_STALE, &stale);
    }
}

/// What was to happen by now, in every environment.
pub(super) fn scheduled(state: &Flag, due: EventTime, decision: &mut Decision) {
    let Some(mut definition) = state.definition.clone() else { return };
    for environment in definition.environments.values_mut() {
        let later = environment.schedule.partition_point(|scheduled| scheduled.at <= due);
        if let Some(last) = environment.schedule.drain(..later).next_back() {
            environment.enabled = last.enabled;
        }
    }
    if state.definition.as_ref() == Some(&definition) {
        return; // nothing of its schedule is left that was due by then
    }
    let changed = FlagChanged {
        key: definition.key.as_str().into(),
        version: state.version + 1,
        definition: object(&definition),
        by: SYSTEM.into(),
        reason: "it was scheduled".into(),
        stale_at: state.stale_at,
    };
    decision.emit(FLAG_CHANGED, &changed);
}
