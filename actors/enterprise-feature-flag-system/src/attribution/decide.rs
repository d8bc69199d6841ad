//! The rules: the first arm counts, outcomes count for a while, each customer is reported once a trial.

use tol_events::delivery::{DeploymentFinished, DeploymentRolledBack, DeploymentStarted, IncidentOpened, IncidentResolved, Outcome as Delivered};
use tol_events::flags::{
    DeploymentAttributed, DeploymentEvent, Exclusion, ExposureFollowed, ExposureForgotten, ExposureObserved, Outcome, OutcomeAttributed, OutcomeNoted,
    ServiceFollowed, ServiceNamed,
};
use tol_events::{DomainEvent, EventTime, EventView};
use tol_system::{Decision, Error, Input, read};

use super::state::{Attributed, closes, forgets};
use super::values::values;
use super::{
    DEPLOYMENT_ATTRIBUTED, EXPOSURE_FOLLOWED, EXPOSURE_FORGOTTEN, EXPOSURE_OBSERVED, OUTCOME_ATTRIBUTED, OUTCOME_NOTED, SERVICE_FOLLOWED, SERVICE_NAMED,
};
use crate::decide::bounded;

/// Trials of one customer that are remembered; another one is dropped, and the flag is told.
pub(super) const MOST_TRIALS: usize = 64;
/// Flags that are told of one service.
pub(super) const MOST_FLAGS: usize = 200;
/// Facts may be late by a tenth of the time that counts, and by an hour at most.
const LATE_MICROS: i64 = 3_600_000_000;

const STARTED: &str = DeploymentStarted::<'static>::TYPE;
const FINISHED: &str = DeploymentFinished::<'static>::TYPE;
const ROLLED_BACK: &str = DeploymentRolledBack::<'static>::TYPE;
const OPENED: &str = IncidentOpened::<'static>::TYPE;
const RESOLVED: &str = IncidentResolved::<'static>::TYPE;

pub(super) fn decide(state: &Attributed, input: &Input<'_>, decision: &mut Decision) -> Result<(), Error> {
    match input {
        Input::Event(event) => match event.event_type() {
            EXPOSURE_OBSERVED => exposed(state, event, input.time(), decision),
            SERVICE_NAMED => {
                let naming: ServiceNamed<'_> = read(event)?;
                if input.subject() != format!("service/{}", naming.service) {
                    return Err(Error::malformed(event, format!("it is about service {}, its target is {}", naming.service, input.subject())));
                }
                named(state, &naming, decision);
                Ok(())
            }
            fact if fact.starts_with("delivery.") => delivered(state, event, decision),
            fact if fact.starts_with("billing.") || fact.starts_with("usage.") => {
                happened(state, event, input.time(), decision);
                Ok(())
            }
            _ => Ok(()),
        },
        Input::Timer { id, subject, .. } => {
            due(state, id, customer_of(subject), decision);
            Ok(())
        }
        Input::Effect { .. } => Ok(()), // it asks for none
    }
}

fn customer_of(subject: &str) -> &str {
    subject.split_once('/').map_or(subject, |(_, id)| id)
}

fn target(key: &str) -> Option<String> {
    Some(format!("flag/{key}"))
}

/// The first arm counts. Another one while it counts takes the customer out of the comparison.
fn exposed(state: &Attributed, event: &EventView<'_>, at: EventTime, decision: &mut Decision) -> Result<(), Error> {
    let seen: ExposureObserved<'_> = read(event)?;
    match state.exposure(&seen.key, &seen.trial) {
        Some(known) => {
            if known.arm != seen.arm && !known.crossed && !known.reported {
                let outcome = Outcome { key: seen.key.into_owned(), trial: seen.trial.into_owned(), crossed: true, values: Default::default() };
                decision.emit(OUTCOME_NOTED, &OutcomeNoted { customer_id: seen.customer_id, outcomes: vec![outcome] });
            }
        }
        None if state.all().count() >= MOST_TRIALS => {
            let to = target(&seen.key);
            let dropped = OutcomeAttributed {
                customer_id: seen.customer_id,
                key: seen.key,
                environment: seen.environment,
                trial: seen.trial,
                arm: seen.arm,
                exposed_at: at,
                values: Default::default(),
                excluded: Some(Exclusion::Dropped),
            };
            decision.emit(OUTCOME_ATTRIBUTED, &dropped).target = to;
        }
        None => {
            let window = i64::try_from(seen.window_millis).unwrap_or(i64::MAX).saturating_mul(1_000);
            // What is told late is waited for all the same.
            let known_since = event.recorded_time().map_or(at, |recorded| recorded.max(at));
            let followed = ExposureFollowed {
                customer_id: seen.customer_id,
                key: seen.key,
                environment: seen.environment,
                trial: seen.trial,
                arm: seen.arm,
                metrics: seen.metrics,
                exposed_at: at,
                until: bounded(at.plus_micros(window)),
                closes_at: bounded(known_since.plus_micros(window.saturating_add((window / 10).min(LATE_MICROS)))),
            };
            decision.emit(EXPOSURE_FOLLOWED, &followed);
        }
    }
    Ok(())
}

