//! When another contestant is done: its consumer group has committed the end of every input partition, which in an exactly-once transaction
//! happens together with the outputs.

use std::time::{Duration, Instant};

use anyhow::bail;
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::{now_ms, raw, say};

/// Whom to watch.
#[derive(clap::Args)]
pub struct Options {
    /// The brokers.
    #[arg(long)]
    bootstrap: String,
    /// The contestant's consumer group.
    #[arg(long)]
    group: String,
    /// Its input.
    #[arg(long)]
    input: String,
    /// Its output.
    #[arg(long)]
    output: String,
    /// Partitions of both.
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// Gives up after so many seconds.
    #[arg(long, default_value_t = 300)]
    timeout_s: u64,
}

/// Runs until the group is done.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let consumer = raw::consumer(&options.bootstrap, &options.group)?;
    let ends = raw::ends(&consumer, &options.input, options.partitions)?;
    let mut list = TopicPartitionList::new();
    for partition in 0..options.partitions {
        list.add_partition(&options.input, partition as i32);
    }
    let (began, mut first) = (Instant::now(), None);
    loop {
        if first.is_none() && raw::ends(&consumer, &options.output, options.partitions)?.iter().any(|end| *end > 0) {
            first = Some(now_ms());
        }
        if first.is_some() {
            let committed = consumer.committed_offsets(list.clone(), raw::TIMEOUT)?;
            let done = committed.elements().iter().all(|element| {
                let end = ends.get(element.partition() as usize).copied().unwrap_or(i64::MAX);
                end == 0 || matches!(element.offset(), Offset::Offset(at) if at >= end)
            });
            if done {
                break;
            }
        }
        if began.elapsed() > Duration::from_secs(options.timeout_s) {
            bail!("{} was not done after {} s", options.group, options.timeout_s);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    say("done", serde_json::json!({ "first_output_ms": first, "done_ms": now_ms() }));
    Ok(())
}
