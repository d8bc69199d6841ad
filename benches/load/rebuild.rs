//! Rebuild of `customers` while it is queried, and the bare reading of the same log.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use tol_events::commerce::OrderPlaced;
use tol_events::usage::FeatureUsed;
use tol_events::{DomainEvent, EventView};
use tol_kafka::{EmbeddedLog, EmbeddedOptions, EventLog, TopicPartition};

use crate::bodies::{EVENT_BYTES, Mix};
use crate::feed::{Feed, publish};
use crate::machine::{busiest, cpu_seconds, megabytes, thread_seconds};
use crate::node::{Node, NodeOptions};
use crate::query::ask;
use crate::report::{Report, grouped};

/// How.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Events in the log.
    #[arg(long, default_value_t = Options::default().events)]
    pub events: u64,
    /// Customers they are about.
    #[arg(long, default_value_t = Options::default().customers)]
    pub customers: u32,
    /// Which events.
    #[arg(long, value_enum, default_value_t = Options::default().mix)]
    pub mix: Mix,
    /// Queries a second meanwhile.
    #[arg(long, default_value_t = Options::default().queries)]
    pub queries: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { events: 2_000_000, customers: 200_000, mix: Mix::Both, queries: 200 }
    }
}

const TOPIC: &str = "facts.customer";
const CONNECTIONS: u32 = 2;

/// Fills a log, rebuilds, stops the node and reads the log without it.
pub fn measure(node: &NodeOptions, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    if node.kafka.is_some() {
        bail!("the rebuild is measured on the embedded log");
    }
    let mut node = Node::start(node)?;
    let feed = Feed { connections: 4, batch: 500, mix: options.mix, customers: options.customers, events: options.events, at_most: Duration::MAX };
    let fed = publish(&node, 1, feed)?;
    let settled = node.settle()?;
    println!(
        "\nfed {} events at {}/s, all read {:.1} s later, {:.0} MB of log",
        grouped(fed.events as f64),
        grouped(fed.rate()),
        settled.as_secs_f64(),
        node.log_bytes() as f64 / 1e6
    );

    let mut client = node.client()?;
    let before = client.get_json("/projections/customers/digest")?;
    let (stop, used, threads) = (AtomicBool::new(false), cpu_seconds(node.pid), thread_seconds(node.pid));
    let between = Duration::from_secs_f64(f64::from(CONNECTIONS) / f64::from(options.queries));
    let mut used_after = (0.0, String::new());
    let (took, mut asked) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&node, CONNECTIONS as usize, options.customers, Some(between), &stop));
        let began = Instant::now();
        let rebuilt = rebuild(&mut client);
        let took = began.elapsed();
        used_after = (cpu_seconds(node.pid) - used, busiest(&threads, &thread_seconds(node.pid), took));
        stop.store(true, Ordering::Relaxed);
        let asked = asking.join().map_err(|_| anyhow::anyhow!("the queries' thread panicked"))??;
        rebuilt.map(|()| (took, asked))
    })?;
    let after = client.get_json("/projections/customers/digest")?;
    let rate = fed.events as f64 / took.as_secs_f64();
    let memory = megabytes(node.pid, "VmHWM");
    let data = node.stop()?;
    let (read, bare) = read_and_decode(&data.join("log"))?;
    let [p50, p99] = asked.times.percentiles([0.5, 0.99]);
    report.row(
        format!("rebuild of `customers` from {} events of {EVENT_BYTES} bytes while queries run", grouped(fed.events as f64)),
        "≥ 400,000 events/s, 0 failed queries, query p99 < 5 ms, ≥ 40% of reading and decoding",
        format!("{} events/s, {} failed, p99 {p99:.2} ms, {:.0}%", grouped(rate), asked.failed, rate / bare * 100.0),
        format!(
            "{:.1} s; {} customers; {} queries at {}/s, p50 {p50:.2} ms; the same log merely read and decoded on 2 threads: {} events/s ({} events); digest {}; node {:.0}% of a core ({}); most memory {memory:.0} MB",
            took.as_secs_f64(),
            grouped(f64::from(options.customers)),
            asked.times.len(),
            options.queries,
            grouped(bare),
            grouped(read as f64),
            if before["digest"] == after["digest"] { "unchanged" } else { "CHANGED" },
            used_after.0 / took.as_secs_f64() * 100.0,
            used_after.1
        ),
    );
    Ok(())
}

fn rebuild(client: &mut crate::client::Client) -> anyhow::Result<()> {
    client.json("POST", "/projections/customers/rebuild")?;
    loop {
        let status = client.get_json("/projections/customers/rebuild")?;
        match status["state"].as_str() {
            Some("done") => return Ok(()),
            Some("running") => std::thread::sleep(Duration::from_millis(20)),
            _ => bail!("the rebuild ended as {status}"),
        }
    }
}

/// Reads all facts about customers twice and gives the second time, when the files are in the page cache as they are for a rebuild.
fn read_and_decode(folder: &Path) -> anyhow::Result<(u64, f64)> {
    let (log, _) = EmbeddedLog::open(folder, EmbeddedOptions::default())?;
    let mut last = (0, 0.0);
    for _ in 0..2 {
        let next = AtomicU32::new(0);
        let partitions = log.topics()?.into_iter().find(|(name, _)| name == TOPIC).map_or(0, |(_, partitions)| partitions);
        let began = Instant::now();
        let worker = || -> Result<u64, tol_kafka::Error> {
            let (mut count, mut sum) = (0, 0);
            loop {
                let partition = next.fetch_add(1, Ordering::Relaxed);
                if partition >= partitions {
                    std::hint::black_box(sum);
                    return Ok(count);
                }
                let (at, mut position) = (TopicPartition::new(TOPIC, partition), 0);
                loop {
                    let batches = log.read(&at, position, 1 << 20)?;
                    let Some(last) = batches.last() else { break };
                    for (_, event) in batches.iter().flat_map(|batch| batch.events_from(position)) {
                        count += 1;
                        sum += decoded(event);
                    }
                    position = last.end();
                }
            }
        };
        let read = std::thread::scope(|scope| {
            let workers = [scope.spawn(worker), scope.spawn(worker)];
            workers
                .into_iter()
                .map(|worker| worker.join().map_err(|_| anyhow::anyhow!("a reader panicked"))?.map_err(anyhow::Error::from))
                .sum::<anyhow::Result<u64>>()
        })?;
        last = (read, read as f64 / began.elapsed().as_secs_f64());
    }
    log.close();
    Ok(last)
}

/// Something of the event's data, so that all of it is decoded.
fn decoded(event: EventView<'_>) -> u64 {
    match event.event_type() {
        OrderPlaced::TYPE => event.data_as::<OrderPlaced<'_>>().map_or(0, |order| order.total.minor as u64),
        FeatureUsed::TYPE => event.data_as::<FeatureUsed<'_>>().map_or(0, |used| used.count),
        _ => 0,
    }
}
