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

use std::sync::Arc;

use smallvec::SmallVec;
use tol_events::{Attribute, Event, Span};

mod batch;
mod format;

pub use batch::{Batch, RecordRef};
pub(crate) use format::{set_header, write_number};

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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::log::TopicPartition;
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
