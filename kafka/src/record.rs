//! [`Record`], one record for writing, and [`Batch`], many records in one buffer for reading.
//!
//! A batch's body is the same in memory, on the embedded log's disk (there compressed) and in the caches:
//!
//! ```text
//! body    := 0x00 names constants record*
//! names   := count (len bytes)*            header names that are not CloudEvents attributes
//! consts  := count (name len bytes)*       headers with one value in all records
//! record  := key_len+1 key  count (name len bytes)*  value_len value
//! ```
//! Numbers are LEB128. Header name numbers below [`Attribute::COUNT`] are attributes, others index `names`.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use smallvec::SmallVec;
use tol_events::{Attribute, Event, EventMeta, EventView, Span};

use crate::log::{Error, Position, TopicPartition};

/// A header's name: a CloudEvents attribute, or any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderName {
    /// Written as its Kafka header (`content-type` for the data's media type).
    Attribute(Attribute),
    /// As given.
    Other(Arc<str>),
}

impl HeaderName {
    /// The name as a Kafka header.
    pub fn as_str(&self) -> &str {
        match self {
            HeaderName::Attribute(Attribute::DataContentType) => "content-type",
            HeaderName::Attribute(attribute) => attribute.header(),
            HeaderName::Other(name) => name,
        }
    }
}

/// One record to be written: key, headers and value in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    buffer: Vec<u8>,
    key: Option<Span>,
    headers: SmallVec<[(HeaderName, Span); 14]>,
    value: Span,
}

impl Record {
    /// An empty record; `capacity` bytes are reserved.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { buffer: Vec::with_capacity(capacity), ..Self::default() }
    }

    /// An event in binary mode, with its partition key (the subject, or `partitionkey`) as the record's key.
    pub fn from_event(event: &Event) -> Self {
        let mut record = Self::with_capacity(event.data.len() + 512);
        let key = event.attributes.get(&Attribute::PartitionKey).or_else(|| event.attributes.get(&Attribute::Subject));
        if let Some(key) = key {
            record.key(key.as_bytes());
        }
        record.attribute(Attribute::SpecVersion, "1.0");
        for (attribute, value) in &event.attributes {
            if *attribute != Attribute::SpecVersion {
                record.attribute(*attribute, value);
            }
        }
        if !event.attributes.contains_key(&Attribute::DataContentType) && !event.data.is_empty() {
            record.attribute(Attribute::DataContentType, "application/json");
        }
        for (name, value) in &event.extensions {
            record.header(&format!("ce_{name}"), value.as_bytes());
        }
        record.value(&event.data);
        record
    }

    /// A copy into which `more` bytes fit without the buffer growing.
    pub fn copy_with_room(&self, more: usize) -> Self {
        let mut buffer = Vec::with_capacity(self.buffer.len() + more);
        buffer.extend_from_slice(&self.buffer);
        Self { buffer, key: self.key, headers: self.headers.clone(), value: self.value }
    }

    fn repeats_a_header(&self) -> bool {
        let mut attributes = 0u32;
        self.headers.iter().enumerate().any(|(place, (name, _))| match name {
            HeaderName::Attribute(attribute) => {
                let bit = 1 << (*attribute as u32);
                let seen = attributes & bit != 0;
                attributes |= bit;
                seen
            }
            HeaderName::Other(_) => self.headers.iter().take(place).any(|(earlier, _)| earlier == name),
        })
    }

    fn put(&mut self, bytes: &[u8]) -> Span {
        let span = Span { start: self.buffer.len() as u32, len: bytes.len() as u32 };
        self.buffer.extend_from_slice(bytes);
        span
    }

    /// Sets the key.
    pub fn key(&mut self, key: &[u8]) -> &mut Self {
        self.key = Some(self.put(key));
        self
    }

    /// Adds an attribute.
    pub fn attribute(&mut self, attribute: Attribute, value: &str) -> &mut Self {
        let span = self.put(value.as_bytes());
        self.headers.push((HeaderName::Attribute(attribute), span));
        self
    }

    /// Adds a header by its Kafka name.
    pub fn header(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let name = Attribute::from_header(name).map_or_else(|| HeaderName::Other(name.into()), HeaderName::Attribute);
        let span = self.put(value);
        self.headers.push((name, span));
        self
    }

    /// Sets the value.
    pub fn value(&mut self, value: &[u8]) -> &mut Self {
        self.value = self.put(value);
        self
    }

    /// The key, if any.
    pub fn key_bytes(&self) -> Option<&[u8]> {
        self.key.map(|span| span.of(&self.buffer))
    }

    /// The headers in order.
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderName, &[u8])> {
        self.headers.iter().map(|(name, span)| (name, span.of(&self.buffer)))
    }

    /// The value.
    pub fn value_bytes(&self) -> &[u8] {
        self.value.of(&self.buffer)
    }

    /// Bytes of key, headers' values and value.
    pub fn size(&self) -> usize {
        self.buffer.len()
    }
}

