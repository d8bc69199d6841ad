//! Buckets a whole population, and says how even the buckets are: nothing is kept but a count a bucket.
//!
//! `cargo run --release -p tol-enterprise-feature-flag-system --example flag_population -- --users 1000000000`

use std::io::Write;
use std::time::Instant;

use clap::Parser;
use tol_enterprise_feature_flag_system::evaluation::{growthbook, unleash};
use tol_enterprise_feature_flag_system::statistics::functions::chi_square_sf;

/// Buckets user ids as rollouts do, and tests the buckets against chance.
#[derive(Parser)]
struct Options {
    /// How many user ids, `user-0` and on.
    #[arg(long, default_value_t = 1_000_000_000)]
    users: u64,
    /// The flag, which salts the hash.
    #[arg(long, default_value = "new-checkout")]
    flag: String,
}

/// A hash of (flag, user), in one of so many buckets.
struct Family {
    name: &'static str,
    buckets: usize,
    bucket: fn(&str, &str) -> usize,
}

const FAMILIES: [Family; 2] = [
    Family { name: "Unleash (murmur3, whole percents)", buckets: 100, bucket: |flag, user| unleash::bucket(flag, user, 100, 0) as usize - 1 },
    Family {
        name: "GrowthBook (fnv1a twice, ten-thousandths)",
        buckets: 10_000,
        bucket: |flag, user| growthbook::hash::hash(flag, user, 2.0).map_or(0, |place| (place * 10_000.0).round() as usize),
    },
];

fn main() {
    let options = Options::parse();
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    println!("{} user ids, {threads} threads", options.users);
    for family in &FAMILIES {
        let started = Instant::now();
        let part = |thread: u64| count(family, &options.flag, options.users * thread / threads..options.users * (thread + 1) / threads);
        let counts = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
            let parts = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            parts.fold(vec![0u64; family.buckets], |sum, part| sum.iter().zip(part).map(|(a, b)| a + b).collect())
        });
        let seconds = started.elapsed().as_secs_f64();
        let expected = options.users as f64 / family.buckets as f64;
        let chi_square: f64 = counts.iter().map(|&count| (count as f64 - expected) * (count as f64 - expected) / expected).sum();
        let p_value = chi_square_sf(chi_square, family.buckets as u32 - 1);
        let worst = counts.iter().map(|&count| (count as f64 / expected - 1.0).abs()).fold(0.0, f64::max);
        println!(
            "{}: {seconds:.1} s, {:.1} million/s; {} buckets, largest deviation {:.4} %, chi² {chi_square:.1}, p {p_value:.3}",
            family.name,
            options.users as f64 / seconds / 1e6,
            family.buckets,
            100.0 * worst
        );
    }
    if let Some(peak) = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
        Some(line.trim_start_matches("VmHWM:").trim().to_owned())
    }) {
        println!("peak memory {peak}");
    }
}

fn count(family: &Family, flag: &str, users: std::ops::Range<u64>) -> Vec<u64> {
    let mut counts = vec![0; family.buckets];
    let mut id = Vec::with_capacity(32);
    for user in users {
        id.clear();
        // Writing into a vector does not fail, and digits are text.
        let _ = write!(id, "user-{user}");
        let bucket = (family.bucket)(flag, std::str::from_utf8(&id).unwrap_or_default());
        counts[bucket.min(family.buckets - 1)] += 1;
    }
    counts
}
