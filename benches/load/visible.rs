//! From publishing to seeing it, with `min_position`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::bodies::{Batch, Mix, customer_key, customer_of};
use crate::client;
use crate::feed::send;
use crate::machine::{Times, busiest, cpu_seconds, thread_seconds};
use crate::node::{Node, NodeOptions};
use crate::report::{Report, grouped};

/// How.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Events a second.
    #[arg(long, default_value_t = Options::default().rate)]
    rate: u64,
    /// Events of a request; each request is followed by one query.
    #[arg(long, default_value_t = Options::default().batch)]
    batch: usize,
    /// Connections; a late request keeps its connection, others go on.
    #[arg(long, default_value_t = Options::default().connections)]
    connections: usize,
    /// Customers.
    #[arg(long, default_value_t = Options::default().customers)]
    customers: u32,
    /// How long, seconds.
    #[arg(long, default_value_t = Options::default().seconds)]
    seconds: u64,
    /// Before that, at the same rate, not measured: connections, caches and a broker's just-in-time compiler get warm. Seconds.
    #[arg(long, default_value_t = Options::default().warm_up)]
    warm_up: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { rate: 5_000, batch: 10, connections: 32, customers: 10_000, seconds: 20, warm_up: 5 }
    }
}

/// Publishes at a fixed rate; a request's clock starts when it is due, whether it can be sent then or not.
pub fn measure(node: &NodeOptions, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let (kafka, node) = (node.kafka.is_some(), Node::start(node)?);
    let first = chrono::Utc::now().timestamp_micros() as u64;
    let turn = AtomicU64::new(0);
    let requests_in = |seconds: u64| seconds * options.rate / options.batch as u64;
    let (unmeasured, requests) = (requests_in(options.warm_up), requests_in(options.warm_up + options.seconds));
    let between = Duration::from_secs_f64(options.batch as f64 / options.rate as f64);
    let (own, used, threads) = (cpu_seconds(std::process::id()), cpu_seconds(node.pid), thread_seconds(node.pid));
    let began = Instant::now() + Duration::from_millis(50);
    let worker = || -> anyhow::Result<(Times, Times)> {
        let (mut client, mut batch) = (node.client()?, Batch::new(options.batch, Mix::Orders));
        let (mut stored, mut visible) = (Times::default(), Times::default());
        loop {
            let number = turn.fetch_add(1, Ordering::Relaxed);
            if number >= requests {
                return Ok((stored, visible));
            }
            let due = began + between * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let base = first + number * options.batch as u64;
            let last = customer_of(base - first + options.batch as u64 - 1, options.customers);
            send(&mut client, batch.fill(base, |id| customer_of(id - first, options.customers)))?;
            let stored_after = due.elapsed();
            let answer: serde_json::Value = serde_json::from_slice(client.body())?;
            let positions = answer["positions"].as_object().context("the answer names no positions")?;
            let wanted: Vec<String> = positions.iter().map(|(partition, position)| format!("min_position={partition}:{position}")).collect();
            let key = customer_key(last);
            let path = format!("/projections/customers/{}?{}", String::from_utf8_lossy(&key), wanted.join("&"));
            let status = client.exchange(&client::get(&path))?;
            if status != 200 {
                bail!("GET {path} was answered with {status}: {}", String::from_utf8_lossy(client.body()));
            }
            if number >= unmeasured {
                stored.add(stored_after);
                visible.add(due.elapsed());
            }
        }
    };
    let (mut stored, mut visible) = (Times::default(), Times::default());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.connections).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            let (its_stored, its_visible) = worker.join().map_err(|_| anyhow::anyhow!("a connection's thread panicked"))??;
            stored.join(its_stored);
            visible.join(its_visible);
        }
        anyhow::Ok(())
    })?;
    let took = began.elapsed();
    let share = |seconds: f64| seconds / took.as_secs_f64() * 100.0;
    let (own, used) = (share(cpu_seconds(std::process::id()) - own), share(cpu_seconds(node.pid) - used));
    let [p50, p99, max] = visible.percentiles([0.5, 0.99, 1.0]);
    let [stored_p50, stored_p99] = stored.percentiles([0.5, 0.99]);
    let reached = grouped((requests as usize * options.batch) as f64 / took.as_secs_f64());
    report.row(
        format!("publish to visible (`min_position`) at {} events/s, {}", grouped(options.rate as f64), if kafka { "Apache Kafka" } else { "embedded log" }),
        if kafka { "p99 ≤ 30 ms" } else { "p99 ≤ 10 ms" },
        format!("p50 {p50:.1} ms, p99 {p99:.1} ms"),
        format!(
            "{reached} events/s reached, batches of {}, {} connections, {} queries after {} s of warm-up, longest {max:.1} ms; until durable p50 {stored_p50:.1} ms p99 {stored_p99:.1} ms; processor: load program {own:.0}%, node {used:.0}% of a core ({})",
            options.batch,
            options.connections,
            grouped(visible.len() as f64),
            options.warm_up,
            busiest(&threads, &thread_seconds(node.pid), took)
        ),
    );
    Ok(())
}
