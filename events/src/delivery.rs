//! `delivery.*`: deployments and incidents of services, and what the orchestrator decides about them. Subject: `service/{service}`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{FieldError, domain_event, filled, filled_if_present};
use crate::registry::known_types;
use crate::time::EventTime;

/// Reads the environment of a fact of this domain, whatever its type; `None` where it names none.
pub fn environment_of(data: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        environment: Cow<'a, str>,
    }
    serde_json::from_slice(data).ok().map(|named: Named<'_>| named.environment)
}

/// Refuses an environment that only differs from another one by what nobody sees. Checked at admission: what the log holds must stay readable.
pub(crate) fn check_environment(data: &[u8]) -> Result<(), FieldError> {
    match environment_of(data) {
        Some(name) if name.trim() != name || name.chars().any(char::is_control) => {
            Err(FieldError::new("environment", format!("is {name:?}; leave out white space at its ends and control characters")))
        }
        _ => Ok(()),
    }
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The version serves.
    Succeeded,
    /// It does not.
    Failed,
}

/// Why a rollback is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RollbackReason {
    /// The deployment failed.
    DeploymentFailed,
    /// An incident opened soon after it.
    Incident,
}

/// `delivery.deployment_started.v1`: a version is on its way to a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentStarted<'a> {
    /// The deployment.
    #[serde(borrow)]
    pub deployment_id: Cow<'a, str>,
    /// The service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// Where: `production`, `staging`, …
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// The version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// When it started.
    pub started_at: EventTime,
    /// When its change was committed, for lead time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<EventTime>,
}

domain_event!(DeploymentStarted, "delivery.deployment_started.v1", "service" / service, |this| {
    filled("deployment_id", &this.deployment_id)?;
    filled("environment", &this.environment)?;
    filled("version", &this.version)?;
});

/// `delivery.deployment_finished.v1`: a deployment ended, well or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentFinished<'a> {
    /// The deployment.
    #[serde(borrow)]
    pub deployment_id: Cow<'a, str>,
    /// The service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// Where: `production`, `staging`, …
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// The version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it started.
    pub started_at: EventTime,
    /// When it ended; not before it started.
    pub finished_at: EventTime,
    /// When its change was committed, for lead time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<EventTime>,
}

domain_event!(DeploymentFinished, "delivery.deployment_finished.v1", "service" / service, |this| {
    filled("deployment_id", &this.deployment_id)?;
    filled("environment", &this.environment)?;
    filled("version", &this.version)?;
    if this.finished_at < this.started_at {
        return Err(FieldError::new("finished_at", format!("is {}; it must not be before started_at, {}", this.finished_at, this.started_at)));
    }
});

/// `delivery.deployment_rolled_back.v1`: a deployment was taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentRolledBack<'a> {
    /// The deployment.
    #[serde(borrow)]
    pub deployment_id: Cow<'a, str>,
    /// The service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// Where: `production`, `staging`, …
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// The version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// When.
    pub rolled_back_at: EventTime,
    /// Why, as the sender puts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
}

domain_event!(DeploymentRolledBack, "delivery.deployment_rolled_back.v1", "service" / service, |this| {
    filled("deployment_id", &this.deployment_id)?;
    filled("environment", &this.environment)?;
    filled("version", &this.version)?;
});

/// `delivery.incident_opened.v1`: something is wrong with a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentOpened<'a> {
    /// The incident.
    #[serde(borrow)]
    pub incident_id: Cow<'a, str>,
    /// The service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// Where.
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// When it began.
    pub opened_at: EventTime,
    /// How bad, in the sender's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Cow<'a, str>>,
    /// The deployment that caused it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<Cow<'a, str>>,
}

domain_event!(IncidentOpened, "delivery.incident_opened.v1", "service" / service, |this| {
    filled("incident_id", &this.incident_id)?;
    filled("environment", &this.environment)?;
    filled_if_present("deployment_id", this.deployment_id.as_deref())?;
});

/// `delivery.incident_resolved.v1`: it is well again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentResolved<'a> {
    /// The incident.
    #[serde(borrow)]
    pub incident_id: Cow<'a, str>,
    /// The service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// Where.
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// When it ended.
    pub resolved_at: EventTime,
    /// How bad it was, in the sender's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Cow<'a, str>>,
    /// The deployment that caused it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<Cow<'a, str>>,
}

domain_event!(IncidentResolved, "delivery.incident_resolved.v1", "service" / service, |this| {
    filled("incident_id", &this.incident_id)?;
    filled("environment", &this.environment)?;
    filled_if_present("deployment_id", this.deployment_id.as_deref())?;
});

/// `delivery.release_promoted.v1`: the orchestrator takes a healthy deployment as the release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReleasePromoted<'a> {
    /// The deployment.
    #[serde(borrow)]
    pub deployment_id: Cow<'a, str>,
    /// The service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// Where: `production`, `staging`, …
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// The version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// When the deployment ended: incidents soon after it are laid to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<EventTime>,
}

domain_event!(ReleasePromoted, "delivery.release_promoted.v1", "service" / service, |this| {
    filled("deployment_id", &this.deployment_id)?;
    filled("environment", &this.environment)?;
    filled("version", &this.version)?;
});

/// `delivery.rollback_requested.v1`: the orchestrator wants a deployment taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RollbackRequested<'a> {
    /// The deployment.
    #[serde(borrow)]
    pub deployment_id: Cow<'a, str>,
    /// The service.
    #[serde(borrow)]
    pub service: Cow<'a, str>,
    /// Where: `production`, `staging`, …
    #[serde(borrow)]
    pub environment: Cow<'a, str>,
    /// The version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// Why.
    pub reason: RollbackReason,
    /// The incident, when that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident_id: Option<Cow<'a, str>>,
    /// When the deployment ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<EventTime>,
}

domain_event!(RollbackRequested, "delivery.rollback_requested.v1", "service" / service, |this| {
    filled("deployment_id", &this.deployment_id)?;
    filled("environment", &this.environment)?;
    filled("version", &this.version)?;
    filled_if_present("incident_id", this.incident_id.as_deref())?;
    if this.reason == RollbackReason::Incident && this.incident_id.is_none() {
        return Err(FieldError::new("incident_id", "is missing; a rollback for an incident names it"));
    }
});

known_types![DeploymentFinished, DeploymentRolledBack, DeploymentStarted, IncidentOpened, IncidentResolved, ReleasePromoted, RollbackRequested];
