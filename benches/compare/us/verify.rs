//! Checks an output topic record by record against the workload: for each key the counts 1, 2, 3, … in order, each once, with the sum of
//! exactly that many amounts. A lost, repeated or reordered record fails.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use rdkafka::message::Message;
use tol_kafka::{Cursor, Delivery, Reader, TopicPartition};

use crate::system::{Counted, EVENT};
use crate::workload::Workload;
use crate::{node, raw, say};

/// What to check.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    workload: Workload,
    /// The brokers.
    #[arg(long)]
    bootstrap: String,
    /// A raw topic, read with `read_committed`.
    #[arg(long, conflicts_with = "system")]
    raw: Option<String>,
    /// A system of ours, read by rules E3 and E4.
    #[arg(long)]
    system: Option<String>,
}

/// The amounts of each key in order, and how many outputs were seen.
struct Check {
    amounts: Vec<Vec<i64>>,
    seen: HashMap<u64, (u64, i64)>,
    outputs: u64,
}

impl Check {
    fn new(workload: Workload) -> Self {
        let mut amounts = vec![Vec::new(); workload.keys as usize];
        workload.amounts().for_each(|amount| amounts[amount.key as usize].push(amount.amount));
        Self { amounts, seen: HashMap::new(), outputs: 0 }
    }

    fn output(&mut self, json: &[u8]) -> Result<(), String> {
        let counted: Counted<'_> = serde_json::from_slice(json).map_err(|problem| format!("{}: {problem}", String::from_utf8_lossy(json)))?;
        let key = Workload::key_of(counted.key).ok_or("a key of nobody's")?;
        let (count, sum) = self.seen.entry(key).or_default();
        let amount = self.amounts.get(key as usize).and_then(|amounts| amounts.get(*count as usize)).ok_or("more outputs than inputs")?;
        (*count, *sum) = (*count + 1, *sum + amount);
        self.outputs += 1;
        if (counted.count, counted.sum) == (*count, *sum) {
            return Ok(());
        }
        Err(format!("{}: count {} and sum {} where {count} and {sum} are next", counted.key, counted.count, counted.sum))
    }
}

/// Reads and checks everything.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let workload = options.workload;
    let mut check = Check::new(workload);
    match (&options.raw, &options.system) {
        (Some(topic), _) => committed(options, topic, &mut check)?,
        (None, Some(system)) => accepted(options, system, &mut check)?,
        (None, None) => bail!("say --raw TOPIC or --system NAME"),
    }
    if check.outputs != workload.records {
        bail!("{} outputs for {} inputs", check.outputs, workload.records);
    }
    let sum: i64 = check.seen.values().map(|(_, sum)| sum).sum();
    say("verified", serde_json::json!({ "outputs": check.outputs, "keys": check.seen.len(), "sum": sum }));
    Ok(())
}

fn committed(options: &Options, topic: &str, check: &mut Check) -> anyhow::Result<()> {
    let consumer = raw::consumer(&options.bootstrap, "compare-verify")?;
    raw::from_the_beginning(&consumer, topic, options.workload.partitions)?;
    let (until, mut at_end) = (Instant::now() + Duration::from_secs(120), std::collections::BTreeSet::new());
    while at_end.len() < options.workload.partitions as usize {
        if Instant::now() > until {
            bail!("{topic} could not be read in two minutes");
        }
        match consumer.poll(Duration::from_millis(200)) {
            None => {}
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => drop(at_end.insert(partition)),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(message)) => check.output(message.payload().unwrap_or_default()).map_err(|problem| anyhow!("{topic}: {problem}"))?,
        }
    }
    Ok(())
}

fn accepted(options: &Options, system: &str, check: &mut Check) -> anyhow::Result<()> {
    let log = node::kafka(&options.bootstrap)?;
    for partition in 0..options.workload.partitions {
        let partition = TopicPartition::new(format!("{system}.events"), partition);
        let (end, mut reader) = (log.bounds(&partition)?.end, Reader::resume(partition.clone(), Cursor::default()));
        while reader.next() < end {
            for batch in log.read(&partition, reader.next(), 4 << 20)? {
                reader.read(&batch, &mut |delivery| {
                    let Delivery::Group { events, .. } = delivery else { return Ok(()) };
                    events.iter().filter(|(_, event)| event.event_type() == EVENT).try_for_each(|(_, event)| check.output(event.data()))
                })?;
            }
        }
    }
    log.close();
    Ok(())
}
