//! The `inbox` topic (Kafka only): any client writes CloudEvents there, admission takes them in. The position moves when what lies
//! below it is durable (E7), so a record is taken at least once, and stored once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tol_events::{Attribute, Event, EventTime, binding, id, reserved};
use tol_kafka::{Append, Batch, Position, Record, RecordRef, TopicPartition};
use tol_runtime::admission::{Candidate, Refusal};
use tol_runtime::store::{Change, Store, Table};

use super::{Node, Open, publish};

const READ_BYTES: usize = 1 << 20;

/// Which inbox partitions this node reads; set by assignment.
pub(crate) type Assigned = Arc<Mutex<BTreeSet<u32>>>;

/// Runs until the node closes.
pub(crate) fn run(node: &Node, open: &Open, assigned: &Assigned) {
    let mut positions: BTreeMap<u32, Position> = BTreeMap::new();
    while !node.closing.load(Ordering::Acquire) {
        let mut moved = false;
        let partitions = assigned.lock().unwrap_or_else(PoisonError::into_inner).clone();
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
        None => begin(open, &inbox, stored()?)?,
    };
    positions.insert(partition, from);
    let batches = open.log.read(&inbox, from, READ_BYTES).map_err(|error| error.to_string())?;
    let mut next = from;
    for batch in &batches {
        next = take_batch(open, batch, next, &cluster)?;
        open.store.write(vec![Change::Put(Table::Meta, key(&cluster, partition), next.to_be_bytes().to_vec())], None).map_err(|error| error.to_string())?;
        positions.insert(partition, next);
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
    let candidate = Candidate::new(event, None, open.partitions, None, chrono::Utc::now().into());
    publish_and_wait(open, vec![candidate], vec!["inbox-gap".to_owned()]).map_err(|refusal| refusal.to_string())?;
    tracing::error!(partition = inbox.partition, from = stored, to = bounds.earliest, "inbox records expired unread");
    Ok(bounds.earliest)
}

fn take_batch(open: &Open, batch: &Batch, from: Position, cluster: &str) -> Result<Position, String> {
    let now: EventTime = chrono::Utc::now().into();
    let mut candidates = Vec::new();
    let mut ids = Vec::new();
    let records = batch.records().map_err(|error| error.to_string())?;
    let partition = batch.topic_partition().partition;
    for record in records.iter().filter(|record| record.position >= from) {
        let default_id = || id::of_inbox_position(cluster, partition, record.position).to_string();
        let decoded = binding::kafka::decode(record.headers.iter().copied(), record.value, Some(&default_id));
        let prepared = decoded.map_err(|error| error.to_string()).and_then(|event| {
            publish::prepare(vec![event], Some((partition, record.position)), open.keys.as_ref(), open.partitions, now).map_err(|problem| problem.detail)
        });
        match prepared {
            Ok((candidate, id)) => {
                candidates.extend(candidate);
                ids.extend(id);
            }
            Err(problem) => refuse(open, record, partition, cluster, &problem)?,
        }
    }
    match publish_and_wait(open, candidates.clone(), ids.clone()) {
        Ok(()) => {}
        // One of them clashes: each on its own, and that one to the dead letters.
        Err(Refusal::Conflict { .. }) => {
            let singles = candidates.into_iter().zip(ids);
            for (candidate, id) in singles {
                let position = candidate.inbox.map_or(0, |(_, position)| position);
                match publish_and_wait(open, vec![candidate], vec![id]) {
                    Ok(()) => {}
                    Err(refusal @ Refusal::Conflict { .. }) => {
                        if let Some(record) = records.iter().find(|record| record.position == position) {
                            refuse(open, record, partition, cluster, &refusal.to_string())?;
                        }
                    }
                    Err(refusal) => return Err(refusal.to_string()),
                }
            }
        }
        Err(refusal) => return Err(refusal.to_string()),
    }
    Ok(batch.end())
}

fn publish_and_wait(open: &Open, candidates: Vec<Candidate>, ids: Vec<String>) -> Result<(), Refusal> {
    let (sender, answer) = mpsc::sync_channel(1);
    open.admission.publish(
        candidates,
        ids,
        Box::new(move |published| {
            // The receiver waits for exactly this.
            let _ = sender.send(published);
        }),
    );
    match answer.recv() {
        Ok(published) => published.map(drop),
        Err(_) => Err(Refusal::Unavailable("admission ended".to_owned())),
    }
}

/// A record that is no valid event goes to the hub's dead letters, with the reason, before the position moves.
fn refuse(open: &Open, record: &RecordRef<'_>, partition: u32, cluster: &str, problem: &str) -> Result<(), String> {
    let event_id = id::of_inbox_position(cluster, partition, record.position).to_string();
    let headers: BTreeMap<&str, String> = record.headers.iter().map(|(name, value)| (*name, String::from_utf8_lossy(value).into_owned())).collect();
    let data = serde_json::json!({ "error": problem, "at": format!("inbox/{partition}@{}", record.position), "headers": headers, "value": String::from_utf8_lossy(record.value) });
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
