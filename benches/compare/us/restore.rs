//! The state's local copy is gone: from the start of this process until every owner has folded it back from the log and decides again,
//! with a query every 20 ms.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use tol_kafka::TopicPartition;

use crate::node::{self, Running};
use crate::say;
use crate::system::NAME;
use crate::workload::Workload;

/// What to restore.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    workload: Workload,
    /// The brokers.
    #[arg(long)]
    bootstrap: String,
    /// Folder of the caches, empty.
    #[arg(long)]
    data: PathBuf,
}

/// Runs until all is restored.
pub fn run(options: Options) -> anyhow::Result<()> {
    let workload = options.workload;
    let mut counts = vec![0u64; workload.keys as usize];
    workload.amounts().for_each(|amount| counts[amount.key as usize] += 1);
    actix::System::new().block_on(async move {
        say("started", serde_json::json!({}));
        let log = node::kafka(&options.bootstrap)?;
        let mut facts = Vec::new();
        for partition in 0..workload.partitions {
            let partition = TopicPartition::new("facts.customer", partition);
            facts.push((log.bounds(&partition)?.end, partition));
        }
        let running = Running::start(log, &options.data, workload.partitions, &[NAME])?;
        let (began, mut turn) = (Instant::now(), 0u64);
        let (mut unanswered, mut behind, mut current) = (0, 0, 0);
        loop {
            let key = (turn * 7_919) % workload.keys;
            let (asked, wanted) = (running.observe(NAME, &workload.name(key)), counts[key as usize]);
            match asked.and_then(|state| state["count"].as_u64()) {
                None => unanswered += 1,
                Some(count) if count == wanted => current += 1,
                Some(_) => behind += 1,
            }
            if facts.iter().all(|(end, partition)| running.covers(NAME, partition, end - 1)) {
                break;
            }
            if began.elapsed() > Duration::from_secs(600) {
                bail!("not restored after 10 minutes; {:?}", running.root.statuses());
            }
            turn += 1;
            actix_rt::time::sleep(Duration::from_millis(20)).await;
        }
        say("restored", serde_json::json!({ "unanswered": unanswered, "behind": behind, "current": current }));
        // What was restored is right.
        for (key, wanted) in counts.iter().enumerate().step_by((counts.len() / 1_000).max(1)) {
            let state = running.observe(NAME, &workload.name(key as u64)).unwrap_or_default();
            if state["count"].as_u64() != Some(*wanted) {
                bail!("{} was restored as {state}, wanted count {wanted}", workload.name(key as u64));
            }
        }
        running.log.close();
        Ok(())
    })
}
