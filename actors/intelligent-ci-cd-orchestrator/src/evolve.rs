//! The fold of the orchestrator's own events into a service's state.

use tol_events::EventView;
use tol_events::delivery::{ReleasePromoted, RollbackReason, RollbackRequested};
use tol_system::{Error, read};

use crate::noted::{INCIDENT_NOTED, IncidentNoted, ROLLBACK_NOTED, RollbackNoted};
use crate::state::{Deployment, Incident, Status};
use crate::{RELEASE_PROMOTED, ROLLBACK_REQUESTED, Service};

pub(crate) fn evolve(state: &mut Service, event: &EventView<'_>) -> Result<(), Error> {
    match event.event_type() {
        RELEASE_PROMOTED => {
            let promoted: ReleasePromoted<'_> = read(event)?;
            let at = promoted.finished_at.or(event.time()).unwrap_or_default();
            let (id, version) = (promoted.deployment_id.into_owned(), promoted.version.into_owned());
            let environment = state.environments.entry(promoted.environment.into_owned()).or_default();
            environment.put(Deployment { id, version, at, served: true, status: Status::Promoted });
        }
        ROLLBACK_REQUESTED => {
            let requested: RollbackRequested<'_> = read(event)?;
            let at = requested.finished_at.or(event.time()).unwrap_or_default();
            let served = requested.reason == RollbackReason::Incident;
            let (id, version) = (requested.deployment_id.into_owned(), requested.version.into_owned());
            let environment = state.environments.entry(requested.environment.into_owned()).or_default();
            environment.put(Deployment { id, version, at, served, status: Status::RollbackRequested });
        }
        INCIDENT_NOTED => {
            let noted: IncidentNoted = event.data_as().map_err(|problem| Error::malformed(event, problem))?;
            let incident = Incident { id: noted.incident_id, opened_at: noted.opened_at, deployment_id: noted.deployment_id };
            state.environments.entry(noted.environment).or_default().add_incident(incident);
        }
        ROLLBACK_NOTED => {
            let noted: RollbackNoted = event.data_as().map_err(|problem| Error::malformed(event, problem))?;
            let environment = state.environments.entry(noted.environment).or_default();
            let known = environment.deployment(&noted.deployment_id);
            let (at, served) = known.map_or((noted.rolled_back_at, false), |known| (known.at, known.served));
            environment.put(Deployment { id: noted.deployment_id, version: noted.version, at, served, status: Status::RolledBack });
        }
        unknown => return Err(Error::UnknownOwnEvent(unknown.to_owned())),
    }
    Ok(())
}
