//! Counts a row as of a moment: the four measures of DORA over windows.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use tol_events::EventTime;

use super::history::{Deployments, Incident, What, follows};

const DAY: i64 = 86_400 * 1_000_000;

/// Windows that slide, by name, in days. A window is open at its start and holds its end, which is now.
const WINDOWS: [(&str, i64); 3] = [("7d", 7), ("30d", 30), ("90d", 90)];
/// The window whose measures a row shows at its top level.
const TOP: &str = "30d";

/// A deployment that has finished.
struct Done<'a> {
    id: &'a str,
    place: (i64, i64, &'a str),
    at: i64,
    failed: bool,
    version: &'a str,
    committed: Option<i64>,
    rolled_back: Option<i64>,
    /// It failed, was taken back, or an incident followed.
    bad: bool,
    /// An incident followed, so that the incident tells how long its failure lasted.
    followed: bool,
}

/// An incident that has opened, with the microseconds until it was resolved, if it was.
struct Opened {
    at: i64,
    lasted: Option<i64>,
}

/// A row as of `now`.
struct Counted<'a> {
    row: &'a Deployments,
    /// In the order of time.
    done: Vec<Done<'a>>,
    incidents: Vec<Opened>,
    rollbacks: Vec<i64>,
    /// (failure, microseconds until recovery) of deployments that failed or were taken back.
    recoveries: Vec<(i64, i64)>,
}

/// Shows a row as of `now`.
pub(super) fn shown(row: &Deployments, (service, environment): (&str, &str), now: EventTime) -> Value {
    let micros = now.as_micros();
    let mut row = Cow::Borrowed(row);
    if row.scheduled.first().is_some_and(|fact| fact.due <= micros) {
        row.to_mut().come_true(micros);
    }
    let counted = Counted::new(&row, micros);
    let mut windows: Map<String, Value> =
        WINDOWS.iter().map(|(name, days)| ((*name).to_owned(), counted.window(Some((micros.saturating_sub(days * DAY), *days))))).collect();
    windows.insert("all".to_owned(), counted.window(None));
    let mut value = json!({
        "service": service,
        "environment": environment,
        "version": counted.version(),
        "last_deployed_at": counted.done.last().map(|done| EventTime::from_micros(done.at).to_string()),
        "open_incidents": counted.incidents.iter().filter(|incident| incident.lasted.is_none()).count(),
        "scheduled": scheduled(&row),
        "not_counted": { "too_late": row.before.too_late, "too_many_scheduled": row.before.too_many_scheduled },
    });
    if let (Some(value), Some(Value::Object(top))) = (value.as_object_mut(), windows.get(TOP)) {
        value.extend(top.iter().filter(|(name, _)| name.as_str() != "complete").map(|(name, measure)| (name.clone(), measure.clone())));
        value.insert("windows".to_owned(), Value::Object(windows));
    }
    value
}

/// Facts that have not come true: their things, each counted once.
fn scheduled(row: &Deployments) -> Value {
    let (mut deployments, mut rollbacks, mut incidents) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for fact in &row.scheduled {
        match &fact.what {
            What::Started { deployment, .. } | What::Finished { deployment, .. } => deployments.insert(deployment),
            What::RolledBack { deployment, .. } => rollbacks.insert(deployment),
            What::Opened { incident, .. } | What::Resolved { incident, .. } => incidents.insert(incident),
        };
    }
    let next = row.scheduled.first().map(|fact| EventTime::from_micros(fact.due).to_string());
    json!({ "deployments": deployments.len(), "rollbacks": rollbacks.len(), "incidents": incidents.len(), "next_at": next })
}

/// How long an incident lasted; `None` while it is open. One that was opened again after its resolution is open.
fn lasted(incident: &Incident, opened: i64, now: i64) -> Option<i64> {
    let (opening, resolution) = (incident.opened.as_ref()?, incident.resolved.as_ref()?);
    let opened_again = (opening.told_at, &opening.event) > (resolution.told_at, &resolution.event) && opened > resolution.told;
    (resolution.told <= now && !opened_again).then(|| resolution.told.saturating_sub(opened).max(0))
}