/// One record of a batch, borrowed.
#[derive(Clone, Debug)]
pub struct RecordRef<'a> {
    /// Its position.
    pub position: Position,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// Headers: those constant in the batch first.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// The value.
    pub value: &'a [u8],
}

/// Consecutive records of one partition in one buffer. Decoded as events at most once, whoever asks first.
pub struct Batch {
    topic_partition: TopicPartition,
    base: Position,
    count: u32,
    appended_at_ms: i64,
    body: Bytes,
    events: OnceLock<Vec<EventMeta>>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}..{}", self.topic_partition, self.base, self.end())
    }
}

impl Batch {
    /// Encodes records into a body. `records` must not be empty for a useful batch.
    pub fn encode(records: &[Record]) -> Vec<u8> {
        let mut body = Vec::with_capacity(records.iter().map(Record::size).sum::<usize>() + records.len() * 16 + 16);
        body.push(0);
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in records.iter().flat_map(|record| record.headers.iter()) {
            if let HeaderName::Other(name) = name {
                let name: &str = name;
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        write_number(&mut body, names.len() as u64);
        for name in &names {
            write_bytes(&mut body, name.as_bytes());
        }
        let number_of = |name: &HeaderName| match name {
            HeaderName::Attribute(attribute) => *attribute as u64,
            HeaderName::Other(other) => (Attribute::COUNT + names.iter().position(|n| *n == &**other).unwrap_or_default()) as u64,
        };
        let constants: Vec<&(HeaderName, Span)> = match records {
            // A header that some record has twice cannot stand for the batch; so rare that none is then tried.
            [first, rest @ ..] if !rest.is_empty() && !records.iter().any(Record::repeats_a_header) => first
                .headers
                .iter()
                .enumerate()
                .filter(|(place, (name, span))| {
                    let value = span.of(&first.buffer);
                    rest.iter().all(|record| {
                        // Same place first: batches are nearly always uniform.
                        match record.headers.get(*place) {
                            Some((other, span)) if other == name => span.of(&record.buffer) == value,
                            _ => false,
                        }
                    })
                })
                .map(|(_, header)| header)
                .collect(),
            _ => Vec::new(),
        };
        write_number(&mut body, constants.len() as u64);
        for (name, span) in &constants {
            write_number(&mut body, number_of(name));
            write_bytes(&mut body, span.of(&records[0].buffer));
        }
        let is_constant = |name: &HeaderName| constants.iter().any(|(constant, _)| constant == name);
        for record in records {
            match record.key_bytes() {
                Some(key) => {
                    write_number(&mut body, key.len() as u64 + 1);
                    body.extend_from_slice(key);
                }
                None => body.push(0),
            }
            write_number(&mut body, record.headers.iter().filter(|(name, _)| !is_constant(name)).count() as u64);
            for (name, span) in record.headers.iter().filter(|(name, _)| !is_constant(name)) {
                write_number(&mut body, number_of(name));
                write_bytes(&mut body, span.of(&record.buffer));
            }
            write_bytes(&mut body, record.value_bytes());
        }
        body
    }

    /// A batch of `count` records from `base` on whose `body` was made by [`Batch::encode`].
    pub fn new(topic_partition: TopicPartition, base: Position, count: u32, appended_at_ms: i64, body: Bytes) -> Self {
        Self { topic_partition, base, count, appended_at_ms, body, events: OnceLock::new() }
    }

    /// As [`Batch::new`], with its events decoded already.
    pub(crate) fn decoded(topic_partition: TopicPartition, base: Position, appended_at_ms: i64, body: Bytes, events: Vec<EventMeta>) -> Self {
        let batch = Self::new(topic_partition, base, events.len() as u32, appended_at_ms, body);
        let _ = batch.events.set(events);
        batch
    }

    /// Encodes and wraps `records`.
    pub fn of_records(topic_partition: TopicPartition, base: Position, appended_at_ms: i64, records: &[Record]) -> Self {
        Self::new(topic_partition, base, records.len() as u32, appended_at_ms, Self::encode(records).into())
    }

    /// Where it lies.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// Position of its first record.
    pub fn base(&self) -> Position {
        self.base
    }

    /// Position after its last record.
    pub fn end(&self) -> Position {
        self.base + u64::from(self.count)
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When it was appended, milliseconds since the epoch by the log's clock.
    pub fn appended_at_ms(&self) -> i64 {
        self.appended_at_ms
    }

    /// The encoded records.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The event of record `index` (from 0); attributes that are missing or not UTF-8 read as absent.
    pub fn event(&self, index: usize) -> Option<EventView<'_>> {
        let events = self.events.get_or_init(|| self.decode_events());
        events.get(index).map(|meta| EventView::new(&self.body, meta))
    }

    /// The events with their positions, from `from` on.
    pub fn events_from(&self, from: Position) -> impl Iterator<Item = (Position, EventView<'_>)> {
        let skip = from.saturating_sub(self.base).min(u64::from(self.count)) as usize;
        let known = self.events.get_or_init(|| self.decode_events()).len();
        (skip..known).filter_map(move |index| Some((self.base + index as u64, self.event(index)?)))
    }

    fn decode_events(&self) -> Vec<EventMeta> {
        let mut events = Vec::with_capacity(self.plausible_count());
        let mut template = EventMeta::default();
        let Ok((names, constants, mut at)) = self.read_tables() else { return events };
        // `ce_` is not part of an extension's name; headers without it are not the event's.
        let names: Vec<Option<Span>> =
            names.into_iter().map(|name| name.of(&self.body).starts_with(b"ce_").then(|| Span { start: name.start + 3, len: name.len - 3 })).collect();
        for (number, span) in constants {
            set_header(&mut template, &names, number, span);
        }
        for _ in 0..self.count {
            let mut meta = template.clone();
            let mut step = || -> Option<()> {
                let key = read_number(&self.body, &mut at)?;
                at = at.checked_add(key.saturating_sub(1) as usize)?;
                for _ in 0..read_number(&self.body, &mut at)? {
                    let number = read_number(&self.body, &mut at)?;
                    let span = read_span(&self.body, &mut at)?;
                    set_header(&mut meta, &names, number, span);
                }
                meta.data = read_span(&self.body, &mut at)?;
                Some(())
            };
            if step().is_none() {
                return events;
            }
            events.push(meta);
        }
        events
    }

    /// The raw records, for tools and for what need not be an event (`inbox`).
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the body contradicts itself.
    pub fn records(&self) -> Result<Vec<RecordRef<'_>>, Error> {
        let corrupt = || Error::Corrupt(format!("batch {self:?} does not decode"));
        let (names, constants, mut at) = self.read_tables().map_err(|()| corrupt())?;
        let name_of = |number: u64| -> Option<&str> {
            match Attribute::ALL.get(number as usize) {
                Some(Attribute::DataContentType) => Some("content-type"),
                Some(attribute) => Some(attribute.header()),
                None => std::str::from_utf8(names.get(number as usize - Attribute::COUNT)?.of(&self.body)).ok(),
            }
        };
        let mut records = Vec::with_capacity(self.plausible_count());
        for index in 0..self.count {
            let mut step = || -> Option<RecordRef<'_>> {
                let mut headers = Vec::new();
                for (number, span) in &constants {
                    headers.push((name_of(*number)?, span.of(&self.body)));
                }
                let key = match read_number(&self.body, &mut at)? {
                    0 => None,
                    length => {
                        let end = at.checked_add(usize::try_from(length).ok()? - 1)?;
                        let key = self.body.get(at..end)?;
                        at = end;
                        Some(key)
                    }
                };
                for _ in 0..read_number(&self.body, &mut at)? {
                    let number = read_number(&self.body, &mut at)?;
                    headers.push((name_of(number)?, read_span(&self.body, &mut at)?.of(&self.body)));
                }
                let value = read_span(&self.body, &mut at)?.of(&self.body);
                Some(RecordRef { position: self.base + u64::from(index), key, headers, value })
            };
            records.push(step().ok_or_else(corrupt)?);
        }
        Ok(records)
    }

