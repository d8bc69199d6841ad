//! [`Deployments`]: what was told about one service in one environment, by the ids of deployments and incidents.
//!
//! A row keeps tellings, not counts. Of each thing the latest telling holds (by the fact's time, then the event's id), so a row does not depend on
//! the order in which facts arrive, and a fact told twice counts once. What is counted is counted when the row is shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// How many deployments, and how many incidents, a row keeps: the newest. Older ones leave their counts.
pub const KEPT: usize = 2_048;
/// How many facts from the future a row keeps: the soonest.
pub const SCHEDULED: usize = 256;
/// An incident that opens this soon after a deployment counts as its failure, as in the CI/CD orchestrator. Microseconds.
pub const INCIDENT_WINDOW: i64 = 30 * 60 * 1_000_000;

/// One telling of something that may be told again. The greatest one holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Telling<T> {
    /// The fact's time, microseconds.
    pub told_at: i64,
    /// The event's id, which decides between facts of the same time.
    pub event: String,
    /// What was told.
    pub told: T,
}

/// How a deployment ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finish {
    /// When, microseconds.
    pub at: i64,
    /// It failed.
    pub failed: bool,
    /// The version.
    pub version: String,
}

/// A deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// When its change was committed, microseconds.
    pub committed: Option<Telling<i64>>,
    /// How it ended.
    pub finished: Option<Telling<Finish>>,
    /// When it was taken back, microseconds.
    pub rolled_back: Option<Telling<i64>>,
    /// An incident that the row no longer keeps was its failure.
    pub blamed: bool,
}

/// An incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// When it opened, microseconds.
    pub opened: Option<Telling<i64>>,
    /// The deployment that caused it, where a sender knows.
    pub cause: Option<Telling<String>>,
    /// When it was resolved, microseconds.
    pub resolved: Option<Telling<i64>>,
}

/// What a fact tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum What {
    /// A deployment started.
    Started { deployment: String, committed: Option<i64> },
    /// A deployment ended.
    Finished { deployment: String, finish: Finish, committed: Option<i64> },
    /// A deployment was taken back.
    RolledBack { deployment: String, at: i64 },
    /// An incident opened.
    Opened { incident: String, at: i64, cause: Option<String> },
    /// An incident was resolved.
    Resolved { incident: String, at: i64, cause: Option<String> },
}

/// A fact on its way into a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fact {
    /// When it takes effect, microseconds: at its own time, and not before what it tells.
    pub due: i64,
    /// The fact's time, microseconds.
    pub told_at: i64,
    /// The event's id.
    pub event: String,
    /// What it tells.
    pub what: What,
}

/// Counts of what a row no longer keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Finished deployments that succeeded.
    pub succeeded: u64,
    /// Finished deployments that failed.
    pub failed: u64,
    /// Deployments that were taken back.
    pub rolled_back: u64,
    /// Deployments that failed, were taken back, or were followed by an incident.
    pub change_failures: u64,
    /// Incidents.
    pub incidents: u64,
    /// The earliest finish, microseconds.
    pub first_at: Option<i64>,
    /// The latest version that succeeded, with its time.
    pub version: Option<(i64, String)>,
    /// The newest deployment that is not kept, microseconds: a fact about an unknown one that is not newer is too late.
    pub deployments_until: Option<i64>,
    /// The newest incident that is not kept, microseconds.
    pub incidents_until: Option<i64>,
    /// Facts that came too late to be counted.
    pub too_late: u64,
    /// Facts from the future that were not kept.
    pub too_many_scheduled: u64,
}

/// One service in one environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployments {
    /// By id, at most [`KEPT`].
    pub deployments: BTreeMap<String, Deployment>,
    /// By id, at most [`KEPT`].
    pub incidents: BTreeMap<String, Incident>,
    /// Facts that had not come true when they were told, the soonest first.
    pub scheduled: BTreeSet<Fact>,
    /// What is no longer kept.
    pub before: Before,
}

/// Lets the greater of two tellings hold.
fn hold<T: Ord>(held: &mut Option<Telling<T>>, told_at: i64, event: &str, told: T) {
    let telling = Some(Telling { told_at, event: event.to_owned(), told });
    if *held < telling {
        *held = telling;
    }
}

impl Deployment {
    /// Where it stands among the others, microseconds.
    fn order(&self) -> i64 {
        let finished = self.finished.as_ref().map(|finished| finished.told.at);
        let rolled_back = self.rolled_back.as_ref().map(|rolled_back| rolled_back.told);
        finished.or(rolled_back).or(self.committed.as_ref().map(|committed| committed.told_at)).unwrap_or_default()
    }

