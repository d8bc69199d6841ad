//! The fold of the system's own events into a flag's state.

use serde_json::Value;
use tol_events::flags::{
    BanditAllocated, DeploymentNoted, ExperimentConcluded, ExperimentObserved, ExperimentStarted, FlagChanged, FlagKilled, FlagStale, Object, OutcomeCounted,
    RequestRefused, RolloutAdvanced, RolloutHeld, RolloutObserved, RolloutRolledBack, SampleRatioMismatchDetected, ServiceNamed, SharedChanged,
};
use tol_events::{EventTime, EventView};
use tol_system::{Error, Evolution, read};

use crate::counts::Counted;
use crate::decide::{BANDIT_TIMER, LOOK_AGAIN_MICROS, LOOK_TIMER, SCHEDULE_TIMER, STALE_TIMER, STEP_TIMER, bounded, millis};
use crate::definition::Definition;
use crate::experiments::Spec;
use crate::rollout::{self, Rollout};
use crate::state::{Change, Experiment, Flag, HISTORY, Ramp};
use crate::{
    BANDIT_ALLOCATED, DEPLOYMENT_NOTED, EXPERIMENT_CONCLUDED, EXPERIMENT_OBSERVED, EXPERIMENT_STARTED, FLAG_CHANGED, FLAG_KILLED, FLAG_STALE, MISMATCH,
    OUTCOME_COUNTED, REQUEST_REFUSED, ROLLOUT_ADVANCED, ROLLOUT_HELD, ROLLOUT_OBSERVED, ROLLOUT_ROLLED_BACK, SERVICE_NAMED, SHARED_CHANGED,
};

