//! Guarded rollouts: they begin, take counts in, and advance, hold or are rolled back by them.

use serde_json::Value;
use tol_events::EventTime;
use tol_events::flags::{
    CountsReported, DeploymentEvent, DeploymentNoted, DeploymentObserved, MetricsObserved, Object, RollbackRequested, RolloutAdvanced, RolloutHeld,
    RolloutObserved, RolloutRequested, RolloutRolledBack, SampleRatioMismatchDetected,
};
use tol_system::{Decision, Error};

use super::{LOOK_AGAIN_MICROS, SYSTEM, bounded, millis, object, refused};
use crate::counts::{self, Counted};
use crate::definition::{Definition, Environment, Rule, Share};
use crate::rollout::{self, HoldReason, Observation, Plan, Rollout, WHOLE};
use crate::state::{Flag, Ramp, kind_of};
use crate::{DEPLOYMENT_NOTED, MISMATCH, ROLLOUT_ADVANCED, ROLLOUT_HELD, ROLLOUT_OBSERVED, ROLLOUT_ROLLED_BACK};

pub(super) fn begin(state: &Flag, request: &RolloutRequested<'_>, now: EventTime, decision: &mut Decision) -> Result<(), Error> {
    if state.rollouts.iter().any(|known| *known == request.rollout_id) {
        return Ok(()); // asked for before
    }
    if let Some(ramp) = state.rollout.as_ref().filter(|ramp| ramp.is_running()) {
        return Err(refused(format!("rollout {} runs; a flag has one at a time", ramp.id)));
    }
    let Some(definition) = &state.definition else {
        return Err(refused("there is no such flag"));
    };
    let plan: Plan = serde_json::from_value(Value::Object(request.plan.clone())).map_err(|problem| refused(format!("plan: {problem}")))?;
    let rollout = Rollout::begin(plan.clone(), millis(now)).map_err(refused)?;
    let environment = definition.environments.get(request.environment.as_ref()).ok_or_else(|| refused("the flag is in no such environment"))?;
    if !environment.is_live() {
        return Err(refused("the flag is off there; nobody would be reached"));
    }
    if !matches!(rule(environment, request.rule), Some(Rule::Targeted(_))) {
        return Err(refused(format!("rule {} is none whose percentage can grow", request.rule)));
    }
    if definition.family == crate::evaluation::Format::Unleash && plan.steps.iter().any(|step| step.treatment % (WHOLE / 100) != 0) {
        return Err(refused("unleash counts in whole percents; every step's treatment must be a multiple of 100 ten-thousandths"));
    }
    let ramp = Ramp::begin(request.rollout_id.to_string(), request.environment.to_string(), request.rule, rollout);
    let mut advanced = advance(state, &ramp, 0, ramp.rollout.treatment(), now).ok_or_else(|| refused("its rule is gone"))?;
    advanced.plan = Some(object(&plan));
    advanced.by = request.by.as_ref().into();
    advanced.reason = request.reason.as_ref().into();
    decision.emit(ROLLOUT_ADVANCED, &advanced);
    Ok(())
}

pub(super) fn roll_back(state: &Flag, request: &RollbackRequested<'_>, decision: &mut Decision) -> Result<(), Error> {
    match state.running(&request.rollout_id) {
        Some(ramp) => emit_rollback(state, ramp, None, &request.by, &request.reason, decision),
        None if state.rollouts.iter().any(|known| *known == request.rollout_id) => {} // it is over already
        None => return Err(refused(format!("there is no rollout {}", request.rollout_id))),
    }
    Ok(())
}

pub(super) fn observe(state: &Flag, request: &MetricsObserved<'_>, now: EventTime, decision: &mut Decision) -> Result<(), Error> {
    let Some(ramp) = state.running(&request.rollout_id) else {
        // What comes late, or before anybody knows of the rollout, decides nothing.
        return Ok(());
    };
    let observation: Observation =
        serde_json::from_value(Value::Object(request.observation.clone())).map_err(|problem| refused(format!("observation: {problem}")))?;
    let mut after = ramp.rollout.clone();
    after.evolve(&rollout::Event::Observed(observation.clone())).map_err(refused)?;
    let observed =
        RolloutObserved { key: request.key.as_ref().into(), rollout_id: request.rollout_id.as_ref().into(), observation: object(&observation), counted: None };
    decision.emit(ROLLOUT_OBSERVED, &observed);
    go_on(state, ramp, &after, now, false, decision)
}

