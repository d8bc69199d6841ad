//! Durable append through `POST /events`.

use std::time::Duration;

use crate::bodies::{EVENT_BYTES, Mix};
use crate::feed::{Feed, publish};
use crate::machine::{busiest, cpu_seconds, thread_seconds};
use crate::node::{Node, NodeOptions};
use crate::report::{Report, grouped};

/// How.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = Options::default().connections)]
    connections: usize,
    /// Events of a request.
    #[arg(long, default_value_t = Options::default().batch)]
    batch: usize,
    /// Which events.
    #[arg(long, value_enum, default_value_t = Options::default().mix)]
    mix: Mix,
    /// Customers they are about.
    #[arg(long, default_value_t = Options::default().customers)]
    customers: u32,
    /// How long, seconds.
    #[arg(long, default_value_t = Options::default().seconds)]
    seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections: 4, batch: 500, mix: Mix::Both, customers: 100_000, seconds: 15 }
    }
}

/// Publishes for a while, then waits until everybody has read it.
pub fn measure(node: &NodeOptions, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let node = Node::start(node)?;
    let feed = Feed {
        connections: options.connections,
        batch: options.batch,
        mix: options.mix,
        customers: options.customers,
        events: u64::MAX,
        at_most: Duration::from_secs(2),
    };
    // Ids of later runs against the same node must be new.
    let first = chrono::Utc::now().timestamp_micros() as u64;
    let warm = publish(&node, first, feed)?;
    let (own, used, threads) = (cpu_seconds(std::process::id()), cpu_seconds(node.pid), thread_seconds(node.pid));
    let mut fed = publish(&node, first + warm.events + 1_000_000, Feed { at_most: Duration::from_secs(options.seconds), ..feed })?;
    let share = |seconds: f64| seconds / fed.took.as_secs_f64() * 100.0;
    let (own, used) = (share(cpu_seconds(std::process::id()) - own), share(cpu_seconds(node.pid) - used));
    let busiest = busiest(&threads, &thread_seconds(node.pid), fed.took);
    let drained = node.settle()?;
    let [p50, p99] = fed.times.percentiles([0.5, 0.99]);
    report.row(
        format!("durable append through `POST /events`, batches of {}, {EVENT_BYTES}-byte events", options.batch),
        "≥ 150,000 events/s",
        format!("{} events/s", grouped(fed.rate())),
        format!(
            "{} connections, {} events in {:.1} s, a request p50 {p50:.1} ms p99 {p99:.1} ms; all read by systems and projections {:.1} s later; processor: load program {own:.0}%, node {used:.0}% of a core ({busiest})",
            options.connections,
            grouped(fed.events as f64),
            fed.took.as_secs_f64(),
            drained.as_secs_f64()
        ),
    );
    Ok(())
}