    /// Its place among finished deployments: by time, then telling.
    pub(super) fn place(&self) -> Option<(i64, i64, &str)> {
        self.finished.as_ref().map(|finished| (finished.told.at, finished.told_at, finished.event.as_str()))
    }
}

impl Incident {
    /// Where it stands among the others, microseconds.
    fn order(&self) -> i64 {
        self.opened.as_ref().or(self.resolved.as_ref()).map_or(0, |telling| telling.told)
    }
}

impl Deployments {
    /// Takes a fact that was recorded at `recorded`. What is not due by then is kept for later.
    pub fn take(&mut self, fact: Fact, recorded: i64) {
        self.scheduled.insert(fact);
        self.come_true(recorded);
        while self.scheduled.len() > SCHEDULED {
            self.scheduled.pop_last();
            self.before.too_many_scheduled += 1;
        }
        self.trim();
    }

    /// Lets the facts take effect that are due by `now`.
    pub fn come_true(&mut self, now: i64) {
        while self.scheduled.first().is_some_and(|first| first.due <= now) {
            if let Some(fact) = self.scheduled.pop_first() {
                self.tell(fact);
            }
        }
    }

    fn tell(&mut self, Fact { told_at, event, what, .. }: Fact) {
        match what {
            What::Started { deployment, committed } => {
                if let Some(committed) = committed
                    && let Some(known) = self.deployment(deployment, told_at)
                {
                    hold(&mut known.committed, told_at, &event, committed);
                }
            }
            What::Finished { deployment, finish, committed } => {
                if let Some(known) = self.deployment(deployment, finish.at) {
                    if let Some(committed) = committed {
                        hold(&mut known.committed, told_at, &event, committed);
                    }
                    hold(&mut known.finished, told_at, &event, finish);
                }
            }
            What::RolledBack { deployment, at } => {
                if let Some(known) = self.deployment(deployment, at) {
                    hold(&mut known.rolled_back, told_at, &event, at);
                }
            }
            What::Opened { incident, at, cause } => {
                if let Some(known) = self.incident(incident, at) {
                    hold(&mut known.opened, told_at, &event, at);
                    if let Some(cause) = cause {
                        hold(&mut known.cause, told_at, &event, cause);
                    }
                }
            }
            What::Resolved { incident, at, cause } => {
                if let Some(known) = self.incident(incident, at) {
                    hold(&mut known.resolved, told_at, &event, at);
                    if let Some(cause) = cause {
                        hold(&mut known.cause, told_at, &event, cause);
                    }
                }
            }
        }
    }

    /// The deployment; `None` where it is unknown and not newer than those that are no longer kept.
    fn deployment(&mut self, id: String, at: i64) -> Option<&mut Deployment> {
        if self.before.deployments_until.is_some_and(|until| at <= until) && !self.deployments.contains_key(&id) {
            self.before.too_late += 1;
            return None;
        }
        Some(self.deployments.entry(id).or_default())
    }

    fn incident(&mut self, id: String, at: i64) -> Option<&mut Incident> {
        if self.before.incidents_until.is_some_and(|until| at <= until) && !self.incidents.contains_key(&id) {
            self.before.too_late += 1;
            return None;
        }
        Some(self.incidents.entry(id).or_default())
    }

    /// Lets go what is too much, the oldest first.
    fn trim(&mut self) {
        while self.incidents.len() > KEPT {
            let oldest = self.incidents.iter().min_by_key(|(id, incident)| (incident.order(), *id)).map(|(id, _)| id.clone());
            let Some(incident) = oldest.and_then(|id| self.incidents.remove(&id)) else { break };
            self.before.incidents_until = self.before.incidents_until.max(Some(incident.order()));
            let Some(opened) = &incident.opened else { continue };
            self.before.incidents += 1;
            let culprit = match &incident.cause {
                Some(cause) => Some(cause.told.clone()),
                None => self.served_at(opened.told),
            };
            if let Some(culprit) = culprit.and_then(|id| self.deployments.get_mut(&id)) {
                culprit.blamed = true;
            }
        }
        while self.deployments.len() > KEPT {
            let oldest = self.deployments.iter().min_by_key(|(id, deployment)| (deployment.order(), *id)).map(|(id, _)| id.clone());
            let Some((id, deployment)) = oldest.and_then(|id| self.deployments.remove_entry(&id)) else { break };
            self.leave_counts(&id, &deployment);
        }
    }

