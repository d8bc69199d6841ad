//! `deployments`: each service in each environment, with the four measures of DORA (Forsgren, Humble, Kim: Accelerate, 2018, chapter 2).
//!
//! Key: `service/environment`. Medians are taken over the newest [`KEPT`] values, failures are attributed to the newest [`KEPT`] deployments:
//! a row must stay small however long a service lives. Counts are of everything.

use serde::{Deserialize, Serialize};
use serde_json::json;
use tol_events::delivery::{DeploymentFinished, DeploymentRolledBack, DeploymentStarted, IncidentOpened, IncidentResolved, Outcome};
use tol_events::{DomainEvent, Event, EventTime, EventView};
use tol_system::projection::{Error, Projection, Rows, refuse_other_version};

use crate::examples::example;

/// How many past values a row remembers of each kind.
pub const KEPT: usize = 200;
/// An incident that opens this soon after a deployment counts as its failure, as in the CI/CD orchestrator. Microseconds.
pub const INCIDENT_WINDOW: i64 = 30 * 60 * 1_000_000;

/// A finished deployment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finished {
    /// Microseconds.
    pub at: i64,
    /// The deployment's id.
    pub id: String,
    /// It failed, was rolled back, or an incident followed.
    pub bad: bool,
}

/// One service in one environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployments {
    /// Finished deployments.
    pub deployments: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that failed.
    pub failed: u64,
    /// Rollbacks.
    pub rolled_back: u64,
    /// Incidents opened.
    pub incidents: u64,
    /// Deployments that failed, were rolled back, or were followed by an incident; each counts once.
    pub change_failures: u64,
    /// Version of the latest deployment that succeeded, with its time in microseconds.
    pub version: Option<(i64, String)>,
    /// Earliest finish, microseconds.
    pub first_at: Option<i64>,
    /// Latest finish, microseconds.
    pub last_at: Option<i64>,
    /// Microseconds from commit to finish of successful deployments, in log order, the newest [`KEPT`].
    pub lead_times: Vec<i64>,
    /// Microseconds from an incident's opening to its resolution, in log order, the newest [`KEPT`].
    pub restore_times: Vec<i64>,
    /// The newest [`KEPT`] finished deployments, in log order.
    pub recent: Vec<Finished>,
    /// (deployment, committed at) of deployments that started and have not finished, the newest [`KEPT`].
    pub commits: Vec<(String, i64)>,
    /// (incident, opened at) of open incidents, the newest [`KEPT`].
    pub open: Vec<(String, i64)>,
}

fn keep<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= KEPT {
        list.remove(0);
    }
    list.push(item);
}

fn take<T>(list: &mut Vec<(String, T)>, id: &str) -> Option<T> {
    let place = list.iter().position(|(other, _)| other == id)?;
    Some(list.remove(place).1)
}

/// The median in whole microseconds; of an even count the mean of the middle two, rounded down.
fn median(values: &[i64]) -> Option<i64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(if sorted.len() % 2 == 1 { upper } else { i64::midpoint(sorted[sorted.len() / 2 - 1], upper) })
}

impl Deployments {
    fn finish(&mut self, event: &DeploymentFinished<'_>) {
        let at = event.finished_at.as_micros();
        let committed = take(&mut self.commits, &event.deployment_id);
        let committed = event.committed_at.map(EventTime::as_micros).or(committed);
        self.deployments += 1;
        self.first_at = Some(self.first_at.map_or(at, |first| first.min(at)));
        self.last_at = self.last_at.max(Some(at));
        let bad = event.outcome == Outcome::Failed;
        if bad {
            self.failed += 1;
            self.change_failures += 1;
        } else {
            self.succeeded += 1;
            if self.version.as_ref().is_none_or(|(last, _)| *last <= at) {
                self.version = Some((at, event.version.to_string()));
            }
            if let Some(committed) = committed {
                keep(&mut self.lead_times, at.saturating_sub(committed).max(0));
            }
        }
        keep(&mut self.recent, Finished { at, id: event.deployment_id.to_string(), bad });
    }

    /// Counts a deployment as a failed change, once.
    fn blame(&mut self, which: impl Fn(&Finished) -> bool) {
        if let Some(finished) = self.recent.iter_mut().rev().find(|finished| which(finished))
            && !finished.bad
        {
            finished.bad = true;
            self.change_failures += 1;
        }
    }

    fn open_incident(&mut self, event: &IncidentOpened<'_>) {
        let at = event.opened_at.as_micros();
        self.incidents += 1;
        match event.deployment_id.as_deref() {
            Some(id) => self.blame(|finished| finished.id == id),
            None => self.blame(|finished| finished.at <= at && at.saturating_sub(finished.at) <= INCIDENT_WINDOW),
        }
        if self.open.iter().all(|(id, _)| *id != event.incident_id) {
            keep(&mut self.open, (event.incident_id.to_string(), at));
        }
    }
}

