//! The emergency stop under load.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bodies::Mix;
use crate::feed::{Feed, publish};
use crate::machine::Times;
use crate::node::{Node, NodeOptions};
use crate::puppets::{self, Puppet};
use crate::report::{Report, grouped};

/// How.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Stops.
    #[arg(long, default_value_t = Options::default().rounds)]
    rounds: u32,
    /// Connections that publish throughout.
    #[arg(long, default_value_t = Options::default().connections)]
    connections: usize,
    /// Which events.
    #[arg(long, value_enum, default_value_t = Options::default().mix)]
    mix: Mix,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: 100, connections: 4, mix: Mix::Both }
    }
}

/// Between a release and the next stop, and between a stop's answer and the look at what came after.
const BETWEEN: Duration = Duration::from_millis(250);

/// Stops and releases again and again while events come in as fast as they can, and looks at what happened after each answer.
pub fn measure(node: &NodeOptions, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let folder = node.throw_away()?;
    let calls = Arc::new(AtomicU64::new(0));
    let puppet = Puppet::new("bench-caller", Some(sink(calls.clone())?));
    let running = puppets::node(folder.path(), std::slice::from_ref(&puppet), |_| {})?;
    let node = Node::inside(running.url(), folder)?;
    let lasts = (BETWEEN * 2 + Duration::from_millis(150)) * options.rounds;
    let feed = Feed { connections: options.connections, batch: 500, mix: options.mix, customers: 20_000, events: u64::MAX / 2, at_most: lasts };
    let mut answers = Times::default();
    let mut last_decisions = Times::default();
    let (mut calls_after, mut decisions_after, mut unconfirmed, mut effects_running) = (0, 0, 0, 0);
    let fed = std::thread::scope(|scope| {
        let load = scope.spawn(|| publish(&node, 1, feed));
        let mut client = node.client()?;
        sleep(Duration::from_secs(1));
        for round in 0..options.rounds {
            let (asked, asked_us) = (Instant::now(), puppet.zero.elapsed().as_micros() as u64);
            let state = client.post_json("/emergency-stop", &json!({"reason": format!("measurement {round}")}))?;
            answers.add(asked.elapsed());
            let (before_calls, before) = (calls.load(Ordering::SeqCst), puppet.decided.load(Ordering::SeqCst));
            last_decisions.add(Duration::from_micros(puppet.last_us.load(Ordering::SeqCst).saturating_sub(asked_us)));
            unconfirmed += state["still_deciding"].as_array().map_or(0, Vec::len);
            effects_running += state["effects_running"].as_u64().unwrap_or_default();
            sleep(BETWEEN);
            calls_after += calls.load(Ordering::SeqCst) - before_calls;
            decisions_after += puppet.decided.load(Ordering::SeqCst) - before;
            client.post_json("/emergency-stop/release", &json!({"reason": "measurement"}))?;
            sleep(BETWEEN);
        }
        load.join().map_err(|_| anyhow::anyhow!("the load's thread panicked"))?
    })?;
    let [p50, p99, most] = answers.percentiles([0.5, 0.99, 1.0]);
    let [last_p99] = last_decisions.percentiles([0.99]);
    report.row(
        format!("emergency stop at {} events/s, from the request to its answer, when all systems have stopped", grouped(fed.rate())),
        "p99 < 250 ms, 0 effects after it",
        format!("p99 {p99:.1} ms, {calls_after} effects after it"),
        format!(
            "{} stops, {} decisions of one system in all, p50 {p50:.1} ms, most {most:.1} ms; last decision p99 {last_p99:.1} ms after the request; {decisions_after} decisions after the answer, {unconfirmed} systems unconfirmed, {effects_running} effects still running; {} effects in all; node and clients in one process",
            options.rounds,
            grouped(puppet.decided.load(Ordering::SeqCst) as f64),
            grouped(calls.load(Ordering::SeqCst) as f64)
        ),
    );
    drop(running);
    Ok(())
}

/// Answers calls and counts them; its URL.
fn sink(calls: Arc<AtomicU64>) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/call", listener.local_addr()?);
    std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let calls = calls.clone();
            std::thread::spawn(move || serve(stream, &calls));
        }
    })?;
    Ok(url)
}

fn serve(mut stream: TcpStream, calls: &AtomicU64) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    while !bytes.ends_with(b"}") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    calls.fetch_add(1, Ordering::SeqCst);
    // Whoever hung up has its answer no more; it was counted.
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
}
