//! The fold of the orchestrator's own events into a service's state.

use serde::de::DeserializeOwned;
use tol_events::EventView;
use tol_events::delivery::{Outcome, ReleasePromoted, RollbackReason, RollbackRequested};
use tol_system::{Error, Evolution, read};

use crate::noted::{
    DEPLOYMENT_NOTED, DeploymentNoted, FACT_DUE, FACT_SCHEDULED, FactDue, FactScheduled, INCIDENT_NOTED, IncidentNoted, ROLLBACK_NOTED, ROLLBACK_WITHDRAWN,
    RollbackNoted, RollbackWithdrawn,
};
use crate::state::{Deployment, Incident, Scheduled, Status};
use crate::{RELEASE_PROMOTED, ROLLBACK_REQUESTED, Service};

/// Reads a type of this system's own.
fn own<T: DeserializeOwned>(event: &EventView<'_>) -> Result<T, Error> {
    event.data_as().map_err(|problem| Error::malformed(event, problem))
}

pub(crate) fn evolve(state: &mut Service, event: &EventView<'_>, evolution: &mut Evolution) -> Result<(), Error> {
    match event.event_type() {
        RELEASE_PROMOTED => {
            let promoted: ReleasePromoted<'_> = read(event)?;
            let at = promoted.finished_at.or(event.time()).unwrap_or_default();
            let environment = state.environments.entry(promoted.environment.into_owned()).or_default();
            let telling = environment.deployment(&promoted.deployment_id).and_then(|known| known.telling.clone());
            let (id, version) = (promoted.deployment_id.into_owned(), promoted.version.into_owned());
            environment.put(Deployment { id, version, at, served: true, status: Status::Promoted, telling });
        }
        ROLLBACK_REQUESTED => {
            let requested: RollbackRequested<'_> = read(event)?;
            let at = requested.finished_at.or(event.time()).unwrap_or_default();
            let served = requested.reason == RollbackReason::Incident;
            let environment = state.environments.entry(requested.environment.into_owned()).or_default();
            let telling = environment.deployment(&requested.deployment_id).and_then(|known| known.telling.clone());
            let (id, version) = (requested.deployment_id.into_owned(), requested.version.into_owned());
            environment.put(Deployment { id, version, at, served, status: Status::RollbackRequested, telling });
        }
        ROLLBACK_WITHDRAWN => {
            let withdrawn: RollbackWithdrawn = own(event)?;
            let environment = state.environments.entry(withdrawn.environment).or_default();
            if let Some(known) = environment.deployments.iter_mut().find(|known| known.id == withdrawn.deployment_id) {
                known.status = Status::Promoted;
            }
        }
        DEPLOYMENT_NOTED => {
            let noted: DeploymentNoted = own(event)?;
            let environment = state.environments.entry(noted.environment).or_default();
            let status = environment.deployment(&noted.deployment_id).map_or(Status::Known, |known| known.status);
            let (id, version, at, served) = (noted.deployment_id, noted.version, noted.finished_at, noted.outcome == Outcome::Succeeded);
            environment.put(Deployment { id, version, at, served, status, telling: Some(noted.telling) });
        }
        INCIDENT_NOTED => {
            let noted: IncidentNoted = own(event)?;
            let (id, opened_at, deployment_id, telling) = (noted.incident_id, noted.opened_at, noted.deployment_id, noted.telling);
            state.environments.entry(noted.environment).or_default().put_incident(Incident { id, opened_at, deployment_id, telling });
        }
        ROLLBACK_NOTED => {
            let noted: RollbackNoted = own(event)?;
            let environment = state.environments.entry(noted.environment).or_default();
            let known = environment.deployment(&noted.deployment_id);
            let (at, served, telling) = known.map_or((noted.rolled_back_at, false, None), |known| (known.at, known.served, known.telling.clone()));
            environment.put(Deployment { id: noted.deployment_id, version: noted.version, at, served, status: Status::RolledBack, telling });
        }
        FACT_SCHEDULED => {
            let FactScheduled { timer, due, fact, .. } = own(event)?;
            evolution.set_timer(timer.clone(), due);
            if let Some(dropped) = state.schedule(timer, Scheduled { due, fact }) {
                evolution.cancel_timer(dropped);
            }
        }
        FACT_DUE => {
            let due: FactDue = own(event)?;
            state.scheduled.remove(&due.timer);
        }
        unknown => return Err(Error::UnknownOwnEvent(unknown.to_owned())),
    }
    Ok(())
}