/// The projection.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceDeployments;

/// The event types that the fold reads.
pub(crate) const KNOWN: [&str; 5] =
    [DeploymentStarted::TYPE, DeploymentFinished::TYPE, DeploymentRolledBack::TYPE, IncidentOpened::TYPE, IncidentResolved::TYPE];

impl Projection for ServiceDeployments {
    type Row = Deployments;
    const NAME: &'static str = "deployments";
    const VERSION: u32 = 1;
    const ROWS_SINCE: u32 = 1;
    const TOPIC: &'static str = "facts.service";
    const ROW_BYTES: usize = 16 << 10;

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, Deployments>) -> Result<(), Error> {
        let service = event.subject_id();
        match event.event_type() {
            DeploymentStarted::TYPE => {
                let started: DeploymentStarted<'_> = event.data_as()?;
                let row = rows.get_mut(&format!("{service}/{}", started.environment))?;
                if let Some(committed) = started.committed_at {
                    keep(&mut row.commits, (started.deployment_id.to_string(), committed.as_micros()));
                }
            }
            DeploymentFinished::TYPE => {
                let finished: DeploymentFinished<'_> = event.data_as()?;
                rows.get_mut(&format!("{service}/{}", finished.environment))?.finish(&finished);
            }
            DeploymentRolledBack::TYPE => {
                let rolled_back: DeploymentRolledBack<'_> = event.data_as()?;
                let row = rows.get_mut(&format!("{service}/{}", rolled_back.environment))?;
                row.rolled_back += 1;
                row.blame(|finished| finished.id == rolled_back.deployment_id);
            }
            IncidentOpened::TYPE => {
                let opened: IncidentOpened<'_> = event.data_as()?;
                rows.get_mut(&format!("{service}/{}", opened.environment))?.open_incident(&opened);
            }
            IncidentResolved::TYPE => {
                let resolved: IncidentResolved<'_> = event.data_as()?;
                let row = rows.get_mut(&format!("{service}/{}", resolved.environment))?;
                if let Some(opened) = take(&mut row.open, &resolved.incident_id) {
                    keep(&mut row.restore_times, resolved.resolved_at.as_micros().saturating_sub(opened).max(0));
                }
            }
            other => refuse_other_version(other, &KNOWN)?,
        }
        Ok(())
    }

    fn merge(mut a: Deployments, b: Deployments) -> Deployments {
        a.deployments += b.deployments;
        a.succeeded += b.succeeded;
        a.failed += b.failed;
        a.rolled_back += b.rolled_back;
        a.incidents += b.incidents;
        a.change_failures += b.change_failures;
        a.version = a.version.max(b.version);
        a.first_at = a.first_at.into_iter().chain(b.first_at).min();
        a.last_at = a.last_at.max(b.last_at);
        // A service lies in one partition, so this joins nothing in practice; sorted, it does not depend on the order.
        a.lead_times.extend(b.lead_times);
        a.restore_times.extend(b.restore_times);
        a.recent.extend(b.recent);
        a.commits.extend(b.commits);
        a.open.extend(b.open);
        a.lead_times.sort_unstable();
        a.restore_times.sort_unstable();
        a.recent.sort_unstable();
        a.commits.sort_unstable();
        a.open.sort_unstable();
        a
    }

    fn value(row: &Deployments, key: &str) -> serde_json::Value {
        let (service, environment) = key.rsplit_once('/').unwrap_or((key, ""));
        let rounded = |value: f64| (value * 10_000.0).round() / 10_000.0;
        let span_days = match (row.first_at, row.last_at) {
            (Some(first), Some(last)) => last.saturating_sub(first) as f64 / 86_400e6,
            _ => 0.0,
        };
        let seconds = |micros: Option<i64>| micros.map(|micros| micros / 1_000_000);
        json!({
            "service": service,
            "environment": environment,
            "deployments": row.deployments,
            "succeeded": row.succeeded,
            "failed": row.failed,
            "rolled_back": row.rolled_back,
            "incidents": row.incidents,
            "open_incidents": row.open.len(),
            "version": row.version.as_ref().map(|(_, version)| version),
            "last_deployed_at": row.last_at.map(|at| EventTime::from_micros(at).to_string()),
            "deployments_per_day": rounded(row.deployments as f64 / span_days.max(1.0)),
            "lead_time_seconds": seconds(median(&row.lead_times)),
            "change_failure_rate": (row.deployments > 0).then(|| rounded(row.change_failures as f64 / row.deployments as f64)),
            "time_to_restore_seconds": seconds(median(&row.restore_times)),
        })
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