pub(crate) fn evolve(state: &mut Flag, event: &EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
    match event.event_type() {
        FLAG_CHANGED => {
            let changed: FlagChanged<'_> = read(event)?;
            become_version(state, event, changed.version, &changed.definition, ("changed", &changed.by, &changed.reason))?;
            (state.stale_at, state.stale) = (changed.stale_at, false);
            match changed.stale_at {
                Some(due) => evolution.set_timer(STALE_TIMER, due),
                None => evolution.cancel_timer(STALE_TIMER),
            }
            let environments = state.definition.iter().flat_map(|definition| definition.environments.values());
            match environments.filter_map(|environment| environment.schedule.first()).map(|next| next.at).min() {
                Some(due) => evolution.set_timer(SCHEDULE_TIMER, due),
                None => evolution.cancel_timer(SCHEDULE_TIMER),
            }
            Ok(())
        }
        SHARED_CHANGED => {
            let changed: SharedChanged<'_> = read(event)?;
            let (format, by, reason) = (changed.format.into_owned(), changed.by, changed.reason);
            if changed.shared.is_empty() {
                state.shared.remove(&format);
            } else {
                state.shared.insert(format, changed.shared);
            }
            state.version = changed.version;
            remember(state, event, ("changed", &by, &reason));
            Ok(())
        }
        FLAG_KILLED => {
            let killed: FlagKilled<'_> = read(event)?;
            if let Some(ramp) = state.rollout.as_mut().filter(|ramp| ramp.is_running() && killed.environments.contains(&ramp.environment)) {
                let back = rollout::Event::RolledBack { evidence: None };
                ramp.rollout.evolve(&back).map_err(|problem| Error::malformed(event, problem))?;
                evolution.cancel_timer(STEP_TIMER);
            }
            become_version(state, event, killed.version, &killed.definition, ("killed", &killed.by, &killed.reason))
        }
        ROLLOUT_ADVANCED => advanced(state, event, &read(event)?, evolution),
        ROLLOUT_OBSERVED => {
            let observed: RolloutObserved<'_> = read(event)?;
            let observation = typed(event, &observed.observation, "observation")?;
            let counted = observed.counted.as_ref().map(|counted| typed(event, counted, "counted")).transpose()?;
            fold(state, event, &observed.rollout_id, &rollout::Event::Observed(observation))?;
            if let Some(counted) = counted {
                let ramp = ramp(state, event, &observed.rollout_id)?;
                (ramp.counted, ramp.waiting) = (counted, Counted::default());
            }
            Ok(())
        }
        ROLLOUT_HELD => {
            let held: RolloutHeld<'_> = read(event)?;
            ramp(state, event, &held.rollout_id)?.held = Some(typed(event, &held.reason, "reason")?);
            if let Some(again) = held.again_at {
                evolution.set_timer(STEP_TIMER, again);
            }
            Ok(())
        }
        ROLLOUT_ROLLED_BACK => {
            let back: RolloutRolledBack<'_> = read(event)?;
            let evidence = back.evidence.as_ref().map(|evidence| typed(event, evidence, "evidence")).transpose()?;
            fold(state, event, &back.rollout_id, &rollout::Event::RolledBack { evidence })?;
            evolution.cancel_timer(STEP_TIMER);
            become_version(state, event, back.version, &back.definition, ("rolled back", &back.by, &back.reason))
        }
        MISMATCH => {
            let detected: SampleRatioMismatchDetected<'_> = read(event)?;
            if let Some(rollout) = &detected.rollout_id {
                ramp(state, event, rollout)?.mismatch_told = true;
            }
            if let Some(id) = &detected.experiment_id {
                experiment(state, event, id)?.mismatch_told = true;
            }
            Ok(())
        }
        OUTCOME_COUNTED => outcome(state, event, &read(event)?, evolution),
        SERVICE_NAMED => {
            let _: ServiceNamed<'_> = read(event)?;
            Ok(())
        }
        DEPLOYMENT_NOTED => {
            let noted: DeploymentNoted<'_> = read(event)?;
            let troubles = &mut ramp(state, event, &noted.rollout_id)?.troubles;
            match noted.trouble {
                Some(trouble) => troubles.insert(noted.service.into_owned(), trouble.into_owned()),
                None => troubles.remove(noted.service.as_ref()),
            };
            Ok(())
        }
        EXPERIMENT_STARTED => {
            let started: ExperimentStarted<'_> = read(event)?;
            let spec = Spec::of(&started.details).map_err(|problem| Error::malformed(event, format!("details: {problem}")))?;
            let began: EventTime = event.time().unwrap_or_default();
            let id = started.experiment_id.into_owned();
            if let Some(bandit) = spec.as_ref().and_then(|spec| spec.bandit.as_ref()) {
                let every = i64::try_from(bandit.every_millis).unwrap_or(i64::MAX).saturating_mul(1_000);
                evolution.set_timer(format!("{BANDIT_TIMER}{id}"), bounded(began.plus_micros(every)));
            }
            let experiment = Experiment {
                statement: started.statement.into_owned(),
                version: started.version,
                concluded: false,
                spec,
                began,
                counted: Counted::default(),
                waiting: Counted::default(),
                excluded: Default::default(),
                mismatch_told: false,
                propensities: Vec::new(),
                expected: Vec::new(),
                results: None,
            };
            state.experiments.insert(id, experiment);
            Ok(())
        }
        EXPERIMENT_OBSERVED => {
            let observed: ExperimentObserved<'_> = read(event)?;
            let counted = typed(event, &observed.counted, "counted")?;
            let known = experiment(state, event, &observed.experiment_id)?;
            *known = known.after(&counted);
            Ok(())
        }
        BANDIT_ALLOCATED => {
            let allocated: BanditAllocated<'_> = read(event)?;
            evolution.set_timer(format!("{BANDIT_TIMER}{}", allocated.experiment_id), allocated.again_at);
            experiment(state, event, &allocated.experiment_id)?.propensities = allocated.propensities;
            Ok(())
        }
        EXPERIMENT_CONCLUDED => {
            let concluded: ExperimentConcluded<'_> = read(event)?;
            evolution.cancel_timer(format!("{BANDIT_TIMER}{}", concluded.experiment_id));
            let known = experiment(state, event, &concluded.experiment_id)?;
            (known.statement, known.concluded) = (concluded.statement.into_owned(), true);
            known.results = concluded.details.get("results").cloned();
            Ok(())
        }
        FLAG_STALE => {
            let _: FlagStale<'_> = read(event)?;
            state.stale = true;
            Ok(())
        }
        REQUEST_REFUSED => {
            let refused: RequestRefused<'_> = read(event)?;
            remember(state, event, ("refused", &refused.request_id, &refused.problem));
            Ok(())
        }
        unknown => Err(Error::UnknownOwnEvent(unknown.to_owned())),
    }
}

