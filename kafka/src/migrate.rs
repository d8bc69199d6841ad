//! Moving a log into another one record by record, positions kept: what `tol migrate` does with an embedded log and Kafka.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use crate::log::{Append, Error, EventLog, Position, TopicPartition, TopicSpec};
use crate::record::{Batch, Record, RecordRef};

/// Bytes read and appended at a time.
const PIECE: usize = 1 << 20;

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Partitions of all topics.
    pub partitions: u32,
    /// Records that were there already, the same.
    pub found: u64,
    /// Records appended now.
    pub appended: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Records compared or appended.
    pub done: u64,
    /// Of how many; each is appended once and compared once.
    pub of: u64,
}

/// One partition to be moved.
struct Part {
    of: TopicPartition,
    /// Its end in the old log.
    end: Position,
    /// Its end in the new one at the start: all below is compared, all from there is appended.
    there: Position,
}

/// Copies every record of `from`, which nobody may write to meanwhile, to the same topic, partition and position of `to`, and reads all of it back.
/// What is there already, from an attempt that was interrupted, is compared and kept.
///
/// # Errors
/// [`Error::Invalid`] naming the first position that would differ: nothing is appended then, unless somebody else writes to `to`. Or a log's error.
pub fn migrate(from: &dyn EventLog, to: &dyn EventLog, progress: &mut dyn FnMut(Progress)) -> Result<Moved, Error> {
    let topics = from.topics()?;
    // Facts and the systems' events are kept for ever, whatever the broker's default is.
    let specs: Vec<TopicSpec> = topics.iter().map(|(name, partitions)| TopicSpec { name: name.clone(), partitions: *partitions, retention: None }).collect();
    to.ensure_topics(&specs)?;
    let mut parts = Vec::new();
    for (topic, partitions) in &topics {
        for partition in 0..*partitions {
            let of = TopicPartition::new(topic.as_str(), partition);
            let (end, there) = (from.bounds(&of)?.end, to.bounds(&of)?);
            if there.earliest > 0 {
                return Err(Error::Invalid(format!(
                    "{of}: its first {} records are gone from there, so positions cannot be kept; begin with empty topics",
                    there.earliest
                )));
            }
            if there.end > end {
                let message =
                    format!("{of}: {} records are there, and only {end} are to be moved, so positions would differ; begin with empty topics", there.end);
                return Err(Error::Invalid(message));
            }
            parts.push(Part { of, end, there: there.end });
        }
    }
    let mut moved = Moved { partitions: parts.len() as u32, ..Moved::default() };
    let of = parts.iter().map(|part| part.end + (part.end - part.there)).sum();
    let mut done = 0;
    let mut tell = |more: u64| {
        done += more;
        progress(Progress { done, of });
    };
    // Everything that is there is compared before anything is appended.
    for part in &parts {
        compare(from, to, &part.of, 0, part.there, &mut tell)?;
        moved.found += part.there;
    }
    for part in &parts {
        append(from, to, part, &mut tell)?;
        moved.appended += part.end - part.there;
    }
    for part in &parts {
        compare(from, to, &part.of, part.there, part.end, &mut tell)?;
        let end = to.bounds(&part.of)?.end;
        if end != part.end {
            return Err(Error::Invalid(format!("{}: it ends at {end} and not at {}: somebody else writes there", part.of, part.end)));
        }
    }
    Ok(moved)
}

fn append(from: &dyn EventLog, to: &dyn EventLog, part: &Part, tell: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let mut next = part.there;
    while next < part.end {
        let mut records = Vec::new();
        for batch in from.read(&part.of, next, PIECE)? {
            records.extend(batch.records()?.iter().filter(|record| record.position >= next && record.position < part.end).map(copied));
        }
        let count = records.len() as u64;
        let (send, answer) = sync_channel(1);
        to.append(vec![Append { to: part.of.clone(), expected: None, records }], Box::new(move |done| drop(send.send(done))));
        let appended = answer.recv().unwrap_or(Err(Error::Closed))?;
        let positions = appended.into_iter().flat_map(|appended| appended.positions);
        if !positions.eq(next..next + count) {
            return Err(Error::Invalid(format!(
                "{}: records from position {next} on were appended elsewhere: somebody else writes there; begin with empty topics",
                part.of
            )));
        }
        next += count;
        tell(count);
    }
    Ok(())
}

fn copied(record: &RecordRef<'_>) -> Record {
    let mut copy = Record::with_capacity(record.value.len() + 512);
    if let Some(key) = record.key {
        copy.key(key);
    }
    for (name, value) in &record.headers {
        copy.header(name, value);
    }
    copy.value(record.value);
    copy
}

/// One side of a comparison: batches of a partition from a position on.
struct Side<'a> {
    log: &'a dyn EventLog,
    of: &'a TopicPartition,
    batches: std::vec::IntoIter<Arc<Batch>>,
    current: Option<Arc<Batch>>,
}

impl Side<'_> {
    /// The batch that holds `position`.
    fn at(&mut self, position: Position) -> Result<Arc<Batch>, Error> {
        loop {
            if let Some(batch) = self.current.as_ref().filter(|batch| (batch.base()..batch.end()).contains(&position)) {
                return Ok(batch.clone());
            }
            self.current = self.batches.next();
            if self.current.is_none() {
                self.batches = self.log.read(self.of, position, PIECE)?.into_iter();
                if self.batches.len() == 0 {
                    return Err(Error::Unavailable(format!("{} cannot be read at {position}", self.of)));
                }
            }
        }
    }
}

fn compare(from: &dyn EventLog, to: &dyn EventLog, of: &TopicPartition, start: Position, end: Position, tell: &mut dyn FnMut(u64)) -> Result<(), Error> {
    let side = |log| Side { log, of, batches: Vec::new().into_iter(), current: None };
    let (mut old, mut new) = (side(from), side(to));
    let mut next = start;
    while next < end {
        let (left, right) = (old.at(next)?, new.at(next)?);
        let until = left.end().min(right.end()).min(end);
        let (left, right) = (left.records()?, right.records()?);
        let within = |record: &&RecordRef<'_>| (next..until).contains(&record.position);
        let mut pairs = left.iter().filter(within).zip(right.iter().filter(within));
        if let Some((left, _)) = pairs.find(|(left, right)| !same(left, right)) {
            return Err(Error::Invalid(format!("{of}: another record is at position {} there; begin with empty topics", left.position)));
        }
        tell(until - next);
        next = until;
    }
    Ok(())
}

/// Headers may have another order: those a batch shares are written first.
fn same(left: &RecordRef<'_>, right: &RecordRef<'_>) -> bool {
    let sorted = |record: &RecordRef<'_>| {
        let mut headers: Vec<(String, Vec<u8>)> = record.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        headers.sort();
        headers
    };
    left.position == right.position && left.key == right.key && left.value == right.value && (left.headers == right.headers || sorted(left) == sorted(right))
}
