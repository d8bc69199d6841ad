//! What happened to customers after they met the flag, as `flag-attribution` sends it: taken in one by one, looked at together.
//!
//! A look at one customer says nothing, as only one arm is in it. So outcomes are gathered, and looked at when a hundred are there or an hour is over:
//! by their number and by the clock, never by what they show.

use tol_events::EventTime;
use tol_events::flags::{DeploymentAttributed, DeploymentObserved, Exclusion, OutcomeAttributed, OutcomeCounted};
use tol_system::{Decision, Error};

use super::{experiments, millis, rollouts};
use crate::OUTCOME_COUNTED;
use crate::counts::Counted;
use crate::state::{Experiment, Flag, Ramp};

/// Outcomes that make a look.
const LOOK: u64 = 100;

pub(super) fn outcome(state: &Flag, seen: &OutcomeAttributed<'_>, now: EventTime, decision: &mut Decision) -> Result<(), Error> {
    match seen.trial.split_once('/') {
        Some(("rollout", id)) => match state.running(id) {
            Some(ramp) if ramp.environment == seen.environment => of_rollout(state, ramp, seen, now, decision),
            _ => Ok(()), // what comes late decides nothing
        },
        Some(("experiment", id)) => {
            if let Some(experiment) = state.experiments.get(id).filter(|experiment| !experiment.concluded && experiment.runs_in(&seen.environment)) {
                of_experiment(id, experiment, seen, decision);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// With what is added: what waits for a look then, and what the look would be taken at.
fn sums(counted: &Counted, waiting: &Counted, add: impl FnOnce(&mut Counted) -> Result<(), String>) -> Result<(Counted, Counted), String> {
    let mut next = waiting.clone();
    add(&mut next)?;
    let mut sum = counted.clone();
    sum.merge(&next)?;
    Ok((next, sum))
}

fn take_in(seen: &OutcomeAttributed<'_>, excluded: Option<Exclusion>, decision: &mut Decision) {
    let values = if excluded.is_some() { Default::default() } else { seen.values.clone() };
    let counted = OutcomeCounted { key: seen.key.as_ref().into(), trial: seen.trial.as_ref().into(), arm: seen.arm.as_ref().into(), values, excluded };
    decision.emit(OUTCOME_COUNTED, &counted);
}

fn of_rollout(state: &Flag, ramp: &Ramp, seen: &OutcomeAttributed<'_>, now: EventTime, decision: &mut Decision) -> Result<(), Error> {
    // Those who met it at an earlier step were split by other shares, and some change sides as the share grows: none of them counts, in either arm.
    let earlier = millis(seen.exposed_at) < ramp.rollout.step_began_millis();
    let excluded = seen.excluded.or(earlier.then_some(Exclusion::EarlierStep));
    let sums = sums(&ramp.counted, &ramp.waiting, |waiting| ramp.add_outcome(waiting, &seen.arm, &seen.values));
    match (excluded, sums) {
        (None, Ok((waiting, sum))) => {
            take_in(seen, None, decision);
            if waiting.subjects() >= LOOK {
                return rollouts::look(state, ramp, sum, now, decision);
            }
        }
        (None, Err(_)) => take_in(seen, Some(Exclusion::Incomparable), decision),
        (excluded, _) => take_in(seen, excluded, decision),
    }
    Ok(())
}

fn of_experiment(id: &str, experiment: &Experiment, seen: &OutcomeAttributed<'_>, decision: &mut Decision) {
    let sums = sums(&experiment.counted, &experiment.waiting, |waiting| experiment.add_outcome(waiting, &seen.arm, &seen.values));
    match (seen.excluded, sums) {
        (None, Ok((waiting, sum))) => {
            take_in(seen, None, decision);
            if waiting.subjects() >= LOOK {
                experiments::look(&seen.key, id, experiment, &sum, decision);
            }
        }
        (None, Err(_)) => take_in(seen, Some(Exclusion::Incomparable), decision),
        (excluded, _) => take_in(seen, excluded, decision),
    }
}

/// Outcomes have waited for an hour: they are looked at, however few they are.
pub(super) fn due(state: &Flag, trial: &str, at: EventTime, decision: &mut Decision) -> Result<(), Error> {
    match trial.split_once('/') {
        Some(("rollout", id)) => match state.running(id).filter(|ramp| ramp.waiting != Counted::default()) {
            Some(ramp) => match sums(&ramp.counted, &ramp.waiting, |_| Ok(())) {
                Ok((_, sum)) => rollouts::look(state, ramp, sum, at, decision),
                Err(_) => Ok(()), // they were taken in one by one, so they add up
            },
            None => Ok(()),
        },
        Some(("experiment", id)) => {
            let waiting = state.experiments.get(id).filter(|experiment| !experiment.concluded && experiment.waiting != Counted::default());
            if let (Some(experiment), Some(definition)) = (waiting, &state.definition)
                && let Ok((_, sum)) = sums(&experiment.counted, &experiment.waiting, |_| Ok(()))
            {
                experiments::look(&definition.key, id, experiment, &sum, decision);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What a service of the flag's goes through, as if somebody had told the flag.
pub(super) fn deployment(state: &Flag, seen: &DeploymentAttributed<'_>, now: EventTime, decision: &mut Decision) -> Result<(), Error> {
    let observed = DeploymentObserved {
        key: seen.key.as_ref().into(),
        service: seen.service.as_ref().into(),
        environment: Some(seen.environment.as_ref().into()),
        deployment_id: Some(seen.deployment_id.as_ref().into()),
        what: seen.what,
    };
    rollouts::deployment(state, &observed, now, decision)
}
