//! Evaluates audiences as events arrive and as windows slide. It alone sees opened traits, so what it finds goes back to `decide` as a fact.
//!
//! One thread reads the node's stream of events, puts the profiles that they concern together, and admits a fact where the answer changed. What it
//! misses (while the node is down, or where it cannot keep up) it makes good by evaluating all profiles again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;
use tol_events::cdp::AudienceEvaluated;
use tol_events::{Attribute, DomainEvent as _, Event, Position, TopicPartition};
use tol_plug::platform::{EventFilter, Folded, LoggedEvent, Owner, RowsQuery, Subscription};
use tol_plug::{Platform, Problem};
use tol_system::Projection as _;

use super::{CdpService, Profile, by_identifier, by_profile};
use crate::audiences::{Condition, evaluate};
use crate::graph::profile_of;
use crate::projections::{Audiences, Identifiers, Profiles};
use crate::{metric_definitions, types};

/// Events that are looked at together.
const BATCH: usize = 512;
/// How long rows may be behind the events that are looked at.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing is to be done before the thread looks whether it should end.
const ROUND: Duration = Duration::from_millis(100);
/// The pause after something failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Rows of a page.
const PAGE: usize = 500;

/// The state of the thread that others see.
#[derive(Default)]
pub(crate) struct Evaluator {
    closing: AtomicBool,
    /// All profiles are to be evaluated.
    everything: AtomicBool,
    /// Somebody has defined an audience.
    defined: AtomicBool,
}

impl Evaluator {
    /// Ends the thread.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Lets the thread read events: there is an audience.
    pub(crate) fn audience_defined(&self) {
        self.defined.store(true, Ordering::Relaxed);
    }

    /// Has all profiles evaluated.
    pub(crate) fn all(&self) {
        self.everything.store(true, Ordering::Relaxed);
    }

    /// Starts the thread.
    pub(crate) fn start(service: &Arc<CdpService>, platform: &Arc<dyn Platform>) {
        let (service, platform) = (Arc::downgrade(service), Arc::downgrade(platform));
        let made = std::thread::Builder::new().name("cdp-audiences".to_owned()).spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(run(&service, &platform)),
                Err(error) => tracing::error!(%error, "audiences are not evaluated"),
            }
        });
        if let Err(error) = made {
            tracing::error!(%error, "audiences are not evaluated");
        }
    }
}

