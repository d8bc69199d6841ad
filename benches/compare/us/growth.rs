//! How the cost of an event grows: facts admitted to the embedded log, then decided and folded, with the time at which each share was done.
//! Admission and owners run one after the other, so that each cost stands alone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::node::{self, Running};
use crate::system::NAME;
use crate::workload::Workload;
use crate::{append, prepare, say};

/// What to grow.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    workload: Workload,
    /// Folder of log and caches.
    #[arg(long)]
    data: PathBuf,
    /// Copies of the system, each deciding every fact.
    #[arg(long, default_value_t = 1)]
    systems: u64,
    /// Event counts between whose halves and themselves the cost is taken.
    #[arg(long, value_delimiter = ',')]
    marks: Vec<u64>,
    /// Admits alone: nothing is decided.
    #[arg(long)]
    append_only: bool,
}

/// Microseconds an event, from half of each mark to the mark.
fn costs(series: &[(u64, f64)], marks: &[u64]) -> Vec<serde_json::Value> {
    let at = |count: u64| -> Option<f64> {
        let after = series.partition_point(|(done, _)| *done < count);
        let ((later, later_s), (earlier, earlier_s)) =
            (*series.get(after)?, after.checked_sub(1).and_then(|before| series.get(before)).copied().unwrap_or((0, 0.0)));
        let share = if later > earlier { (count - earlier) as f64 / (later - earlier) as f64 } else { 1.0 };
        Some(earlier_s + (later_s - earlier_s) * share)
    };
    marks.iter().filter_map(|mark| Some(serde_json::json!({ "events": mark, "us": (at(*mark)? - at(mark / 2)?) * 1e6 / (mark - mark / 2) as f64 }))).collect()
}

/// Admits, decides, and prints the costs.
pub fn run(options: Options) -> anyhow::Result<()> {
    let workload = options.workload;
    let names: Vec<&'static str> = (0..options.systems).map(|number| if number == 0 { NAME } else { &*format!("{NAME}-{number}").leak() }).collect();
    std::fs::create_dir_all(&options.data)?;
    let log = append::embedded(&options.data, true)?;
    node::ensure_topics(log.as_ref(), workload.partitions, &names)?;
    let marks = if options.marks.is_empty() { vec![workload.records] } else { options.marks.clone() };
    let memory = prepare::rocks(&options.data.join("admission"))?;
    let admitted = prepare::admit(log.clone(), memory, workload, true)?;
    if options.append_only {
        say("grown", serde_json::json!({ "append": costs(&admitted, &marks), "process": [] }));
        log.close();
        return Ok(());
    }
    actix::System::new().block_on(async move {
        let began = Instant::now();
        let running = Running::start(log, &options.data.join("node"), workload.partitions, &names)?;
        let (claims, mut series) = (u64::from(workload.partitions) * options.systems, Vec::new());
        loop {
            actix_rt::time::sleep(Duration::from_millis(10)).await;
            let mut written = 0;
            for name in &names {
                written += running.written(name)?;
            }
            let done = written.saturating_sub(claims) / options.systems;
            series.push((done, began.elapsed().as_secs_f64()));
            if done >= workload.records {
                break;
            }
            if began.elapsed() > Duration::from_secs(600) {
                bail!("{done} of {} after 10 minutes", workload.records);
            }
        }
        say("grown", serde_json::json!({ "append": costs(&admitted, &marks), "process": costs(&series, &marks) }));
        running.log.close();
        Ok(())
    })
}
