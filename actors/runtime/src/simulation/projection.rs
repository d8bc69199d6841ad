//! The plainest projection there is: it counts events by subject, through the reader of E3 to E5, with its position beside its rows.

use std::collections::BTreeMap;

use tol_kafka::{Cursor, Delivery, EventLog, MemoryLog, Reader, TopicPartition};

use super::oracle;
use super::rules::{Memory, hash};
use crate::owner::{Mutation, breaks};
use crate::store::{Change, Store, Table};

/// One partition of one topic, counted.
pub(super) struct Counting {
    reader: Reader,
}

fn prefix(of: &TopicPartition) -> Vec<u8> {
    format!("count\u{0}{of}\u{0}").into_bytes()
}

fn count(memory: &mut Memory, id: &str) {
    memory.count += 1;
    memory.digest = hash(&[&format!("{:x}", memory.digest), id]);
}

impl Counting {
    /// Goes on where the store says.
    pub(super) fn open(of: TopicPartition, store: &dyn Store) -> Result<Self, String> {
        let row = store.get(Table::Meta, &prefix(&of)).map_err(|error| error.to_string())?;
        let cursor: Cursor = row.and_then(|row| serde_json::from_slice(&row).ok()).unwrap_or_default();
        Ok(Self { reader: Reader::resume(of, cursor) })
    }

    /// Takes back what all of them wrote.
    pub(super) fn forget(store: &dyn Store) -> Result<(), crate::store::Error> {
        let prefix = b"count\0".to_vec();
        store.write(vec![Change::DeletePrefix(Table::Rows, prefix.clone()), Change::DeletePrefix(Table::Meta, prefix)], None)
    }

    /// Folds what one read gives; whether there was something. A write that fails ends it.
    pub(super) fn step(&mut self, log: &dyn EventLog, store: &dyn Store, bytes: usize) -> Result<bool, String> {
        let of = self.reader.topic_partition().clone();
        let Ok(batches) = log.read(&of, self.reader.next(), bytes) else { return Ok(false) };
        for batch in &batches {
            let mut rows: BTreeMap<Vec<u8>, Memory> = BTreeMap::new();
            let read = self.reader.read(batch, &mut |delivery| {
                let Delivery::Group { events, .. } = delivery else { return Ok(()) };
                for (_, event) in events {
                    let key = [prefix(&of).as_slice(), event.subject().as_bytes()].concat();
                    if !rows.contains_key(&key) {
                        let row = store.get(Table::Rows, &key).map_err(|error| error.to_string())?;
                        rows.insert(key.clone(), row.and_then(|row| serde_json::from_slice(&row).ok()).unwrap_or_default());
                    }
                    rows.entry(key).and_modify(|memory| count(memory, event.id()));
                }
                Ok(())
            });
            read.map_err(|stop| stop.to_string())?;
            let mut cursor = self.reader.cursor();
            if breaks(Mutation::ProjectionHeldSkipped) {
                cursor.position = self.reader.next();
            }
            let text = |error: serde_json::Error| error.to_string();
            let mut changes = Vec::new();
            for (key, memory) in rows {
                changes.push(Change::Put(Table::Rows, key, serde_json::to_vec(&memory).map_err(text)?));
            }
            let position = Change::Put(Table::Meta, prefix(&of), serde_json::to_vec(&cursor).map_err(text)?);
            if breaks(Mutation::ProjectionPositionApart) {
                store.write(vec![position], None).map_err(|error| error.to_string())?;
            } else {
                changes.push(position);
            }
            store.write(changes, None).map_err(|error| error.to_string())?;
        }
        Ok(!batches.is_empty())
    }

    /// Its rows equal a fold of what counts.
    pub(super) fn check(&self, log: &MemoryLog, store: &dyn Store) -> Result<(), String> {
        let of = self.reader.topic_partition();
        let mut expected: BTreeMap<Vec<u8>, Memory> = BTreeMap::new();
        for event in oracle::accepted(log, of)?.into_iter().flatten() {
            count(expected.entry([prefix(of).as_slice(), event.subject.as_bytes()].concat()).or_default(), &event.id);
        }
        let rows = store.scan(Table::Rows, &prefix(of), None, usize::MAX).map_err(|error| error.to_string())?;
        let found: BTreeMap<Vec<u8>, Memory> = rows.into_iter().filter_map(|(key, row)| Some((key, serde_json::from_slice(&row).ok()?))).collect();
        if found == expected { Ok(()) } else { Err(format!("the projection of {of} holds {found:?} instead of {expected:?}")) }
    }
}
