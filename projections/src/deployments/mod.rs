//! `deployments`: each service in each environment, with the four measures of DORA (Forsgren, Humble, Kim: Accelerate, 2018, chapter 2) over windows.
//!
//! Key: `service/environment`; a slash in the environment is written `%2F`, so that no two keys collide.
//!
//! * `history` — the row: what was told of each deployment and incident, whatever the order it arrived in
//! * `measures` — what is counted from it as of a moment

mod history;
mod measures;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod recount;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

use serde_json::json;
use tol_events::delivery::{DeploymentFinished, DeploymentRolledBack, DeploymentStarted, IncidentOpened, IncidentResolved, Outcome};
use tol_events::{DomainEvent, Event, EventTime, EventView};
use tol_system::projection::{Error, Projection, Rows, refuse_other_version};

use crate::examples::example;
use history::{Deployments, Fact, Finish, What, bounded};

/// The projection.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceDeployments;

/// The event types that the fold reads.
pub(crate) const KNOWN: [&str; 5] =
    [DeploymentStarted::TYPE, DeploymentFinished::TYPE, DeploymentRolledBack::TYPE, IncidentOpened::TYPE, IncidentResolved::TYPE];

/// The key of a service in an environment: `service/environment`. The last slash parts them, since the environment's own are escaped.
fn key_of(service: &str, environment: &str) -> String {
    format!("{service}/{}", environment.replace('%', "%25").replace('/', "%2F"))
}

/// Service and environment of a key.
fn parts_of(key: &str) -> (&str, String) {
    let (service, environment) = key.rsplit_once('/').unwrap_or((key, ""));
    (service, environment.replace("%2F", "/").replace("%25", "%"))
}

/// What a fact tells, with its environment and the time of what it tells; `None` of a type that the fold does not read.
fn read(event: &EventView<'_>) -> Result<Option<(String, i64, What)>, Error> {
    let told = match event.event_type() {
        DeploymentStarted::TYPE => {
            let started: DeploymentStarted<'_> = event.data_as()?;
            let committed = started.committed_at.map(EventTime::as_micros);
            let what = What::Started { deployment: bounded(&started.deployment_id), committed };
            (started.environment.into_owned(), started.started_at, what)
        }
        DeploymentFinished::TYPE => {
            let finished: DeploymentFinished<'_> = event.data_as()?;
            let committed = finished.committed_at.map(EventTime::as_micros);
            let finish = Finish { at: finished.finished_at.as_micros(), failed: finished.outcome == Outcome::Failed, version: bounded(&finished.version) };
            let what = What::Finished { deployment: bounded(&finished.deployment_id), finish, committed };
            (finished.environment.into_owned(), finished.finished_at, what)
        }
        DeploymentRolledBack::TYPE => {
            let rolled_back: DeploymentRolledBack<'_> = event.data_as()?;
            let what = What::RolledBack { deployment: bounded(&rolled_back.deployment_id), at: rolled_back.rolled_back_at.as_micros() };
            (rolled_back.environment.into_owned(), rolled_back.rolled_back_at, what)
        }
        IncidentOpened::TYPE => {
            let opened: IncidentOpened<'_> = event.data_as()?;
            let cause = opened.deployment_id.as_deref().map(bounded);
            let what = What::Opened { incident: bounded(&opened.incident_id), at: opened.opened_at.as_micros(), cause };
            (opened.environment.into_owned(), opened.opened_at, what)
        }
        IncidentResolved::TYPE => {
            let resolved: IncidentResolved<'_> = event.data_as()?;
            let cause = resolved.deployment_id.as_deref().map(bounded);
            let what = What::Resolved { incident: bounded(&resolved.incident_id), at: resolved.resolved_at.as_micros(), cause };
            (resolved.environment.into_owned(), resolved.resolved_at, what)
        }
        other => return refuse_other_version(other, &KNOWN).map(|()| None),
    };
    let (environment, at, what) = told;
    Ok(Some((environment, at.as_micros(), what)))
}

impl Projection for ServiceDeployments {
    type Row = Deployments;
    const NAME: &'static str = "deployments";
    const VERSION: u32 = 2;
    const TOPIC: &'static str = "facts.service";
    const ROW_BYTES: usize = 64 << 10;

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Deployments>) -> Result<(), Error> {
        let Some((environment, at, what)) = read(&event)? else { return Ok(()) };
        let told_at = event.time().or_else(|| event.recorded_time()).unwrap_or_default().as_micros();
        // No question about the present is asked before the fact was recorded. What comes true until then need not be kept apart.
        let recorded = event.recorded_time().map_or(told_at, EventTime::as_micros);
        let fact = Fact { due: told_at.max(at), told_at, event: bounded(event.id()), what };
        rows.get_mut(&key_of(event.subject_id(), &environment))?.take(fact, recorded);
        Ok(())
    }

    fn merge(mut a: Deployments, b: Deployments) -> Deployments {
        a.join(b);
        a
    }

    fn value(row: &Deployments, key: &str) -> serde_json::Value {
        Self::value_at(row, key, EventTime::from_micros(row.latest()))
    }

    fn value_at(row: &Deployments, key: &str, now: EventTime) -> serde_json::Value {
        let (service, environment) = parts_of(key);
        measures::shown(row, (service, &environment), now)
    }

    fn subject_of(key: &str) -> Option<String> {
        key.rsplit_once('/').map(|(service, _)| format!("service/{service}"))
    }

    fn examples(&self) -> Vec<Event> {
        const NOON: &str = "2026-01-01T12:00:00Z";
        const ONE: &str = "2026-01-01T13:00:00Z";
        let fact = |event_type: &str, id: &str, hour: i64, more: serde_json::Value| {
            let mut data = json!({"service": "web", "environment": "production"});
            if let (Some(data), serde_json::Value::Object(more)) = (data.as_object_mut(), more) {
                data.extend(more);
            }
            example(event_type, id, "service/web", hour, &data)
        };
        let started = json!({"deployment_id": "d1", "version": "v1", "started_at": NOON, "committed_at": "2026-01-01T11:00:00Z"});
        let finished =
            |id: &str, outcome: &str| json!({"deployment_id": id, "version": format!("v-{id}"), "outcome": outcome, "started_at": NOON, "finished_at": ONE});
        vec![
            fact(DeploymentStarted::TYPE, "e1", 12, started),
            fact(DeploymentFinished::TYPE, "e2", 13, finished("d1", "succeeded")),
            fact(IncidentOpened::TYPE, "e3", 13, json!({"incident_id": "i1", "opened_at": "2026-01-01T13:10:00Z", "severity": "major"})),
            fact(DeploymentRolledBack::TYPE, "e4", 14, json!({"deployment_id": "d1", "version": "v0", "rolled_back_at": "2026-01-01T14:00:00Z"})),
            fact(IncidentResolved::TYPE, "e5", 15, json!({"incident_id": "i1", "resolved_at": "2026-01-01T15:00:00Z"})),
            fact(DeploymentFinished::TYPE, "e6", 16, finished("d2", "failed")),
        ]
    }
}
