//! Who met which arm of a flag: joined with what is measured of customers, and recorded where something is.

use std::collections::BTreeMap;

use actix_web::dev::Payload;
use serde_json::Value;
use tol_events::flags::ExposureObserved;
use tol_events::{DomainEvent, Event, EventTime, id};
use tol_plug::{Kind, Outcome, Problem, json};

use super::import::{SOURCE, new_id};
use super::requests::{self, PROJECTION};
use super::types::{ExposureSeen, ExposuresRecorded, RecordExposures};
use crate::attribution::is_attributable;
use crate::experiments::Spec;
use crate::rollout::Plan;
use crate::{DEFAULT_ENVIRONMENT, Request};

/// Exposures in one request.
const MOST: usize = 1_000;

/// A rollout or an experiment that runs and measures something of customers.
struct Trial {
    /// `rollout/{id}` or `experiment/{id}`.
    name: String,
    /// None: everywhere.
    environment: Option<String>,
    /// Arms that it compares; `enabled` and `disabled` if there are none.
    arms: Vec<String>,
    metrics: Vec<String>,
    window_millis: u64,
}

impl Trial {
    /// Which of its arms somebody met: their variant where it is one, else whether the flag was on.
    fn arm<'s>(&self, seen: &'s ExposureSeen) -> Option<&'s str> {
        let is_one = |arm: &&str| self.arms.iter().any(|known| known == arm);
        let plain = if seen.enabled { "enabled" } else { "disabled" };
        if self.arms.is_empty() { Some(plain) } else { seen.variant.as_deref().filter(is_one).or(Some(plain).filter(is_one)) }
    }
}

/// What runs on a flag, as its row says.
fn trials(row: &Value) -> Vec<Trial> {
    let measured = |names: Vec<String>| names.into_iter().filter(|name| is_attributable(name)).collect::<Vec<_>>();
    let mut found = Vec::new();
    let rollout = &row["rollout"];
    if rollout["state"] == "running"
        && let Ok(plan) = serde_json::from_value::<Plan>(rollout["plan"].clone())
    {
        let arms = plan.arms.map(|arms| arms.treatment.into_iter().chain(arms.control).collect());
        found.push(Trial {
            name: format!("rollout/{}", rollout["id"].as_str().unwrap_or_default()),
            environment: rollout["environment"].as_str().map(str::to_owned),
            arms: arms.unwrap_or_default(),
            metrics: measured(plan.guards.into_iter().filter(|guard| guard.above.is_none()).map(|guard| guard.metric).collect()),
            window_millis: plan.outcome_window_millis,
        });
    }
    for (id, experiment) in row["experiments"].as_object().into_iter().flatten().filter(|(_, experiment)| experiment["state"] == "running") {
        let spec = experiment["details"].as_object().and_then(|details| Spec::of(details).ok()).flatten();
        let Some(spec) = spec else { continue };
        found.push(Trial {
            name: format!("experiment/{id}"),
            environment: spec.environment,
            arms: spec.variations.into_iter().map(|variation| variation.name).collect(),
            metrics: measured(spec.metrics.into_iter().filter(|metric| metric.above.is_none()).map(|metric| metric.name).collect()),
            window_millis: spec.outcome_window_millis,
        });
    }
    found.retain(|trial| !trial.metrics.is_empty());
    found
}

/// The fact. Sent again with its time it has the same id, and is counted once.
fn fact(seen: &ExposureSeen, environment: &str, trial: &Trial, arm: &str, now: EventTime) -> Result<Event, Problem> {
    let exposure = ExposureObserved {
        customer_id: seen.customer_id.as_str().into(),
        key: seen.flag.as_str().into(),
        environment: environment.into(),
        trial: trial.name.as_str().into(),
        arm: arm.into(),
        metrics: trial.metrics.clone(),
        window_millis: trial.window_millis,
    };
    exposure.validate().map_err(|error| Problem::new(Kind::INVALID_BODY, format!("exposure of flag \"{}\": {error}", seen.flag)))?;
    let event_id = seen.at.map_or_else(new_id, |at| {
        let content = [&seen.flag, environment, &trial.name, arm, &at.to_string()].join("\u{0}");
        id::derived("flag-exposures", &seen.customer_id, &content, 0).to_string()
    });
    let event = exposure.to_event(event_id, SOURCE).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(event.at(seen.at.unwrap_or(now)))
}

pub(super) async fn record(request: Request, payload: Payload) -> Outcome {
    let asked: RecordExposures = request.json(payload).await?;
    if asked.exposures.len() > MOST {
        return Err(Problem::new(Kind::INVALID_BODY, format!("exposures has {} entries; send at most {MOST} at a time", asked.exposures.len())));
    }
    if asked.exposures.iter().any(|seen| seen.customer_id.is_empty() || seen.flag.is_empty()) {
        return Err(Problem::new(Kind::INVALID_BODY, "an exposure without flag or customer_id; both must be named"));
    }
    let environment = asked.environment.unwrap_or_else(|| DEFAULT_ENVIRONMENT.to_owned());
    let now = request.platform().now();
    let mut known: BTreeMap<&str, Vec<Trial>> = BTreeMap::new();
    let (mut events, mut ignored) = (Vec::new(), 0);
    for seen in &asked.exposures {
        if !known.contains_key(seen.flag.as_str()) {
            let row = request.platform().row(PROJECTION, &format!("flag/{}", seen.flag), None)?;
            known.insert(&seen.flag, row.map(|row| trials(&row.value)).unwrap_or_default());
        }
        let before = events.len();
        let here = known[seen.flag.as_str()].iter().filter(|trial| trial.environment.as_ref().is_none_or(|own| *own == environment));
        for trial in here {
            if let Some(arm) = trial.arm(seen) {
                events.push(fact(seen, &environment, trial, arm, now)?);
            }
        }
        ignored += u64::from(events.len() == before);
    }
    let recorded = events.len() as u64;
    let positions = requests::admit(&request, events).await?.into_iter().collect();
    json(&ExposuresRecorded { recorded, ignored, positions })
}
