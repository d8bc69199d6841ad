//! Records of Kafka's `inbox` that admission refused. Each is written to the hub's dead-letter topic, and so is what an operator does about it. The fold
//! of that topic is a cache in the store: it says which records still wait.
//!
//! Whoever redrives a record admits it and then writes that it is done. A crash in between leaves it waiting; the next redrive finds a duplicate, so
//! no order of crashes stores it twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use tol_events::{Attribute, Event, EventTime, EventView, binding, id, registry};
use tol_kafka::{Append, EventLog, Position, Record, RecordRef, TopicPartition};
use tol_runtime::store::{Change, Store, Table};

use super::metric_definitions;

/// The system that admits, and in whose dead letters refused records stand.
pub(crate) const HUB: &str = "tree-of-life-system";
const TOPIC: &str = "tree-of-life-system.dead-letters";
const REFUSED: &str = "tree.inbox_record_refused.v1";
const REDRIVEN: &str = "tree.inbox_record_redriven.v1";
const DISCARDED: &str = "tree.inbox_record_discarded.v1";

const READ_BYTES: usize = 1 << 20;
/// Rows read at a time.
const CHUNK: usize = 500;
/// Larger values are not copied: a copy with its escapes must fit into a record of Kafka's usual limit, 1 MB.
const COPIED_BYTES: usize = 128 << 10;

/// Why a refused record cannot be handled now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The log is away.
    #[error(transparent)]
    Log(#[from] tol_kafka::Error),
    /// The store is away.
    #[error(transparent)]
    Store(#[from] tol_runtime::store::Error),
    /// What was stored does not read.
    #[error("a refused record does not read: {0}")]
    Json(#[from] serde_json::Error),
    /// The log was closed before it answered.
    #[error("the log was closed")]
    Closed,
}

/// Data of [`REFUSED`].
#[derive(Debug, Default, Serialize, Deserialize)]
struct Said {
    error: String,
    /// `inbox/<partition>@<position>`
    at: String,
    headers: BTreeMap<String, String>,
    /// The value where it is text. Neither this nor `value_base64` where it may be personal or is large: it can be read in `inbox` until it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// Of the event, as far as it could be read.
    #[serde(default, rename = "type")]
    event_type: String,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    event_id: String,
}

/// Data of [`REDRIVEN`] and [`DISCARDED`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// The dead letter.
    id: String,
    /// Who asked for it.
    by: String,
    /// Why.
    #[serde(default)]
    reason: String,
    /// Whether another event than the record's own was admitted.
    #[serde(default)]
    mended: bool,
    /// Source and id of the event that was admitted.
    #[serde(default)]
    event: Option<(String, String)>,
}

/// A refused record that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Where it lies in `inbox`.
    pub(crate) partition: u32,
    pub(crate) position: Position,
    /// Where its dead letter lies.
    letter: (u32, Position),
    pub(crate) error: String,
    pub(crate) event_type: String,
    pub(crate) subject: String,
    pub(crate) event_id: String,
    pub(crate) refused_at: Option<EventTime>,
}

impl Row {
    /// Names it to operators.
    pub(crate) fn id(&self) -> String {
        format!("inbox-{}-{}", self.partition, self.position)
    }
}

/// A record as a publisher wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) headers: BTreeMap<String, String>,
    /// `None` where it was not copied and has expired in `inbox`.
    pub(crate) value: Option<Vec<u8>>,
}

/// The refused records of one log.
pub(crate) struct Refusals {
    log: Arc<dyn EventLog>,
    store: Arc<dyn Store>,
    partitions: u32,
    /// Whether this log has an `inbox`.
    enabled: bool,
    folding: Mutex<()>,
    counted: AtomicBool,
    count: AtomicU64,
}

impl Refusals {
    pub(crate) fn new(log: Arc<dyn EventLog>, store: Arc<dyn Store>, partitions: u32, enabled: bool) -> Self {
        Self { log, store, partitions, enabled, folding: Mutex::default(), counted: AtomicBool::new(false), count: AtomicU64::new(0) }
    }

