//! Runs the simulation with the flag system and its model for many seeds, or for one with everything it did:
//! `cargo run --release -p tol-flag-simulation --example simulate_flags -- --seeds 10000 [--from 0] [--threads 2] [--all]`, `-- --seed 17 -v`.

use std::process::ExitCode;
use std::sync::Arc;

use tol_flag_simulation::FlagGuest;
use tol_runtime::simulation::run_seeds;

fn main() -> ExitCode {
    let flags = Arc::new(FlagGuest::default());
    let outcome = run_seeds("cargo run --release -p tol-flag-simulation --example simulate_flags --", Some(flags.clone()));
    println!("of the flag system, counted at each comparison: {:?}", flags.told());
    outcome
}
