//! The business rules: requests and observations about a flag become changes of it.

use serde::Serialize;
use serde_json::Value;
use tol_events::flags::{
    ChangeRequested, ExperimentAction, ExperimentConcluded, ExperimentRequested, ExperimentStarted, FlagChanged, FlagKilled, FlagStale, KillRequested,
    MetricsObserved, Object, RequestRefused, RollbackRequested, RolloutAdvanced, RolloutHeld, RolloutObserved, RolloutRequested, RolloutRolledBack,
    SampleRatioMismatchDetected, SharedChangeRequested, SharedChanged,
};
use tol_events::{DomainEvent, EventTime, EventView};
use tol_system::{Decision, Error, Input, read};

use crate::definition::{Definition, Environment, Rule, Share};
use crate::rollout::{self, HoldReason, Observation, Plan, Rollout, WHOLE};
use crate::state::{Flag, Ramp, kind_of};
use crate::{
    EXPERIMENT_CONCLUDED, EXPERIMENT_STARTED, FLAG_CHANGED, FLAG_KILLED, FLAG_STALE, MISMATCH, REQUEST_REFUSED, ROLLOUT_ADVANCED, ROLLOUT_HELD,
    ROLLOUT_OBSERVED, ROLLOUT_ROLLED_BACK, SHARED_CHANGED,
};

pub(crate) const STALE_TIMER: &str = "stale";
pub(crate) const STEP_TIMER: &str = "step";
pub(crate) const SCHEDULE_TIMER: &str = "schedule";
/// A rollout that waits for data is looked at again after this long, whether data came or not.
pub(crate) const LOOK_AGAIN_MICROS: i64 = 3_600_000_000;
/// Who decides when nobody was asked.
const SYSTEM: &str = "enterprise-feature-flag-system";

const CHANGE: &str = ChangeRequested::<'static>::TYPE;
const SHARED: &str = SharedChangeRequested::<'static>::TYPE;
const KILL: &str = KillRequested::<'static>::TYPE;
const ROLLOUT: &str = RolloutRequested::<'static>::TYPE;
const ROLLBACK: &str = RollbackRequested::<'static>::TYPE;
const METRICS: &str = MetricsObserved::<'static>::TYPE;
const EXPERIMENT: &str = ExperimentRequested::<'static>::TYPE;

pub(crate) fn decide(state: &Flag, input: &Input<'_>, decision: &mut Decision) -> Result<(), Error> {
    match input {
        Input::Event(event) => match request(state, event, input.time(), decision) {
            // Parked as an error, it would hold up what comes after it about the same flag: a kill above all. So it is answered with an event.
            Err(Error::Refused(problem)) => {
                let refused = RequestRefused {
                    key: event.subject_id().into(),
                    request: event.event_type().into(),
                    request_id: event.id().into(),
                    problem: problem.into(),
                };
                decision.emit(REQUEST_REFUSED, &refused);
                Ok(())
            }
            answer => answer,
        },
        Input::Timer { id: STALE_TIMER, due, .. } => {
            stale(state, *due, decision);
            Ok(())
        }
        Input::Timer { id: SCHEDULE_TIMER, due, .. } => {
            scheduled(state, *due, decision);
            Ok(())
        }
        Input::Timer { id: STEP_TIMER, due, .. } => match &state.rollout {
            Some(ramp) if ramp.is_running() => go_on(state, ramp, &ramp.rollout, *due, true, decision),
            _ => Ok(()),
        },
        Input::Timer { .. } | Input::Effect { .. } => Ok(()),
    }
}

fn request(state: &Flag, event: &EventView<'_>, now: EventTime, decision: &mut Decision) -> Result<(), Error> {
    match event.event_type() {
        CHANGE => change(state, &read(event)?, decision),
        SHARED => {
            shared(state, &read(event)?, decision);
            Ok(())
        }
        KILL => kill(state, &read(event)?, decision),
        ROLLOUT => begin(state, &read(event)?, now, decision),
        ROLLBACK => roll_back(state, &read(event)?, decision),
        METRICS => observe(state, &read(event)?, now, decision),
        EXPERIMENT => experiment(state, &read(event)?, decision),
        _ => Ok(()), // own types that somebody sent as facts say nothing
    }
}

/// A rule of the business that the request breaks; nothing has been emitted yet.
fn refused(problem: impl std::fmt::Display) -> Error {
    Error::Refused(problem.to_string())
}

pub(crate) fn object<T: Serialize>(value: &T) -> Object {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        _ => Object::new(),
    }
}

fn definition_of(source: &Object, key: &str) -> Result<Definition, Error> {
    let definition: Definition = serde_json::from_value(Value::Object(source.clone())).map_err(|problem| refused(format!("definition: {problem}")))?;
    if definition.key != key {
        return Err(refused(format!("the definition is of flag \"{}\", the event of \"{key}\"", definition.key)));
    }
    match definition.problems().as_slice() {
        [] => Ok(definition),
        problems => Err(refused(problems.join("; "))),
    }
}

