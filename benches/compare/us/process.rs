//! Counts and sums every admitted fact: from the start of this process until the last output is committed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::node::{self, Running};
use crate::system::NAME;
use crate::workload::Workload;
use crate::{now_ms, say};

/// What to process.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    workload: Workload,
    /// The brokers.
    #[arg(long)]
    bootstrap: String,
    /// Folder of the caches.
    #[arg(long)]
    data: PathBuf,
}

/// Runs until all is committed.
pub fn run(options: Options) -> anyhow::Result<()> {
    actix::System::new().block_on(async move {
        say("started", serde_json::json!({}));
        let log = node::kafka(&options.bootstrap)?;
        node::ensure_topics(log.as_ref(), options.workload.partitions, &[NAME])?;
        let running = Running::start(log, &options.data, options.workload.partitions, &[NAME])?;
        // One claim a partition, and an event for each fact.
        let (claims, wanted) = (u64::from(options.workload.partitions), options.workload.records + u64::from(options.workload.partitions));
        let (began, mut first) = (Instant::now(), None);
        loop {
            actix_rt::time::sleep(Duration::from_millis(20)).await;
            let written = running.written(NAME)?;
            if first.is_none() && written > claims {
                first = Some(now_ms());
            }
            if written >= wanted {
                break;
            }
            if began.elapsed() > Duration::from_secs(600) {
                bail!("{written} of {wanted} records after 10 minutes; {:?}", running.root.statuses());
            }
        }
        say("done", serde_json::json!({ "first_output_ms": first, "done_ms": now_ms() }));
        running.log.close();
        Ok(())
    })
}
