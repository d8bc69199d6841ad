//! Own events that only keep a fact in mind for later ones: a system remembers only its own events (rule 3 of the architecture), so what a later fact
//! will be judged by has to be one. And the withdrawal of a rollback that was asked for too early.

use serde::{Deserialize, Serialize};
use tol_events::EventTime;
use tol_events::delivery::Outcome;

use crate::facts::{Fact, Telling};

/// Type of [`DeploymentNoted`].
pub const DEPLOYMENT_NOTED: &str = "delivery.deployment_noted.v1";
/// Type of [`IncidentNoted`].
pub const INCIDENT_NOTED: &str = "delivery.incident_noted.v1";
/// Type of [`RollbackNoted`].
pub const ROLLBACK_NOTED: &str = "delivery.rollback_noted.v1";
/// Type of [`RollbackWithdrawn`].
pub const ROLLBACK_WITHDRAWN: &str = "delivery.rollback_withdrawn.v1";
/// Type of [`FactScheduled`].
pub const FACT_SCHEDULED: &str = "delivery.fact_scheduled.v1";
/// Type of [`FactDue`].
pub const FACT_DUE: &str = "delivery.fact_due.v1";

/// A deployment ended, as it was told last. It may be told again, and otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentNoted {
    /// The deployment.
    pub deployment_id: String,
    /// The service.
    pub service: String,
    /// Where.
    pub environment: String,
    /// The version.
    pub version: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended.
    pub finished_at: EventTime,
    /// Which telling holds.
    pub telling: Telling,
}

/// An incident opened. A deployment that finished before it may become known after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentNoted {
    /// The incident.
    pub incident_id: String,
    /// The service.
    pub service: String,
    /// Where.
    pub environment: String,
    /// When it began.
    pub opened_at: EventTime,
    /// The deployment that caused it, where the sender knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<String>,
    /// Which telling holds.
    #[serde(default)]
    pub telling: Telling,
}

/// A deployment was taken back, asked for or not: nothing more is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackNoted {
    /// The deployment.
    pub deployment_id: String,
    /// The service.
    pub service: String,
    /// Where.
    pub environment: String,
    /// The version that was taken back.
    pub version: String,
    /// When.
    pub rolled_back_at: EventTime,
}

/// A rollback that was requested is not wanted any more, because a late fact or a correction took its reason away: the deployment is the release again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackWithdrawn {
    /// The deployment.
    pub deployment_id: String,
    /// The service.
    pub service: String,
    /// Where.
    pub environment: String,
    /// The version.
    pub version: String,
    /// The event that took the reason away.
    pub because_of: String,
}

/// A fact whose time is still to come: it is decided then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactScheduled {
    /// The timer that it waits for.
    pub timer: String,
    /// The service.
    pub service: String,
    /// When it takes effect.
    pub due: EventTime,
    /// The fact.
    pub fact: Fact,
}

/// The time of a scheduled fact has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactDue {
    /// The timer.
    pub timer: String,
    /// The service.
    pub service: String,
}
