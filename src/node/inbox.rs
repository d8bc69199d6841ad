//! The `inbox` topic (Kafka only): any client writes CloudEvents there, admission takes them in. The position moves when what lies
//! below it is durable (E7), so a record is taken at least once, and stored once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tol_events::{Event, binding, id, reserved};
use tol_kafka::{Batch, Position, RecordRef, TopicPartition};
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
        let checked = decoded.map_err(|error| Problem::new(Kind::INVALID_EVENT, error.to_string())).and_then(|event| {
            let fact = Fact { event, inbox: Some((partition, record.position)), own: false };
            publish::check(0, &fact).map(|_| fact)
        });
        match checked {
            Ok(fact) => facts.push(fact),
            Err(problem) => refuse(open, record, partition, &problem)?,
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
                            refuse(open, record, partition, &problem)?;
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
pub(crate) fn is_final(problem: &Problem) -> bool {
    problem.kind == Kind::ID_CONFLICT || matches!(problem.kind.status, 400 | 422)
}

/// A record that is no valid event goes to the hub's dead letters, with the reason, before the position moves.
fn refuse(open: &Open, record: &RecordRef<'_>, partition: u32, problem: &Problem) -> Result<(), String> {
    open.refusals.record(record, partition, problem.detail.strip_prefix("event 0: ").unwrap_or(&problem.detail)).map_err(|error| error.to_string())?;
    super::facts::count_refused(problem);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_over_http_is_refused_here_for_good() {
        let payment = |currency: &str, minor: i64| {
            let data = serde_json::json!({"payment_id": "p", "customer_id": "1", "amount": {"minor": minor, "currency": currency}});
            ("billing.payment_succeeded.v1", data)
        };
        let misspelt = [("billing.payment_suceeded.v1", serde_json::json!({})), ("billing.payment_succeeded", serde_json::json!({}))];
        for (event_type, data) in [payment("UDS", 1), payment("USD", i64::MAX)].into_iter().chain(misspelt) {
            let headers = [("ce_id", "1"), ("ce_source", "/bank"), ("ce_type", event_type), ("ce_subject", "customer/1"), ("ce_specversion", "1.0")];
            let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
            let event = binding::kafka::decode(headers, data.to_string().as_bytes(), None).unwrap();
            let problem = publish::check(0, &Fact { event, inbox: Some((0, 1)), own: false }).map(drop).unwrap_err();
            assert!(is_final(&problem), "{event_type}: {problem:?}");
        }
    }
}
