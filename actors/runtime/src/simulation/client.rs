//! Publishers: they send facts, send them again where no answer came, and now and then say something else under an id they used already.

use std::collections::BTreeMap;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tol_events::{Attribute, Event, EventTime, id, kinds};
use tol_kafka::{MemoryLog, Position, TopicPartition};

use super::oracle;
use super::rules;
use crate::admission::request::Request;
use crate::admission::{Candidate, Published, Refusal};

/// A fact as a client wants it told. Two of one id and another `version` exclude each other.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub id: String,
    version: u32,
    pub subject: String,
    event_type: String,
    time: Option<EventTime>,
    /// What else its data says, of a real system's.
    data: serde_json::Map<String, serde_json::Value>,
    /// For whom it is meant, of a real system's.
    target: Option<String>,
    /// Its data is read as it stands, but for that of a second version.
    as_it_stands: bool,
    /// Whether it comes through `inbox`.
    pub by_inbox: bool,
    settled: Option<Settled>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    Stored,
    Refused,
}

/// A request on its way.
#[derive(Debug)]
struct Sent {
    wishes: Vec<usize>,
    /// The door it went to.
    door: u64,
    /// Its answer does not reach the client.
    lost: bool,
}

/// What admission answered with yes: this wish, at no more than this position of its partition.
#[derive(Clone, Debug)]
struct Acknowledged {
    wishes: Vec<usize>,
    positions: BTreeMap<TopicPartition, Position>,
}

/// All clients of a run.
#[derive(Default)]
pub(super) struct Clients {
    pub wishes: Vec<Wish>,
    partitions: u32,
    sent: BTreeMap<u64, Sent>,
    tickets: u64,
    acknowledged: Vec<Acknowledged>,
    pub refused: usize,
    pub repeated: usize,
    /// Facts beyond so many that wait are not sent yet.
    window: Option<usize>,
    /// Topics of facts besides those of the test systems.
    further: Vec<&'static str>,
}

/// Where a subject's facts go.
fn home(subject: &str, partitions: u32) -> TopicPartition {
    TopicPartition::new(kinds::topic_of(subject), id::partition_of(subject, partitions))
}

impl Wish {
    pub(super) fn event(&self) -> Event {
        let mut event = Event::new(&self.id, "/shop", &self.event_type, &self.subject);
        if let Some(time) = self.time {
            event = event.at(time);
        }
        if let Some(target) = &self.target {
            event.set(Attribute::Target, target.clone());
        }
        let mut data = self.data.clone();
        match (self.as_it_stands, self.version) {
            (true, 0) => None,
            (true, version) => data.insert("simulated_version".to_owned(), version.into()),
            (false, version) => data.insert("version".to_owned(), version.into()),
        };
        event.data = serde_json::Value::Object(data).to_string().into_bytes();
        event
    }

    fn candidate(&self, partitions: u32, inbox: Option<(u32, Position)>, now: EventTime) -> Candidate {
        Candidate::new(self.event(), None, kinds::topic_of(&self.subject), partitions, inbox, now)
    }

    fn is_in(&self, event: &oracle::Recorded) -> bool {
        event.subject == self.subject && event.event_type == self.event_type && event.bytes == self.event().data
    }
}

impl Clients {
    pub(super) fn new(partitions: u32) -> Self {
        Self { partitions, ..Self::default() }
    }

    /// Thinks of what to tell.
    pub(super) fn fill(&mut self, random: &mut ChaCha8Rng, count: usize, subjects: u64, inbox: bool, epoch_micros: i64) {
        for number in 0..count {
            let subject = rules::subject(random.random_range(0..subjects));
            let event_type = match random.random_range(0..20) {
                0..2 => "sim.nobody_wants.v1",
                2..11 => rules::COUNT_WANTED,
                _ => rules::JOB_WANTED,
            };
            let subject = if random.random_bool(0.1) { subject.replace("customer", "service") } else { subject };
            let time = random.random_bool(0.9).then(|| EventTime::from_micros(epoch_micros + number as i64 * 20_001));
            let id = format!("f{number}-{}", random.random::<u32>());
            let by_inbox = inbox && random.random_bool(0.3);
            let wish = Wish {
                id,
                version: 0,
                subject,
                event_type: event_type.to_owned(),
                time,
                data: serde_json::Map::new(),
                target: None,
                as_it_stands: false,
                by_inbox,
                settled: None,
            };
            if random.random_bool(0.1) {
                let by_inbox = inbox && random.random_bool(0.3);
                self.wishes.push(Wish { version: 1, by_inbox, ..wish.clone() });
            }
            self.wishes.push(wish);
        }
    }

