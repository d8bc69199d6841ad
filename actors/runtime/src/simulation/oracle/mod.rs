//! What must be in the log, from the facts and the rules alone: a plain model that shares no code with the owners.

mod guest;
mod parked;
mod system;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::Value;
use tol_events::{id, reserved};
use tol_kafka::{MemoryLog, TopicPartition};
use tol_system::AnySystem;

use super::guest::{Again, Guest};
pub use super::history::Recorded;
pub(super) use super::history::accepted;
use super::rules::{self, Cause, Kind, Memory, Poison, plan};
use guest::OfGuest;
use parked::Parked;
pub(super) use system::Ended;
use system::PlainRun;

/// Where an input lies.
#[derive(Clone, Debug)]
struct Source {
    topic_partition: TopicPartition,
    event: Recorded,
}

/// What the model has to know of how a run was set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub partitions: u32,
    pub subjects: u64,
    /// Times a parked input may fail again before a redrive has to be forced.
    pub redrives: u32,
}

/// One partition of one system, folded by the model.
struct Model<'a> {
    kind: Kind,
    subjects: u64,
    redrives: u32,
    inputs: &'a BTreeMap<String, Source>,
    memory: BTreeMap<String, Memory>,
    timers: BTreeMap<(i64, String, String), String>,
    effects: BTreeMap<String, String>,
    parked: BTreeMap<String, VecDeque<Parked>>,
    used: BTreeSet<String>,
    discarded: BTreeSet<String>,
    last_used: BTreeMap<TopicPartition, u64>,
    positions: BTreeMap<String, (u64, u64, u64)>,
    guest: Option<OfGuest<'a>>,
    /// Of a system without a model.
    plain_run: Option<PlainRun<'a>>,
}

/// What says what a system must have done, besides the rules of the test systems.
#[derive(Clone)]
pub(super) enum Judged<'a> {
    /// Nothing else.
    Rules,
    /// Its own model.
    Model(&'a dyn Guest),
    /// The same system, run plainly; and how its effects ended.
    PlainRun(Arc<dyn AnySystem>, &'a Ended),
}

/// What subjects of a partition must be remembered as.
pub(super) enum Remembered {
    /// By the test systems.
    Memories(BTreeMap<String, Memory>),
    /// By a system without a model, as it is cached.
    Rows(BTreeMap<String, Vec<u8>>),
}

/// What a run's log held, for the report and for the checks that need more than the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    ids: BTreeSet<String>,
    pub events: usize,
    pub parked: usize,
    pub redriven: usize,
    pub discarded: BTreeSet<String>,
    /// Dead letters and the redrives they went through in.
    pub redriven_in: BTreeSet<(String, String)>,
    /// Dead letters and the redrives they failed again in.
    pub failed_in: BTreeSet<(String, String)>,
    pub timers: usize,
    pub effects: usize,
    pub requests: BTreeSet<String>,
    /// Events of the guest.
    pub of_guest: usize,
    /// Events of systems without a model, by type.
    pub emitted: BTreeMap<String, u64>,
}