/// Adds what an SDK or a pipeline counted to the running rollout, and looks.
pub(super) fn counted(state: &Flag, report: &CountsReported<'_>, now: EventTime, decision: &mut Decision) -> Result<(), Error> {
    let Some(ramp) = state.rollout.as_ref().filter(|ramp| ramp.is_running()) else { return Ok(()) };
    if report.environment.as_deref().is_some_and(|environment| environment != ramp.environment) {
        return Ok(());
    }
    let mut sum = ramp.counted.clone();
    sum.add(report).map_err(refused)?;
    sum.merge(&ramp.waiting).map_err(refused)?;
    look(state, ramp, sum, now, decision)
}

/// Looks at everything that was counted.
pub(super) fn look(state: &Flag, ramp: &Ramp, sum: Counted, now: EventTime, decision: &mut Decision) -> Result<(), Error> {
    let Some(definition) = &state.definition else { return Ok(()) };
    let plan = ramp.rollout.plan();
    let control = match (&plan.arms, definition.environments.get(&ramp.environment)) {
        (Some(_), _) => Vec::new(),
        (None, Some(environment)) => match counts::arms_of(environment, ramp.rule) {
            Ok(control) => control,
            Err(why) => {
                hold(definition, ramp, &ramp.rollout, HoldReason::Incomparable { why }, now, false, decision);
                return Ok(());
            }
        },
        (None, None) => return Ok(()),
    };
    let observation = ramp.rollout.takeable(counts::observation(plan, &control, &sum));
    let mut after = ramp.rollout.clone();
    after.evolve(&rollout::Event::Observed(observation.clone())).map_err(refused)?;
    let observed = RolloutObserved {
        key: definition.key.as_str().into(),
        rollout_id: ramp.id.as_str().into(),
        observation: object(&observation),
        counted: Some(object(&sum)),
    };
    decision.emit(ROLLOUT_OBSERVED, &observed);
    go_on(state, ramp, &after, now, false, decision)
}

/// Services that a running rollout waits for; kept in bounds, as their names come from outside.
const MOST_SERVICES: usize = 50;

/// While a service is being deployed, or is not well, metrics may move without the flag: the rollout goes no further, and rolls back as ever.
pub(super) fn deployment(state: &Flag, seen: &DeploymentObserved<'_>, now: EventTime, decision: &mut Decision) -> Result<(), Error> {
    let Some(ramp) = state.rollout.as_ref().filter(|ramp| ramp.is_running()) else { return Ok(()) };
    if seen.environment.as_deref().is_some_and(|environment| environment != ramp.environment) {
        return Ok(());
    }
    let what = match seen.what {
        DeploymentEvent::Started => Some("it is being deployed"),
        DeploymentEvent::Failed => Some("its deployment failed"),
        DeploymentEvent::RolledBack => Some("its deployment was taken back"),
        DeploymentEvent::IncidentOpened => Some("an incident is open"),
        DeploymentEvent::Succeeded | DeploymentEvent::IncidentResolved => None,
    };
    let trouble = what.map(|what| seen.deployment_id.as_deref().map_or_else(|| what.to_owned(), |id| format!("{what} ({id})")));
    let service = seen.service.as_ref();
    if ramp.troubles.get(service) == trouble.as_ref() {
        return Ok(()); // as it is known already
    }
    if ramp.troubles.len() >= MOST_SERVICES && !ramp.troubles.contains_key(service) {
        return Err(refused(format!("the rollout waits for {MOST_SERVICES} services already; is a name made of an id?")));
    }
    let noted = DeploymentNoted {
        key: seen.key.as_ref().into(),
        rollout_id: ramp.id.as_str().into(),
        service: service.into(),
        trouble: trouble.as_deref().map(Into::into),
    };
    decision.emit(DEPLOYMENT_NOTED, &noted);
    let mut after = ramp.clone();
    match trouble {
        Some(trouble) => after.troubles.insert(service.to_owned(), trouble),
        None => after.troubles.remove(service),
    };
    go_on(state, &after, &after.rollout, now, false, decision)
}

/// What follows from a rollout's counts at this time. A timer that is due always leaves an event, also when nothing else is new.
pub(super) fn go_on(state: &Flag, ramp: &Ramp, now: &Rollout, at: EventTime, by_timer: bool, decision: &mut Decision) -> Result<(), Error> {
    let Some(definition) = &state.definition else { return Ok(()) };
    // Nothing grows in the dark: where nobody is reached, whatever was counted says nothing.
    let live = definition.environments.get(&ramp.environment).is_some_and(Environment::is_live);
    let troubled = !ramp.troubles.is_empty();
    let next = match now.decide(millis(at)) {
        rollout::Decision::Advance { .. } | rollout::Decision::Complete if !live => rollout::Decision::Hold { reason: HoldReason::Off },
        rollout::Decision::Advance { .. } | rollout::Decision::Complete if troubled => {
            rollout::Decision::Hold { reason: HoldReason::Deployment { services: ramp.troubles.clone() } }
        }
        next => next,
    };
    match next {
        rollout::Decision::RollBack { evidence } => {
            let reason = format!("guard metric {} got worse", evidence.metric);
            emit_rollback(state, ramp, Some(object(&evidence)), SYSTEM, &reason, decision);
        }
        rollout::Decision::Advance { step, treatment } => {
            if let Some(advanced) = advance(state, ramp, step, treatment, at) {
                decision.emit(ROLLOUT_ADVANCED, &advanced);
            }
        }
        rollout::Decision::Complete => {
            let steps = now.plan().steps.len();
            if let Some(mut advanced) = advance(state, ramp, steps, WHOLE, at) {
                advanced.completed = true;
                decision.emit(ROLLOUT_ADVANCED, &advanced);
            }
        }
        rollout::Decision::Hold { reason } => hold(definition, ramp, now, reason, at, by_timer, decision),
    }
    Ok(())
}

