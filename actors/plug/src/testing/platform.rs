//! [`FakePlatform`]: a node in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tol_events::{Attribute, Event, EventTime, Position, TopicPartition, registry};
use tol_system::{AnySystem, EffectRequest};

use super::blobs::MemoryBlobs;
use super::core::{Core, Told, matches};
use crate::mounted::{Description, Mounted, MountedProjection};
use crate::platform::{
    Decided, EventFilter, EventPage, Folded, Item, LoggedEvent, Owner, Past, Permit, Published, Row, RowPage, RowsQuery, SearchQuery, Standing, Subscription,
};
use crate::question::Asked;
use crate::request::known;
use crate::{Answer, Blobs, Kind, Platform, Problem};

/// Events that a stream holds for a reader that is slow.
const STREAM_EVENTS: usize = 1_024;

/// A node in memory for the tests of one plug. Facts are checked and kept once, decided at once by the plug's systems, and folded by its projections, whose
/// followers are told. Effects end as the runners' examples say; timers fire when [`FakePlatform::fire_timers`] is called. It can be told to fail.
pub struct FakePlatform {
    core: Mutex<Core>,
    scripted: Mutex<Scripted>,
    blobs: Arc<MemoryBlobs>,
    stop: watch::Sender<bool>,
    mounted: OnceLock<(Weak<dyn Mounted>, Vec<&'static str>)>,
    this: Weak<FakePlatform>,
}

/// What a test wants to see.
struct Scripted {
    calls: Vec<String>,
    refuse: Option<Problem>,
    behind: bool,
    folding: bool,
    degraded: Option<String>,
    now: EventTime,
    rows: BTreeMap<String, BTreeMap<String, Value>>,
}

impl FakePlatform {
    /// A node whose log is empty, with these systems and projections. Without any it records facts and does no more.
    pub fn new(systems: Vec<Arc<dyn AnySystem>>, projections: Vec<MountedProjection>, description: &Description) -> Arc<Self> {
        let scripted = Scripted {
            calls: Vec::new(),
            refuse: None,
            behind: false,
            folding: false,
            degraded: None,
            now: EventTime::from_secs(1_795_953_600),
            rows: BTreeMap::new(),
        };
        Arc::new_cyclic(|this| Self {
            core: Mutex::new(Core::new(systems, projections, description.runners.clone())),
            scripted: Mutex::new(scripted),
            blobs: Arc::default(),
            stop: watch::Sender::new(false),
            mounted: OnceLock::new(),
            this: this.clone(),
        })
    }

    /// Opens the log: the plug is told, and its followers hear that they know everything.
    pub fn open(&self, mounted: &Arc<dyn Mounted>, description: &Description) {
        let _ = self.mounted.set((Arc::downgrade(mounted), description.questions.clone()));
        let Some(this) = self.this.upgrade() else { return };
        let platform: Arc<dyn Platform> = this;
        mounted.opened(&platform);
        mounted.owns(&(0..super::core::PARTITIONS).collect());
        let began = self.core().began();
        tell(began);
    }

