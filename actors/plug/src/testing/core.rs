//! What a node in memory holds: the log, and what is decided and folded from it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;
use tol_events::{Attribute, Event, EventTime, Position, TopicPartition, id, kinds};
use tol_system::{AnySystem, EffectOutcome, EffectRequest, Followed};

use super::deciding::{Cause, Deciding, Requested};
use super::view::View;
use crate::mounted::{Follower, MountedProjection, RunnerSpec};
use crate::platform::{EventFilter, LoggedEvent, StreamedEvent};

/// Partitions of each topic.
pub(super) const PARTITIONS: u32 = 8;
/// Inputs decided in one go; systems that answer each other for ever are parked then.
const MOST_INPUTS: usize = 100_000;

/// See the module.
#[derive(Default)]
pub(super) struct Core {
    pub(super) systems: Vec<Deciding>,
    pub(super) views: Vec<Followable>,
    pub(super) runners: Vec<RunnerSpec>,
    log: BTreeMap<TopicPartition, u64>,
    /// All events, in the order in which they were appended.
    pub(super) events: Vec<LoggedEvent>,
    /// Facts by source and id: their number in `events`.
    known: BTreeMap<(String, String), usize>,
    /// What a system's decision of a cause led to.
    decided: BTreeMap<(usize, String, String), Vec<Event>>,
    waiting: VecDeque<Waiting>,
    effects: VecDeque<Requested>,
    /// All effects that were requested.
    pub(super) requests: Vec<EffectRequest>,
    /// Inputs that a system or projection could not take, with what it said.
    pub(super) parked: Vec<String>,
    pub(super) streams: Vec<(EventFilter, mpsc::Sender<StreamedEvent>)>,
}

/// An input that was not decided yet.
enum Waiting {
    /// Of all systems that read it: the event's number.
    Logged(usize),
    /// Of one system.
    Of(usize, Cause),
}

/// A view and its follower.
pub(super) struct Followable {
    pub(super) view: View,
    pub(super) follower: Option<Follower>,
}

/// What followers are told once the core is let go.
pub(super) type Told = Vec<(Follower, Followed<Vec<u8>>)>;

impl Core {
    pub(super) fn new(systems: Vec<Arc<dyn AnySystem>>, projections: Vec<MountedProjection>, runners: Vec<RunnerSpec>) -> Self {
        let followable = |mounted: MountedProjection| Followable { view: View::new(mounted.projection), follower: mounted.follower };
        Self { systems: systems.into_iter().map(Deciding::new).collect(), views: projections.into_iter().map(followable).collect(), runners, ..Self::default() }
    }

    /// Tells followers that there is nothing yet, and that this is all.
    pub(super) fn began(&self) -> Told {
        let told = || Followed { anew: true, rows: Vec::new(), caught_up: true, last_known: false };
        self.views.iter().filter_map(|one| Some((one.follower.clone()?, told()))).collect()
    }

    /// The number of an admitted fact.
    pub(super) fn number_of(&self, fact: &Event) -> Option<usize> {
        self.known.get(&key_of(fact)).copied()
    }

    /// Appends a fact that is new.
    pub(super) fn append_fact(&mut self, fact: Event, told: &mut Told) -> usize {
        let topic = kinds::topic_of(fact.get(Attribute::Subject));
        let key = key_of(&fact);
        let number = self.append(topic, fact, told);
        self.known.insert(key, number);
        number
    }

    fn append(&mut self, topic: &str, event: Event, told: &mut Told) -> usize {
        let place = TopicPartition::new(topic, id::partition_of(event.get(Attribute::Subject), PARTITIONS));
        let next = self.log.entry(place.clone()).or_default();
        let position = *next;
        *next += 1;
        self.fold(topic, place.partition, &event, told);
        let number = self.events.len();
        let logged = LoggedEvent { event, position: Some((place, position)) };
        self.streams.retain(|(filter, sender)| {
            !matches(filter, &logged.event) || sender.try_send(StreamedEvent { token: (number + 1).to_string(), event: logged.clone() }).is_ok()
        });
        self.events.push(logged);
        self.waiting.push_back(Waiting::Logged(number));
        number
    }

    fn fold(&mut self, topic: &str, partition: u32, event: &Event, told: &mut Told) {
        for one in self.views.iter_mut().filter(|one| one.view.projection.topic() == topic) {
            let stored = one.view.fold(partition, event).and_then(|()| one.view.store());
            match (stored, &one.follower) {
                (Ok(rows), Some(follower)) => told.push((follower.clone(), Followed { anew: false, rows, caught_up: true, last_known: false })),
                (Ok(_), None) => {}
                (Err(error), _) => self.parked.push(format!("projection {} at {}: {error}", one.view.projection.name(), event.get(Attribute::Type))),
            }
        }
    }