    /// How many records there can be at most: each takes three bytes, whatever the count says.
    fn plausible_count(&self) -> usize {
        self.len().min(self.body.len() / 3)
    }

    #[allow(clippy::type_complexity)]
    fn read_tables(&self) -> Result<(Vec<Span>, Vec<(u64, Span)>, usize), ()> {
        let mut at = 1;
        let mut read = || -> Option<(Vec<Span>, Vec<(u64, Span)>)> {
            let names = (0..read_number(&self.body, &mut at)?).map(|_| read_span(&self.body, &mut at)).collect::<Option<_>>()?;
            let constants = (0..read_number(&self.body, &mut at)?)
                .map(|_| Some((read_number(&self.body, &mut at)?, read_span(&self.body, &mut at)?)))
                .collect::<Option<_>>()?;
            Some((names, constants))
        };
        let (names, constants) = read().ok_or(())?;
        Ok((names, constants, at))
    }
}

pub(crate) fn set_header(meta: &mut EventMeta, extension_names: &[Option<Span>], number: u64, span: Span) {
    match meta.attributes.get_mut(number as usize) {
        Some(slot) => *slot = span,
        None => {
            if let Some(Some(name)) = extension_names.get(number as usize - Attribute::COUNT) {
                meta.extensions.push((*name, span));
            }
        }
    }
}

