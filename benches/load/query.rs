//! Point queries, and the background queries of other measurements.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::bodies::{Mix, customer_key};
use crate::client;
use crate::feed::{Feed, publish};
use crate::machine::{Times, busiest, cpu_seconds, thread_seconds};
use crate::node::{Node, NodeOptions};
use crate::report::{Report, grouped};

/// How.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = Options::default().connections)]
    connections: usize,
    /// Customers to choose from.
    #[arg(long, default_value_t = Options::default().customers)]
    customers: u32,
    /// How long, seconds.
    #[arg(long, default_value_t = Options::default().seconds)]
    seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { connections: 4, customers: 100_000, seconds: 10 }
    }
}

/// What queries found.
#[derive(Default)]
pub struct Asked {
    /// Of each query.
    pub times: Times,
    /// Answers other than 200.
    pub failed: u64,
}

/// Queries rows of customers chosen as if at random until told to stop, over several connections.
/// `between` paces each connection; a query is timed from when it was due.
pub fn ask(node: &Node, connections: usize, customers: u32, between: Option<Duration>, stop: &AtomicBool) -> anyhow::Result<Asked> {
    let worker = |seed: u64| -> anyhow::Result<Asked> {
        let mut client = node.client()?;
        let mut request = client::get("/projections/customers/00000000");
        let at = request.windows(8).position(|window| window == b"00000000").unwrap_or_default();
        let (mut asked, mut random, mut due) = (Asked::default(), seed, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let customer = (((random >> 32) * u64::from(customers)) >> 32) as u32;
            request[at..at + 8].copy_from_slice(&customer_key(customer));
            match between {
                Some(between) => {
                    due += between;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                None => due = Instant::now(),
            }
            let status = client.exchange(&request)?;
            asked.times.add(due.elapsed());
            asked.failed += u64::from(status != 200);
        }
        Ok(asked)
    };
    let mut all = Asked::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections as u64).map(|seed| scope.spawn(move || worker(seed))).collect();
        for worker in workers {
            let asked = worker.join().map_err(|_| anyhow::anyhow!("a connection's thread panicked"))??;
            all.times.join(asked.times);
            all.failed += asked.failed;
        }
        anyhow::Ok(())
    })?;
    Ok(all)
}

/// Fills a node with customers, then asks for them as fast as it answers.
pub fn measure(node: &NodeOptions, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let node = Node::start(node)?;
    let events = u64::from(options.customers) * 2;
    let feed = Feed { connections: 4, batch: 500, mix: Mix::Orders, customers: options.customers, events, at_most: Duration::MAX };
    publish(&node, chrono::Utc::now().timestamp_micros() as u64, feed)?;
    node.settle()?;
    let (own, used, threads) = (cpu_seconds(std::process::id()), cpu_seconds(node.pid), thread_seconds(node.pid));
    let (stop, began) = (AtomicBool::new(false), Instant::now());
    let mut asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&node, options.connections, options.customers, None, &stop));
        std::thread::sleep(Duration::from_secs(options.seconds));
        stop.store(true, Ordering::Relaxed);
        asking.join().map_err(|_| anyhow::anyhow!("the queries' thread panicked"))?
    })?;
    let took = began.elapsed();
    let share = |seconds: f64| seconds / took.as_secs_f64() * 100.0;
    let (own, used) = (share(cpu_seconds(std::process::id()) - own), share(cpu_seconds(node.pid) - used));
    let [p50, p99] = asked.times.percentiles([0.5, 0.99]);
    report.row(
        "point query `GET /projections/customers/{id}`",
        "≥ 40,000/s, p99 < 5 ms",
        format!("{}/s, p99 {p99:.2} ms", grouped(asked.times.len() as f64 / took.as_secs_f64())),
        format!(
            "{} connections, {} customers, p50 {p50:.2} ms, {} failed; processor: load program {own:.0}%, node {used:.0}% of a core ({})",
            options.connections,
            grouped(f64::from(options.customers)),
            asked.failed,
            busiest(&threads, &thread_seconds(node.pid), took)
        ),
    );
    Ok(())
}
