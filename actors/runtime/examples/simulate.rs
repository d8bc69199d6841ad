//! Runs the simulation of the test systems for many seeds, or for one with everything it did:
//! `cargo run --release -p tol-runtime --example simulate -- --seeds 10000 [--from 0] [--threads 2] [--all]`, `-- --seed 17 -v`.

use std::process::ExitCode;

use tol_runtime::simulation::run_seeds;

fn main() -> ExitCode {
    run_seeds("cargo run --release -p tol-runtime --example simulate --", None)
}