pub(crate) fn write_number(buffer: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buffer.push(number as u8 | 0x80);
        number >>= 7;
    }
    buffer.push(number as u8);
}

fn write_bytes(buffer: &mut Vec<u8>, bytes: &[u8]) {
    write_number(buffer, bytes.len() as u64);
    buffer.extend_from_slice(bytes);
}

fn read_number(buffer: &[u8], at: &mut usize) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *buffer.get(*at)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn read_span(buffer: &[u8], at: &mut usize) -> Option<Span> {
    let len = read_number(buffer, at)?;
    let span = Span { start: u32::try_from(*at).ok()?, len: u32::try_from(len).ok()? };
    *at = at.checked_add(len as usize)?;
    (*at <= buffer.len()).then_some(span)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(records: &[Record]) -> Batch {
        Batch::of_records(TopicPartition::new("t", 0), 7, 0, records)
    }

    proptest! {
        #[test]
        fn records_read_back_as_written(rows in proptest::collection::vec((proptest::option::of("[a-z]{0,5}"), proptest::collection::vec(("(ce_id|ce_type|x|yy|ce_color)", "[a-c]{0,2}"), 0..5), "[a-z]{0,9}"), 1..8)) {
            let records: Vec<Record> = rows.iter().map(|(key, headers, value)| {
                let mut record = Record::default();
                if let Some(key) = key { record.key(key.as_bytes()); }
                for (name, text) in headers { record.header(name, text.as_bytes()); }
                record.value(value.as_bytes());
                record
            }).collect();
            let batch = batch(&records);
            let read = batch.records().unwrap();
            prop_assert_eq!(read.len(), rows.len());
            for (index, ((key, headers, value), record)) in rows.iter().zip(&read).enumerate() {
                prop_assert_eq!(record.position, 7 + index as u64);
                prop_assert_eq!(record.key, key.as_ref().map(|k| k.as_bytes()));
                prop_assert_eq!(record.value, value.as_bytes());
                let mut expected: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
                let mut found = record.headers.clone();
                expected.sort();
                found.sort();
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn a_damaged_body_never_panics(mut body in proptest::collection::vec(any::<u8>(), 0..200), count in 0u32..20) {
            body.insert(0, 0);
            let batch = Batch::new(TopicPartition::new("t", 0), 0, count, 0, body.into());
            let _ = batch.records();
            for index in 0..20 { if let Some(event) = batch.event(index) { let _ = (event.id(), event.data(), event.extensions().count()); } }
        }
    }

    #[test]
    fn a_header_that_one_record_repeats_is_kept_twice() {
        let mut once = Record::default();
        once.header("x", b"");
        let mut twice = Record::default();
        twice.header("x", b"").header("x", b"");
        let batch = batch(&[once, twice]);
        let counts: Vec<usize> = batch.records().unwrap().iter().map(|record| record.headers.len()).collect();
        assert_eq!(counts, [1, 2]);
    }

    #[test]
    fn events_decode_with_constants_and_extensions() {
        let make = |id: &str| {
            let mut event = Event::new(id, "/shop", "a.b_c.v1", "customer/1");
            event.extensions.insert("color".into(), "green".into());
            event.data = b"{}".to_vec();
            event
        };
        let batch = batch(&[Record::from_event(&make("1")), Record::from_event(&make("2"))]);
        let events: Vec<_> = batch.events_from(8).collect();
        assert_eq!(events.len(), 1);
        let (position, view) = events[0];
        assert_eq!((position, view.id(), view.source(), view.data()), (8, "2", "/shop", &b"{}"[..]));
        assert_eq!(view.extensions().collect::<Vec<_>>(), [("color", "green")]);
    }
}