impl Model<'_> {
    fn timer_of(&self, subject: &str, timer: &str) -> Option<i64> {
        self.timers.keys().find(|(_, s, id)| s == subject && id == timer).map(|(due, ..)| *due)
    }

    fn set_timer(&mut self, subject: &str, timer: &str, due: Option<(i64, &str)>) -> Option<String> {
        let old = self.timer_of(subject, timer).and_then(|old| self.timers.remove(&(old, subject.to_owned(), timer.to_owned())));
        if let Some((due, setter)) = due {
            self.timers.insert((due, subject.to_owned(), timer.to_owned()), setter.to_owned());
        }
        old
    }

    /// The input that a group names, taken from what waits; and how its events' ids are derived.
    fn cause_of(&mut self, first: &Recorded) -> Result<(Cause, String, String), String> {
        if let Some(timer) = first.extensions.get("timerid") {
            let due = self.timer_of(&first.subject, timer).ok_or_else(|| format!("timer {timer} of {} fired but was not set", first.subject))?;
            let (earliest, ..) = self.timers.keys().next().ok_or("no timer")?;
            if *earliest < due {
                return Err(format!("timer {timer} of {} fired before an earlier one", first.subject));
            }
            let setter = self.set_timer(&first.subject, timer, None).unwrap_or_default();
            let cause = Cause::Timer { subject: first.subject.clone(), id: timer.clone(), due };
            let due_text = tol_events::EventTime::from_micros(due).to_string();
            return Ok((cause, "timer".to_owned(), format!("{}\u{0}{timer}\u{0}{due_text}\u{0}{setter}", first.subject)));
        }
        if let Some(request) = first.extensions.get("effectid") {
            let subject = self.effects.remove(request).ok_or_else(|| format!("effect {request} settled but was not pending"))?;
            if subject != first.subject {
                return Err(format!("effect {request} settled for another subject"));
            }
            return Ok((Cause::Effect { request: request.clone() }, "effect".to_owned(), request.clone()));
        }
        let source = self.inputs.get(&first.cause).ok_or_else(|| format!("{} was caused by {}, which is not an input", first.id, first.cause))?;
        if !self.used.insert(first.cause.clone()) {
            return Err(format!("input {} was decided twice", first.cause));
        }
        let last = self.last_used.entry(source.topic_partition.clone()).or_default();
        if source.event.position < *last {
            return Err(format!("input {} of {} was decided out of order", first.cause, source.topic_partition));
        }
        *last = source.event.position;
        if let Some(guest) = &mut self.guest {
            guest.pass(source.event.position, &self.used)?;
        }
        if let Some(plain) = &mut self.plain_run {
            plain.pass(&source.topic_partition, source.event.position, &|id| self.used.contains(id))?;
        }
        let event = &source.event;
        let subject = event.target.as_ref().unwrap_or(&event.subject);
        if *subject != first.subject {
            return Err(format!("input {} for {subject} led to an event of {}", event.id, first.subject));
        }
        let expected = format!("{}@{}:{}:{}", source.topic_partition, event.position + 1, event.epoch, event.sequence);
        if !first.inputs.split(',').any(|position| position == expected) {
            return Err(format!("{} says its inputs are at {} instead of {expected}", first.id, first.inputs));
        }
        Ok((Cause::Event { id: event.id.clone(), time: event.time }, event.source.clone(), event.id.clone()))
    }

    fn positions(&mut self, first: &Recorded) -> Result<(), String> {
        for position in first.inputs.split(',').filter(|text| !text.is_empty()) {
            let (partition, cursor) = position.split_once('@').ok_or("no @ in a position")?;
            let numbers: Vec<u64> = cursor.split(':').filter_map(|number| number.parse().ok()).collect();
            let [position, epoch, sequence] = numbers[..] else { return Err(format!("cursor {cursor}")) };
            let before = self.positions.insert(partition.to_owned(), (position, epoch, sequence));
            if before.is_some_and(|(p, e, s)| p > position || e > epoch || s > sequence) {
                return Err(format!("{}: positions of {partition} went back from {before:?} to {cursor}", first.id));
            }
        }
        Ok(())
    }

    fn group(&mut self, group: &[Recorded], findings: &mut Findings) -> Result<(), String> {
        let [first, rest @ ..] = group else { return Err("an empty group".to_owned()) };
        for (place, event) in group.iter().enumerate() {
            if !findings.ids.insert(event.id.clone()) {
                return Err(format!("id {} twice", event.id));
            }
            if event.index != (place as u32 + 1, group.len() as u32) || event.subject != first.subject {
                return Err(format!("{} does not fit its group", event.id));
            }
        }
        self.positions(first)?;
        if let Some(plain) = &mut self.plain_run {
            plain.count_group();
        }
        let waiting = self.parked.get(&first.subject).is_some_and(|queue| !queue.is_empty());
        match first.event_type.as_str() {
            reserved::CHECKPOINTED => Ok(()),
            reserved::INPUT_PARKED => {
                findings.parked += 1;
                let (cause, source, cause_id) = self.cause_of(first)?;
                let poisoned = Poison::of(self.kind, &cause) != Poison::None;
                if !waiting && !poisoned && !self.fails_by_itself(&first.subject, &cause, (&source, &cause_id)) {
                    return Err(format!("{} was parked for nothing", cause.name()));
                }
                let expected = id::derived(self.kind.name(), &source, &cause_id, 0).to_string();
                if first.id != expected || first.field("id")? != expected {
                    return Err(format!("{} was parked as {} instead of {expected}", cause.name(), first.id));
                }
                self.parked.entry(first.subject.clone()).or_default().push_back(Parked { id: expected, order: first.sequence, cause, failed_in: Vec::new() });
                Ok(())
            }
            reserved::INPUT_DISCARDED => {
                let id = first.field("id")?;
                let queue = self.parked.entry(first.subject.clone()).or_default();
                let at = queue.iter().position(|parked| parked.id == id).ok_or_else(|| format!("{id} was discarded but is not parked"))?;
                if let Some(parked) = queue.remove(at) {
                    self.discarded.insert(parked.cause.name());
                }
                findings.discarded.insert(id);
                Ok(())
            }
            reserved::REDRIVE_FAILED => {
                let id = first.field("id")?;
                let redrive = first.field("redrive")?;
                let limit = self.redrives;
                let parked = self.parked.get(&first.subject).and_then(VecDeque::front).ok_or_else(|| format!("{id} failed again but is not parked"))?;
                let poisoned = Poison::of(self.kind, &parked.cause) != Poison::None;
                let derived = (format!("redrive:{}", self.kind.name()), format!("{id}@{}", parked.order));
                if parked.id != id || !(poisoned || self.fails_by_itself(&first.subject, &parked.cause, (&derived.0, &derived.1))) {
                    return Err(format!("{id} was redriven before {}, or failed without a reason", parked.id));
                }
                let head = self.parked.get_mut(&first.subject).and_then(VecDeque::front_mut).ok_or("nothing is parked")?;
                head.may_be_redriven(first, limit)?;
                if head.failed_in.contains(&redrive) {
                    return Err(format!("{id} failed twice in {redrive}"));
                }
                head.failed_in.push(redrive.clone());
                if first.data.get("redrives").and_then(Value::as_u64) != Some(head.failed_in.len() as u64) {
                    return Err(format!("{id} failed {} times, not as often as it says", head.failed_in.len()));
                }
                findings.failed_in.insert((id, redrive));
                Ok(())
            }
            reserved::INPUT_REDRIVEN => {
                findings.redriven += 1;
                let id = first.field("id")?;
                let parked = self.parked.get_mut(&first.subject).and_then(VecDeque::pop_front).ok_or_else(|| format!("{id} was redriven but is not parked"))?;
                if parked.id != id || first.data.get("order").and_then(Value::as_u64) != Some(parked.order) {
                    return Err(format!("{id} was redriven before {}", parked.id));
                }
                parked.may_be_redriven(first, self.redrives)?;
                findings.redriven_in.insert((id.clone(), first.field("redrive")?));
                let source = format!("redrive:{}", self.kind.name());
                self.events(&first.subject, &parked.cause, &source, &format!("{id}@{}", parked.order), rest, 1, findings)
            }
            _ => {
                if waiting {
                    return Err(format!("{} was decided before the parked inputs of {}", first.cause, first.subject));
                }
                let (cause, source, id) = self.cause_of(first)?;
                let otherwise = match cause {
                    Cause::Timer { .. } => Some(reserved::TIMER_FIRED),
                    Cause::Effect { .. } => Some(reserved::EFFECT_SETTLED),
                    Cause::Event { .. } => None,
                };
                let silent = group.len() == 1 && Some(first.event_type.as_str()) == otherwise;
                let events = if silent { &[] } else { group };
                self.events(&first.subject, &cause, &source, &id, events, 0, findings)
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn events(
        &mut self,
        subject: &str,
        cause: &Cause,
        source: &str,
        cause_id: &str,
        events: &[Recorded],
        first_index: u32,
        findings: &mut Findings,
    ) -> Result<(), String> {
        let name = cause.name();
        if Poison::of(self.kind, cause).is_for_ever() {
            return Err(format!("{name} was decided although it cannot be"));
        }
        match cause {
            Cause::Timer { .. } => findings.timers += 1,
            Cause::Effect { .. } => findings.effects += 1,
            Cause::Event { .. } => {}
        }
        if self.plain_run.is_some() {
            return self.events_of_system(subject, cause, (source, cause_id), events, first_index, findings);
        }
        let time_fits = |event: &Recorded| match cause {
            Cause::Event { time, .. } => event.time == *time,
            Cause::Timer { due, .. } => event.time == *due,
            Cause::Effect { .. } => true,
        };
        if let Some(event) = events.iter().find(|event| !time_fits(event)) {
            return Err(format!("{} has another time than its cause", event.id));
        }
        if self.guest.is_some() {
            return self.events_of_guest(subject, cause, (source, cause_id), events, first_index, findings);
        }
        let before = self.memory.entry(subject.to_owned()).or_default().clone();
        let planned = plan(self.kind, self.subjects, &before, cause);
        if planned.len() != events.len() {
            return Err(format!("{name} led to {} events instead of {}", events.len(), planned.len()));
        }
        for (index, (planned, event)) in planned.iter().zip(events).enumerate() {
            let id = id::derived(self.kind.name(), source, cause_id, first_index + index as u32).to_string();
            let told = serde_json::to_value(&planned.told).map_err(|error| error.to_string())?;
            if event.id != id || event.event_type != planned.event_type || event.target != planned.target || event.data != told {
                return Err(format!("{name} led to {event:?} instead of {id} {planned:?}"));
            }
            findings.events += 1;
            self.memory.insert(subject.to_owned(), planned.told.after.clone());
            if let Some(timer) = &planned.told.timer {
                self.set_timer(subject, timer, planned.told.due.map(|due| (due, event.id.as_str())));
            }
            if event.event_type == rules::WORK_REQUESTED {
                self.effects.insert(event.id.clone(), subject.to_owned());
                findings.requests.insert(event.id.clone());
            }
        }
        Ok(())
    }

    /// Nothing is left over that could go on, at a clock that stands there.
    fn finish(&mut self, clock: i64) -> Result<(), String> {
        if let Some(guest) = &mut self.guest {
            guest.pass(u64::MAX, &self.used)?;
        }
        if let Some(plain) = &mut self.plain_run {
            plain.pass_all(&|id| self.used.contains(id))?;
        }
        let is_real = self.guest.is_some() || self.plain_run.is_some();
        // Timers of real systems may be due whenever they like.
        if let Some((due, subject, id)) = self.timers.keys().next().filter(|(due, ..)| !is_real || *due <= clock) {
            return Err(format!("timer {id} of {subject} due at {due} never fired"));
        }
        if let Some((request, subject)) = self.effects.first_key_value() {
            return Err(format!("effect {request} of {subject} never settled"));
        }
        for (subject, queue) in &self.parked {
            if let Some(first) = queue.front().filter(|first| !Poison::of(self.kind, &first.cause).is_for_ever()) {
                let derived = (format!("redrive:{}", self.kind.name()), format!("{}@{}", first.id, first.order));
                if self.fails_by_itself(subject, &first.cause, (&derived.0, &derived.1)) {
                    continue;
                }
                return Err(format!("{} stays parked in {subject}", first.cause.name()));
            }
        }
        for (id, source) in self.inputs.iter().filter(|(id, _)| !self.used.contains(*id)) {
            let cause = Cause::Event { id: id.clone(), time: source.event.time };
            let silent = is_real || plan(self.kind, self.subjects, &Memory::default(), &cause).is_empty();
            if !silent || Poison::of(self.kind, &cause).is_for_ever() {
                return Err(format!("input {id} of {} was never decided", source.topic_partition));
            }
        }
        Ok(())
    }
}

/// A topic, and the prefixes of the types that are wanted in it: all, where there are none.
type Reads = (String, Vec<&'static str>);

/// What a system reads, but for the clock.
fn reads(kind: Kind, judged: &Judged<'_>) -> Vec<Reads> {
    let of_rules = kind.reads().map(|(topic, prefix)| (topic.to_owned(), vec![prefix]));
    match judged {
        Judged::PlainRun(system, _) => {
            let inputs = system.describe().inputs.into_iter().filter(|input| input.topic != "clock");
            inputs.map(|input| (input.topic.to_owned(), input.types.to_vec())).collect()
        }
        Judged::Rules | Judged::Model(_) => of_rules.into_iter().collect(),
    }
}

/// The events of a system's input topics that are for its partition `partition`.
fn inputs_of(log: &MemoryLog, reads: &[Reads], partition: u32, partitions: u32) -> Result<BTreeMap<String, Source>, String> {
    let mut inputs = BTreeMap::new();
    for ((topic, prefixes), number) in reads.iter().flat_map(|reads| (0..partitions).map(move |number| (reads, number))) {
        // Only of systems' events all partitions are read, for those with a target.
        if !topic.ends_with(".events") && number != partition {
            continue;
        }
        let topic_partition = TopicPartition::new(topic.clone(), number);
        for event in accepted(log, &topic_partition)?.into_iter().flatten() {
            let subject = event.target.as_ref().unwrap_or(&event.subject);
            let wanted = prefixes.is_empty() || prefixes.iter().any(|prefix| event.event_type.starts_with(prefix));
            let wanted = wanted && !event.event_type.starts_with(reserved::PREFIX);
            if wanted && id::partition_of(subject, partitions) == partition {
                let id = event.id.clone();
                if inputs.insert(id.clone(), Source { topic_partition: topic_partition.clone(), event }).is_some() {
                    return Err(format!("{topic_partition}: id {id} twice"));
                }
            }
        }
    }
    Ok(inputs)
}

/// Checks one partition of one system, and if all is finished (with the clock at that time) that nothing is left over; returns what subjects are
/// remembered as.
pub(super) fn check(
    log: &MemoryLog,
    (kind, judged): (Kind, Judged<'_>),
    partition: u32,
    limits: Limits,
    findings: &mut Findings,
    finished: Option<i64>,
) -> Result<Remembered, String> {
    let Limits { partitions, subjects, redrives } = limits;
    let inputs = inputs_of(log, &reads(kind, &judged), partition, partitions)?;
    let guest = match &judged {
        Judged::Model(guest) => Some(*guest),
        Judged::Rules | Judged::PlainRun(..) => None,
    };
    let plain_run = match judged {
        Judged::PlainRun(system, ended) => Some(PlainRun::new(system, ended, &inputs)),
        Judged::Rules | Judged::Model(_) => None,
    };
    let guest = guest.map(|guest| {
        let mut facts: Vec<&Recorded> = inputs.values().map(|source| &source.event).collect();
        facts.sort_by_key(|fact| fact.position);
        OfGuest { judge: guest.judge(), again: finished.map(|_| Again::new(guest)), facts, behind: 0 }
    });
    let mut model = Model {
        kind,
        subjects,
        redrives,
        inputs: &inputs,
        memory: BTreeMap::new(),
        timers: BTreeMap::new(),
        effects: BTreeMap::new(),
        parked: BTreeMap::new(),
        used: BTreeSet::new(),
        discarded: BTreeSet::new(),
        last_used: BTreeMap::new(),
        positions: BTreeMap::new(),
        guest,
        plain_run,
    };
    let own = TopicPartition::new(format!("{}.events", kind.name()), partition);
    for group in accepted(log, &own)? {
        model.group(&group, findings).map_err(|problem| format!("{own}@{}: {problem}", group.first().map_or(0, |event| event.position)))?;
    }
    if let Some(clock) = finished {
        model.finish(clock).map_err(|problem| format!("{own}: {problem}"))?;
    }
    match &model.plain_run {
        Some(plain) => Ok(Remembered::Rows(plain.rows().map_err(|problem| format!("{own}: {problem}"))?)),
        None => Ok(Remembered::Memories(model.memory)),
    }
}
