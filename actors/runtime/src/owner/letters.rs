//! Parked inputs read without asking the owner, so that a system that is down or busy still shows them.

use std::collections::BTreeMap;

use tol_events::EventView;
use tol_kafka::{Delivery, EventLog, Reader, TopicPartition};
use tol_system::Description;

use super::cache::{Meta, meta_key_of, parked_prefix, prefix_of};
use super::fold::{parking, parking_change};
use super::{Error, Parked};
use crate::store::{Store, Table};

/// Bytes of the own topic read at a time.
const READ_BYTES: usize = 1 << 20;

/// The parked inputs of a partition, by subject and order: as its cache says, and, where `log` is given, what its topic says beyond that.
/// Give it for a system that does not run: nobody else folds its topic into the cache.
///
/// # Errors
/// The store or the log failed, or the topic does not read.
pub fn read_parked(store: &dyn Store, log: Option<&dyn EventLog>, description: &Description, partition: u32) -> Result<Vec<Parked>, Error> {
    let prefix = prefix_of(description, partition);
    let below = parked_prefix(&prefix);
    let rows = store.scan(Table::State, &below, None, usize::MAX / 2)?;
    let Some(log) = log else {
        return Ok(rows.iter().filter_map(|(_, row)| serde_json::from_slice(row).ok()).collect());
    };
    let own = TopicPartition::new(format!("{}.events", description.name), partition);
    let end = log.bounds(&own).map_err(unreadable)?.end;
    let meta: Meta = store.get(Table::Meta, &meta_key_of(&prefix))?.and_then(|row| serde_json::from_slice(&row).ok()).unwrap_or_default();
    // E10: what is not a cache of this log says nothing.
    let fits = meta.log == log.identity() && meta.own.position <= end;
    let (rows, from) = if fits { (rows, meta.own) } else { Default::default() };
    let mut parked: BTreeMap<(String, u64), Vec<u8>> = BTreeMap::new();
    for (key, row) in rows {
        if let Some((subject, order)) = key.get(below.len()..).and_then(|rest| rest.split_last_chunk::<8>())
            && let Ok(subject) = std::str::from_utf8(subject.strip_suffix(b"\0").unwrap_or(subject))
        {
            parked.insert((subject.to_owned(), u64::from_be_bytes(*order)), row);
        }
    }
    let mut reader = Reader::resume(own.clone(), from);
    let mut fold = |event: EventView<'_>, sequence: u64| -> Result<(), Error> {
        let at = |subject: &str, order: u64| Ok(parked.get(&(subject.to_owned(), order)).cloned());
        match parking_change(event, sequence, at)? {
            Some((order, Some(row))) => drop(parked.insert((event.subject().to_owned(), order), row)),
            Some((order, None)) => drop(parked.remove(&(event.subject().to_owned(), order))),
            None => {}
        }
        Ok(())
    };
    while reader.next() < end {
        let batches = log.read(&own, reader.next(), READ_BYTES).map_err(unreadable)?;
        if batches.is_empty() {
            break;
        }
        for batch in batches {
            reader.read(&batch, &mut |delivery| {
                let Delivery::Group { events, first_sequence, .. } = delivery else { return Ok(()) };
                for (offset, (_, event)) in events.iter().enumerate().filter(|(_, (_, event))| parking(event.event_type())) {
                    fold(*event, first_sequence + offset as u64).map_err(|error| error.to_string())?;
                }
                Ok(())
            })?;
        }
    }
    Ok(parked.into_values().filter_map(|row| serde_json::from_slice(&row).ok()).collect())
}

/// How many inputs of a partition are parked, as its cache says.
///
/// # Errors
/// The store failed.
pub fn count_parked(store: &dyn Store, description: &Description, partition: u32) -> Result<usize, Error> {
    Ok(store.scan(Table::State, &parked_prefix(&prefix_of(description, partition)), None, usize::MAX / 2)?.len())
}

fn unreadable(error: tol_kafka::Error) -> Error {
    Error::Store(crate::store::Error::Failed(format!("the log cannot be read: {error}")))
}
