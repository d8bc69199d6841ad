//! `tree.*`: what the hub decides about systems. Subject: `system/{system}`; of the emergency stop `control/emergency-stop`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{DomainEvent, FieldError, domain_event, filled};
use crate::registry::known_types;
use crate::time::EventTime;

/// `tree.system_started.v1`: a system runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemStarted<'a> {
    /// The system.
    #[serde(borrow)]
    pub system: Cow<'a, str>,
    /// URL of the node it ran on.
    #[serde(borrow)]
    pub node: Cow<'a, str>,
    /// Whether an operator wanted it; planned downtime is counted apart.
    #[serde(default)]
    pub planned: bool,
    /// Where nobody saw it stop: since when it is taken to have been down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down_since: Option<EventTime>,
}

domain_event!(SystemStarted, "tree.system_started.v1", "system" / system, |this| {
    filled("node", &this.node)?;
});

/// `tree.system_failed.v1`: a system failed; its downtime begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemFailed<'a> {
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

domain_event!(SystemFailed, "tree.system_failed.v1", "system" / system, |this| {
    filled("node", &this.node)?;
    filled("error", &this.error)?;
});

/// `tree.system_restarted.v1`: a system failed and was started again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemRestarted<'a> {
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

domain_event!(SystemRestarted, "tree.system_restarted.v1", "system" / system, |this| {
    filled("node", &this.node)?;
});

/// `tree.system_degraded.v1`: a system failed too often; its circuit is open until a probe succeeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemDegraded<'a> {
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

domain_event!(SystemDegraded, "tree.system_degraded.v1", "system" / system, |this| {
    filled("node", &this.node)?;
    filled("reason", &this.reason)?;
});

/// `tree.system_recovered.v1`: a degraded system runs again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemRecovered<'a> {
    /// The system.
    #[serde(borrow)]
    pub system: Cow<'a, str>,
    /// URL of the node it ran on.
    #[serde(borrow)]
    pub node: Cow<'a, str>,
}

domain_event!(SystemRecovered, "tree.system_recovered.v1", "system" / system, |this| {
    filled("node", &this.node)?;
});

/// `tree.system_stopped.v1`: a system was stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemStopped<'a> {
    /// The system.
    #[serde(borrow)]
    pub system: Cow<'a, str>,
    /// URL of the node it ran on.
    #[serde(borrow)]
    pub node: Cow<'a, str>,
    /// Whether an operator wanted it; planned downtime is counted apart.
    #[serde(default)]
    pub planned: bool,
}

domain_event!(SystemStopped, "tree.system_stopped.v1", "system" / system, |this| {
    filled("node", &this.node)?;
});

/// `tree.system_paused.v1`: an operator wants a system to decide nothing until it is resumed, on every node, also on those that start later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemPaused<'a> {
    /// The system.
    #[serde(borrow)]
    pub system: Cow<'a, str>,
    /// Who: the name of the API key, or `local`.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

domain_event!(SystemPaused, "tree.system_paused.v1", "system" / system, |this| {
    filled("by", &this.by)?;
});

/// `tree.system_resumed.v1`: a paused system goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemResumed<'a> {
    /// The system.
    #[serde(borrow)]
    pub system: Cow<'a, str>,
    /// Who: the name of the API key, or `local`.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

domain_event!(SystemResumed, "tree.system_resumed.v1", "system" / system, |this| {
    filled("by", &this.by)?;
});

/// `tree.subject_erased.v1`: a person was erased, on topic `control`. Each node that reads it destroys the key, and drops what it derived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubjectErased<'a> {
    /// The person, as `kind/id`.
    #[serde(borrow)]
    pub subject: Cow<'a, str>,
    /// Why, as the operator puts it; nothing personal belongs here.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// Who: the name of the API key, or `local`.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

impl DomainEvent for SubjectErased<'_> {
    const TYPE: &'static str = crate::reserved::SUBJECT_ERASED;
    const SUBJECT_KIND: &'static str = "";

    fn subject_id(&self) -> &str {
        &self.subject
    }

    fn validate(&self) -> Result<(), FieldError> {
        if crate::kinds::kind_of(&self.subject).is_none() {
            return Err(FieldError::new("subject", "must name a person as kind/id, for example customer/42"));
        }
        filled("reason", &self.reason)?;
        filled("by", &self.by)
    }
}

/// Subject of the emergency stop's events.
pub const EMERGENCY_STOP_SUBJECT: &str = "control/emergency-stop";

/// `tree.emergency_stop_engaged.v1`: nothing outside is touched any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EmergencyStopEngaged<'a> {
    /// Why, as the operator puts it.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// Who: the name of the API key, or `local`.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

impl DomainEvent for EmergencyStopEngaged<'_> {
    const TYPE: &'static str = "tree.emergency_stop_engaged.v1";
    const SUBJECT_KIND: &'static str = "control";

    fn subject_id(&self) -> &str {
        "emergency-stop"
    }

    fn validate(&self) -> Result<(), FieldError> {
        filled("reason", &self.reason)?;
        filled("by", &self.by)
    }
}

/// `tree.emergency_stop_released.v1`: work goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EmergencyStopReleased<'a> {
    /// Why, as the operator puts it.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// Who: the name of the API key, or `local`.
    #[serde(borrow)]
    pub by: Cow<'a, str>,
}

impl DomainEvent for EmergencyStopReleased<'_> {
    const TYPE: &'static str = "tree.emergency_stop_released.v1";
    const SUBJECT_KIND: &'static str = "control";

    fn subject_id(&self) -> &str {
        "emergency-stop"
    }

    fn validate(&self) -> Result<(), FieldError> {
        filled("reason", &self.reason)?;
        filled("by", &self.by)
    }
}

known_types![
    SubjectErased,
    EmergencyStopEngaged,
    EmergencyStopReleased,
    SystemDegraded,
    SystemFailed,
    SystemPaused,
    SystemRecovered,
    SystemRestarted,
    SystemResumed,
    SystemStarted,
    SystemStopped,
];
