//! The business rules, from facts about a service's deployments and incidents.

use tol_events::delivery::{DeploymentFinished, DeploymentRolledBack, IncidentOpened, Outcome, ReleasePromoted, RollbackReason, RollbackRequested};
use tol_events::{DomainEvent, EventView};
use tol_system::{Decision, Error, read};

use crate::noted::{INCIDENT_NOTED, IncidentNoted, ROLLBACK_NOTED, RollbackNoted};
use crate::state::{Environment, Incident, Status};
use crate::{RELEASE_PROMOTED, ROLLBACK_REQUESTED, Service};

const FINISHED: &str = DeploymentFinished::<'static>::TYPE;
const ROLLED_BACK: &str = DeploymentRolledBack::<'static>::TYPE;
const INCIDENT_OPENED: &str = IncidentOpened::<'static>::TYPE;

pub(crate) fn decide(state: &Service, event: &EventView<'_>, decision: &mut Decision) -> Result<(), Error> {
    let nothing_known = Environment::default();
    let environment = |name: &str| state.environments.get(name).unwrap_or(&nothing_known);
    match event.event_type() {
        FINISHED => {
            let finished: DeploymentFinished<'_> = read(event)?;
            deployment_finished(environment(&finished.environment), &finished, decision);
        }
        INCIDENT_OPENED => {
            let opened: IncidentOpened<'_> = read(event)?;
            incident_opened(environment(&opened.environment), &opened, decision);
        }
        ROLLED_BACK => {
            let rolled_back: DeploymentRolledBack<'_> = read(event)?;
            deployment_rolled_back(environment(&rolled_back.environment), &rolled_back, decision);
        }
        _ => {} // starts and resolved incidents decide nothing in this slice
    }
    Ok(())
}

/// A deployment that failed is taken back. One that succeeded is promoted, unless an incident that is already known is laid to it.
fn deployment_finished(environment: &Environment, finished: &DeploymentFinished<'_>, decision: &mut Decision) {
    let request = |reason: RollbackReason, incident_id: Option<&str>, decision: &mut Decision| {
        let requested = RollbackRequested {
            deployment_id: finished.deployment_id.as_ref().into(),
            service: finished.service.as_ref().into(),
            environment: finished.environment.as_ref().into(),
            version: finished.version.as_ref().into(),
            reason,
            incident_id: incident_id.map(Into::into),
            finished_at: Some(finished.finished_at),
        };
        decision.emit(ROLLBACK_REQUESTED, &requested);
    };
    let status = environment.deployment(&finished.deployment_id).map(|known| known.status);
    match (status, finished.outcome) {
        (Some(Status::RollbackRequested | Status::RolledBack), _) | (Some(Status::Promoted), Outcome::Succeeded) => {} // nothing new
        (_, Outcome::Failed) => request(RollbackReason::DeploymentFailed, None, decision),
        (None, Outcome::Succeeded) => match environment.early_incident(&finished.deployment_id, finished.finished_at) {
            Some(incident) => request(RollbackReason::Incident, Some(&incident.id), decision),
            None => promote(finished, decision),
        },
    }
}

fn promote(finished: &DeploymentFinished<'_>, decision: &mut Decision) {
    let promoted = ReleasePromoted {
        deployment_id: finished.deployment_id.as_ref().into(),
        service: finished.service.as_ref().into(),
        environment: finished.environment.as_ref().into(),
        version: finished.version.as_ref().into(),
        finished_at: Some(finished.finished_at),
    };
    decision.emit(RELEASE_PROMOTED, &promoted);
}

/// An incident soon after a deployment asks for its rollback, once. By the times they carry, not by when they arrive.
fn incident_opened(environment: &Environment, opened: &IncidentOpened<'_>, decision: &mut Decision) {
    if environment.incidents.iter().any(|known| known.id == opened.incident_id) {
        return;
    }
    let noted = IncidentNoted {
        incident_id: opened.incident_id.as_ref().into(),
        service: opened.service.as_ref().into(),
        environment: opened.environment.as_ref().into(),
        opened_at: opened.opened_at,
        deployment_id: opened.deployment_id.as_deref().map(Into::into),
    };
    decision.emit(INCIDENT_NOTED, &noted);
    let incident = Incident { id: noted.incident_id, opened_at: noted.opened_at, deployment_id: noted.deployment_id };
    let Some(blamed) = environment.blamed(&incident) else { return };
    if blamed.status == Status::Promoted && incident.follows(blamed.at) {
        let requested = RollbackRequested {
            deployment_id: blamed.id.as_str().into(),
            service: opened.service.as_ref().into(),
            environment: opened.environment.as_ref().into(),
            version: blamed.version.as_str().into(),
            reason: RollbackReason::Incident,
            incident_id: Some(incident.id.into()),
            finished_at: Some(blamed.at),
        };
        decision.emit(ROLLBACK_REQUESTED, &requested);
    }
}

/// A rollback that was carried out closes the deployment, whoever wanted it.
fn deployment_rolled_back(environment: &Environment, rolled_back: &DeploymentRolledBack<'_>, decision: &mut Decision) {
    let is_closed = environment.deployment(&rolled_back.deployment_id).is_some_and(|known| known.status == Status::RolledBack);
    if is_closed {
        return;
    }
    let noted = RollbackNoted {
        deployment_id: rolled_back.deployment_id.as_ref().into(),
        service: rolled_back.service.as_ref().into(),
        environment: rolled_back.environment.as_ref().into(),
        version: rolled_back.version.as_ref().into(),
        rolled_back_at: rolled_back.rolled_back_at,
    };
    decision.emit(ROLLBACK_NOTED, &noted);
}