/// Adds an outcome to those that wait for a look; the first of them sets the time of the look.
fn outcome(state: &mut Flag, event: &EventView<'_>, seen: &OutcomeCounted<'_>, evolution: &mut Evolution) -> Result<(), Error> {
    let malformed = |problem: String| Error::malformed(event, problem);
    let (kind, id) = seen.trial.split_once('/').unwrap_or_default();
    let (excluded, waiting) = if kind == "rollout" {
        let ramp = ramp(state, event, id)?;
        let mut waiting = std::mem::take(&mut ramp.waiting);
        if seen.excluded.is_none() {
            ramp.add_outcome(&mut waiting, &seen.arm, &seen.values).map_err(malformed)?;
        }
        ramp.waiting = waiting;
        (&mut ramp.excluded, &ramp.waiting)
    } else {
        let experiment = experiment(state, event, id)?;
        let mut waiting = std::mem::take(&mut experiment.waiting);
        if seen.excluded.is_none() {
            experiment.add_outcome(&mut waiting, &seen.arm, &seen.values).map_err(malformed)?;
        }
        experiment.waiting = waiting;
        (&mut experiment.excluded, &experiment.waiting)
    };
    match seen.excluded {
        Some(why) => *excluded.entry(why).or_default() += 1,
        None if waiting.subjects() == 1 => {
            evolution.set_timer(format!("{LOOK_TIMER}{}", seen.trial), bounded(event.time().unwrap_or_default().plus_micros(LOOK_AGAIN_MICROS)));
        }
        None => {}
    }
    Ok(())
}

fn typed<T: serde::de::DeserializeOwned>(event: &EventView<'_>, source: &Object, what: &str) -> Result<T, Error> {
    serde_json::from_value(Value::Object(source.clone())).map_err(|problem| Error::malformed(event, format!("{what}: {problem}")))
}

fn become_version(state: &mut Flag, event: &EventView<'_>, version: u64, definition: &Object, change: (&str, &str, &str)) -> Result<(), Error> {
    let definition: Definition = typed(event, definition, "definition")?;
    (state.version, state.definition) = (version, Some(definition));
    remember(state, event, change);
    Ok(())
}

fn remember(state: &mut Flag, event: &EventView<'_>, (what, by, reason): (&str, &str, &str)) {
    let at: EventTime = event.time().unwrap_or_default();
    let change = Change { version: state.version, at, what: what.to_owned(), by: by.to_owned(), reason: reason.to_owned() };
    state.history.push(change);
    let excess = state.history.len().saturating_sub(HISTORY);
    state.history.drain(..excess);
}

fn ramp<'s>(state: &'s mut Flag, event: &EventView<'_>, id: &str) -> Result<&'s mut Ramp, Error> {
    state.rollout.as_mut().filter(|ramp| ramp.id == id).ok_or_else(|| Error::malformed(event, format!("rollout {id} never began")))
}

fn experiment<'s>(state: &'s mut Flag, event: &EventView<'_>, id: &str) -> Result<&'s mut Experiment, Error> {
    state.experiments.get_mut(id).ok_or_else(|| Error::malformed(event, format!("experiment {id} never began")))
}

fn fold(state: &mut Flag, event: &EventView<'_>, id: &str, own: &rollout::Event) -> Result<(), Error> {
    ramp(state, event, id)?.rollout.evolve(own).map_err(|problem| Error::malformed(event, problem))
}

fn advanced(state: &mut Flag, event: &EventView<'_>, advanced: &RolloutAdvanced<'_>, evolution: &mut Evolution) -> Result<(), Error> {
    let at_millis = millis(advanced.began_at);
    match &advanced.plan {
        Some(plan) => {
            let rollout = Rollout::begin(typed(event, plan, "plan")?, at_millis).map_err(|problem| Error::malformed(event, problem))?;
            let (id, environment) = (advanced.rollout_id.to_string(), advanced.environment.to_string());
            state.rollouts.push(id.clone());
            state.rollout = Some(Ramp::begin(id, environment, advanced.rule, rollout));
        }
        None if advanced.completed => fold(state, event, &advanced.rollout_id, &rollout::Event::Completed)?,
        None => {
            let step = usize::try_from(advanced.step).unwrap_or(usize::MAX);
            fold(state, event, &advanced.rollout_id, &rollout::Event::Advanced { step, at_millis })?;
            ramp(state, event, &advanced.rollout_id)?.held = None;
        }
    }
    if advanced.completed {
        evolution.cancel_timer(STEP_TIMER);
    } else {
        let ramp = ramp(state, event, &advanced.rollout_id)?;
        let least = ramp.rollout.plan().steps.get(ramp.rollout.step()).map_or(0, |step| step.minimum_millis);
        let least = i64::try_from(least).unwrap_or(i64::MAX).saturating_mul(1_000).max(1);
        evolution.set_timer(STEP_TIMER, bounded(advanced.began_at.plus_micros(least)));
    }
    let what = if advanced.completed { "rolled out" } else { "rollout advanced" };
    become_version(state, event, advanced.version, &advanced.definition, (what, &advanced.by, &advanced.reason))
}