fn change(state: &Flag, request: &ChangeRequested<'_>, decision: &mut Decision) -> Result<(), Error> {
    let definition = definition_of(&request.definition, &request.key)?;
    if let Some(base) = request.base_version.filter(|base| *base != state.version) {
        return Err(refused(format!("it changes version {base}, and the flag is at {}; read it again, then change that", state.version)));
    }
    if let Some(known) = &state.definition {
        // Nobody is left who could change sides where it was nowhere any more.
        if known.family != definition.family && !request.anew && !known.environments.is_empty() {
            let families = (known.family.name(), definition.family.name());
            return Err(refused(format!("the flag was born in {} and cannot move to {}: people would change sides; make a new flag", families.0, families.1)));
        }
        if *known == definition && state.stale_at == request.stale_at {
            return Ok(()); // nothing changes
        }
    }
    // While a rollout runs, only the rollout moves the percentage it is about.
    if let Some(ramp) = state.rollout.as_ref().filter(|ramp| ramp.is_running())
        && share_of(&definition, ramp).is_none_or(|part| part != ramp.rollout.treatment())
    {
        return Err(refused(format!("rollout {} moves rule {} in {}; roll it back or wait, then change that rule", ramp.id, ramp.rule, ramp.environment)));
    }
    let changed = FlagChanged {
        key: request.key.as_ref().into(),
        version: state.version + 1,
        definition: object(&definition),
        by: request.by.as_ref().into(),
        reason: request.reason.as_ref().into(),
        stale_at: request.stale_at,
    };
    decision.emit(FLAG_CHANGED, &changed);
    Ok(())
}

/// What flags share belongs to no one of them; the last change wins.
fn shared(state: &Flag, request: &SharedChangeRequested<'_>, decision: &mut Decision) {
    let known = state.shared.get(request.format.as_ref());
    if known.map_or(request.shared.is_empty(), |known| *known == request.shared) {
        return; // nothing changes
    }
    let changed = SharedChanged {
        environment: request.environment.as_ref().into(),
        version: state.version + 1,
        format: request.format.as_ref().into(),
        shared: request.shared.clone(),
        by: request.by.as_ref().into(),
        reason: request.reason.as_ref().into(),
    };
    decision.emit(SHARED_CHANGED, &changed);
}

/// Off at once. A rollout that runs there is taken back with it, so that nothing grows in the dark.
fn kill(state: &Flag, request: &KillRequested<'_>, decision: &mut Decision) -> Result<(), Error> {
    let Some(mut definition) = state.definition.clone() else {
        return Err(refused("there is no such flag"));
    };
    let wanted = |name: &str| request.environment.as_deref().is_none_or(|environment| environment == name);
    if !definition.environments.keys().any(|name| wanted(name)) {
        return Err(refused("the flag is in no such environment"));
    }
    let mut environments = Vec::new();
    for (name, environment) in definition.environments.iter_mut().filter(|(name, environment)| wanted(name) && !environment.killed) {
        environment.killed = true;
        environments.push(name.clone());
    }
    if environments.is_empty() {
        return Ok(()); // it is off already
    }
    if let Some(ramp) = state.rollout.as_ref().filter(|ramp| ramp.is_running() && environments.contains(&ramp.environment)) {
        definition = with_share(&definition, ramp, 0).unwrap_or(definition);
    }
    let killed = FlagKilled {
        key: request.key.as_ref().into(),
        version: state.version + 1,
        definition: object(&definition),
        environments,
        by: request.by.as_ref().into(),
        reason: request.reason.as_ref().into(),
    };
    decision.emit(FLAG_KILLED, &killed);
    Ok(())
}

fn begin(state: &Flag, request: &RolloutRequested<'_>, now: EventTime, decision: &mut Decision) -> Result<(), Error> {
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
    let ramp = Ramp {
        id: request.rollout_id.to_string(),
        environment: request.environment.to_string(),
        rule: request.rule,
        rollout,
        held: None,
        mismatch_told: false,
    };
    let mut advanced = advance(state, &ramp, 0, ramp.rollout.treatment(), now).ok_or_else(|| refused("its rule is gone"))?;
    advanced.plan = Some(object(&plan));
    advanced.by = request.by.as_ref().into();
    advanced.reason = request.reason.as_ref().into();
    decision.emit(ROLLOUT_ADVANCED, &advanced);
    Ok(())
}

fn roll_back(state: &Flag, request: &RollbackRequested<'_>, decision: &mut Decision) -> Result<(), Error> {
    match state.running(&request.rollout_id) {
        Some(ramp) => emit_rollback(state, ramp, None, &request.by, &request.reason, decision),
        None if state.rollouts.iter().any(|known| *known == request.rollout_id) => {} // it is over already
        None => return Err(refused(format!("there is no rollout {}", request.rollout_id))),
    }
    Ok(())
}