/// The median in whole seconds; of an even count the mean of the middle two, rounded down.
fn median_seconds(mut micros: Vec<i64>) -> Option<i64> {
    micros.sort_unstable();
    let upper = *micros.get(micros.len() / 2)?;
    let median = if micros.len() % 2 == 1 { upper } else { i64::midpoint(micros[micros.len() / 2 - 1], upper) };
    Some(median / 1_000_000)
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

impl<'a> Counted<'a> {
    fn new(row: &'a Deployments, now: i64) -> Self {
        let mut done: Vec<Done<'_>> = Vec::with_capacity(row.deployments.len());
        let mut rollbacks = Vec::new();
        for (id, deployment) in &row.deployments {
            let rolled_back = deployment.rolled_back.as_ref().map(|telling| telling.told).filter(|at| *at <= now);
            rollbacks.extend(rolled_back);
            let (Some(finished), Some(place)) = (&deployment.finished, deployment.place()) else { continue };
            let finish = &finished.told;
            if finish.at > now {
                continue;
            }
            let bad = finish.failed || rolled_back.is_some() || deployment.blamed;
            let committed = deployment.committed.as_ref().map(|telling| telling.told);
            let (at, failed, version) = (finish.at, finish.failed, finish.version.as_str());
            done.push(Done { id, place, at, failed, version, committed, rolled_back, bad, followed: deployment.blamed });
        }
        done.sort_unstable_by_key(|one| one.place);
        let places: BTreeMap<&str, usize> = done.iter().enumerate().map(|(place, one)| (one.id, place)).collect();
        let mut incidents = Vec::with_capacity(row.incidents.len());
        for incident in row.incidents.values() {
            let Some(at) = incident.opened.as_ref().map(|telling| telling.told).filter(|at| *at <= now) else { continue };
            incidents.push(Opened { at, lasted: lasted(incident, at, now) });
            let culprit = match &incident.cause {
                Some(cause) => places.get(cause.told.as_str()).copied(),
                None => done.partition_point(|one| one.at <= at).checked_sub(1).filter(|last| follows(done[*last].at, at)),
            };
            if let Some(culprit) = culprit {
                (done[culprit].bad, done[culprit].followed) = (true, true);
            }
        }
        let recoveries = recoveries(&done);
        Self { row, done, incidents, rollbacks, recoveries }
    }

    /// The version of the latest deployment that succeeded.
    fn version(&self) -> Option<&str> {
        let latest = self.done.iter().rev().find(|one| !one.failed).map(|one| one.version);
        latest.or(self.row.before.version.as_ref().map(|(_, version)| version.as_str()))
    }

    /// The measures of a window: (start, days), or of everything.
    fn window(&self, window: Option<(i64, i64)>) -> Value {
        let holds = |at: i64| window.is_none_or(|(from, _)| at > from);
        let done: Vec<&Done<'_>> = self.done.iter().filter(|one| holds(one.at)).collect();
        let count = |wanted: fn(&Done<'_>) -> bool| done.iter().filter(|one| wanted(one)).count() as u64;
        let before = if window.is_none() { self.row.before.clone() } else { Default::default() };
        let failed = count(|one| one.failed) + before.failed;
        let succeeded = count(|one| !one.failed) + before.succeeded;
        let change_failures = count(|one| one.bad) + before.change_failures;
        let rolled_back = self.rollbacks.iter().filter(|at| holds(**at)).count() as u64 + before.rolled_back;
        let incidents: Vec<&Opened> = self.incidents.iter().filter(|incident| holds(incident.at)).collect();
        let days = match window {
            Some((_, days)) => days as f64,
            None => self.span_days().max(1.0),
        };
        let lead_times = done.iter().filter(|one| !one.failed).filter_map(|one| Some(one.at.saturating_sub(one.committed?).max(0)));
        let of_incidents: Vec<i64> = incidents.iter().filter_map(|incident| incident.lasted).collect();
        let of_deployments: Vec<i64> = self.recoveries.iter().filter(|(at, _)| holds(*at)).map(|(_, lasted)| *lasted).collect();
        let kept_since = self.row.before.deployments_until.max(self.row.before.incidents_until);
        json!({
            "complete": kept_since.is_none_or(|until| window.is_some_and(|(from, _)| from >= until)),
            "deployments": succeeded + failed,
            "succeeded": succeeded,
            "failed": failed,
            "rolled_back": rolled_back,
            "incidents": incidents.len() as u64 + before.incidents,
            "change_failures": change_failures,
            "deployments_per_day": rounded(succeeded as f64 / days),
            "lead_time_seconds": median_seconds(lead_times.collect()),
            "change_failure_rate": (succeeded + failed > 0).then(|| rounded(change_failures as f64 / (succeeded + failed) as f64)),
            "time_to_restore_seconds": median_seconds([of_incidents.clone(), of_deployments.clone()].concat()),
            "incident_restore_seconds": median_seconds(of_incidents),
            "deployment_recovery_seconds": median_seconds(of_deployments),
        })
    }

    /// Days from the first finished deployment to the last.
    fn span_days(&self) -> f64 {
        let first = self.row.before.first_at.into_iter().chain(self.done.first().map(|done| done.at)).min();
        let last = self.done.last().map(|done| done.at).max(self.row.before.deployments_until);
        first.zip(last).map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / DAY as f64)
    }
}

/// How long each deployment that failed or was taken back went unmended, where no incident tells: until it was taken back, or, if it had failed,
/// until a later one succeeded.
fn recoveries(done: &[Done<'_>]) -> Vec<(i64, i64)> {
    let mut recoveries = Vec::new();
    let mut next_success: Option<i64> = None;
    for one in done.iter().rev() {
        let mended = if one.failed { one.rolled_back.into_iter().chain(next_success).min() } else { one.rolled_back };
        if let Some(mended) = mended.filter(|_| !one.followed) {
            recoveries.push((one.at, mended.saturating_sub(one.at).max(0)));
        }
        if !one.failed {
            next_success = Some(one.at);
        }
    }
    recoveries
}