async fn run(service: &Weak<CdpService>, platform: &Weak<dyn Platform>) {
    let mut streams: Option<[Subscription; 2]> = None;
    loop {
        // Neither is kept while nothing is to be done: the node must be able to end.
        let (Some(service), Some(platform)) = (service.upgrade(), platform.upgrade()) else { return };
        if service.evaluator.closing.load(Ordering::Relaxed) {
            return;
        }
        // Where nobody defined an audience, nothing is read.
        if streams.is_none() && !service.evaluator.defined.load(Ordering::Relaxed) {
            drop((service, platform));
            tokio::time::sleep(ROUND).await;
            continue;
        }
        let turn = Turn { service: &service, platform: &*platform };
        if let Err(problem) = turn.take(&mut streams).await {
            tracing::warn!(detail = problem.detail, "audiences are evaluated again");
            service.evaluator.all();
            streams = None;
            drop((service, platform));
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A definition of an audience.
struct Audience {
    name: String,
    version: u64,
    condition: Condition,
}

struct Turn<'a> {
    service: &'a CdpService,
    platform: &'a dyn Platform,
}

impl Turn<'_> {
    /// Waits a little for events, and evaluates what they concern.
    async fn take(&self, streams: &mut Option<[Subscription; 2]>) -> Result<(), Problem> {
        let [calls, own] = match streams {
            Some(streams) => streams,
            None => {
                let filter = |event_type: &str| EventFilter { event_type: Some(event_type.to_owned()), ..EventFilter::default() };
                let opened = [self.platform.subscribe(filter("engagement.*"), None).await?, self.platform.subscribe(filter("cdp.*"), None).await?];
                // What happened before is in the rows.
                self.service.evaluator.all();
                streams.insert(opened)
            }
        };
        let mut events: Vec<LoggedEvent> = Vec::new();
        let mut ended = false;
        tokio::select! {
            event = calls.events.recv() => match event { Some(event) => events.push(event.event), None => ended = true },
            event = own.events.recv() => match event { Some(event) => events.push(event.event), None => ended = true },
            () = tokio::time::sleep(ROUND) => {}
        }
        for receiver in [&mut calls.events, &mut own.events] {
            while events.len() < BATCH
                && let Ok(event) = receiver.try_recv()
            {
                events.push(event.event);
            }
        }
        if ended {
            // The node dropped a stream that was too slow.
            *streams = None;
        }
        self.concerned(&events).await
    }

    async fn concerned(&self, events: &[LoggedEvent]) -> Result<(), Problem> {
        let defined = events.iter().any(|logged| logged.event.get(Attribute::Type) == types::AUDIENCE_DEFINED);
        self.wait(events).await?;
        let audiences = self.audiences()?;
        if defined || self.service.evaluator.everything.swap(false, Ordering::Relaxed) {
            return self.sweep(&audiences).await;
        }
        if audiences.is_empty() {
            return Ok(());
        }
        let (mut identifiers, mut profiles) = (BTreeSet::new(), BTreeSet::new());
        for logged in events {
            let event = &logged.event;
            match event.get(Attribute::Type) {
                types::PROFILES_RESOLVED | types::HOME_MOVED => of_graph(event, &mut profiles),
                types::AUDIENCE_CHECK_DUE => profiles.extend(event.get(Attribute::Subject).strip_prefix("profile/").map(str::to_owned)),
                call if types::CALLS.contains(&call) || call == types::SUPPRESSION_REQUESTED => {
                    identifiers.extend(event.get(Attribute::Subject).strip_prefix("identifier/").map(str::to_owned));
                }
                _ => {}
            }
        }
        metrics::gauge!(metric_definitions::WAITING).set((identifiers.len() + profiles.len()) as f64);
        for identifier in identifiers {
            match by_identifier(self.platform, &self.service.rules, &identifier)? {
                Some(profile) => drop(profiles.insert(profile.profile_id)),
                None => drop(profiles.insert(profile_of(&identifier))),
            }
        }
        for profile_id in profiles {
            self.profile(&profile_id, &audiences).await?;
        }
        Ok(())
    }

    /// Waits until rows hold these events.
    async fn wait(&self, events: &[LoggedEvent]) -> Result<(), Problem> {
        let mut highest: BTreeMap<TopicPartition, Position> = BTreeMap::new();
        for (place, position) in events.iter().filter_map(|logged| logged.position.clone()) {
            let known = highest.entry(place).or_insert(position);
            *known = (*known).max(position);
        }
        for projection in [Identifiers::NAME, Profiles::NAME, Audiences::NAME] {
            let topic = if projection == Identifiers::NAME { Identifiers::TOPIC } else { Profiles::TOPIC };
            let positions: Vec<_> = highest.iter().filter(|(place, _)| &*place.topic == topic).map(|(place, position)| (place.clone(), *position)).collect();
            if !positions.is_empty() && !self.platform.wait_for(projection, positions, PATIENCE).await? {
                return Err(Problem::unavailable(format!("the projection {projection} is behind"), 1));
            }
        }
        Ok(())
    }

    fn audiences(&self) -> Result<Vec<Audience>, Problem> {
        let mut found = Vec::new();
        self.pages(Audiences::NAME, |key, value| {
            let condition = Condition::read(&value["where"]);
            match condition {
                Ok(condition) => found.push(Audience { name: key.to_owned(), version: value["version"].as_u64().unwrap_or_default(), condition }),
                Err(error) => tracing::error!(audience = key, %error, "an audience does not read"),
            }
        })?;
        Ok(found)
    }

    fn pages(&self, projection: &str, mut each: impl FnMut(&str, &Value)) -> Result<(), Problem> {
        let mut cursor = None;
        loop {
            let page = match self.platform.rows(projection, &RowsQuery { limit: PAGE, cursor, past: None })? {
                Folded::Done(page) => page,
                Folded::Running { .. } => return Err(Problem::unavailable(format!("the projection {projection} is being folded"), 1)),
            };
            page.items.iter().for_each(|item| each(&item.key, &item.value));
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Evaluates all profiles.
    async fn sweep(&self, audiences: &[Audience]) -> Result<(), Problem> {
        if audiences.is_empty() {
            return Ok(());
        }
        let mut cursor = None;
        loop {
            let page = match self.platform.rows(Identifiers::NAME, &RowsQuery { limit: PAGE, cursor, past: None })? {
                Folded::Done(page) => page,
                Folded::Running { .. } => return Err(Problem::unavailable("identifiers are being folded", 1)),
            };
            let mut profiles = BTreeSet::new();
            for identifier in page.items.iter().filter_map(|item| item.key.strip_prefix("identifier/")) {
                let profile = by_identifier(self.platform, &self.service.rules, identifier)?;
                profiles.insert(profile.map_or_else(|| profile_of(identifier), |profile| profile.profile_id));
            }
            for profile_id in profiles {
                self.profile(&profile_id, audiences).await?;
            }
            if self.service.evaluator.closing.load(Ordering::Relaxed) {
                return Ok(());
            }
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Evaluates one profile, and tells what changed. A profile that became a part of another one is in no audience.
    async fn profile(&self, profile_id: &str, audiences: &[Audience]) -> Result<(), Problem> {
        let subject = format!("profile/{profile_id}");
        if self.platform.owner(&subject) != Owner::Here {
            return Ok(());
        }
        let profile = by_profile(self.platform, &self.service.rules, profile_id)?.filter(|profile| profile.profile_id == profile_id);
        let row = self.platform.row(Profiles::NAME, &subject, None)?.map(|row| row.value).unwrap_or_default();
        let facts: Vec<Event> = audiences.iter().filter_map(|audience| self.changed(profile_id, profile.as_ref(), &row, audience)).collect();
        if !facts.is_empty() {
            self.platform.admit(facts).await?;
        }
        Ok(())
    }

    fn changed(&self, profile_id: &str, profile: Option<&Profile>, row: &Value, audience: &Audience) -> Option<Event> {
        let now = self.platform.now();
        let answer = profile.map(|profile| evaluate(&audience.condition, &profile.facts(), now));
        let (member, check_at) = answer.map_or((false, None), |answer| (answer.member, answer.check_at));
        let known = row["audiences"].as_array().into_iter().flatten().any(|known| *known == *audience.name);
        // A look that is planned already and comes soon enough is planned anew when it is due.
        let planned = row["checks"][audience.name.as_str()].as_i64();
        let in_time = check_at.is_none_or(|check_at| planned.is_some_and(|planned| planned <= check_at.as_micros()));
        if known == member && in_time {
            return None;
        }
        let data = AudienceEvaluated { profile_id: profile_id.into(), audience: (&*audience.name).into(), version: audience.version, member, check_at };
        let id = format!("{profile_id}/{}/{}/{}", audience.name, now.as_micros(), uuid::Uuid::new_v4());
        data.to_event(id, "/cdp/evaluator").ok().map(|event| event.at(now))
    }
}

/// The profiles that a graph names, and those that they were made of.
fn of_graph(event: &Event, profiles: &mut BTreeSet<String>) {
    let data: Value = event.data_as().unwrap_or_default();
    for node in data["nodes"].as_array().into_iter().chain(data["part"]["nodes"].as_array()).flatten() {
        profiles.extend(node["identifier_id"].as_str().map(profile_of));
    }
}
