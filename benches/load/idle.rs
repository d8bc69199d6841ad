//! What many systems cost: a node in which nothing happens, and a fact that none of them wants or all of them do.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::bodies::Mix;
use crate::feed::{Feed, publish};
use crate::machine;
use crate::node::{Node, NodeOptions};
use crate::puppets::{self, Mesh, Wants};
use crate::report::{Report, grouped};

/// How.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Puppets beside the registered systems; each reads facts and the events of all others.
    #[arg(long, default_value_t = Options::default().systems)]
    systems: usize,
    /// Seconds in which nothing happens.
    #[arg(long, default_value_t = Options::default().seconds)]
    seconds: u64,
    /// Facts published for the cost of one.
    #[arg(long, default_value_t = Options::default().facts)]
    facts: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { systems: 17, seconds: 20, facts: 40_000 }
    }
}

/// What one run of a node cost.
struct Cost {
    idle_share: f64,
    busiest: String,
    /// Processor time of a fact in microseconds, and facts a second from the first to the last decision.
    fact: Option<(f64, f64)>,
}

/// Measures an idle node with no puppets and with all of them, and facts with 1 and with all, which want nothing or everything.
pub fn measure(node: &NodeOptions, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let none = run(node, options, 0, Wants::Nothing, false)?;
    let mut costs = Vec::new();
    for (count, wants) in [(1, Wants::Nothing), (options.systems, Wants::Nothing), (1, Wants::Everything), (options.systems, Wants::Everything)] {
        let cost = run(node, options, count, wants, true)?;
        if count == options.systems && wants == Wants::Nothing {
            report.row(
                format!("idle node with {count} systems that read each other's events, beside the registered ones"),
                "< 3% of a core",
                format!("{:.2}% of a core", cost.idle_share * 100.0),
                format!("over {} s; {:.2}% without them; threads: {}", options.seconds, none.idle_share * 100.0, cost.busiest),
            );
        }
        costs.push((count, wants, cost));
    }
    for (count, wants, cost) in costs {
        let Some((micros, rate)) = cost.fact else { continue };
        let wanted = if wants == Wants::Nothing { "nothing" } else { "everything" };
        report.row(
            format!("a fact with {count} puppet systems that want {wanted}"),
            "-",
            format!("{micros:.0} µs of a core"),
            format!("{} facts a second until all is decided and projected; node and clients in one process", grouped(rate)),
        );
    }
    Ok(())
}

fn run(node: &NodeOptions, options: &Options, count: usize, wants: Wants, facts: bool) -> anyhow::Result<Cost> {
    let folder = node.throw_away()?;
    let running = puppets::node_with(folder.path(), Mesh::of(count, wants))?;
    let node = Node::inside(running.url(), folder)?;
    node.settle()?;
    sleep(Duration::from_secs(3));
    let (began, before, threads) = (Instant::now(), machine::cpu_seconds(node.pid), machine::thread_seconds(node.pid));
    sleep(Duration::from_secs(options.seconds));
    let idle_share = (machine::cpu_seconds(node.pid) - before) / began.elapsed().as_secs_f64();
    let busiest = machine::busiest(&threads, &machine::thread_seconds(node.pid), began.elapsed());
    let fact = if facts {
        let (began, before) = (Instant::now(), machine::cpu_seconds(node.pid));
        let feed = Feed { connections: 2, batch: 500, mix: Mix::Orders, customers: 5_000, events: options.facts, at_most: Duration::from_secs(600) };
        let fed = publish(&node, 1, feed)?;
        node.settle()?;
        let used = machine::cpu_seconds(node.pid) - before;
        Some((used * 1e6 / fed.events as f64, fed.events as f64 / began.elapsed().as_secs_f64()))
    } else {
        None
    };
    drop(running);
    Ok(Cost { idle_share, busiest, fact })
}
