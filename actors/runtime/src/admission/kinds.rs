//! [`Kinds`]: where the facts of each kind of subject lie, for good.
//!
//! The topic `kinds` (one partition, which any node may append to and which needs no owner) holds a record a kind: `tol.kind_placed.v1`
//! `{kind, topic}`. The first record of a kind counts; a node appends one, and reads it back, before it admits the first fact of that kind.
//! So nodes of different versions agree: a kind that an older version met under `facts.other` stays there when a newer one declares it, and
//! an older version follows a newer one to a topic that it never heard of. Topics of facts are made when the first kind of theirs is placed.
//!
//! A log that is older than the topic is surveyed once: the kinds met under `facts.other` are placed there, then `tol.kinds_surveyed.v1` says
//! that this was done. Kinds that nobody declared are placed one by one up to [`MOST_UNDECLARED`]; then a record of the kind `*` places all
//! others under `facts.other`, so that senders that make up kinds cannot fill the node's memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::time::Duration;

use tol_events::{Attribute, Event, EventView, kinds, reserved};
use tol_kafka::{Append, Error, EventLog, Position, Record, TopicPartition, TopicSpec};

/// The topic of the records.
pub const TOPIC: &str = "kinds";
/// Undeclared kinds that are placed one by one.
pub const MOST_UNDECLARED: usize = 4_096;

/// The kind of the record that places all kinds that have no record.
const ALL_OTHERS: &str = "*";
const READ_BYTES: usize = 1 << 20;
/// Records of one append.
const RECORDS: usize = 1_000;
/// How long an append of records is awaited.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the records say.
struct Placed {
    topics: HashMap<Box<str>, Arc<str>>,
    /// Kinds in [`OTHER`](kinds::OTHER).
    in_other: usize,
    /// Whether kinds without a record lie in [`OTHER`](kinds::OTHER).
    all_others: bool,
    surveyed: bool,
    other: Arc<str>,
}

impl Placed {
    fn topic_of(&self, subject: &str) -> Option<Arc<str>> {
        let Some(kind) = kinds::kind_of(subject) else { return Some(self.other.clone()) };
        self.of_kind(kind).cloned()
    }

    fn of_kind(&self, kind: &str) -> Option<&Arc<str>> {
        self.topics.get(kind).or(self.all_others.then_some(&self.other))
    }

    /// Takes a record; the topic of a kind that it placed.
    fn fold(&mut self, event: &EventView<'_>) -> Result<Option<Arc<str>>, Error> {
        match event.event_type() {
            reserved::KINDS_SURVEYED => self.surveyed = true,
            reserved::KIND_PLACED => {
                let record: reserved::KindPlaced = event.data_as().map_err(|error| Error::Corrupt(format!("{TOPIC}/0: {}: {error}", event.id())))?;
                if !record.topic.starts_with("facts.") {
                    return Err(Error::Corrupt(format!("{TOPIC}/0: {} places {} in {}, which is no topic of facts", event.id(), record.kind, record.topic)));
                }
                if record.kind == ALL_OTHERS {
                    self.all_others = true;
                } else if self.of_kind(&record.kind).is_none() {
                    let topic: Arc<str> = if record.topic == kinds::OTHER { self.other.clone() } else { record.topic.into() };
                    self.in_other += usize::from(*topic == *self.other);
                    self.topics.insert(record.kind.into(), topic.clone());
                    return Ok(Some(topic));
                }
            }
            // A later version may say more.
            _ => {}
        }
        Ok(None)
    }
}

/// Told of each topic that a kind was placed in, before a fact goes there.
type Told = Box<dyn Fn(Arc<str>) + Send + Sync>;

/// One node's end of the topic `kinds`.
pub struct Kinds {
    log: Arc<dyn EventLog>,
    /// Of each topic of facts.
    partitions: u32,
    source: String,
    placed: RwLock<Placed>,
    /// The next record to be read. Held while records are appended and read: one thread at a time places kinds.
    next: Mutex<Position>,
    told: OnceLock<Told>,
}