    /// What the platform was asked since the last time: `admit 1`, `row flags flag/x false`, ….
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.scripted().calls)
    }

    /// All facts that were admitted, in their order.
    pub fn admitted(&self) -> Vec<Event> {
        let core = self.core();
        core.events.iter().map(|logged| &logged.event).filter(|event| core.number_of(event).is_some()).cloned().collect()
    }

    /// All events, facts and the systems' own, in the order in which they were appended.
    pub fn events(&self) -> Vec<Event> {
        self.core().events.iter().map(|logged| logged.event.clone()).collect()
    }

    /// Inputs that a system or a projection could not take, with what it said.
    pub fn parked(&self) -> Vec<String> {
        self.core().parked.clone()
    }

    /// All effects that the systems requested, in their order.
    pub fn effects_requested(&self) -> Vec<EffectRequest> {
        self.core().requests.clone()
    }

    /// Refuses the next admission.
    pub fn refuse_next(&self, problem: Problem) {
        self.scripted().refuse = Some(problem);
    }

    /// Has [`Platform::wait_for`] end without success, or again with it.
    pub fn set_behind(&self, behind: bool) {
        self.scripted().behind = behind;
    }

    /// Has questions about the past of a projection answer that it is still being folded.
    pub fn set_folding(&self, folding: bool) {
        self.scripted().folding = folding;
    }

    /// Why what is served may not be what the log holds.
    pub fn set_degraded(&self, why: Option<&str>) {
        self.scripted().degraded = why.map(str::to_owned);
    }

    /// Sets the clock.
    pub fn set_now(&self, now: EventTime) {
        self.scripted().now = now;
    }

    /// Shows a row that was not folded.
    pub fn show(&self, projection: &str, key: &str, value: Value) {
        self.scripted().rows.entry(projection.to_owned()).or_default().insert(key.to_owned(), value);
    }

    /// Engages the emergency stop, or releases it: then all that waited is decided.
    pub fn set_stopped(&self, stopped: bool) {
        self.stop.send_replace(stopped);
        self.change(|core, told| {
            if !stopped {
                core.decide_all(told)
            }
        });
    }

    /// Fires all timers that are due by then; how many there were.
    pub fn fire_timers(&self, by: EventTime) -> usize {
        if *self.stop.borrow() { 0 } else { self.change(|core, told| core.fire_timers(by, told)) }
    }

    /// All rows of a projection as people see them.
    ///
    /// # Errors
    /// There is no such projection, or a row does not read.
    pub fn all_rows(&self, projection: &str) -> Result<BTreeMap<String, Value>, Problem> {
        let core = self.core();
        let one = core.views.iter().find(|one| one.view.projection.name() == projection).ok_or_else(|| Problem::unknown_projection(projection))?;
        let mut rows = one.view.values().map_err(|error| Problem::internal(error.to_string()))?;
        rows.extend(self.scripted().rows.get(projection).cloned().unwrap_or_default());
        Ok(rows)
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scripted(&self) -> MutexGuard<'_, Scripted> {
        self.scripted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, text: String) {
        self.scripted().calls.push(text);
    }

    /// Changes the core, then tells the followers, who may ask the platform.
    fn change<T>(&self, change: impl FnOnce(&mut Core, &mut Told) -> T) -> T {
        let mut told = Told::new();
        let answer = change(&mut self.core(), &mut told);
        tell(told);
        answer
    }

    fn take(&self, facts: &[Event]) -> Result<Published, Problem> {
        self.call(format!("admit {}", facts.len()));
        if let Some(problem) = self.scripted().refuse.take() {
            return Err(problem);
        }
        let stopped = *self.stop.borrow();
        self.change(|core, told| {
            for (index, fact) in facts.iter().enumerate() {
                registry::validate(&fact.encode().view()).map_err(|error| Problem::invalid_data(index, &error))?;
                let earlier = core.number_of(fact).map(|number| &core.events[number].event);
                if earlier.is_some_and(|earlier| earlier != fact) {
                    return Err(Problem::id_conflict(index, fact.get(Attribute::Source), fact.get(Attribute::Id)));
                }
            }
            let mut published = Published::default();
            for fact in facts {
                let number = match core.number_of(fact) {
                    Some(number) => {
                        published.duplicates += 1;
                        number
                    }
                    None => {
                        published.accepted += 1;
                        core.append_fact(fact.clone(), told)
                    }
                };
                if let Some((place, position)) = &core.events[number].position {
                    let highest = published.positions.entry(place.clone()).or_insert(*position);
                    *highest = (*highest).max(*position);
                }
            }
            if !stopped {
                core.decide_all(told);
            }
            Ok(published)
        })
    }

    fn page(&self, mut found: Vec<LoggedEvent>, limit: usize, cursor: Option<&str>) -> Result<EventPage, Problem> {
        let skip = match cursor {
            None => 0,
            Some(text) => text.parse::<usize>().map_err(|_| Problem::new(Kind::INVALID_CURSOR, format!("\"{text}\" was not given by this node")))?,
        };
        found.sort_by_key(|logged| time_of(&logged.event));
        let next_cursor = (found.len() > skip + limit).then(|| (skip + limit).to_string());
        Ok(EventPage { items: found.into_iter().skip(skip).take(limit).collect(), next_cursor })
    }

    /// Rows of a projection, now or in the past.
    fn shown(&self, projection: &str, past: Option<Past>) -> Result<BTreeMap<String, Value>, Problem> {
        let scripted = self.scripted().rows.get(projection).cloned();
        let core = self.core();
        let failed = |error: tol_system::projection::Error| Problem::internal(error.to_string());
        let mut rows = match (core.views.iter().position(|one| one.view.projection.name() == projection), past) {
            (None, _) if scripted.is_none() => return Err(Problem::unknown_projection(projection)),
            (None, _) => BTreeMap::new(),
            (Some(number), None) => core.views[number].view.values().map_err(failed)?,
            // Facts are recorded when they happen, so what was known by then is what had happened.
            (Some(number), Some(past)) => core.view_of(number, |event| time_of(event) <= past.time()).and_then(|view| view.values()).map_err(failed)?,
        };
        rows.extend(scripted.unwrap_or_default());
        Ok(rows)
    }

    fn positions(&self, projection: &str) -> BTreeMap<TopicPartition, Position> {
        let core = self.core();
        let one = core.views.iter().find(|one| one.view.projection.name() == projection);
        one.map(|one| core.positions(one.view.projection.topic())).unwrap_or_default()
    }

    fn system(&self, name: &str) -> Result<usize, Problem> {
        self.core().systems.iter().position(|system| system.description.name == name).ok_or_else(|| Problem::unknown_system(name))
    }
}

