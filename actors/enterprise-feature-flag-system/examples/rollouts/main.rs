//! Prints the table of the README: how often three rules roll back a harmless treatment, and how many subjects they need to find harm.
//!
//! `cargo run --release -p tol-enterprise-feature-flag-system --example rollouts -- --rollouts 3000 --looks 500 --seed 1`

mod simulation;

use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use simulation::{HARMFUL, HARMLESS, Outcome, RULES, SUBJECTS_A_LOOK, Scenario};

/// Simulates guarded rollouts and prints what the rules do with them.
#[derive(Parser)]
struct Options {
    /// Rollouts to simulate in each scenario.
    #[arg(long, default_value_t = 3000)]
    rollouts: u64,
    /// Looks at each rollout, one every 100 subjects an arm.
    #[arg(long, default_value_t = 500)]
    looks: usize,
    /// Another seed gives other rollouts; the same one the same table, on every machine.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only scenarios whose name contains this, e.g. ".01 = .01".
    #[arg(long, default_value = "")]
    only: String,
    /// The error budget.
    #[arg(long, default_value_t = tol_enterprise_feature_flag_system::statistics::harm::Design::default().alpha)]
    alpha: f64,
}

fn main() {
    let options = Options::parse();
    let scenarios = HARMLESS.iter().chain(&HARMFUL).filter(|scenario| scenario.name.contains(&options.only)).count();
    // Hidden where standard error is not a terminal.
    let bar = ProgressBar::with_draw_target(Some(options.rollouts * scenarios as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg:24} {wide_bar} {percent}% {eta}") {
        bar.set_style(style);
    }
    println!(
        "{} rollouts a scenario, {} looks, one every {} subjects an arm (half of {SUBJECTS_A_LOOK}), seed {}",
        options.rollouts,
        options.looks,
        SUBJECTS_A_LOOK / 2,
        options.seed
    );
    println!("\nFalse rollbacks by look (what a rule did once, it has done at all later looks: the last column is the largest)\n");
    println!("| rates | rule | 10 | 50 | 100 | 200 | last |");
    println!("|---|---|---|---|---|---|---|");
    each(&HARMLESS, &options, &bar, |scenario, outcomes| {
        for (rule, name) in RULES.iter().enumerate() {
            let shares = [10, 50, 100, 200, options.looks].map(|look| format!("{:.4}", simulation::share_by(outcomes, rule, look)));
            println!("| {} | {name} | {} |", scenario.name, shares.join(" | "));
        }
    });
    println!("\nHarm: median subjects an arm until rolled back (of all rollouts, found or not), and power at the last look\n");
    println!("| rates | {} |", RULES.map(|rule| format!("{rule}: median | power")).join(" | "));
    println!("|---|{}", "---|---|".repeat(RULES.len()));
    each(&HARMFUL, &options, &bar, |scenario, outcomes| {
        let cells = (0..RULES.len()).map(|rule| {
            let median = simulation::median_subjects(outcomes, rule).map_or("none".into(), |median| format!("{median:.0}"));
            format!("{median} | {:.3}", simulation::share_by(outcomes, rule, options.looks))
        });
        println!("| {} | {} |", scenario.name, cells.collect::<Vec<_>>().join(" | "));
    });
    bar.finish_and_clear();
}

/// Shows the rollouts of each scenario that is wanted, as soon as it is simulated.
fn each(scenarios: &[Scenario], options: &Options, bar: &ProgressBar, show: impl Fn(&Scenario, &[Outcome])) {
    for scenario in scenarios.iter().filter(|scenario| scenario.name.contains(&options.only)) {
        show(scenario, &run(scenario, options, bar));
    }
}

/// All rollouts of a scenario, shared among the machine's cores; which core takes which changes nothing.
fn run(scenario: &Scenario, options: &Options, bar: &ProgressBar) -> Vec<Outcome> {
    bar.set_message(scenario.name);
    let next = AtomicU64::new(0);
    let work = || {
        let mut outcomes = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= options.rollouts {
                return outcomes;
            }
            outcomes.push(simulation::rollout(scenario, options.looks, options.seed, index, options.alpha));
            bar.inc(1);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}