/// Told once for each kind of reason, and at every timer, which always leaves an event.
fn hold(definition: &Definition, ramp: &Ramp, now: &Rollout, reason: HoldReason, at: EventTime, by_timer: bool, decision: &mut Decision) {
    if let HoldReason::SampleRatio { p_value } = reason
        && !ramp.mismatch_told
    {
        let detected =
            SampleRatioMismatchDetected { key: definition.key.as_str().into(), rollout_id: Some(ramp.id.as_str().into()), experiment_id: None, p_value };
        decision.emit(MISMATCH, &detected);
    }
    let new = ramp.held.as_ref().map(kind_of) != Some(kind_of(&reason));
    if !(by_timer || new) {
        return;
    }
    let again = match &reason {
        HoldReason::TooEarly { until_millis } => Some(time_of(*until_millis)),
        HoldReason::Over { .. } => None,
        _ => Some(bounded(at.plus_micros(LOOK_AGAIN_MICROS))),
    };
    let held = RolloutHeld {
        key: definition.key.as_str().into(),
        rollout_id: ramp.id.as_str().into(),
        step: number(now.step()),
        reason: object(&reason),
        again_at: again,
    };
    decision.emit(ROLLOUT_HELD, &held);
}

fn advance<'a>(state: &'a Flag, ramp: &'a Ramp, step: usize, treatment: u32, at: EventTime) -> Option<RolloutAdvanced<'a>> {
    let definition = state.definition.as_ref()?;
    Some(RolloutAdvanced {
        key: definition.key.as_str().into(),
        rollout_id: ramp.id.as_str().into(),
        environment: ramp.environment.as_str().into(),
        rule: ramp.rule,
        step: number(step),
        treatment,
        began_at: at,
        completed: false,
        plan: None,
        version: state.version + 1,
        definition: object(&with_share(definition, ramp, treatment)?),
        by: SYSTEM.into(),
        reason: "the step's time is over, there is enough data, and no guard metric got worse".into(),
    })
}

fn emit_rollback(state: &Flag, ramp: &Ramp, evidence: Option<Object>, by: &str, reason: &str, decision: &mut Decision) {
    let Some(definition) = &state.definition else { return };
    let rolled_back = RolloutRolledBack {
        key: definition.key.as_str().into(),
        rollout_id: ramp.id.as_str().into(),
        environment: ramp.environment.as_str().into(),
        evidence,
        version: state.version + 1,
        // Without the rule there is nobody left who has it.
        definition: object(&with_share(definition, ramp, 0).unwrap_or_else(|| definition.clone())),
        by: by.into(),
        reason: reason.into(),
    };
    decision.emit(ROLLOUT_ROLLED_BACK, &rolled_back);
}

pub(super) fn rule(environment: &Environment, index: u32) -> Option<&Rule> {
    environment.rules.get(usize::try_from(index).ok()?)
}

/// The rule whose percentage a rollout moves.
pub(super) fn rule_of<'d>(definition: &'d Definition, ramp: &Ramp) -> Option<&'d Rule> {
    rule(definition.environments.get(&ramp.environment)?, ramp.rule)
}

/// The definition with another percentage; what decides who is among them stays, so that nobody who is in falls out as it grows.
pub(super) fn with_share(definition: &Definition, ramp: &Ramp, part: u32) -> Option<Definition> {
    let mut definition = definition.clone();
    let environment = definition.environments.get_mut(&ramp.environment)?;
    match environment.rules.get_mut(usize::try_from(ramp.rule).ok()?)? {
        Rule::Targeted(rule) => rule.share.get_or_insert(Share { part, by: None, salt: None }).part = part,
        Rule::Native { .. } => return None,
    }
    Some(definition)
}

fn time_of(millis: u64) -> EventTime {
    bounded(EventTime::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)))
}

fn number(step: usize) -> u32 {
    u32::try_from(step).unwrap_or(u32::MAX)
}
