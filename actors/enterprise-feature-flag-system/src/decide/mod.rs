//! The business rules: requests and observations about a flag become changes of it.

mod due;
mod experiments;
mod outcomes;
mod rollouts;

use serde::Serialize;
use serde_json::Value;
use tol_events::flags::{
    ChangeRequested, CountsReported, DeploymentAttributed, DeploymentObserved, ExperimentRequested, FlagChanged, FlagKilled, KillRequested, MetricsObserved,
    Object, OutcomeAttributed, RequestRefused, RollbackRequested, RolloutRequested, ServiceNamed, SharedChangeRequested, SharedChanged,
};
use tol_events::{DomainEvent, EventTime, EventView};
use tol_system::{Decision, Error, Input, read};

use self::rollouts::{rule_of, with_share};
use crate::attribution::{DEPLOYMENT_ATTRIBUTED, OUTCOME_ATTRIBUTED};
use crate::definition::Definition;
use crate::state::Flag;
use crate::{FLAG_CHANGED, FLAG_KILLED, REQUEST_REFUSED, SERVICE_NAMED, SHARED_CHANGED};

pub(crate) const STALE_TIMER: &str = "stale";
pub(crate) const STEP_TIMER: &str = "step";
pub(crate) const SCHEDULE_TIMER: &str = "schedule";
/// Followed by the experiment's id.
pub(crate) const BANDIT_TIMER: &str = "bandit/";
/// Followed by the trial whose outcomes wait for a look.
pub(crate) const LOOK_TIMER: &str = "look/";
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
const DEPLOYMENT: &str = DeploymentObserved::<'static>::TYPE;
const COUNTS: &str = CountsReported::<'static>::TYPE;
const EXPERIMENT: &str = ExperimentRequested::<'static>::TYPE;

pub(crate) fn decide(state: &Flag, input: &Input<'_>, decision: &mut Decision) -> Result<(), Error> {
    match input {
        Input::Event(event) => match request(state, event, input.time(), decision) {
            // Parked as an error, it would hold up what comes after it about the same flag: a kill above all. So it is answered with an event.
            Err(Error::Refused(problem)) => {
                let refused = RequestRefused {
                    key: input.subject().split_once('/').map_or(event.subject_id(), |(_, id)| id).into(),
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
            due::stale(state, *due, decision);
            Ok(())
        }
        Input::Timer { id: SCHEDULE_TIMER, due, .. } => {
            due::scheduled(state, *due, decision);
            Ok(())
        }
        Input::Timer { id: STEP_TIMER, due, .. } => match &state.rollout {
            Some(ramp) if ramp.is_running() => rollouts::go_on(state, ramp, &ramp.rollout, *due, true, decision),
            _ => Ok(()),
        },
        Input::Timer { id, due, .. } => {
            if let Some(experiment) = id.strip_prefix(BANDIT_TIMER) {
                experiments::allocate(state, experiment, *due, decision);
            }
            id.strip_prefix(LOOK_TIMER).map_or(Ok(()), |trial| outcomes::due(state, trial, *due, decision))
        }
        Input::Effect { .. } => Ok(()),
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
        ROLLOUT => rollouts::begin(state, &read(event)?, now, decision),
        ROLLBACK => rollouts::roll_back(state, &read(event)?, decision),
        METRICS => rollouts::observe(state, &read(event)?, now, decision),
        EXPERIMENT => experiments::experiment(state, &read(event)?, decision),
        DEPLOYMENT => rollouts::deployment(state, &read(event)?, now, decision),
        COUNTS => {
            // What one of them cannot take, the other may.
            let report = read(event)?;
            let of_experiments = experiments::counted(state, &report, decision);
            rollouts::counted(state, &report, now, decision).and(of_experiments)
        }
        OUTCOME_ATTRIBUTED => {
            let seen: OutcomeAttributed<'_> = read(event)?;
            for_this_flag(event, &seen.key)?;
            outcomes::outcome(state, &seen, now, decision)
        }
        DEPLOYMENT_ATTRIBUTED => {
            let seen: DeploymentAttributed<'_> = read(event)?;
            for_this_flag(event, &seen.key)?;
            outcomes::deployment(state, &seen, now, decision)
        }
        _ => Ok(()), // own types that somebody sent as facts say nothing
    }
}

/// What another system sends is for the flag that its data names.
fn for_this_flag(event: &EventView<'_>, key: &str) -> Result<(), Error> {
    if event.target().and_then(|target| target.strip_prefix("flag/")) == Some(key) {
        return Ok(());
    }
    Err(Error::malformed(event, format!("it is about flag {key}, its target is {}", event.target().unwrap_or_default())))
}

/// A rule of the business that the request breaks; nothing of it has been emitted.
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
    // While a rollout runs, its rule is its own: another percentage, hash, audience or format would move people between the arms it compares.
    if let (Some(ramp), Some(known)) = (state.rollout.as_ref().filter(|ramp| ramp.is_running()), &state.definition)
        && (known.family != definition.family || rule_of(known, ramp) != rule_of(&definition, ramp))
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
    // Services are told which flags they concern, so that their deployments find the flag.
    let known = state.definition.as_ref().map(|known| &known.services);
    let gone = known.into_iter().flatten().filter(|service| !definition.services.contains(*service)).map(|service| (service, false));
    let new = definition.services.iter().filter(|service| known.is_none_or(|known| !known.contains(*service))).map(|service| (service, true));
    for (service, named) in gone.chain(new) {
        let naming = ServiceNamed { key: request.key.as_ref().into(), service: service.as_str().into(), named };
        decision.emit(SERVICE_NAMED, &naming).target = Some(format!("service/{service}"));
    }
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

/// Milliseconds since 1970; times before that count as then.
pub(crate) fn millis(time: EventTime) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(0)
}

/// RFC 3339 ends with the year 9999.
pub(crate) fn bounded(time: EventTime) -> EventTime {
    const LAST: EventTime = EventTime::from_secs(253_402_300_799);
    time.min(LAST)
}