    /// Decides until nothing waits.
    pub(super) fn decide_all(&mut self, told: &mut Told) {
        for _ in 0..MOST_INPUTS {
            if let Some(requested) = self.effects.pop_front() {
                let cause = self.answered(requested.clone());
                self.waiting.push_back(Waiting::Of(requested.system, cause));
            }
            match self.waiting.pop_front() {
                None => return,
                Some(Waiting::Of(system, cause)) => self.decide(system, &cause, told),
                Some(Waiting::Logged(number)) => {
                    let Some(logged) = self.events.get(number).cloned() else { continue };
                    let topic = logged.position.as_ref().map(|(place, _)| place.topic.clone());
                    let Some(topic) = topic else { continue };
                    let event_type = logged.event.get(Attribute::Type).to_owned();
                    let cause = Cause::Event(logged.event);
                    for system in 0..self.systems.len() {
                        if self.systems[system].wants(&topic, &event_type) {
                            self.decide(system, &cause, told);
                        }
                    }
                }
            }
        }
        self.parked.push(format!("systems still had inputs after {MOST_INPUTS}: they answer each other for ever"));
        self.waiting.clear();
    }

    fn decide(&mut self, number: usize, cause: &Cause, told: &mut Told) {
        let Some(system) = self.systems.get_mut(number) else { return };
        let (source, id) = cause.name();
        match system.decide(number, cause) {
            Ok((events, requested)) => {
                let topic = format!("{}.events", system.description.name);
                self.requests.extend(requested.iter().map(|requested| requested.request.clone()));
                self.effects.extend(requested);
                for event in &events {
                    self.append(&topic, event.clone(), told);
                }
                self.decided.insert((number, source, id), events);
            }
            Err(error) => self.parked.push(format!("{} at {source} {id}: {error}", system.description.name)),
        }
    }

    /// How an effect ends: as the runner's example with that payload says, else as its first.
    fn answered(&self, requested: Requested) -> Cause {
        let runner = self.runners.iter().find(|runner| runner.name == requested.request.runner);
        let examples = runner.map(|runner| (runner.examples)()).unwrap_or_default();
        let same = examples.iter().find(|(payload, _)| *payload == requested.request.payload).or(examples.first());
        let outcome = same.map_or(EffectOutcome::Completed(Value::Null), |(_, outcome)| outcome.clone());
        let Requested { request_id, subject, at, correlation, .. } = requested;
        Cause::Effect { request_id, subject, outcome, at: at.plus_micros(1_000_000), correlation }
    }

    /// What a system decided of an admitted fact; `None` where it did not yet.
    pub(super) fn decided(&self, system: usize, fact: &Event) -> Option<Vec<Event>> {
        let (source, id) = key_of(fact);
        match self.decided.get(&(system, source, id)) {
            Some(events) => Some(events.clone()),
            // A fact that the system does not read leads to nothing.
            None if self.waiting.is_empty() => Some(Vec::new()),
            None => None,
        }
    }

    /// Fires all timers that are due by then, in order, with those that they set.
    pub(super) fn fire_timers(&mut self, by: EventTime, told: &mut Told) -> usize {
        let mut fired = 0;
        while fired < MOST_INPUTS {
            let next = (0..self.systems.len()).find_map(|number| Some((number, self.systems[number].next_timer(by)?)));
            let Some((number, cause)) = next else { break };
            fired += 1;
            self.waiting.push_back(Waiting::Of(number, cause));
            self.decide_all(told);
        }
        fired
    }

    /// The view of a projection as only those events make it that `wanted` lets through.
    pub(super) fn view_of(&self, number: usize, wanted: impl Fn(&Event) -> bool) -> Result<View, tol_system::projection::Error> {
        let projection = self.views[number].view.projection.clone();
        let mut view = View::new(projection.clone());
        for logged in self.events.iter().filter(|logged| wanted(&logged.event)) {
            if let Some((place, _)) = logged.position.as_ref().filter(|(place, _)| &*place.topic == projection.topic()) {
                view.fold(place.partition, &logged.event)?;
            }
        }
        view.store()?;
        Ok(view)
    }

    /// Next positions of a topic's partitions.
    pub(super) fn positions(&self, topic: &str) -> BTreeMap<TopicPartition, Position> {
        self.log.iter().filter(|(place, _)| &*place.topic == topic).map(|(place, next)| (place.clone(), *next)).collect()
    }

    /// Forgets a subject's states and rows.
    pub(super) fn erase(&mut self, subject: &str, told: &mut Told) {
        self.systems.iter_mut().for_each(|system| system.forget(subject));
        for one in &mut self.views {
            let rows = one.view.erase(subject).into_iter().map(|key| (key, None)).collect();
            told.extend(one.follower.clone().map(|follower| (follower, Followed { anew: false, rows, caught_up: true, last_known: false })));
        }
    }
}

fn key_of(fact: &Event) -> (String, String) {
    (fact.get(Attribute::Source).to_owned(), fact.get(Attribute::Id).to_owned())
}

/// Whether an event is one of those that are asked for.
pub(super) fn matches(filter: &EventFilter, event: &Event) -> bool {
    let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    let of_type = filter.event_type.as_deref().is_none_or(|wanted| match wanted.strip_suffix('*') {
        Some(prefix) => event.get(Attribute::Type).starts_with(prefix),
        None => event.get(Attribute::Type) == wanted,
    });
    let correlation = Some(event.get(Attribute::CorrelationId)).filter(|text| !text.is_empty()).unwrap_or(event.get(Attribute::Id));
    of_type && same(&filter.subject, event.get(Attribute::Subject)) && same(&filter.correlation, correlation)
}