impl Kinds {
    /// Makes the topic if need be, reads it to its end, and surveys a log that is older than it.
    ///
    /// # Errors
    /// The log is unavailable, or a record does not read.
    pub fn open(log: Arc<dyn EventLog>, partitions: u32, node: &str) -> Result<Self, Error> {
        log.ensure_topics(&[spec(TOPIC, 1), spec(kinds::OTHER, partitions)])?;
        let placed = Placed { topics: HashMap::new(), in_other: 0, all_others: false, surveyed: false, other: kinds::OTHER.into() };
        let source = format!("/nodes/{node}");
        let opened = Self { log, partitions, source, placed: RwLock::new(placed), next: Mutex::default(), told: OnceLock::new() };
        {
            let mut next = opened.next.lock().unwrap_or_else(PoisonError::into_inner);
            opened.read_to_end(&mut next)?;
            if !opened.placed().surveyed {
                opened.survey(&mut next)?;
            }
        }
        Ok(opened)
    }

    /// Calls `told` with each topic of facts that there is now, and with each new one, so that its gates are opened.
    pub fn watch(&self, told: impl Fn(Arc<str>) + Send + Sync + 'static) {
        // A kind that is placed meanwhile waits, so no topic is missed.
        let _next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in self.topics() {
            told(topic);
        }
        let _ = self.told.set(Box::new(told));
    }

    /// The topics of facts there are.
    pub fn topics(&self) -> BTreeSet<Arc<str>> {
        let placed = self.placed();
        placed.topics.values().cloned().chain([placed.other.clone()]).collect()
    }

    /// Where a subject's facts lie. `None` for a kind that was never met: it is to be [placed](Kinds::place) first.
    pub fn topic_of(&self, subject: &str) -> Option<Arc<str>> {
        self.placed().topic_of(subject)
    }