/// Adds what happened to every exposure that measures it.
fn happened(state: &Attributed, event: &EventView<'_>, at: EventTime, decision: &mut Decision) {
    let customer = event.subject_id();
    if customer.is_empty() || !event.subject().starts_with("customer/") {
        return; // of nobody: a type that nobody declared may have any subject
    }
    let mut open = state.all().filter(|(_, _, exposure)| !exposure.reported && exposure.exposed_at <= at && at <= exposure.until).peekable();
    if open.peek().is_none() {
        return; // nearly all facts: they are not even read
    }
    let values = values(event);
    let outcomes = open.filter_map(|(key, trial, exposure)| {
        let measured = values.iter().filter(|(metric, value)| **value != 0 && exposure.values.contains_key(*metric));
        let values: std::collections::BTreeMap<String, i64> = measured.map(|(metric, value)| (metric.clone(), *value)).collect();
        (!values.is_empty()).then(|| Outcome { key: key.to_owned(), trial: trial.to_owned(), crossed: false, values })
    });
    let outcomes: Vec<Outcome> = outcomes.collect();
    if !outcomes.is_empty() {
        decision.emit(OUTCOME_NOTED, &OutcomeNoted { customer_id: customer.into(), outcomes });
    }
}

/// An exposure is reported once the time that counts is over, and forgotten long after that.
fn due(state: &Attributed, timer: &str, customer: &str, decision: &mut Decision) {
    for (key, trial, exposure) in state.all() {
        if timer == closes(key, trial) {
            let attributed = OutcomeAttributed {
                customer_id: customer.into(),
                key: key.into(),
                environment: exposure.environment.as_str().into(),
                trial: trial.into(),
                arm: exposure.arm.as_str().into(),
                exposed_at: exposure.exposed_at,
                values: exposure.values.clone(),
                excluded: exposure.crossed.then_some(Exclusion::Crossed),
            };
            decision.emit(OUTCOME_ATTRIBUTED, &attributed).target = target(key);
        } else if timer == forgets(key, trial) {
            decision.emit(EXPOSURE_FORGOTTEN, &ExposureForgotten { customer_id: customer.into(), key: key.into(), trial: trial.into() });
        }
    }
}

fn named(state: &Attributed, naming: &ServiceNamed<'_>, decision: &mut Decision) {
    let known = state.flags.contains(naming.key.as_ref());
    if known == naming.named {
        return;
    }
    let full = naming.named && state.flags.len() >= MOST_FLAGS;
    let followed = ServiceFollowed {
        service: naming.service.as_ref().into(),
        key: naming.key.as_ref().into(),
        followed: naming.named && !full,
        problem: full.then(|| format!("{MOST_FLAGS} flags name it already").into()),
    };
    decision.emit(SERVICE_FOLLOWED, &followed);
}

/// Tells the flags that name the service.
fn delivered(state: &Attributed, event: &EventView<'_>, decision: &mut Decision) -> Result<(), Error> {
    if state.flags.is_empty() {
        return Ok(());
    }
    let (environment, id, what) = match event.event_type() {
        STARTED => {
            let started: DeploymentStarted<'_> = read(event)?;
            (started.environment, started.deployment_id, DeploymentEvent::Started)
        }
        FINISHED => {
            let finished: DeploymentFinished<'_> = read(event)?;
            let what = if finished.outcome == Delivered::Succeeded { DeploymentEvent::Succeeded } else { DeploymentEvent::Failed };
            (finished.environment, finished.deployment_id, what)
        }
        ROLLED_BACK => {
            let back: DeploymentRolledBack<'_> = read(event)?;
            (back.environment, back.deployment_id, DeploymentEvent::RolledBack)
        }
        OPENED => {
            let opened: IncidentOpened<'_> = read(event)?;
            (opened.environment, opened.incident_id, DeploymentEvent::IncidentOpened)
        }
        RESOLVED => {
            let resolved: IncidentResolved<'_> = read(event)?;
            (resolved.environment, resolved.incident_id, DeploymentEvent::IncidentResolved)
        }
        _ => return Ok(()),
    };
    for key in &state.flags {
        let attributed = DeploymentAttributed {
            service: event.subject_id().into(),
            key: key.as_str().into(),
            environment: environment.clone(),
            deployment_id: id.clone(),
            what,
        };
        decision.emit(DEPLOYMENT_ATTRIBUTED, &attributed).target = target(key);
    }
    Ok(())
}
