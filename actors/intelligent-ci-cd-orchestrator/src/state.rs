//! What the orchestrator remembers about one service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tol_events::EventTime;

use crate::INCIDENT_WINDOW_MICROS;

/// Deployments and incidents kept for each environment, the latest by their own time. A fact about an older one is taken as new.
pub const KEPT: usize = 50;

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// By name: `production`, `staging`, …
    pub environments: BTreeMap<String, Environment>,
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
}

impl Incident {
    /// Whether it opened soon enough after a deployment finished, and not before.
    pub(crate) fn follows(&self, finished_at: EventTime) -> bool {
        (0..=INCIDENT_WINDOW_MICROS).contains(&self.opened_at.micros_since(finished_at))
    }
}

impl Service {
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

    /// The first incident that is laid to a deployment which becomes known only now.
    pub(crate) fn early_incident(&self, deployment_id: &str, finished_at: EventTime) -> Option<&Incident> {
        self.incidents.iter().find(|incident| {
            let is_blamed = match &incident.deployment_id {
                Some(named) => named == deployment_id,
                None => self.blamed(incident).is_none_or(|known| known.at <= finished_at), // else a later one served by then
            };
            is_blamed && incident.follows(finished_at)
        })
    }

    /// Sets a deployment, in the order of time.
    pub(crate) fn put(&mut self, deployment: Deployment) {
        self.deployments.retain(|known| known.id != deployment.id);
        let place = self.deployments.partition_point(|known| (known.at, &known.id) < (deployment.at, &deployment.id));
        self.deployments.insert(place, deployment);
        keep_latest(&mut self.deployments);
    }

    /// Adds an incident, in the order of time.
    pub(crate) fn add_incident(&mut self, incident: Incident) {
        let place = self.incidents.partition_point(|known| (known.opened_at, &known.id) < (incident.opened_at, &incident.id));
        self.incidents.insert(place, incident);
        keep_latest(&mut self.incidents);
    }
}

fn keep_latest<T>(items: &mut Vec<T>) {
    let excess = items.len().saturating_sub(KEPT);
    items.drain(..excess);
}