fn tell(told: Told) {
    for (follower, followed) in told {
        follower(followed);
    }
}

fn time_of(event: &Event) -> EventTime {
    EventTime::parse(event.get(Attribute::Time)).unwrap_or_default()
}

impl Platform for FakePlatform {
    fn admit(&self, facts: Vec<Event>) -> Answer<'_, Published> {
        known(self.take(&facts))
    }

    fn decide(&self, system: &str, facts: Vec<Event>, _: Duration) -> Answer<'_, Decided> {
        let decided = self.system(system).and_then(|number| {
            let published = self.take(&facts)?;
            let core = self.core();
            let events: Option<Vec<Vec<Event>>> = facts.iter().map(|fact| core.decided(number, fact)).collect();
            Ok(events.map_or(Decided::Pending(published), Decided::By))
        });
        known(decided)
    }

    fn search(&self, query: &SearchQuery) -> Result<EventPage, Problem> {
        let within = |time: EventTime| query.from.is_none_or(|from| from <= time) && query.to.is_none_or(|to| time <= to);
        let wanted = |logged: &&LoggedEvent| matches(&query.filter, &logged.event) && within(time_of(&logged.event));
        let found = self.core().events.iter().filter(wanted).cloned().collect();
        self.page(found, query.limit, query.cursor.as_deref())
    }

    fn event(&self, id: &str, source: Option<&str>) -> Result<Vec<LoggedEvent>, Problem> {
        let wanted = |event: &Event| event.get(Attribute::Id) == id && source.is_none_or(|source| source == event.get(Attribute::Source));
        Ok(self.core().events.iter().filter(|logged| wanted(&logged.event)).cloned().collect())
    }

    fn timeline(&self, subject: &str, limit: usize, cursor: Option<&str>) -> Result<EventPage, Problem> {
        let about = |event: &Event| event.get(Attribute::Subject) == subject || event.get(Attribute::Target) == subject;
        let found = self.core().events.iter().filter(|logged| about(&logged.event)).cloned().collect();
        self.page(found, limit, cursor)
    }

    fn subscribe(&self, filter: EventFilter, resume: Option<String>) -> Answer<'_, Subscription> {
        let mut core = self.core();
        let from = match resume.as_deref().map(str::parse::<usize>) {
            None => core.events.len(),
            Some(Ok(from)) if from <= core.events.len() => from,
            Some(_) => return known(Err(Problem::new(Kind::INVALID_CURSOR, "this node did not give that token"))),
        };
        let (sender, events) = mpsc::channel(STREAM_EVENTS);
        for (number, event) in core.events.iter().enumerate().skip(from).filter(|(_, logged)| matches(&filter, &logged.event)) {
            let _ = sender.try_send(crate::platform::StreamedEvent { token: (number + 1).to_string(), event: event.clone() });
        }
        core.streams.push((filter, sender));
        known(Ok(Subscription { token: from.to_string(), events }))
    }

    fn wait_for(&self, projection: &str, positions: Vec<(TopicPartition, Position)>, _: Duration) -> Answer<'_, bool> {
        let places: Vec<String> = positions.iter().map(|(place, position)| format!("{place}:{position}")).collect();
        self.call(format!("wait {projection} {}", places.join(" ")));
        known(Ok(!self.scripted().behind))
    }

    fn row(&self, projection: &str, key: &str, past: Option<Past>) -> Result<Option<Row>, Problem> {
        self.call(format!("row {projection} {key} {}", past.is_some()));
        let value = self.shown(projection, past)?.remove(key);
        let row = |value| Row { key: key.to_owned(), value, as_of: past.map(Past::time), positions: self.positions(projection), rows_version: None };
        Ok(value.map(row))
    }

    fn rows(&self, projection: &str, query: &RowsQuery) -> Result<Folded<RowPage>, Problem> {
        self.call(format!("rows {projection} {}", query.past.is_some()));
        if self.scripted().folding {
            return Ok(Folded::Running { progress: 0.5 });
        }
        let rows = self.shown(projection, query.past)?;
        let after = |key: &String| query.cursor.as_ref().is_none_or(|cursor| key > cursor);
        let mut items: Vec<Item> = rows.into_iter().filter(|(key, _)| after(key)).map(|(key, value)| Item { key, value }).collect();
        let more = items.len() > query.limit;
        items.truncate(query.limit);
        let next_cursor = items.last().filter(|_| more).map(|item| item.key.clone());
        Ok(Folded::Done(RowPage { items, next_cursor, rows_version: None }))
    }

    fn query(&self, system: &str, query: &str, subject: &str, parameters: BTreeMap<String, String>) -> Result<Value, Problem> {
        let number = self.system(system)?;
        let core = self.core();
        let deciding = &core.systems[number];
        let answer = deciding.with_state(subject, |state| deciding.system.query(state, query, &parameters));
        answer.map_err(|error| match error {
            tol_system::QueryError::Unknown(name) => Problem::new(Kind::NOT_FOUND, format!("there is no query {name}")),
            tol_system::QueryError::Parameter { name, problem } => Problem::parameter(&name, problem),
        })
    }

    fn owner(&self, _: &str) -> Owner {
        Owner::Here
    }

    fn ask(&self, question: &str, subject: &str, body: Value) -> Answer<'_, Value> {
        self.call(format!("ask {question} {subject}"));
        let found = self.mounted.get().and_then(|(mounted, names)| {
            let number = names.iter().position(|name| *name == question)?;
            Some((mounted.upgrade()?, number, self.this.upgrade()?))
        });
        match found {
            Some((mounted, number, this)) => mounted.answer(number, this, Asked { subject: subject.to_owned(), body }),
            None => known(Err(Problem::new(Kind::NOT_FOUND, format!("nobody declared the question {question}")))),
        }
    }

    fn reveal(&self, _: &str, json: &[u8]) -> Result<Vec<u8>, Problem> {
        Ok(json.to_vec())
    }

    fn blobs(&self) -> Result<Arc<dyn Blobs>, Problem> {
        Ok(self.blobs.clone())
    }

    fn erase(&self, subject: &str, by: &str, reason: &str) -> Answer<'_, ()> {
        self.call(format!("erase {subject} {by} {reason}"));
        self.blobs.erase(subject);
        self.change(|core, told| core.erase(subject, told));
        if let Some(mounted) = self.mounted.get().and_then(|(mounted, _)| mounted.upgrade()) {
            mounted.erased(subject);
        }
        known(Ok(()))
    }

    fn permit(&self) -> Option<Permit> {
        (!*self.stop.borrow()).then(|| Permit::holding(()))
    }

    fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    fn health(&self) -> Standing {
        Standing { degraded: self.scripted().degraded.clone() }
    }

    fn now(&self) -> EventTime {
        self.scripted().now
    }
}
