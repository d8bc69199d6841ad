//! The input: the same records as raw JSON for the others, and as admitted facts for us (through our own admission, outside all measured times).

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use anyhow::{anyhow, bail};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use tol_events::{Event, EventTime};
use tol_kafka::EventLog;
use tol_projections::{RocksStore, StoreOptions};
use tol_runtime::admission::{self, AdmissionOptions, Candidate};
use tol_runtime::store::{MemoryStore, Store};

use crate::system::FACT;
use crate::workload::Workload;
use crate::{node, raw, say};

/// Events of one request to admission.
const BATCH: u64 = 2_000;

/// Where to.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    workload: Workload,
    /// The brokers.
    #[arg(long)]
    bootstrap: String,
    /// Raw input topic to create and fill.
    #[arg(long)]
    raw: Option<String>,
    /// Empty topics to create.
    #[arg(long)]
    empty: Vec<String>,
    /// The broker syncs the created topics after each append (`flush.messages=1`).
    #[arg(long)]
    flush_each: bool,
    /// Creates and fills `facts.customer` by admission.
    #[arg(long)]
    facts: bool,
}

/// Fills the topics.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let names: Vec<String> = options.empty.iter().chain(&options.raw).cloned().collect();
    if !names.is_empty() {
        raw::create(&options.bootstrap, &names, options.workload.partitions, options.flush_each)?;
    }
    if let Some(topic) = &options.raw {
        produce(options, topic)?;
        say("raw_ready", serde_json::json!({ "records": options.workload.records }));
    }
    if options.facts {
        let log = node::kafka(&options.bootstrap)?;
        node::ensure_topics(log.as_ref(), options.workload.partitions, &[])?;
        admit(log.clone(), Arc::new(MemoryStore::default()), options.workload, false)?;
        log.close();
        say("facts_ready", serde_json::json!({ "records": options.workload.records }));
    }
    Ok(())
}

fn produce(options: &Options, topic: &str) -> anyhow::Result<()> {
    let mut config = raw::config(&options.bootstrap);
    config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "5").set("compression.codec", "lz4");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create()?;
    for amount in options.workload.amounts() {
        let (key, value) = (options.workload.name(amount.key), options.workload.json(&amount));
        let partition = tol_events::id::partition_of(&key, options.workload.partitions) as i32;
        let mut record = BaseRecord::to(topic).key(&key).payload(&value).partition(partition);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(rdkafka::error::RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
            record = back;
        }
    }
    Ok(producer.flush(raw::TIMEOUT)?)
}

/// Admission's memory on disk, as a node has it.
pub fn rocks(folder: &std::path::Path) -> anyhow::Result<Arc<dyn Store>> {
    Ok(Arc::new(RocksStore::open(folder, &StoreOptions::default())?))
}

/// Publishes the workload through admission and waits until all is durable; how many were when, in seconds.
pub fn admit(log: Arc<dyn EventLog>, memory: Arc<dyn Store>, workload: Workload, joint_appends: bool) -> anyhow::Result<Vec<(u64, f64)>> {
    let options = AdmissionOptions {
        topics: vec!["facts.customer".into()],
        partitions: workload.partitions,
        queue: 64,
        queue_events: 100_000,
        batch_events: 5_000,
        timeout_ms: 60_000,
        joint_appends,
        gather_ms: if joint_appends { 0 } else { 3 },
    };
    let (admission, thread) = admission::service::start(log, memory, "bench", 1, options)?;
    admission.assign((0..workload.partitions).collect());
    while admission.gates().0.is_none_or(|wanted| admission.gates().1 < wanted) {
        if let Some(why) = admission.failed() {
            bail!("admission does not start: {why}");
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let (permits, back) = sync_channel::<Result<f64, String>>(64);
    let began = EventTime::from_secs(1_767_225_600);
    let (mut sent, mut answered) = (0usize, 0usize);
    let (started, mut series) = (std::time::Instant::now(), Vec::new());
    let mut amounts = workload.amounts().enumerate().peekable();
    while amounts.peek().is_some() {
        let (mut candidates, mut ids) = (Vec::with_capacity(BATCH as usize), Vec::with_capacity(BATCH as usize));
        for (number, amount) in amounts.by_ref().take(BATCH as usize) {
            let id = format!("{number:09}");
            let mut event = Event::new(id.clone(), "/shop", FACT, workload.name(amount.key)).at(began.plus_micros(number as i64 * 1_000));
            event.data = workload.json(&amount).into_bytes();
            candidates.push(Candidate::new(event, None, "facts.customer", workload.partitions, None, began));
            ids.push(id);
        }
        let permits = permits.clone();
        admission.publish(
            candidates,
            ids,
            Box::new(move |answer| drop(permits.send(answer.map(|_| started.elapsed().as_secs_f64()).map_err(|refusal| format!("{refusal:?}"))))),
        );
        sent += 1;
        if sent - answered >= 24 {
            let when = back.recv()?.map_err(|why| anyhow!("admission refused: {why}"))?;
            answered += 1;
            series.push((answered as u64 * BATCH, when));
        }
    }
    while answered < sent {
        let when = back.recv()?.map_err(|why| anyhow!("admission refused: {why}"))?;
        answered += 1;
        series.push(((answered as u64 * BATCH).min(workload.records), when));
    }
    admission.stop();
    let _ = thread.join();
    Ok(series)
}
