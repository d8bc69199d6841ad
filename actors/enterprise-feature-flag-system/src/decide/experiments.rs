//! Experiments: they begin, take counts in, allocate where they learn, and conclude with their results.

use serde_json::json;
use tol_events::EventTime;
use tol_events::flags::{
    BanditAllocated, CountsReported, ExperimentAction, ExperimentConcluded, ExperimentObserved, ExperimentRequested, ExperimentStarted, FlagChanged,
    SampleRatioMismatchDetected,
};
use tol_system::{Decision, Error};

use super::{SYSTEM, bounded, object, refused};
use crate::counts::Counted;
use crate::experiments::{Spec, allocation, results, sample_ratio};
use crate::state::{Experiment, Flag};
use crate::statistics::sample_ratio::SampleRatio;
use crate::{BANDIT_ALLOCATED, EXPERIMENT_CONCLUDED, EXPERIMENT_OBSERVED, EXPERIMENT_STARTED, FLAG_CHANGED, MISMATCH};

/// Experiments of a flag that may run at a time; each report is added to all of them.
const MOST: usize = 20;

pub(super) fn experiment(state: &Flag, request: &ExperimentRequested<'_>, decision: &mut Decision) -> Result<(), Error> {
    let known = state.experiments.get(request.experiment_id.as_ref());
    match (request.action, known) {
        (ExperimentAction::Start, None) => {
            if state.definition.is_none() {
                return Err(refused("there is no such flag"));
            }
            let spec = Spec::of(&request.details).map_err(|problem| refused(format!("details: {problem}")))?;
            if let Some([first, ..]) = spec.map(|spec| spec.problems()).as_deref() {
                return Err(refused(first));
            }
            if state.experiments.values().filter(|experiment| !experiment.concluded).count() >= MOST {
                return Err(refused(format!("{MOST} experiments run on this flag; conclude one first")));
            }
            let started = ExperimentStarted {
                key: request.key.as_ref().into(),
                experiment_id: request.experiment_id.as_ref().into(),
                statement: request.statement.as_ref().into(),
                details: request.details.clone(),
                version: state.version,
                by: request.by.as_ref().into(),
            };
            decision.emit(EXPERIMENT_STARTED, &started);
        }
        (ExperimentAction::Conclude, Some(known)) if !known.concluded => {
            // What was counted here goes on record with the conclusion, beside what its author has to say.
            let mut details = request.details.clone();
            if let Some(spec) = &known.spec {
                let mut counted = known.counted.clone();
                // Outcomes that wait were taken in one by one, so they add up.
                let expected = if counted.merge(&known.waiting).is_ok() { known.after(&counted).expected } else { known.expected.clone() };
                details.insert("results".to_owned(), json!(results(spec, &counted, &expected)));
            }
            let concluded = ExperimentConcluded {
                key: request.key.as_ref().into(),
                experiment_id: request.experiment_id.as_ref().into(),
                statement: request.statement.as_ref().into(),
                details,
                by: request.by.as_ref().into(),
            };
            decision.emit(EXPERIMENT_CONCLUDED, &concluded);
        }
        (ExperimentAction::Start, Some(_)) | (ExperimentAction::Conclude, Some(_)) => {} // asked for before
        (ExperimentAction::Conclude, None) => return Err(refused(format!("there is no experiment {}", request.experiment_id))),
    }
    Ok(())
}

/// Adds what an SDK or a pipeline counted to every experiment that runs there.
pub(super) fn counted(state: &Flag, report: &CountsReported<'_>, decision: &mut Decision) -> Result<(), Error> {
    let mut problem = Ok(());
    for (id, experiment) in running(state) {
        let Some(spec) = &experiment.spec else { continue };
        if report.environment.as_deref().is_some_and(|environment| spec.environment.as_deref().is_some_and(|own| own != environment)) {
            continue;
        }
        let mut sum = experiment.counted.clone();
        match sum.add(report).and_then(|()| sum.merge(&experiment.waiting)) {
            Ok(()) => look(&report.key, id, experiment, &sum, decision),
            Err(why) => problem = Err(refused(format!("experiment {id}: {why}"))),
        }
    }
    problem
}

/// Puts on record what was counted, and tells of a split that is broken.
pub(super) fn look(key: &str, id: &str, experiment: &Experiment, sum: &Counted, decision: &mut Decision) {
    let Some(spec) = &experiment.spec else { return };
    let next = experiment.after(sum);
    let broken = match sample_ratio(spec, sum, &next.expected) {
        SampleRatio::Mismatch { p_value } if !experiment.mismatch_told => Some(p_value),
        _ => None,
    };
    decision.emit(EXPERIMENT_OBSERVED, &ExperimentObserved { key: key.into(), experiment_id: id.into(), counted: object(sum), expected: next.expected });
    if let Some(p_value) = broken {
        let detected = SampleRatioMismatchDetected { key: key.into(), rollout_id: None, experiment_id: Some(id.into()), p_value };
        decision.emit(MISMATCH, &detected);
    }
}

/// Weighs the variations anew by what was learnt, and logs the probability of each: those who come from now on are served by it.
pub(super) fn allocate(state: &Flag, id: &str, due: EventTime, decision: &mut Decision) {
    let (Some(definition), Some(experiment)) = (&state.definition, state.experiments.get(id).filter(|experiment| !experiment.concluded)) else { return };
    let Some((spec, bandit)) = experiment.spec.as_ref().and_then(|spec| Some((spec, spec.bandit.as_ref()?))) else { return };
    let Ok(propensities) = allocation::allocate(spec, &experiment.counted) else { return };
    let applied = allocation::applied(definition, spec, &propensities);
    let (propensities, version) = match applied {
        Some((changed, served)) => {
            let version = if changed == *definition { state.version } else { state.version + 1 };
            if changed != *definition {
                let reason = format!("experiment {id} weighs its variations by what it learnt");
                let changed = FlagChanged {
                    key: definition.key.as_str().into(),
                    version,
                    definition: object(&changed),
                    by: SYSTEM.into(),
                    reason: reason.into(),
                    stale_at: state.stale_at,
                };
                decision.emit(FLAG_CHANGED, &changed);
            }
            (served, Some(version))
        }
        None => (propensities, None),
    };
    let every = i64::try_from(bandit.every_millis).unwrap_or(i64::MAX).saturating_mul(1_000);
    let allocated = BanditAllocated {
        key: definition.key.as_str().into(),
        experiment_id: id.into(),
        propensities,
        from: due,
        version,
        again_at: bounded(due.plus_micros(every)),
    };
    decision.emit(BANDIT_ALLOCATED, &allocated);
}

fn running(state: &Flag) -> impl Iterator<Item = (&str, &Experiment)> {
    state.experiments.iter().filter(|(_, experiment)| !experiment.concluded).map(|(id, experiment)| (id.as_str(), experiment))
}