    fn leave_counts(&mut self, id: &str, deployment: &Deployment) {
        let before = &mut self.before;
        before.deployments_until = before.deployments_until.max(Some(deployment.order()));
        before.rolled_back += u64::from(deployment.rolled_back.is_some());
        let Some(Telling { told: finish, .. }) = &deployment.finished else { return };
        before.first_at = Some(before.first_at.map_or(finish.at, |first| first.min(finish.at)));
        if finish.failed {
            before.failed += 1;
        } else {
            before.succeeded += 1;
            before.version = before.version.take().max(Some((finish.at, finish.version.clone())));
        }
        // It is the oldest: an incident was its failure if no other deployment had finished by then.
        let next = self.deployments.values().filter_map(|other| other.finished.as_ref()).map(|other| other.told.at).min();
        let followed = self.incidents.values().any(|incident| match (&incident.cause, &incident.opened) {
            (_, None) => false,
            (Some(cause), Some(_)) => cause.told == id,
            (None, Some(opened)) => follows(finish.at, opened.told) && next.is_none_or(|next| opened.told < next),
        });
        self.before.change_failures += u64::from(finish.failed || deployment.rolled_back.is_some() || deployment.blamed || followed);
    }

    /// The deployment that an incident without a named cause is laid to: the last one that had finished, if that is not too long ago.
    fn served_at(&self, opened: i64) -> Option<String> {
        let places = self.deployments.iter().filter_map(|(id, deployment)| Some((deployment.place()?, id)));
        let ((at, ..), id) = places.filter(|((at, ..), _)| *at <= opened).max()?;
        follows(at, opened).then(|| id.clone())
    }

    /// Joins what was told elsewhere, in any order.
    pub fn join(&mut self, other: Deployments) {
        for (id, told) in other.deployments {
            let known = self.deployments.entry(id).or_default();
            known.committed = known.committed.take().max(told.committed);
            known.finished = known.finished.take().max(told.finished);
            known.rolled_back = known.rolled_back.take().max(told.rolled_back);
            known.blamed |= told.blamed;
        }
        for (id, told) in other.incidents {
            let known = self.incidents.entry(id).or_default();
            known.opened = known.opened.take().max(told.opened);
            known.cause = known.cause.take().max(told.cause);
            known.resolved = known.resolved.take().max(told.resolved);
        }
        self.scheduled.extend(other.scheduled);
        let (before, more) = (&mut self.before, other.before);
        before.succeeded += more.succeeded;
        before.failed += more.failed;
        before.rolled_back += more.rolled_back;
        before.change_failures += more.change_failures;
        before.incidents += more.incidents;
        before.first_at = before.first_at.into_iter().chain(more.first_at).min();
        before.version = before.version.take().max(more.version);
        before.deployments_until = before.deployments_until.max(more.deployments_until);
        before.incidents_until = before.incidents_until.max(more.incidents_until);
        before.too_late += more.too_late;
        before.too_many_scheduled += more.too_many_scheduled;
        self.trim();
    }

    /// The latest time that anything here has, microseconds.
    pub fn latest(&self) -> i64 {
        let deployments = self.deployments.values().flat_map(|deployment| {
            let finished = deployment.finished.as_ref().map(|telling| telling.told.at.max(telling.told_at));
            let rolled_back = deployment.rolled_back.as_ref().map(|telling| telling.told.max(telling.told_at));
            [finished, rolled_back]
        });
        let incidents = self.incidents.values().flat_map(|incident| [&incident.opened, &incident.resolved].map(|telling| telling.as_ref().map(|it| it.told)));
        let scheduled = self.scheduled.last().map(|fact| fact.due);
        deployments.chain(incidents).flatten().chain(scheduled).chain(self.before.deployments_until).max().unwrap_or_default()
    }
}

/// Whether an incident opened soon enough after a deployment finished, and not before.
pub(super) fn follows(finished: i64, opened: i64) -> bool {
    (0..=INCIDENT_WINDOW).contains(&opened.saturating_sub(finished))
}

/// An id or version as a row keeps it: of one that is longer than usual the beginning and a hash, since senders choose their length.
pub(super) fn bounded(text: &str) -> String {
    const LONGEST: usize = 96;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(48);
    format!("{}…{}", &text[..end], &blake3::hash(text.as_bytes()).to_hex()[..32])
}
