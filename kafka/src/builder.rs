//! [`Builder`]: a batch put together record by record, encoded and decoded in one go: what a broker sends is read once on its way to readers.
//! The body is the one that [`Batch::encode`] makes of the same records.

use std::sync::Arc;

use tol_events::{Attribute, EventMeta, Span};

use crate::log::{Position, TopicPartition};
use crate::record::{Batch, set_header, write_number};

/// A record on its way.
struct Row {
    key: Option<Span>,
    value: Span,
    /// Where its headers begin among all.
    headers: usize,
}

/// Collects records.
#[derive(Default)]
pub(crate) struct Builder {
    /// Keys, values and headers' values; of a header that repeats the first record's, nothing.
    arena: Vec<u8>,
    rows: Vec<Row>,
    /// Number of the name and value, of all records.
    headers: Vec<(usize, Span)>,
    /// Header names that are not attributes, in the order of their numbers.
    names: Vec<String>,
    /// The first record's headers: the name as given, and whether all records so far have the same there.
    first: Vec<(String, bool)>,
    /// A header that some record has twice cannot stand for the batch; so rare that none is then tried.
    repeats: bool,
}

impl Builder {
    /// How many records.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn put(&mut self, bytes: &[u8]) -> Span {
        let span = Span { start: self.arena.len() as u32, len: bytes.len() as u32 };
        self.arena.extend_from_slice(bytes);
        span
    }

    /// Adds a record.
    pub(crate) fn add<'a>(&mut self, key: Option<&[u8]>, headers: impl Iterator<Item = (&'a str, &'a [u8])>, value: &[u8]) {
        let begin = self.headers.len();
        let is_first = self.rows.is_empty();
        let key = key.map(|key| self.put(key));
        let mut seen = 0u32;
        for (place, (name, value)) in headers.enumerate() {
            let number = match self.first.get(place) {
                // Same place first: records are nearly always uniform.
                Some((first, _)) if first == name => self.headers[place].0,
                _ => self.number_of(name),
            };
            let again = if number < Attribute::COUNT { seen & (1 << number) != 0 } else { self.headers[begin..].iter().any(|(other, _)| *other == number) };
            seen |= if number < Attribute::COUNT { 1 << number } else { 0 };
            self.repeats |= again;
            let repeated = match self.first.get(place) {
                Some((_, true)) if !is_first && self.headers[place].0 == number => Some(self.headers[place].1),
                _ => None,
            };
            let span = match repeated.filter(|span| span.of(&self.arena) == value) {
                Some(span) => span,
                None => {
                    if let Some((_, same)) = self.first.get_mut(place).filter(|_| !is_first) {
                        *same = false;
                    }
                    self.put(value)
                }
            };
            self.headers.push((number, span));
            if is_first {
                self.first.push((name.to_owned(), true));
            }
        }
        // What this record does not have.
        let has = self.headers.len() - begin;
        self.first.iter_mut().skip(has).for_each(|(_, same)| *same = false);
        let value = self.put(value);
        self.rows.push(Row { key, value, headers: begin });
    }

    fn number_of(&mut self, name: &str) -> usize {
        if let Some(attribute) = Attribute::from_header(name) {
            return attribute as usize;
        }
        let known = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        Attribute::COUNT + known
    }

    /// The batch of all records, whose first lies at `base`; none leaves nothing.
    pub(crate) fn build(self, of: TopicPartition, base: Position, appended_at_ms: i64) -> Option<Arc<Batch>> {
        if self.rows.is_empty() {
            return None;
        }
        let mut body = Vec::with_capacity(self.arena.len() + 4 * self.headers.len() + 64);
        let put = |body: &mut Vec<u8>, bytes: &[u8]| {
            write_number(body, bytes.len() as u64);
            let span = Span { start: body.len() as u32, len: bytes.len() as u32 };
            body.extend_from_slice(bytes);
            span
        };
        body.push(0);
        write_number(&mut body, self.names.len() as u64);
        // `ce_` is not part of an extension's name; headers without it are not the event's.
        let mut extensions = Vec::with_capacity(self.names.len());
        for name in &self.names {
            let span = put(&mut body, name.as_bytes());
            extensions.push(name.starts_with("ce_").then(|| Span { start: span.start + 3, len: span.len - 3 }));
        }
        let alone = self.rows.len() == 1;
        let constant: Vec<bool> = self.first.iter().map(|(_, same)| *same && !alone && !self.repeats).collect();
        let mut template = EventMeta::default();
        write_number(&mut body, constant.iter().filter(|constant| **constant).count() as u64);
        for ((number, span), _) in self.headers.iter().zip(&constant).filter(|(_, constant)| **constant) {
            write_number(&mut body, *number as u64);
            let span = put(&mut body, span.of(&self.arena));
            set_header(&mut template, &extensions, *number as u64, span);
        }
        let fixed = constant.iter().filter(|constant| **constant).count();
        let mut events = Vec::with_capacity(self.rows.len());
        for (index, row) in self.rows.iter().enumerate() {
            let end = self.rows.get(index + 1).map_or(self.headers.len(), |next| next.headers);
            let mut meta = template.clone();
            match row.key {
                Some(key) => {
                    write_number(&mut body, u64::from(key.len) + 1);
                    body.extend_from_slice(key.of(&self.arena));
                }
                None => body.push(0),
            }
            write_number(&mut body, (end - row.headers - fixed) as u64);
            for (place, (number, span)) in self.headers[row.headers..end].iter().enumerate() {
                if constant.get(place) != Some(&true) {
                    write_number(&mut body, *number as u64);
                    let span = put(&mut body, span.of(&self.arena));
                    set_header(&mut meta, &extensions, *number as u64, span);
                }
            }
            meta.data = put(&mut body, row.value.of(&self.arena));
            events.push(meta);
        }
        Some(Arc::new(Batch::decoded(of, base, appended_at_ms, body.into(), events)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Record;

    type Row = (Option<String>, Vec<(String, String)>, String);

    fn built(rows: &[Row]) -> Arc<Batch> {
        let mut builder = Builder::default();
        for (key, headers, value) in rows {
            let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
            builder.add(key.as_ref().map(|key| key.as_bytes()), headers, value.as_bytes());
        }
        builder.build(TopicPartition::new("t", 0), 7, 5).unwrap()
    }

    fn encoded(rows: &[Row]) -> Batch {
        let records: Vec<Record> = rows
            .iter()
            .map(|(key, headers, value)| {
                let mut record = Record::default();
                if let Some(key) = key {
                    record.key(key.as_bytes());
                }
                for (name, value) in headers {
                    record.header(name, value.as_bytes());
                }
                record.value(value.as_bytes());
                record
            })
            .collect();
        Batch::of_records(TopicPartition::new("t", 0), 7, 5, &records)
    }

    /// Everything a reader can ask an event for.
    fn events(batch: &Batch) -> Vec<String> {
        let shown = |index| batch.event(index).map(|event| format!("{:?} {:?}", event.to_event(), event.extensions().collect::<Vec<_>>()));
        (0..batch.len()).map(|index| shown(index).unwrap()).collect()
    }

    proptest! {
        #[test]
        fn a_built_batch_is_the_one_that_is_encoded_and_decoded(
            rows in proptest::collection::vec((
                proptest::option::of("[a-z]{0,5}"),
                proptest::collection::vec(("(ce_id|ce_type|ce_source|content-type|x|yy|ce_color)", "[a-b]{0,2}"), 0..5),
                "[a-z]{0,9}",
            ), 1..8),
            uniform in any::<bool>(),
        ) {
            let mut rows: Vec<Row> = rows;
            if uniform {
                // As they nearly always are: the same names in the same order.
                let names: Vec<String> = rows[0].1.iter().map(|(name, _)| name.clone()).collect();
                for row in &mut rows {
                    let values: Vec<String> = row.1.iter().map(|(_, value)| value.clone()).collect();
                    row.1 = names.iter().enumerate().map(|(place, name)| (name.clone(), values.get(place).cloned().unwrap_or_default())).collect();
                }
            }
            let (built, encoded) = (built(&rows), encoded(&rows));
            prop_assert_eq!(built.body(), encoded.body());
            prop_assert_eq!((built.base(), built.end(), built.appended_at_ms()), (encoded.base(), encoded.end(), encoded.appended_at_ms()));
            prop_assert_eq!(events(&built), events(&encoded));
        }
    }
}
