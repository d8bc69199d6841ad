//! Measures the table "Speed and memory": `cargo run --release --example load -- [append|visible|query|rebuild|memory|redrive|stop|idle|all]`,
//! or `scripts/bench`, which builds first. Prints figures and the machine's facts; asserts nothing.
//!
//! Each measurement starts a node of its own in a throw-away folder: a process, or inside this one where it needs systems of its own.
//!
//! * [`client`] — one kept-alive connection
//! * [`bodies`] — prepared requests
//! * [`node`] — the node's process
//! * [`feed`] — many connections that publish
//! * [`append`], [`visible`], [`query`], [`rebuild`], [`memory`], [`redrive`], [`stop`], [`idle`] — the measurements
//! * [`puppets`] — systems of their own, in a node inside this process
//! * [`machine`], [`report`] — facts, and the table

mod append;
mod bodies;
mod client;
mod feed;
mod idle;
mod machine;
mod memory;
mod node;
mod puppets;
mod query;
mod rebuild;
mod redrive;
mod report;
mod stop;
mod visible;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use node::NodeOptions;
use report::Report;

/// Loads a node and prints how fast it is.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    node: NodeOptions,
    /// Writes the table to this file as well.
    #[arg(long, global = true)]
    results: Option<PathBuf>,
}

#[derive(Subcommand)]
enum What {
    /// Durable append through `POST /events`.
    Append(append::Options),
    /// From publishing to seeing it, with `min_position`.
    Visible(visible::Options),
    /// Point queries.
    Query(query::Options),
    /// Rebuild of `customers` while it is queried, and the bare reading of the same log.
    Rebuild(rebuild::Options),
    /// Resident memory, idle and with many customers.
    Memory(memory::Options),
    /// Bulk redrive of dead letters.
    Redrive(redrive::Options),
    /// Emergency stop under load.
    Stop(stop::Options),
    /// Many systems: idle, and the cost of a fact.
    Idle(idle::Options),
    /// All of them with their defaults.
    All {
        /// Events of the rebuild.
        #[arg(long, default_value_t = 2_000_000)]
        events: u64,
    },
}

fn main() -> anyhow::Result<()> {
    let Arguments { what, node, results } = Arguments::parse();
    let mut report = Report::begin(node.kafka.is_some());
    match what {
        What::Append(options) => append::measure(&node, &options, &mut report)?,
        What::Visible(options) => visible::measure(&node, &options, &mut report)?,
        What::Query(options) => query::measure(&node, &options, &mut report)?,
        What::Rebuild(options) => rebuild::measure(&node, &options, &mut report)?,
        What::Memory(options) => memory::measure(&node, &options, &mut report)?,
        What::Redrive(options) => redrive::measure(&node, &options, &mut report)?,
        What::Stop(options) => stop::measure(&node, &options, &mut report)?,
        What::Idle(options) => idle::measure(&node, &options, &mut report)?,
        What::All { events } => {
            append::measure(&node, &append::Options::default(), &mut report)?;
            visible::measure(&node, &visible::Options::default(), &mut report)?;
            query::measure(&node, &query::Options::default(), &mut report)?;
            rebuild::measure(&node, &rebuild::Options { events, ..rebuild::Options::default() }, &mut report)?;
            memory::measure(&node, &memory::Options::default(), &mut report)?;
            redrive::measure(&node, &redrive::Options::default(), &mut report)?;
            stop::measure(&node, &stop::Options::default(), &mut report)?;
            idle::measure(&node, &idle::Options::default(), &mut report)?;
        }
    }
    if let Some(path) = results {
        std::fs::write(path, report.markdown())?;
    }
    Ok(())
}