    /// What the guest is to be told, beside all else. Its facts are read by a model: those that exclude each other say the same but for a number.
    pub(super) fn tell_of_guest(&mut self, random: &mut ChaCha8Rng, facts: Vec<Event>, inbox: bool, as_it_stands: bool) {
        for fact in facts {
            let text = |attribute| fact.get(attribute).to_owned();
            let data = serde_json::from_slice(&fact.data).unwrap_or_default();
            let time = fact.encode().view().time();
            let by_inbox = inbox && random.random_bool(0.3);
            let (id, subject, event_type) = (text(Attribute::Id), text(Attribute::Subject), text(Attribute::Type));
            let target = fact.attributes.get(&Attribute::Target).cloned();
            let wish = Wish { id, version: 0, subject, event_type, time, data, target, as_it_stands, by_inbox, settled: None };
            if random.random_bool(0.05) {
                self.wishes.push(Wish { version: 1, by_inbox: inbox && random.random_bool(0.3), ..wish.clone() });
            }
            self.wishes.push(wish);
        }
    }

    /// Facts may also be in this topic.
    pub(super) fn look_also_at(&mut self, topic: &'static str) {
        self.further.push(topic);
    }

    /// Facts are told in their order, but for so many at a time.
    pub(super) fn tell_in_order(&mut self, window: usize) {
        self.window = Some(window);
    }

    /// The request that somebody sends now, and the partition number it is for.
    pub(super) fn next(
        &mut self,
        random: &mut ChaCha8Rng,
        now: EventTime,
        now_ms: u64,
        healing: bool,
        door_of: impl Fn(u32, &mut ChaCha8Rng) -> Option<u64>,
    ) -> Option<(u64, Request<u64>)> {
        let again = !healing && random.random_bool(0.1);
        let mut open: Vec<usize> = (0..self.wishes.len()).filter(|at| !self.wishes[*at].by_inbox && (again || self.wishes[*at].settled.is_none())).collect();
        if let Some(window) = self.window.filter(|_| !again) {
            open.truncate(window);
        }
        let first = *open.get(random.random_range(0..open.len().max(1)))?; // none is left
        let partition = home(&self.wishes[first].subject, self.partitions).partition;
        let door = door_of(partition, random)?;
        let mut wishes = vec![first];
        let count = if random.random_bool(0.5) { 0 } else { random.random_range(0..6) };
        for _ in 0..count {
            // Now and then the same fact twice, or two that exclude each other, or one of another partition.
            let other = open[random.random_range(0..open.len())];
            if home(&self.wishes[other].subject, self.partitions).partition == partition || (!healing && random.random_bool(0.05)) {
                wishes.push(other);
            }
        }
        let candidates = wishes.iter().map(|at| self.wishes[*at].candidate(self.partitions, None, now)).collect();
        let ids = wishes.iter().map(|at| self.wishes[*at].id.clone()).collect();
        self.tickets += 1;
        self.repeated += usize::from(wishes.iter().any(|at| self.wishes[*at].settled.is_some()));
        self.sent.insert(self.tickets, Sent { wishes, door, lost: random.random_bool(0.1) });
        Some((door, Request { candidates, ids, reply: self.tickets, since_ms: now_ms }))
    }

    /// A fact that came through `inbox`, on its way to its gate.
    pub(super) fn pass_on(&mut self, wish: usize, inbox: (u32, Position), door: u64, now: EventTime, now_ms: u64) -> Request<u64> {
        let candidate = self.wishes[wish].candidate(self.partitions, Some(inbox), now);
        self.tickets += 1;
        self.sent.insert(self.tickets, Sent { wishes: vec![wish], door, lost: false });
        Request { candidates: vec![candidate], ids: vec![self.wishes[wish].id.clone()], reply: self.tickets, since_ms: now_ms }
    }

    /// The door is gone: nobody there answers any more.
    pub(super) fn forget_door(&mut self, door: u64) {
        self.sent.retain(|_, sent| sent.door != door);
    }

    /// Whether this request waits for its answer.
    pub(super) fn waits_for(&self, ticket: u64) -> bool {
        self.sent.contains_key(&ticket)
    }

    pub(super) fn is_done(&self) -> bool {
        self.sent.is_empty() && self.wishes.iter().all(|wish| wish.settled.is_some())
    }