    fn prefix(&self) -> Vec<u8> {
        format!("refused\u{0}{}\u{0}", self.log.identity()).into_bytes()
    }

    fn key(&self, partition: u32, position: Position) -> Vec<u8> {
        [&*self.prefix(), &partition.to_be_bytes(), &position.to_be_bytes()].concat()
    }

    fn cursor_key(&self, partition: u32) -> Vec<u8> {
        format!("refused-cursor\u{0}{}\u{0}{partition}", self.log.identity()).into_bytes()
    }

    /// Writes to the hub's dead letters that a record was refused. Blocking, until it is durable.
    pub(crate) fn record(&self, record: &RecordRef<'_>, partition: u32, problem: &str) -> Result<(), Error> {
        let said = said(record, partition, problem);
        let event_id = id::of_inbox_position(&self.log.identity(), partition, record.position).to_string();
        let event = Event::new(event_id, format!("/systems/{HUB}"), REFUSED, format!("inbox/{partition}"));
        self.write(partition, event.with_data(&said)?)?;
        metric_definitions::inbox_refused().increment(1);
        tracing::warn!(partition, position = record.position, problem, "an inbox record was refused");
        Ok(())
    }

    /// Writes that a record was admitted after all. Blocking.
    pub(crate) fn redriven(&self, row: &Row, by: &str, reason: &str, mended: bool, event: (String, String)) -> Result<(), Error> {
        self.settle(REDRIVEN, row, Settled { id: row.id(), by: by.to_owned(), reason: reason.to_owned(), mended, event: Some(event) })
    }

    /// Writes that a record was given up. Blocking.
    pub(crate) fn discarded(&self, row: &Row, by: &str, reason: &str) -> Result<(), Error> {
        self.settle(DISCARDED, row, Settled { id: row.id(), by: by.to_owned(), reason: reason.to_owned(), ..Settled::default() })
    }

    fn settle(&self, event_type: &str, row: &Row, settled: Settled) -> Result<(), Error> {
        let event = Event::new(uuid::Uuid::new_v4().to_string(), format!("/systems/{HUB}"), event_type, format!("inbox/{}", row.partition));
        self.write(row.partition, event.with_data(&settled)?)?;
        self.catch_up()
    }

    fn write(&self, partition: u32, mut event: Event) -> Result<(), Error> {
        event.set(Attribute::Time, EventTime::from(chrono::Utc::now()).to_string());
        let to = TopicPartition::new(TOPIC, partition % self.partitions);
        let (sender, answer) = mpsc::sync_channel(1);
        self.log.append(
            vec![Append { to, expected: None, records: vec![Record::from_event(&event)] }],
            Box::new(move |appended| {
                let _ = sender.send(appended.map(drop));
            }),
        );
        Ok(answer.recv().map_err(|_| Error::Closed)??)
    }