    /// Where each of these subjects' facts lie; `None` where one is of a kind that was never met.
    pub fn topics_of<'a>(&self, subjects: impl Iterator<Item = &'a str>) -> Option<Vec<Arc<str>>> {
        let placed = self.placed();
        subjects.map(|subject| placed.topic_of(subject)).collect()
    }

    /// Whether a kind that is declared for `topic` lies under `facts.other`, because it was met before it was declared.
    pub fn is_split(&self, topic: &str) -> bool {
        let placed = self.placed();
        kinds::kinds_of(topic).iter().any(|kind| placed.of_kind(kind).is_some_and(|of_kind| *of_kind == placed.other))
    }

    /// Places those of these kinds that have no place, by their declaration, and makes their topics. Blocking.
    ///
    /// # Errors
    /// The log is unavailable: the kinds may have a place or none.
    pub fn place<'a>(&self, wanted: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        let wanted: BTreeSet<&str> = wanted.into_iter().collect();
        let missing = |kinds: &Self| -> Vec<&str> {
            let placed = kinds.placed();
            wanted.iter().copied().filter(|kind| placed.of_kind(kind).is_none()).collect()
        };
        if missing(self).is_empty() {
            return Ok(());
        }
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        self.read_to_end(&mut next)?;
        let missing = missing(self);
        let places: Vec<(&str, &str)> = missing.iter().map(|kind| (*kind, kinds::declared_topic(kind))).collect();
        let topics: BTreeSet<&str> = places.iter().map(|(_, topic)| *topic).collect();
        let specs: Vec<TopicSpec> = topics.into_iter().map(|topic| spec(topic, self.partitions)).collect();
        if !specs.is_empty() {
            self.log.ensure_topics(&specs)?;
        }
        self.record(&places, &mut next)
    }

    /// Places the kinds found under `facts.other`.
    fn survey(&self, next: &mut Position) -> Result<(), Error> {
        let mut found: BTreeSet<Box<str>> = BTreeSet::new();
        for partition in 0..self.partitions {
            let of = TopicPartition::new(kinds::OTHER, partition);
            let mut position = self.log.bounds(&of)?.earliest;
            loop {
                let batches = self.log.read(&of, position, READ_BYTES)?;
                let Some(last) = batches.last() else { break };
                position = last.end();
                let subjects = batches.iter().flat_map(|batch| batch.events_from(0)).map(|(_, event)| event);
                for kind in subjects.filter_map(|event| kinds::kind_of(event.subject())) {
                    if found.len() <= MOST_UNDECLARED && !found.contains(kind) {
                        found.insert(kind.into());
                    }
                }
            }
        }
        let places: Vec<(&str, &str)> = found.iter().map(|kind| (&**kind, kinds::OTHER)).collect();
        self.record(&places, next)?;
        self.append(vec![self.event(reserved::KINDS_SURVEYED, "kind/*", &serde_json::json!({}))?])?;
        self.read_to_end(next)
    }

    /// Appends where kinds lie, and reads what holds.
    fn record(&self, places: &[(&str, &str)], next: &mut Position) -> Result<(), Error> {
        for places in places.chunks(RECORDS) {
            let in_other = places.iter().filter(|(_, topic)| *topic == kinds::OTHER).count();
            let full = self.placed().in_other + in_other > MOST_UNDECLARED;
            let all_others = full.then_some((ALL_OTHERS, kinds::OTHER));
            let placing = places.iter().copied().filter(|(_, topic)| !full || *topic != kinds::OTHER).chain(all_others);
            let record = |(kind, topic): (&str, &str)| {
                let placed = reserved::KindPlaced { kind: kind.to_owned(), topic: topic.to_owned() };
                self.event(reserved::KIND_PLACED, &format!("kind/{kind}"), &placed)
            };
            self.append(placing.map(record).collect::<Result<_, _>>()?)?;
            self.read_to_end(next)?;
        }
        // What was acknowledged can be read; a log for which that does not hold is to be asked again.
        let placed = self.placed();
        let unread = places.iter().find(|(kind, _)| placed.of_kind(kind).is_none());
        unread.map_or(Ok(()), |(kind, _)| Err(Error::Unavailable(format!("the record that places {kind} cannot be read back yet"))))
    }

    fn event(&self, event_type: &str, subject: &str, data: &impl serde::Serialize) -> Result<Record, Error> {
        let event = Event::new(uuid::Uuid::new_v4().to_string(), &*self.source, event_type, subject).at(chrono::Utc::now().into());
        let mut event = event.with_data(data).map_err(|error| Error::Invalid(error.to_string()))?;
        event.set(Attribute::RecordedTime, event.get(Attribute::Time).to_owned());
        Ok(Record::from_event(&event))
    }

    fn append(&self, records: Vec<Record>) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let (sender, appended) = mpsc::sync_channel(1);
        let append = Append { to: TopicPartition::new(TOPIC, 0), expected: None, records };
        self.log.append(vec![append], Box::new(move |answer| drop(sender.try_send(answer.map(drop)))));
        appended.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(Error::Unavailable(format!("{TOPIC}/0 did not confirm in time"))))
    }

    fn read_to_end(&self, next: &mut Position) -> Result<(), Error> {
        let of = TopicPartition::new(TOPIC, 0);
        loop {
            let batches = self.log.read(&of, *next, READ_BYTES)?;
            if batches.is_empty() {
                return Ok(());
            }
            for batch in batches {
                for (position, event) in batch.events_from(*next) {
                    let placed = self.placed.write().unwrap_or_else(PoisonError::into_inner).fold(&event)?;
                    if let (Some(topic), Some(told)) = (placed, self.told.get()) {
                        told(topic);
                    }
                    *next = position + 1;
                }
                *next = (*next).max(batch.end());
            }
        }
    }

    fn placed(&self) -> RwLockReadGuard<'_, Placed> {
        self.placed.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec { name: name.to_owned(), partitions, retention: None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "kinds_tests.rs"]
mod tests;
