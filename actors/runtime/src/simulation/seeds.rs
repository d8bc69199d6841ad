//! Runs many seeds on all cores, or one seed with everything it did: the command line of the examples named `simulate`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Guest, Stats, run_with};

/// What the threads share. One seed is one thread.
struct Work {
    next: AtomicU64,
    until: u64,
    done: AtomicU64,
    ended: AtomicBool,
    all: bool,
    verbose: bool,
    guest: Option<Arc<dyn Guest>>,
    outcome: Mutex<(Stats, Vec<(u64, String)>)>,
}

impl Work {
    fn outcome(&self) -> std::sync::MutexGuard<'_, (Stats, Vec<(u64, String)>)> {
        self.outcome.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn take_seeds(&self) {
        while !self.ended.load(Ordering::Acquire) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.until {
                break;
            }
            let problem = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run_with(seed, self.verbose, self.guest.as_ref()))) {
                Ok(Ok(stats)) => {
                    self.outcome().0 += stats;
                    None
                }
                Ok(Err(failure)) => Some(failure.to_string()),
                Err(_) => Some(format!("seed {seed}: the runtime panicked")),
            };
            self.done.fetch_add(1, Ordering::Relaxed);
            if let Some(problem) = problem {
                self.outcome().1.push((seed, problem));
                self.ended.fetch_or(!self.all, Ordering::AcqRel);
            }
        }
    }
}

fn show(work: &Work, count: u64, started: Instant) {
    let done = work.done.load(Ordering::Relaxed);
    let filled = (done * 40 / count.max(1)) as usize;
    let rate = done as f64 / started.elapsed().as_secs_f64().max(0.001);
    eprint!("\r[{}{}] {done}/{count} seeds, {rate:.0} a second ", "#".repeat(filled), ".".repeat(40 - filled.min(40)));
    let _ = std::io::stderr().flush(); // only a picture
}

/// Runs the seeds that the process's arguments name, with the guest if there is one, and prints what happened:
/// `--seeds 10000 [--from 0] [--threads 2] [--all]`, or `--seed 17 -v`. It ends at the first seed that breaks a rule, or with `--all` names every one.
///
/// `command` is how a reader runs it again, for the message about a broken seed.
#[must_use]
pub fn run_seeds(command: &str, guest: Option<Arc<dyn Guest>>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1)?.parse::<u64>().ok());
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let (from, count) = match number("--seed") {
        Some(seed) => (seed, 1),
        None => (number("--from").unwrap_or(0), number("--seeds").unwrap_or(1_000)),
    };
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let threads = number("--threads").unwrap_or(cores).clamp(1, count.max(1));
    let started = Instant::now();
    let work = Work {
        next: AtomicU64::new(from),
        until: from.saturating_add(count),
        done: AtomicU64::new(0),
        ended: AtomicBool::new(false),
        all: has("--all"),
        verbose: has("-v"),
        guest,
        outcome: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work.take_seeds())).collect();
        if std::io::stderr().is_terminal() && !work.verbose {
            while workers.iter().any(|worker| !worker.is_finished()) {
                show(&work, count, started);
                std::thread::sleep(Duration::from_millis(200));
            }
            eprintln!();
        }
    });
    let rate = work.done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64().max(0.001);
    let (stats, mut problems) = work.outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if problems.is_empty() {
        println!("{count} seeds from {from} on break no rule, {rate:.0} a second on {threads} threads: {stats:?}");
        return ExitCode::SUCCESS;
    }
    problems.sort();
    for (seed, problem) in &problems {
        println!("{problem}");
        println!("see it with: {command} --seed {seed} -v");
    }
    ExitCode::FAILURE
}
