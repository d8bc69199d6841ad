//! `supervision.*_observed`: what a node's supervisor saw happen to a system, as facts for the hub. Subject: `system/{system}`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{domain_event, filled};
use crate::registry::known_types;
use crate::time::EventTime;

/// `supervision.system_started_observed.v1`: a system started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemStartedObserved<'a> {
    /// The system.
    #[serde(borrow)]
    pub system: Cow<'a, str>,
    /// URL of the node it ran on.
    #[serde(borrow)]
    pub node: Cow<'a, str>,
    /// Whether an operator wanted it; planned downtime is counted apart.
    #[serde(default)]
    pub planned: bool,
    /// Where nobody saw it stop: when the installation was last seen alive, by its clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_alive: Option<EventTime>,
}

domain_event!(SystemStartedObserved, "supervision.system_started_observed.v1", "system" / system, |this| {
    filled("node", &this.node)?;
});

/// `supervision.system_failed_observed.v1`: a system failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemFailedObserved<'a> {
    /// The system.
    #[serde(borrow)]
    pub system: Cow<'a, str>,
    /// URL of the node it ran on.
    #[serde(borrow)]
    pub node: Cow<'a, str>,
    /// What went wrong.
    #[serde(borrow)]
    pub error: Cow<'a, str>,
}

domain_event!(SystemFailedObserved, "supervision.system_failed_observed.v1", "system" / system, |this| {
    filled("node", &this.node)?;
    filled("error", &this.error)?;
});

/// `supervision.system_restarted_observed.v1`: a system was started again after a failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemRestartedObserved<'a> {
    /// The system.
    #[serde(borrow)]
    pub system: Cow<'a, str>,
    /// URL of the node it ran on.
    #[serde(borrow)]
    pub node: Cow<'a, str>,
    /// Which restart in the window this is, from 1.
    pub attempt: u32,
    /// How long it waited before, in milliseconds.
    pub backoff_ms: u64,
}

domain_event!(SystemRestartedObserved, "supervision.system_restarted_observed.v1", "system" / system, |this| {
    filled("node", &this.node)?;
});

/// `supervision.system_degraded_observed.v1`: a system failed too often; its circuit is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemDegradedObserved<'a> {
    /// The system.
    #[serde(borrow)]
    pub system: Cow<'a, str>,
    /// URL of the node it ran on.
    #[serde(borrow)]
    pub node: Cow<'a, str>,
    /// The last failure.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
}

domain_event!(SystemDegradedObserved, "supervision.system_degraded_observed.v1", "system" / system, |this| {
    filled("node", &this.node)?;
    filled("reason", &this.reason)?;
});

/// `supervision.system_recovered_observed.v1`: a degraded system runs again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemRecoveredObserved<'a> {
    /// The system.
    #[serde(borrow)]
    pub system: Cow<'a, str>,
    /// URL of the node it ran on.
    #[serde(borrow)]
    pub node: Cow<'a, str>,
}

domain_event!(SystemRecoveredObserved, "supervision.system_recovered_observed.v1", "system" / system, |this| {
    filled("node", &this.node)?;
});

/// `supervision.system_stopped_observed.v1`: a system was stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemStoppedObserved<'a> {
    /// The system.
    #[serde(borrow)]
    pub system: Cow<'a, str>,
    /// URL of the node it ran on.
    #[serde(borrow)]
    pub node: Cow<'a, str>,
    /// Whether an operator wanted it.
    pub planned: bool,
}

domain_event!(SystemStoppedObserved, "supervision.system_stopped_observed.v1", "system" / system, |this| {
    filled("node", &this.node)?;
});

known_types![SystemDegradedObserved, SystemFailedObserved, SystemRecoveredObserved, SystemRestartedObserved, SystemStartedObserved, SystemStoppedObserved,];
