//! Runs the simulation for many seeds: `cargo run --release -p tol-runtime --example simulate -- --seeds 10000 [--from 0]`,
//! or one with everything it did: `-- --seed 17 -v`.

use std::process::ExitCode;
use std::time::Instant;

use tol_runtime::simulation::{Stats, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1)?.parse::<u64>().ok());
    let verbose = arguments.iter().any(|argument| argument == "-v");
    let (from, count) = match number("--seed") {
        Some(seed) => (seed, 1),
        None => (number("--from").unwrap_or(0), number("--seeds").unwrap_or(1_000)),
    };
    let started = Instant::now();
    let mut stats = Stats::default();
    for seed in from..from.saturating_add(count) {
        match run(seed, verbose) {
            Ok(run) => stats += run,
            Err(failure) => {
                println!("{failure}");
                println!("see it with: cargo run --release -p tol-runtime --example simulate -- --seed {seed} -v");
                return ExitCode::FAILURE;
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{count} seeds from {from} on break no rule, {:.0} a second: {stats:?}", count as f64 / seconds);
    ExitCode::SUCCESS
}
