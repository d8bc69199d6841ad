//! Own events that decide nothing yet: a system remembers only its own events (rule 3 of the architecture), so what a later fact
//! will be judged by has to be one.

use serde::{Deserialize, Serialize};
use tol_events::EventTime;

/// Type of [`IncidentNoted`].
pub const INCIDENT_NOTED: &str = "delivery.incident_noted.v1";
/// Type of [`RollbackNoted`].
pub const ROLLBACK_NOTED: &str = "delivery.rollback_noted.v1";

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
