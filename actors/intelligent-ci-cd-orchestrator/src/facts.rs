//! [`Fact`]: what a fact about deployments tells the orchestrator, whichever type and order it comes in.

use serde::{Deserialize, Serialize};
use tol_events::delivery::{DeploymentFinished, DeploymentRolledBack, IncidentOpened, Outcome};
use tol_events::{DomainEvent, EventTime, EventView};
use tol_system::{Error, read};

/// Which of two tellings of the same thing holds: the greater one. By the fact's time, then the event's id.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Telling {
    /// The fact's time.
    pub told_at: EventTime,
    /// The event's id.
    pub event: String,
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Where.
    pub environment: String,
    /// Which telling it is.
    pub telling: Telling,
    /// What it tells.
    pub what: What,
}

/// What a fact tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    /// A deployment ended.
    Finished {
        /// The deployment.
        deployment_id: String,
        /// The version.
        version: String,
        /// How it ended.
        outcome: Outcome,
        /// When.
        at: EventTime,
    },
    /// An incident opened.
    Opened {
        /// The incident.
        incident_id: String,
        /// When.
        at: EventTime,
        /// The deployment that caused it, where the sender knows.
        deployment_id: Option<String>,
    },
    /// A deployment was taken back.
    RolledBack {
        /// The deployment.
        deployment_id: String,
        /// The version.
        version: String,
        /// When.
        at: EventTime,
    },
}

impl What {
    /// When what it tells happened.
    fn at(&self) -> EventTime {
        match self {
            What::Finished { at, .. } | What::Opened { at, .. } | What::RolledBack { at, .. } => *at,
        }
    }
}

impl Fact {
    /// Reads an event; `None` where its type decides nothing: starts and resolutions.
    pub(crate) fn read(event: &EventView<'_>) -> Result<Option<Self>, Error> {
        let (environment, what) = match event.event_type() {
            DeploymentFinished::TYPE => {
                let DeploymentFinished { deployment_id, version, outcome, finished_at, environment, .. } = read(event)?;
                (environment, What::Finished { deployment_id: deployment_id.into_owned(), version: version.into_owned(), outcome, at: finished_at })
            }
            IncidentOpened::TYPE => {
                let IncidentOpened { incident_id, opened_at, deployment_id, environment, .. } = read(event)?;
                let deployment_id = deployment_id.map(std::borrow::Cow::into_owned);
                (environment, What::Opened { incident_id: incident_id.into_owned(), at: opened_at, deployment_id })
            }
            DeploymentRolledBack::TYPE => {
                let DeploymentRolledBack { deployment_id, version, rolled_back_at, environment, .. } = read(event)?;
                (environment, What::RolledBack { deployment_id: deployment_id.into_owned(), version: version.into_owned(), at: rolled_back_at })
            }
            _ => return Ok(None),
        };
        let told_at = event.time().or_else(|| event.recorded_time()).unwrap_or_default();
        let telling = Telling { told_at, event: event.id().to_owned() };
        Ok(Some(Fact { environment: environment.into_owned(), telling, what }))
    }

    /// When it takes effect: at its own time, and not before what it tells.
    pub(crate) fn due(&self) -> EventTime {
        self.telling.told_at.max(self.what.at())
    }
}