    /// Folds what the topic has got since. Blocking.
    pub(crate) fn catch_up(&self) -> Result<(), Error> {
        if !self.enabled {
            return Ok(());
        }
        let _turn = self.folding.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = false;
        for partition in 0..self.partitions {
            changed |= self.fold(partition)?;
        }
        if changed || !self.counted.load(Ordering::Acquire) {
            let mut count = 0;
            self.each(None, |_| {
                count += 1;
                true
            })?;
            self.count.store(count, Ordering::Release);
            self.counted.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn fold(&self, partition: u32) -> Result<bool, Error> {
        let letters = TopicPartition::new(TOPIC, partition);
        let stored = self.store.get(Table::Meta, &self.cursor_key(partition))?;
        let mut next = stored.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes);
        let mut changed = false;
        while next < self.log.known_end(&letters)? {
            let batches = self.log.read(&letters, next, READ_BYTES)?;
            let Some(last) = batches.last() else { break };
            let mut changes = Vec::new();
            for batch in &batches {
                for (position, event) in batch.events_from(next) {
                    changes.extend(self.change(&event, (partition, position))?);
                }
            }
            next = last.end();
            changes.push(Change::Put(Table::Meta, self.cursor_key(partition), next.to_be_bytes().to_vec()));
            self.store.write(changes, None)?;
            changed = true;
        }
        Ok(changed)
    }

    /// What one record of the topic changes. The topic also has copies of the hub's own parked inputs, which change nothing here.
    fn change(&self, event: &EventView<'_>, letter: (u32, Position)) -> Result<Option<Change>, Error> {
        match event.event_type() {
            REFUSED => {
                let said: Said = event.data_as()?;
                let Some((partition, position)) = place(&said.at) else { return Ok(None) };
                let Said { error, event_type, subject, event_id, .. } = said;
                let row = Row { partition, position, letter, error, event_type, subject, event_id, refused_at: event.time() };
                Ok(Some(Change::Put(Table::Meta, self.key(partition, position), serde_json::to_vec(&row)?)))
            }
            REDRIVEN | DISCARDED => {
                let settled: Settled = event.data_as()?;
                Ok(parse_id(&settled.id).map(|(partition, position)| Change::Delete(Table::Meta, self.key(partition, position))))
            }
            _ => Ok(None),
        }
    }

    /// Calls `take` with each record that waits, behind `after`, by partition and position, until it says no. Blocking.
    pub(crate) fn each(&self, after: Option<&str>, mut take: impl FnMut(Row) -> bool) -> Result<(), Error> {
        let prefix = self.prefix();
        let mut after = after.and_then(parse_id).map(|(partition, position)| self.key(partition, position));
        loop {
            let rows = self.store.scan(Table::Meta, &prefix, after.as_deref(), CHUNK)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(last.clone());
            for (_, row) in rows {
                if !take(serde_json::from_slice(&row)?) {
                    return Ok(());
                }
            }
        }
    }

    /// The record of that id, if it waits. Blocking.
    pub(crate) fn find(&self, id: &str) -> Result<Option<Row>, Error> {
        let Some((partition, position)) = parse_id(id) else { return Ok(None) };
        self.catch_up()?;
        let row = self.store.get(Table::Meta, &self.key(partition, position))?;
        Ok(row.map(|row| serde_json::from_slice(&row)).transpose()?)
    }

    /// The record itself: from its dead letter, else from `inbox`. Blocking.
    pub(crate) fn raw(&self, row: &Row) -> Result<Raw, Error> {
        let letters = TopicPartition::new(TOPIC, row.letter.0);
        let batches = self.log.read(&letters, row.letter.1, 1)?;
        let mut events = batches.iter().flat_map(|batch| batch.events_from(row.letter.1));
        let said: Said = events.next().filter(|(position, _)| *position == row.letter.1).map(|(_, event)| event.data_as()).transpose()?.unwrap_or_default();
        if let Some(text) = said.value {
            return Ok(Raw { headers: said.headers, value: Some(text.into_bytes()) });
        }
        if let Some(bytes) = said.value_base64.and_then(|text| BASE64.decode(text).ok()) {
            return Ok(Raw { headers: said.headers, value: Some(bytes) });
        }
        let inbox = TopicPartition::new("inbox", row.partition);
        let value = match self.log.read(&inbox, row.position, 1) {
            Ok(batches) => {
                let mut found = None;
                for batch in &batches {
                    found = found.or(batch.records()?.into_iter().find(|record| record.position == row.position).map(|record| record.value.to_vec()));
                }
                found
            }
            Err(tol_kafka::Error::OutOfRange { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Raw { headers: said.headers, value })
    }

    /// The event that a record is, or why it is none. Events without an id get that of their place in `inbox`.
    pub(crate) fn decode(&self, row: &Row, raw: &Raw) -> Result<Event, String> {
        let Some(value) = &raw.value else { return Err("its value was not copied, since it is large or may be personal, and has expired in inbox".to_owned()) };
        let default_id = || id::of_inbox_position(&self.log.identity(), row.partition, row.position).to_string();
        let headers = raw.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        binding::kafka::decode(headers, value, Some(&default_id)).map_err(|error| error.to_string())
    }

    /// How many records wait, as it was last folded.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}

/// Partition and position of `inbox/3@17`.
fn place(at: &str) -> Option<(u32, Position)> {
    let (partition, position) = at.strip_prefix("inbox/")?.split_once('@')?;
    Some((partition.parse().ok()?, position.parse().ok()?))
}

/// Partition and position of `inbox-3-17`.
fn parse_id(id: &str) -> Option<(u32, Position)> {
    let (partition, position) = id.strip_prefix("inbox-")?.split_once('-')?;
    Some((partition.parse().ok()?, position.parse().ok()?))
}

/// Whether an id names a refused record.
pub(crate) fn is_refused_id(id: &str) -> bool {
    parse_id(id).is_some()
}

/// Whether a record names a type that holds personal data. Dead letters are kept for ever and are not sealed: of such a record they say where it
/// lies, and it can be read in `inbox` until it expires.
fn may_be_personal(record: &RecordRef<'_>) -> bool {
    let names = |bytes: &[u8], name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    let personal = registry::all().iter().filter(|known| !known.personal.is_empty());
    // Of any version, also one that this node does not know.
    personal.map(|known| known.name).any(|name| names(record.value, name) || record.headers.iter().any(|(_, value)| names(value, name)))
}

fn said(record: &RecordRef<'_>, partition: u32, problem: &str) -> Said {
    let headers: BTreeMap<String, String> =
        record.headers.iter().map(|(name, value)| ((*name).to_owned(), String::from_utf8_lossy(value).into_owned())).collect();
    let parsed: serde_json::Value = serde_json::from_slice(record.value).unwrap_or_default();
    let attribute = |name: &str| headers.get(&format!("ce_{name}")).cloned().or_else(|| parsed[name].as_str().map(str::to_owned)).unwrap_or_default();
    let (event_type, subject, event_id) = (attribute("type"), attribute("subject"), attribute("id"));
    let copied = !may_be_personal(record) && record.value.len() <= COPIED_BYTES;
    let text = copied.then(|| std::str::from_utf8(record.value));
    Said {
        error: problem.to_owned(),
        at: format!("inbox/{partition}@{}", record.position),
        value: text.and_then(Result::ok).map(str::to_owned),
        value_base64: text.and_then(Result::err).map(|_| BASE64.encode(record.value)),
        headers,
        event_type,
        subject,
        event_id,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tol_kafka::{Faults, MemoryLog, TopicSpec};
    use tol_runtime::store::MemoryStore;

    fn record<'a>(position: Position, headers: Vec<(&'a str, &'a [u8])>, value: &'a [u8]) -> RecordRef<'a> {
        RecordRef { position, key: None, headers, value }
    }

    fn refusals() -> (Refusals, Arc<dyn EventLog>) {
        let log = MemoryLog::new(1, Faults { auto: true, ..Faults::default() });
        let topic = |name: &str| TopicSpec { name: name.to_owned(), partitions: 2, retention: None };
        log.ensure_topics(&[topic(TOPIC), topic("inbox")]).unwrap();
        let log = log.client("a");
        (Refusals::new(log.clone(), Arc::new(MemoryStore::default()), 2, true), log)
    }

    fn waiting(refusals: &Refusals, after: Option<&str>) -> Vec<String> {
        refusals.catch_up().unwrap();
        let mut ids = Vec::new();
        refusals
            .each(after, |row| {
                ids.push(row.id());
                true
            })
            .unwrap();
        ids
    }

    #[test]
    fn refused_records_wait_until_they_are_redriven_or_discarded() {
        let (refusals, log) = refusals();
        let structured = br#"{"specversion":"1.0","type":"shop.thing_done.v1","source":"/shop","subject":"customer/7","id":"t1"}"#;
        refusals.record(&record(4, vec![("content-type", b"application/cloudevents+json")], structured), 1, "no good").unwrap();
        refusals.record(&record(9, vec![("ce_type", b"commerce.order_placed.v1"), ("ce_id", b"o9")], b"\xff{"), 0, "not JSON").unwrap();
        refusals.record(&record(11, vec![], b"{}"), 0, "no event").unwrap();
        assert_eq!(waiting(&refusals, None), ["inbox-0-9", "inbox-0-11", "inbox-1-4"]);
        assert_eq!(waiting(&refusals, Some("inbox-0-9")), ["inbox-0-11", "inbox-1-4"]);
        assert_eq!(refusals.count(), 3);

        let row = refusals.find("inbox-1-4").unwrap().unwrap();
        assert_eq!(
            (row.error.as_str(), row.event_type.as_str(), row.subject.as_str(), row.event_id.as_str()),
            ("no good", "shop.thing_done.v1", "customer/7", "t1")
        );
        let raw = refusals.raw(&row).unwrap();
        assert_eq!(raw.value.as_deref(), Some(&structured[..]));
        assert_eq!(refusals.decode(&row, &raw).unwrap().get(Attribute::Id), "t1");
        let binary = refusals.find("inbox-0-9").unwrap().unwrap();
        assert_eq!(refusals.raw(&binary).unwrap().value.as_deref(), Some(&b"\xff{"[..]), "bytes that are no text are kept");

        refusals.redriven(&row, "ann", "mended", true, ("/shop".into(), "t1".into())).unwrap();
        refusals.discarded(&binary, "ann", "test data").unwrap();
        assert_eq!((waiting(&refusals, None), refusals.count()), (vec!["inbox-0-11".to_owned()], 1));
        assert_eq!(refusals.find("inbox-1-4").unwrap(), None);
        // Another node, or one whose store is gone, folds the same.
        let other = Refusals::new(log, Arc::new(MemoryStore::default()), 2, true);
        assert_eq!(waiting(&other, None), ["inbox-0-11"]);
    }

    #[test]
    fn what_may_be_personal_or_is_large_is_read_from_the_inbox_while_it_is_there() {
        let (refusals, log) = refusals();
        let personal = br#"{"name":"Ada"}"#;
        let large = vec![b'x'; COPIED_BYTES + 1];
        let (sender, appended) = mpsc::sync_channel(1);
        let append = |value: &[u8]| {
            let mut record = Record::default();
            record.value(value);
            record
        };
        log.append(
            vec![Append { to: TopicPartition::new("inbox", 0), expected: None, records: vec![append(personal), append(&large)] }],
            Box::new(move |answer| drop(sender.send(answer.map(drop)))),
        );
        appended.recv().unwrap().unwrap();
        let headers = || vec![("ce_type", &b"commerce.customer_registered.v9"[..])];
        refusals.record(&record(0, headers(), personal), 0, "unknown version").unwrap();
        refusals.record(&record(1, vec![], &large), 0, "no event").unwrap();
        refusals.record(&record(7, headers(), personal), 0, "unknown version").unwrap();
        let raw = |id: &str| refusals.raw(&refusals.find(id).unwrap().unwrap()).unwrap().value;
        assert_eq!((raw("inbox-0-0").as_deref(), raw("inbox-0-1").as_deref(), raw("inbox-0-7")), (Some(&personal[..]), Some(&*large), None));
        let batches = log.read(&TopicPartition::new(TOPIC, 0), 0, usize::MAX).unwrap();
        let copies: Vec<String> =
            batches.iter().flat_map(|batch| batch.events_from(0)).map(|(_, event)| String::from_utf8_lossy(event.data()).into_owned()).collect();
        assert!(copies.len() == 3 && copies.iter().all(|copy| !copy.contains("Ada") && copy.len() < 1_000), "{copies:?}");
    }

    #[test]
    fn refused_records_of_personal_types_are_not_copied() {
        let binary = record(0, vec![("ce_type", b"commerce.customer_registered.v9")], br#"{"name":"Ada"}"#);
        let structured = record(0, vec![], br#"{"type":"commerce.customer_registered.v1","data":{"name":"Ada"#);
        let other = record(0, vec![("ce_type", b"commerce.order_placed.v1")], b"{");
        assert_eq!([binary, structured, other].map(|record| may_be_personal(&record)), [true, true, false]);
    }
}
