//! What the orchestrator remembers about one service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tol_events::EventTime;
use tol_events::delivery::RollbackReason;

use crate::INCIDENT_WINDOW_MICROS;
use crate::facts::{Fact, Telling};

/// Deployments and incidents kept for each environment, the latest by their own time. A fact about an unknown one that is older decides nothing.
pub const KEPT: usize = 50;

/// Facts of times to come that are kept for each service, the soonest.
pub const SCHEDULED: usize = 256;

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// By name: `production`, `staging`, …
    pub environments: BTreeMap<String, Environment>,
    /// Facts of times to come, by timer; at most [`SCHEDULED`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scheduled: BTreeMap<String, Scheduled>,
    /// Facts of times to come that were dropped, because too many are sooner.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A fact of a time to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// When it takes effect.
    pub due: EventTime,
    /// The fact.
    pub fact: Fact,
}

/// One environment of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// By time, then id; at most [`KEPT`].
    pub deployments: Vec<Deployment>,
    /// By time, then id; at most [`KEPT`].
    pub incidents: Vec<Incident>,
}

/// How far a deployment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It ended, and nothing was decided.
    Known,
    /// It serves.
    Promoted,
    /// Its rollback was requested, which is done once.
    RollbackRequested,
    /// It was taken back.
    RolledBack,
}

/// One deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The deployment.
    pub id: String,
    /// The version.
    pub version: String,
    /// When it finished; where only its rollback is known, the time of that.
    pub at: EventTime,
    /// Whether it finished well, so that incidents may be laid to it. One of which only the rollback is known did not, as far as is known.
    pub served: bool,
    /// How far it has come.
    pub status: Status,
    /// Which telling of its end holds; none where only its rollback is known, or a version without tellings wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telling: Option<Telling>,
}

/// What the facts that are known want of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// It is a release.
    Release,
    /// It is to be taken back, for an incident where that is the reason.
    Rollback(RollbackReason, Option<&'a Incident>),
}

/// One incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The incident.
    pub id: String,
    /// When it opened.
    pub opened_at: EventTime,
    /// The deployment that caused it, where the sender knows.
    pub deployment_id: Option<String>,
    /// Which telling of it holds.
    #[serde(default)]
    pub telling: Telling,
}

impl Incident {
    /// Whether it opened soon enough after a deployment finished, and not before.
    pub(crate) fn follows(&self, finished_at: EventTime) -> bool {
        (0..=INCIDENT_WINDOW_MICROS).contains(&self.opened_at.micros_since(finished_at))
    }
}

impl Service {
    /// Keeps a fact for its time; gives the timer of the latest one where there are too many.
    pub(crate) fn schedule(&mut self, timer: String, scheduled: Scheduled) -> Option<String> {
        self.scheduled.insert(timer, scheduled);
        if self.scheduled.len() <= SCHEDULED {
            return None;
        }
        let latest = self.scheduled.iter().max_by_key(|(timer, scheduled)| (scheduled.due, *timer)).map(|(timer, _)| timer.clone())?;
        self.scheduled.remove(&latest);
        self.dropped += 1;
        Some(latest)
    }

    /// What serves and what is to be taken back, of one environment or all.
    pub(crate) fn open_releases(&self, only: Option<&str>) -> serde_json::Value {
        let wanted = self.environments.iter().filter(|(name, _)| only.is_none_or(|only| only == name.as_str()));
        let of = |environment: &Environment| {
            let serving = environment.deployments.iter().rev().find(|deployment| deployment.status == Status::Promoted);
            let leaving: Vec<&Deployment> = environment.deployments.iter().filter(|deployment| deployment.status == Status::RollbackRequested).collect();
            serde_json::json!({ "serving": serving, "rollback_requested": leaving })
        };
        let environments: BTreeMap<&str, serde_json::Value> = wanted.map(|(name, environment)| (name.as_str(), of(environment))).collect();
        serde_json::json!({ "environments": environments })
    }
}

impl Environment {
    pub(crate) fn deployment(&self, id: &str) -> Option<&Deployment> {
        self.deployments.iter().find(|deployment| deployment.id == id)
    }

    /// The deployment that served when the incident opened; the one the sender names, if any.
    pub(crate) fn blamed(&self, incident: &Incident) -> Option<&Deployment> {
        match &incident.deployment_id {
            Some(id) => self.deployment(id),
            None => self.deployments.iter().rev().find(|deployment| deployment.served && deployment.at <= incident.opened_at),
        }
    }

    /// What is wanted of each deployment, in the order of time.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (&Deployment, Wanted<'_>)> {
        let laid: Vec<(&Incident, &str)> = self.incidents.iter().filter_map(|incident| Some((incident, self.blamed(incident)?.id.as_str()))).collect();
        self.deployments.iter().map(move |deployment| {
            let incident = laid.iter().find(|(incident, blamed)| *blamed == deployment.id && incident.follows(deployment.at)).map(|(incident, _)| *incident);
            let wanted = match incident {
                _ if !deployment.served => Wanted::Rollback(RollbackReason::DeploymentFailed, None),
                Some(incident) => Wanted::Rollback(RollbackReason::Incident, Some(incident)),
                None => Wanted::Release,
            };
            (deployment, wanted)
        })
    }

    /// Whether an unknown deployment of that time is older than all that are kept, of which there are as many as are kept.
    pub(crate) fn is_older_than_all(&self, at: EventTime) -> bool {
        self.deployments.len() >= KEPT && self.deployments.first().is_some_and(|oldest| at < oldest.at)
    }

    /// Whether all incidents since then are kept.
    pub(crate) fn knows_all_since(&self, at: EventTime) -> bool {
        self.incidents.len() < KEPT || self.incidents.first().is_some_and(|oldest| oldest.opened_at < at)
    }

    /// Sets a deployment, in the order of time.
    pub(crate) fn put(&mut self, deployment: Deployment) {
        self.deployments.retain(|known| known.id != deployment.id);
        let place = self.deployments.partition_point(|known| (known.at, &known.id) < (deployment.at, &deployment.id));
        self.deployments.insert(place, deployment);
        keep_latest(&mut self.deployments);
    }

    /// Sets an incident, in the order of time.
    pub(crate) fn put_incident(&mut self, incident: Incident) {
        self.incidents.retain(|known| known.id != incident.id);
        let place = self.incidents.partition_point(|known| (known.opened_at, &known.id) < (incident.opened_at, &incident.id));
        self.incidents.insert(place, incident);
        keep_latest(&mut self.incidents);
    }
}

fn keep_latest<T>(items: &mut Vec<T>) {
    let excess = items.len().saturating_sub(KEPT);
    items.drain(..excess);
}