fn observe(state: &Flag, request: &MetricsObserved<'_>, now: EventTime, decision: &mut Decision) -> Result<(), Error> {
    let Some(ramp) = state.running(&request.rollout_id) else {
        // What comes late, or before anybody knows of the rollout, decides nothing.
        return Ok(());
    };
    let observation: Observation =
        serde_json::from_value(Value::Object(request.observation.clone())).map_err(|problem| refused(format!("observation: {problem}")))?;
    let mut after = ramp.rollout.clone();
    after.evolve(&rollout::Event::Observed(observation.clone())).map_err(refused)?;
    let observed = RolloutObserved { key: request.key.as_ref().into(), rollout_id: request.rollout_id.as_ref().into(), observation: object(&observation) };
    decision.emit(ROLLOUT_OBSERVED, &observed);
    go_on(state, ramp, &after, now, false, decision)
}

/// What follows from a rollout's counts at this time. A timer that is due always leaves an event, also when nothing else is new.
fn go_on(state: &Flag, ramp: &Ramp, now: &Rollout, at: EventTime, by_timer: bool, decision: &mut Decision) -> Result<(), Error> {
    let Some(definition) = &state.definition else { return Ok(()) };
    match now.decide(millis(at)) {
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
        rollout::Decision::Hold { reason } => {
            if let HoldReason::SampleRatio { p_value } = reason
                && !ramp.mismatch_told
            {
                let detected = SampleRatioMismatchDetected { key: definition.key.as_str().into(), rollout_id: ramp.id.as_str().into(), p_value };
                decision.emit(MISMATCH, &detected);
            }
            let new = ramp.held.as_ref().map(kind_of) != Some(kind_of(&reason));
            if by_timer || new {
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
        }
    }
    Ok(())
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

fn experiment(state: &Flag, request: &ExperimentRequested<'_>, decision: &mut Decision) -> Result<(), Error> {
    let known = state.experiments.get(request.experiment_id.as_ref());
    match (request.action, known) {
        (ExperimentAction::Start, None) => {
            if state.definition.is_none() {
                return Err(refused("there is no such flag"));
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
            let concluded = ExperimentConcluded {
                key: request.key.as_ref().into(),
                experiment_id: request.experiment_id.as_ref().into(),
                statement: request.statement.as_ref().into(),
                details: request.details.clone(),
                by: request.by.as_ref().into(),
            };
            decision.emit(EXPERIMENT_CONCLUDED, &concluded);
        }
        (ExperimentAction::Start, Some(_)) | (ExperimentAction::Conclude, Some(_)) => {} // asked for before
        (ExperimentAction::Conclude, None) => return Err(refused(format!("there is no experiment {}", request.experiment_id))),
    }
    Ok(())
}

fn stale(state: &Flag, due: EventTime, decision: &mut Decision) {
    if let Some(definition) = &state.definition {
        let stale = FlagStale { key: definition.key.as_str().into(), version: state.version, since: due, owner: definition.owner.as_deref().map(Into::into) };
        decision.emit(FLAG_STALE, &stale);
    }
}

/// What was to happen by now, in every environment.
fn scheduled(state: &Flag, due: EventTime, decision: &mut Decision) {
    let Some(mut definition) = state.definition.clone() else { return };
    for environment in definition.environments.values_mut() {
        let later = environment.schedule.partition_point(|scheduled| scheduled.at <= due);
        if let Some(last) = environment.schedule.drain(..later).next_back() {
            environment.enabled = last.enabled;
        }
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

fn rule(environment: &Environment, index: u32) -> Option<&Rule> {
    environment.rules.get(usize::try_from(index).ok()?)
}

/// What a definition says about the percentage that a rollout moves.
fn share_of(definition: &Definition, ramp: &Ramp) -> Option<u32> {
    match rule(definition.environments.get(&ramp.environment)?, ramp.rule)? {
        Rule::Targeted(rule) => Some(rule.share.as_ref().map_or(WHOLE, |share| share.part)),
        Rule::Native { .. } => None,
    }
}

/// The definition with another percentage; what decides who is among them stays, so that nobody who is in falls out as it grows.
fn with_share(definition: &Definition, ramp: &Ramp, part: u32) -> Option<Definition> {
    let mut definition = definition.clone();
    let environment = definition.environments.get_mut(&ramp.environment)?;
    match environment.rules.get_mut(usize::try_from(ramp.rule).ok()?)? {
        Rule::Targeted(rule) => rule.share.get_or_insert(Share { part, by: None, salt: None }).part = part,
        Rule::Native { .. } => return None,
    }
    Some(definition)
}

/// Milliseconds since 1970; times before that count as then.
pub(crate) fn millis(time: EventTime) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(0)
}

fn time_of(millis: u64) -> EventTime {
    bounded(EventTime::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)))
}

/// RFC 3339 ends with the year 9999.
pub(crate) fn bounded(time: EventTime) -> EventTime {
    const LAST: EventTime = EventTime::from_secs(253_402_300_799);
    time.min(LAST)
}

fn number(step: usize) -> u32 {
    u32::try_from(step).unwrap_or(u32::MAX)
}
