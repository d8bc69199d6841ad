//! Our side of the comparison with other systems, and what both sides need: making the input, waiting for the end, checking the outcome.
//! `benches/compare/run` calls it; each command prints JSON lines.
//!
//! * [`workload`] — the records, the same for everyone, drawn from a seed
//! * [`system`] — count and sum per key as a [`System`](tol_system::System)
//! * [`node`] — the runtime with that system on a log
//! * [`prepare`] — the input: raw JSON for the others, admitted facts for us
//! * [`process`], [`restore`] — the measurements on Kafka
//! * [`append`] — durable append through admission, and reading back
//! * [`growth`] — cost of an event as counts grow
//! * [`watch`] — when another contestant is done
//! * [`verify`] — every output there once, in order, with the right count and sum
//! * [`raw`] — plain Kafka topics

mod append;
mod growth;
mod node;
mod prepare;
mod process;
mod raw;
mod restore;
mod system;
mod verify;
mod watch;
mod workload;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Our side of the comparison.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Makes the input topics.
    Prepare(prepare::Options),
    /// Counts and sums every admitted fact, and ends when all is committed.
    Process(process::Options),
    /// Folds the deleted state back from the log, asking for it meanwhile.
    Restore(restore::Options),
    /// Waits until a consumer group has committed the whole input.
    Watch(watch::Options),
    /// Checks an output topic record by record.
    Verify(verify::Options),
    /// Appends through admission, and reads back.
    Append(append::Options),
    /// Cost of an event as counts grow.
    Growth(growth::Options),
}

fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match Arguments::parse().what {
        What::Prepare(options) => prepare::run(&options),
        What::Process(options) => process::run(options),
        What::Restore(options) => restore::run(options),
        What::Watch(options) => watch::run(&options),
        What::Verify(options) => verify::run(&options),
        What::Append(options) => append::run(&options),
        What::Growth(options) => growth::run(options),
    }
}

/// Prints one JSON line, with the wall clock's milliseconds: what the orchestrator and other processes compare with.
fn say(event: &str, mut more: serde_json::Value) {
    if let Some(fields) = more.as_object_mut() {
        fields.insert("event".to_owned(), event.into());
        fields.insert("at_ms".to_owned(), now_ms().into());
    }
    println!("{more}");
}

fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
