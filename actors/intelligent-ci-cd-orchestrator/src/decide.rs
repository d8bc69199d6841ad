//! The business rules, from facts about a service's deployments and incidents.
//!
//! A fact is put among those that are known. What follows from all of them is compared with what was decided, and the difference is decided: so a late
//! fact or a correction leads where it would have led in order, and takes back what was decided without it.

use tol_events::EventView;
use tol_events::delivery::{Outcome, ReleasePromoted, RollbackReason, RollbackRequested};
use tol_system::{Decision, Error, Input};

use crate::facts::{Fact, What};
use crate::noted::{
    DEPLOYMENT_NOTED, DeploymentNoted, FACT_DUE, FACT_SCHEDULED, FactDue, FactScheduled, INCIDENT_NOTED, IncidentNoted, ROLLBACK_NOTED, ROLLBACK_WITHDRAWN,
    RollbackNoted, RollbackWithdrawn,
};
use crate::state::{Deployment, Environment, Incident, Status, Wanted};
use crate::{RELEASE_PROMOTED, ROLLBACK_REQUESTED, Service};

pub(crate) fn decide(state: &Service, input: Input<'_>, decision: &mut Decision) -> Result<(), Error> {
    match input {
        Input::Event(event) => admitted(state, &event, decision),
        Input::Timer { id, subject, .. } => {
            let service = subject.split_once('/').map_or(subject, |(_, service)| service);
            if let Some(scheduled) = state.scheduled.get(id) {
                happened(state, service, &scheduled.fact, decision);
            }
            decision.emit(FACT_DUE, &FactDue { timer: id.to_owned(), service: service.to_owned() });
            Ok(())
        }
        Input::Effect { .. } => Ok(()), // it asks for none
    }
}

fn admitted(state: &Service, event: &EventView<'_>, decision: &mut Decision) -> Result<(), Error> {
    let Some(fact) = Fact::read(event)? else { return Ok(()) };
    let (service, due) = (event.subject_id(), fact.due());
    if event.recorded_time().is_some_and(|recorded| due > recorded) {
        let timer = format!("{} {}", event.source(), event.id());
        decision.emit(FACT_SCHEDULED, &FactScheduled { timer, service: service.to_owned(), due, fact });
    } else {
        happened(state, service, &fact, decision);
    }
    Ok(())
}

/// Decides a fact whose time has come.
fn happened(state: &Service, service: &str, fact: &Fact, decision: &mut Decision) {
    let nothing_known = Environment::default();
    let known = state.environments.get(&fact.environment).unwrap_or(&nothing_known);
    let place = Place { service, environment: &fact.environment };
    match &fact.what {
        What::Finished { deployment_id, version, outcome, at } => {
            let before = known.deployment(deployment_id);
            let is_news = before.is_none_or(|before| before.telling.as_ref() < Some(&fact.telling));
            if !is_news || (before.is_none() && known.is_older_than_all(*at)) {
                return;
            }
            let status = before.map_or(Status::Known, |before| before.status);
            let served = *outcome == Outcome::Succeeded;
            let telling = Some(fact.telling.clone());
            let mut after = known.clone();
            after.put(Deployment { id: deployment_id.clone(), version: version.clone(), at: *at, served, status, telling });
            place.decide(&after, &fact.telling.event, decision);
            let noted = DeploymentNoted {
                deployment_id: deployment_id.clone(),
                service: service.to_owned(),
                environment: fact.environment.clone(),
                version: version.clone(),
                outcome: *outcome,
                finished_at: *at,
                telling: fact.telling.clone(),
            };
            decision.emit(DEPLOYMENT_NOTED, &noted);
        }
        What::Opened { incident_id, at, deployment_id } => {
            let before = known.incidents.iter().find(|incident| incident.id == *incident_id);
            let is_news = before.is_none_or(|before| before.telling < fact.telling);
            if !is_news || (before.is_none() && !known.knows_all_since(*at)) {
                return;
            }
            let noted = IncidentNoted {
                incident_id: incident_id.clone(),
                service: service.to_owned(),
                environment: fact.environment.clone(),
                opened_at: *at,
                deployment_id: deployment_id.clone(),
                telling: fact.telling.clone(),
            };
            decision.emit(INCIDENT_NOTED, &noted);
            let mut after = known.clone();
            after.put_incident(Incident { id: incident_id.clone(), opened_at: *at, deployment_id: deployment_id.clone(), telling: fact.telling.clone() });
            place.decide(&after, &fact.telling.event, decision);
        }
        What::RolledBack { deployment_id, version, at } => {
            // A rollback that was carried out closes the deployment, whoever wanted it.
            if known.deployment(deployment_id).is_some_and(|known| known.status == Status::RolledBack) {
                return;
            }
            let noted = RollbackNoted {
                deployment_id: deployment_id.clone(),
                service: service.to_owned(),
                environment: fact.environment.clone(),
                version: version.clone(),
                rolled_back_at: *at,
            };
            decision.emit(ROLLBACK_NOTED, &noted);
        }
    }
}

/// A service in an environment.
#[derive(Clone, Copy)]
struct Place<'a> {
    service: &'a str,
    environment: &'a str,
}

impl Place<'_> {
    /// Decides what is wanted of each deployment now and was not decided before.
    fn decide(self, environment: &Environment, because_of: &str, decision: &mut Decision) {
        for (deployment, wanted) in environment.wanted() {
            match (deployment.status, wanted) {
                (Status::RolledBack, _) => {} // nothing more is to be done about it
                (Status::RollbackRequested, Wanted::Rollback(..)) | (Status::Promoted, Wanted::Release) => {}
                (Status::Known | Status::Promoted, Wanted::Rollback(reason, incident)) => self.request(deployment, reason, incident, decision),
                (Status::Known, Wanted::Release) => self.promote(deployment, decision),
                (Status::RollbackRequested, Wanted::Release) => {
                    if environment.knows_all_since(deployment.at) {
                        self.withdraw(deployment, because_of, decision);
                    }
                }
            }
        }
    }

    fn request(self, deployment: &Deployment, reason: RollbackReason, incident: Option<&Incident>, decision: &mut Decision) {
        let requested = RollbackRequested {
            deployment_id: deployment.id.as_str().into(),
            service: self.service.into(),
            environment: self.environment.into(),
            version: deployment.version.as_str().into(),
            reason,
            incident_id: incident.map(|incident| incident.id.as_str().into()),
            finished_at: Some(deployment.at),
        };
        decision.emit(ROLLBACK_REQUESTED, &requested);
    }

    fn promote(self, deployment: &Deployment, decision: &mut Decision) {
        let promoted = ReleasePromoted {
            deployment_id: deployment.id.as_str().into(),
            service: self.service.into(),
            environment: self.environment.into(),
            version: deployment.version.as_str().into(),
            finished_at: Some(deployment.at),
        };
        decision.emit(RELEASE_PROMOTED, &promoted);
    }

    fn withdraw(self, deployment: &Deployment, because_of: &str, decision: &mut Decision) {
        let withdrawn = RollbackWithdrawn {
            deployment_id: deployment.id.clone(),
            service: self.service.to_owned(),
            environment: self.environment.to_owned(),
            version: deployment.version.clone(),
            because_of: because_of.to_owned(),
        };
        decision.emit(ROLLBACK_WITHDRAWN, &withdrawn);
    }
}
