//! Resident memory, idle and with many customers.

use std::thread::sleep;
use std::time::Duration;

use crate::bodies::Mix;
use crate::feed::{Feed, publish};
use crate::machine::megabytes;
use crate::node::{Node, NodeOptions};
use crate::report::{Report, grouped};

/// How.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Customers.
    #[arg(long, default_value_t = Options::default().customers)]
    customers: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { customers: 1_000_000 }
    }
}

/// How long a node rests before it is looked at.
const REST: Duration = Duration::from_secs(5);

/// Looks at a fresh node, then at one that has read an order of each customer.
pub fn measure(node: &NodeOptions, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let node = Node::start(node)?;
    sleep(REST);
    let idle = megabytes(node.pid, "VmRSS");
    report.row("memory, idle", "< 150 MB", format!("{idle:.0} MB"), format!("VmRSS {} s after it was ready", REST.as_secs()));
    let feed =
        Feed { connections: 4, batch: 500, mix: Mix::Orders, customers: options.customers, events: u64::from(options.customers), at_most: Duration::MAX };
    let fed = publish(&node, 1, feed)?;
    let settled = node.settle()?;
    sleep(REST);
    report.row(
        format!("memory with {} customers", grouped(f64::from(options.customers))),
        "< 600 MB",
        format!("{:.0} MB", megabytes(node.pid, "VmRSS")),
        format!(
            "VmRSS; most while they came {:.0} MB; {} orders at {}/s, all read {:.1} s later",
            megabytes(node.pid, "VmHWM"),
            grouped(fed.events as f64),
            grouped(fed.rate()),
            settled.as_secs_f64()
        ),
    );
    Ok(())
}
