//! The `inbox` topic (Kafka only): any client writes CloudEvents there, admission takes them in. The position moves when what lies
//! below it is durable (E7), so a record is taken at least once, and stored once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use tol_events::{Attribute, Event, binding, id, registry, reserved};
use tol_kafka::{Append, Batch, Position, Record, RecordRef, TopicPartition};
use tol_runtime::store::{Change, Store, Table};

use super::publish::Fact;
use super::{Node, Open, publish};
use tol_plug::platform::Warning;
use tol_plug::{Kind, Problem};

const READ_BYTES: usize = 1 << 20;

/// How long the facts of a batch are tried before the inbox waits and reads them again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until the node closes: the partitions of the inbox are this node's with those of the same number.
pub(crate) fn run(node: &Node, open: &Open) {
    let mut positions: BTreeMap<u32, Position> = BTreeMap::new();
    while !node.closing.load(Ordering::Acquire) {
        let mut moved = false;
        let partitions = open.routing.own();
        positions.retain(|partition, _| partitions.contains(partition));
        for partition in partitions {
            match take(open, partition, &mut positions) {
                Ok(some) => moved |= some,
                Err(problem) => {
                    tracing::warn!(partition, problem, "inbox waits");
                    std::thread::sleep(Duration::from_millis(500));
                }
            }
        }
        if !moved {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn key(cluster: &str, partition: u32) -> Vec<u8> {
    format!("inbox\u{0}{cluster}\u{0}{partition}").into_bytes()
}

fn take(open: &Open, partition: u32, positions: &mut BTreeMap<u32, Position>) -> Result<bool, String> {
    let inbox = TopicPartition::new("inbox", partition);
    let cluster = open.log.identity();
    let stored = || -> Result<Position, String> {
        let row = open.store.get(Table::Meta, &key(&cluster, partition)).map_err(|error| error.to_string())?;
        Ok(row.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes))
    };
    let from = match positions.get(&partition) {
        Some(position) => *position,
        // Another node may have read on since this one last owned the partition.
        None => begin(open, &inbox, stored()?.max(open.log.inbox_committed(partition).map_err(|error| error.to_string())?.unwrap_or(0)))?,
    };
    positions.insert(partition, from);
    let batches = open.log.read(&inbox, from, READ_BYTES).map_err(|error| error.to_string())?;
    let mut next = from;
    for batch in &batches {
        next = take_batch(open, batch, next, &cluster)?;
        open.store.write(vec![Change::Put(Table::Meta, key(&cluster, partition), next.to_be_bytes().to_vec())], None).map_err(|error| error.to_string())?;
        positions.insert(partition, next);
        open.log.commit_inbox(partition, next);
    }
    Ok(!batches.is_empty())
}

/// Where to begin. Records that expired unread are told to the log: nothing is skipped silently.
fn begin(open: &Open, inbox: &TopicPartition, stored: Position) -> Result<Position, String> {
    let bounds = open.log.bounds(inbox).map_err(|error| error.to_string())?;
    if stored > bounds.end {
        return Ok(bounds.earliest); // another log under the same name
    }
    if stored >= bounds.earliest || stored == 0 {
        return Ok(stored.max(bounds.earliest));
    }
    let gap = serde_json::json!({ "partition": inbox.partition, "from": stored, "to": bounds.earliest });
    let event = Event::new(
        format!("inbox-gap-{}-{stored}-{}", inbox.partition, bounds.earliest),
        "/systems/tree-of-life-system",
        reserved::INBOX_GAP,
        "system/tree-of-life-system",
    );
    let event = event.with_data(&gap).map_err(|error| error.to_string())?;
    open.settle(vec![Fact::own(event)], PATIENCE).map_err(|problem| problem.detail)?;
    tracing::error!(partition = inbox.partition, from = stored, to = bounds.earliest, "inbox records expired unread");
    Ok(bounds.earliest)
}

fn take_batch(open: &Open, batch: &Batch, from: Position, cluster: &str) -> Result<Position, String> {
    let mut facts = Vec::new();
    let records = batch.records().map_err(|error| error.to_string())?;
    let partition = batch.topic_partition().partition;
    for record in records.iter().filter(|record| record.position >= from) {
        let default_id = || id::of_inbox_position(cluster, partition, record.position).to_string();
        let decoded = binding::kafka::decode(record.headers.iter().copied(), record.value, Some(&default_id));
        let checked = decoded.map_err(|error| error.to_string()).and_then(|event| {
            let fact = Fact { event, inbox: Some((partition, record.position)), own: false };
            publish::check(0, &fact).map(|_| fact).map_err(|problem| problem.detail)
        });
        match checked {
            Ok(fact) => facts.push(fact),
            Err(problem) => refuse(open, record, partition, cluster, &problem)?,
        }
    }
    match open.settle(facts.clone(), PATIENCE) {
        Ok(published) => warn(partition, &published.warnings),
        // One of them is refused: each on its own, and that one to the dead letters.
        Err(problem) if is_final(&problem) => {
            for fact in facts {
                let position = fact.inbox.map_or(0, |(_, position)| position);
                match open.settle(vec![fact], PATIENCE) {
                    Ok(published) => warn(partition, &published.warnings),
                    Err(problem) if is_final(&problem) => {
                        if let Some(record) = records.iter().find(|record| record.position == position) {
                            refuse(open, record, partition, cluster, &problem.detail)?;
                        }
                    }
                    Err(problem) => return Err(problem.detail),
                }
            }
        }
        Err(problem) => return Err(problem.detail),
    }
    Ok(batch.end())
}

/// Logs what facts of the inbox probably got wrong, since nobody gets an answer: each thing once, and no more things than a log should hold.
/// `tol_facts_warned_total` counts them all.
fn warn(partition: u32, warnings: &[Warning]) {
    const MOST: usize = 1_000;
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if warnings.is_empty() {
        return;
    }
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    for warning in warnings {
        if told.len() < MOST && told.insert(warning.detail.clone()) {
            tracing::warn!(partition, kind = warning.kind, detail = warning.detail, "an inbox record was taken, and is odd");
        }
    }
}

/// Whether trying again changes nothing.
fn is_final(problem: &Problem) -> bool {
    matches!(problem.kind, Kind::ID_CONFLICT | Kind::INVALID_EVENT | Kind::INVALID_DATA | Kind::UNKNOWN_VERSION | Kind::UNKNOWN_TYPE)
}

/// Whether a record names a type that holds personal data. Dead letters are kept for ever and are not sealed: of such a record they say where it
/// lies, and it can be read in `inbox` until it expires.
fn may_be_personal(record: &RecordRef<'_>) -> bool {
    let names = |bytes: &[u8], name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    let personal = registry::all().iter().filter(|known| !known.personal.is_empty());
    // Of any version, also one that this node does not know.
    personal.map(|known| known.name).any(|name| names(record.value, name) || record.headers.iter().any(|(_, value)| names(value, name)))
}

/// A record that is no valid event goes to the hub's dead letters, with the reason, before the position moves.
fn refuse(open: &Open, record: &RecordRef<'_>, partition: u32, cluster: &str, problem: &str) -> Result<(), String> {
    let event_id = id::of_inbox_position(cluster, partition, record.position).to_string();
    let headers: BTreeMap<&str, String> = record.headers.iter().map(|(name, value)| (*name, String::from_utf8_lossy(value).into_owned())).collect();
    let value = (!may_be_personal(record)).then(|| String::from_utf8_lossy(record.value));
    let data = serde_json::json!({ "error": problem, "at": format!("inbox/{partition}@{}", record.position), "headers": headers, "value": value });
    let mut event = Event::new(event_id, "/systems/tree-of-life-system", "tree.inbox_record_refused.v1", format!("inbox/{partition}"));
    event.set(Attribute::Time, chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
    let event = event.with_data(&data).map_err(|error| error.to_string())?;
    let to = TopicPartition::new("tree-of-life-system.dead-letters", partition % open.partitions);
    let (sender, answer) = mpsc::sync_channel(1);
    open.log.append(
        vec![Append { to, expected: None, records: vec![Record::from_event(&event)] }],
        Box::new(move |appended| {
            let _ = sender.send(appended.map(drop));
        }),
    );
    tracing::warn!(partition, position = record.position, problem, "an inbox record was refused");
    answer.recv().map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(headers: Vec<(&'a str, &'a [u8])>, value: &'a str) -> RecordRef<'a> {
        RecordRef { position: 0, key: None, headers, value: value.as_bytes() }
    }

    #[test]
    fn refused_records_of_personal_types_are_not_copied() {
        let binary = record(vec![("ce_type", b"commerce.customer_registered.v9")], r#"{"name":"Ada"}"#);
        let structured = record(vec![], r#"{"type":"commerce.customer_registered.v1","data":{"name":"Ada"#);
        let other = record(vec![("ce_type", b"commerce.order_placed.v1")], "{");
        assert_eq!([binary, structured, other].map(|record| may_be_personal(&record)), [true, true, false]);
    }
}