    /// An answer of admission; compared with the log at once where it can be read.
    pub(super) fn answered(&mut self, ticket: u64, answer: &Result<Published, Refusal>, log: &MemoryLog) -> Result<(), String> {
        let sent = self.sent.remove(&ticket).ok_or_else(|| format!("request {ticket} was answered twice"))?;
        match answer {
            Ok(published) => {
                let count = published.accepted + published.duplicates;
                if count != sent.wishes.len() as u64 {
                    return Err(format!("request {ticket} of {} facts was answered with {published:?}", sent.wishes.len()));
                }
                if !sent.lost {
                    sent.wishes.iter().for_each(|at| self.wishes[*at].settled = Some(Settled::Stored));
                }
                let acknowledged = Acknowledged { wishes: sent.wishes, positions: published.positions.clone() };
                if tol_kafka::EventLog::health(log).ready {
                    self.check_one(&acknowledged, log)?;
                }
                self.acknowledged.push(acknowledged);
            }
            Err(Refusal::Conflict { index, id, at }) => {
                let wish = sent.wishes.get(*index).copied().ok_or_else(|| format!("request {ticket}: no event {index}"))?;
                if self.wishes[wish].id != *id {
                    return Err(format!("request {ticket}: event {index} is not {id}"));
                }
                if at != "this request" {
                    if tol_kafka::EventLog::health(log).ready {
                        self.check_conflict(wish, at, log)?;
                    }
                    self.refused += 1;
                    self.wishes[wish].settled = Some(Settled::Refused);
                } else if !sent.wishes.iter().any(|other| self.wishes[*other].id == *id && self.wishes[*other].version != self.wishes[wish].version) {
                    return Err(format!("request {ticket}: {id} does not contradict itself"));
                }
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// E7: what a refusal rests on is committed.
    fn check_conflict(&self, wish: usize, at: &str, log: &MemoryLog) -> Result<(), String> {
        let wish = &self.wishes[wish];
        let facts = oracle::accepted(log, &home(&wish.subject, self.partitions))?;
        let found = facts.iter().flatten().find(|event| event.id == wish.id);
        match found {
            Some(event) if !wish.is_in(event) && at.ends_with(&format!("@{}", event.position)) => Ok(()),
            _ => Err(format!("{} was refused because of {at}, but the log says {found:?}", wish.id)),
        }
    }

    fn check_one(&self, acknowledged: &Acknowledged, log: &MemoryLog) -> Result<(), String> {
        let mut highest: BTreeMap<TopicPartition, Position> = BTreeMap::new();
        for wish in acknowledged.wishes.iter().map(|at| &self.wishes[*at]) {
            let home = home(&wish.subject, self.partitions);
            let facts = oracle::accepted(log, &home)?;
            let mut found = facts.iter().flatten().filter(|event| event.id == wish.id);
            let event = found.next().ok_or_else(|| format!("{} was acknowledged and is not in {home}", wish.id))?;
            if !wish.is_in(event) {
                return Err(format!("{} was acknowledged, but the log holds other content: {event:?}", wish.id));
            }
            let highest = highest.entry(home).or_default();
            *highest = (*highest).max(event.position);
        }
        if highest != acknowledged.positions {
            return Err(format!("{acknowledged:?} lies at {highest:?}"));
        }
        Ok(())
    }

    /// Everything acknowledged counts, where it was said to lie.
    pub(super) fn check_acknowledged(&self, log: &MemoryLog) -> Result<(), String> {
        self.acknowledged.iter().try_for_each(|acknowledged| self.check_one(acknowledged, log))
    }

    /// Every fact that counts was told by a client, once; everything acknowledged counts, where it was said to lie; of two that exclude each other one.
    pub(super) fn check(&self, log: &MemoryLog) -> Result<usize, String> {
        let mut facts: BTreeMap<String, usize> = BTreeMap::new();
        for topic in rules::FACTS_TOPICS.into_iter().chain(self.further.iter().copied()) {
            for partition in 0..self.partitions {
                let of = TopicPartition::new(topic, partition);
                let mut last_inbox: BTreeMap<String, u64> = BTreeMap::new();
                for event in oracle::accepted(log, &of)?.into_iter().flatten() {
                    let wish = self.wishes.iter().position(|wish| wish.id == event.id && wish.is_in(&event));
                    let wish = wish.ok_or_else(|| format!("{of}@{}: {} was never told", event.position, event.id))?;
                    if home(&event.subject, self.partitions) != of {
                        return Err(format!("{of}@{}: {} belongs elsewhere", event.position, event.subject));
                    }
                    if facts.insert(event.id.clone(), wish).is_some() {
                        return Err(format!("{of}@{}: {} is there twice", event.position, event.id));
                    }
                    if let Some((inbox, position)) = event.inbox.split_once('@') {
                        let position = position.parse().map_err(|_| format!("{}: inbox position {}", event.id, event.inbox))?;
                        if last_inbox.insert(inbox.to_owned(), position).is_some_and(|last| last >= position) {
                            return Err(format!("{of}@{}: inbox {} after {last_inbox:?}", event.position, event.inbox));
                        }
                    }
                }
            }
        }
        self.check_acknowledged(log)?;
        for (at, wish) in self.wishes.iter().enumerate() {
            let stored = facts.get(&wish.id) == Some(&at);
            match wish.settled {
                Some(Settled::Stored) if stored => {}
                Some(Settled::Refused) if !stored && facts.contains_key(&wish.id) => {}
                other => return Err(format!("{} version {} ended as {other:?}, stored: {stored}", wish.id, wish.version)),
            }
        }
        Ok(facts.len())
    }

    /// The wish that an inbox record is.
    pub(super) fn wish_of(&self, event: tol_events::EventView<'_>) -> Option<usize> {
        self.wishes.iter().position(|wish| wish.id == event.id() && wish.event().data == event.data())
    }
}
