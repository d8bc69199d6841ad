//! [`Batch`]: many records in one buffer.

use std::sync::OnceLock;

use bytes::Bytes;
use tol_events::{Attribute, EventMeta, EventView, Span};

use super::format::{read_number, read_span, set_header, write_bytes, write_number};
use super::{HeaderName, Record};
use crate::log::{Error, Position, TopicPartition};

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
