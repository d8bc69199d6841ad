//! Durable append through admission (deduplicated, numbered), and reading it all back: writers that wait for each other's nothing, in a closed loop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use rand::distr::Alphanumeric;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tol_events::{Event, EventTime};
use tol_kafka::{EmbeddedLog, EmbeddedOptions, EventLog, TopicPartition};
use tol_projections::{RocksStore, StoreOptions};
use tol_runtime::admission::{self, AdmissionHandle, AdmissionOptions, Candidate};

use crate::system::FACT;
use crate::{node, say};

/// What to append.
#[derive(clap::Args)]
pub struct Options {
    /// Folder of the embedded log and of admission's memory.
    #[arg(long)]
    data: PathBuf,
    /// The brokers; without it the embedded log.
    #[arg(long)]
    bootstrap: Option<String>,
    /// The embedded log acknowledges without syncing.
    #[arg(long)]
    no_sync: bool,
    /// Writers, each with one request under way.
    #[arg(long, default_value_t = 4)]
    writers: u64,
    /// Events of a request.
    #[arg(long, default_value_t = 1)]
    batch: u64,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// How long.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Partitions.
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// Subjects.
    #[arg(long, default_value_t = 1_000)]
    subjects: u64,
}

/// The embedded log in `data`.
pub fn embedded(data: &std::path::Path, sync: bool) -> anyhow::Result<Arc<dyn EventLog>> {
    let (log, _) = EmbeddedLog::open(data.join("log"), EmbeddedOptions { sync, ..EmbeddedOptions::default() })?;
    Ok(log)
}

/// Appends, and reads back what was acknowledged.
pub fn run(options: &Options) -> anyhow::Result<()> {
    std::fs::create_dir_all(&options.data)?;
    let log = match &options.bootstrap {
        Some(bootstrap) => node::kafka(bootstrap)?,
        None => embedded(&options.data, !options.no_sync)?,
    };
    node::ensure_topics(log.as_ref(), options.partitions, &[])?;
    let store = Arc::new(RocksStore::open(&options.data.join("projections"), &StoreOptions::default())?);
    let joint = options.bootstrap.is_none();
    let admission_options = AdmissionOptions {
        topics: vec!["facts.customer".into()],
        partitions: options.partitions,
        queue: 1_024,
        queue_events: 200_000,
        batch_events: 5_000,
        timeout_ms: 10_000,
        joint_appends: joint,
        gather_ms: if joint { 0 } else { 3 },
    };
    let (admission, thread) = admission::service::start(log.clone(), store, "bench", uuid::Uuid::new_v4().as_u64_pair().0, admission_options)?;
    admission.assign((0..options.partitions).collect());
    while admission.gates().0.is_none_or(|wanted| admission.gates().1 < wanted) {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The first half second warms up and does not count.
    let (began, warm) = (Instant::now(), Duration::from_millis(500));
    let until = began + warm + Duration::from_secs_f64(options.seconds);
    let all = AtomicU64::new(0);
    let outcomes: Vec<anyhow::Result<Vec<Duration>>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..options.writers)
            .map(|writer| {
                scope.spawn({
                    let (admission, all) = (&admission, &all);
                    move || write(options, admission, writer, all, began + warm, until)
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap_or_else(|_| Err(anyhow!("a writer panicked")))).collect()
    });
    let mut times = Vec::new();
    for outcome in outcomes {
        times.extend(outcome?);
    }
    times.sort_unstable();
    let at = |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1))).map_or(0.0, Duration::as_secs_f64) * 1e3;
    let rate = (times.len() as u64 * options.batch) as f64 / options.seconds;
    admission.stop();
    let _ = thread.join();
    let (read, events) = read_back(log.as_ref(), options.partitions, all.load(Ordering::Relaxed))?;
    say(
        "appended",
        serde_json::json!({ "rate": rate, "p50_ms": at(0.5), "p99_ms": at(0.99), "requests": times.len(), "read_rate": events as f64 / read.as_secs_f64(), "read": events }),
    );
    log.close();
    Ok(())
}

/// JSON that hardly compresses, more of it than any compressor looks back on.
fn payloads(bytes: usize) -> Vec<Vec<u8>> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut note = |count: usize| (0..count).map(|_| char::from(random.sample(Alphanumeric))).collect::<String>();
    (0..2_048).map(|_| format!(r#"{{"amount":1,"note":"{}"}}"#, note(bytes.saturating_sub(23))).into_bytes()).collect()
}

fn write(options: &Options, admission: &AdmissionHandle, writer: u64, all: &AtomicU64, from: Instant, until: Instant) -> anyhow::Result<Vec<Duration>> {
    let payloads = payloads(options.bytes);
    let (mut times, mut number) = (Vec::new(), 0u64);
    let (sender, answer) = sync_channel(1);
    while Instant::now() < until {
        let now: EventTime = chrono::Utc::now().into();
        let (mut candidates, mut ids) = (Vec::with_capacity(options.batch as usize), Vec::with_capacity(options.batch as usize));
        for _ in 0..options.batch {
            let id = format!("{writer}-{number}");
            let mut event = Event::new(id.clone(), "/shop", FACT, format!("customer/{}", (number * 31 + writer) % options.subjects)).at(now);
            event.data.clone_from(&payloads[(number * 7 + writer * 977) as usize % payloads.len()]);
            candidates.push(Candidate::new(event, None, "facts.customer", options.partitions, None, now));
            ids.push(id);
            number += 1;
        }
        let (sent, sender) = (Instant::now(), sender.clone());
        admission.publish(candidates, ids, Box::new(move |outcome| drop(sender.send(outcome))));
        answer.recv()?.map_err(|refusal| anyhow!("refused: {refusal:?}"))?;
        all.fetch_add(options.batch, Ordering::Relaxed);
        if sent >= from && Instant::now() <= until {
            times.push(sent.elapsed());
        }
    }
    Ok(times)
}

/// Reads and decodes all facts, partitions in turn.
fn read_back(log: &dyn EventLog, partitions: u32, wanted: u64) -> anyhow::Result<(Duration, u64)> {
    let (began, mut events, mut bytes) = (Instant::now(), 0u64, 0usize);
    for partition in 0..partitions {
        let partition = TopicPartition::new("facts.customer", partition);
        let (end, mut position) = (log.bounds(&partition)?.end, 0);
        while position < end {
            for batch in log.read(&partition, position, 4 << 20)? {
                for (_, event) in batch.events_from(position).filter(|(_, event)| event.event_type() == FACT) {
                    bytes += event.data().len() + event.subject().len();
                    events += 1;
                }
                position = batch.end();
            }
        }
    }
    if events != wanted || bytes == 0 {
        bail!("{events} events read back of {wanted} acknowledged");
    }
    Ok((began.elapsed(), events))
}
