//! Bulk redrive of dead letters.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde_json::{Value, json};

use crate::bodies::Mix;
use crate::feed::{Feed, publish};
use crate::node::{Node, NodeOptions};
use crate::puppets::{self, Puppet};
use crate::report::{Report, grouped};

/// How.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Dead letters.
    #[arg(long, default_value_t = Options::default().letters)]
    letters: u64,
    /// Subjects they are of.
    #[arg(long, default_value_t = Options::default().subjects)]
    subjects: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { letters: 10_000, subjects: 1_000 }
    }
}

const NAME: &str = "bench-redrive";

/// Parks orders in a system that refuses them, mends it, and redrives all.
pub fn measure(node: &NodeOptions, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let folder = node.throw_away()?;
    let puppet = Puppet::new(NAME, None);
    puppet.refuses.store(true, Ordering::Relaxed);
    let running = puppets::node(folder.path(), std::slice::from_ref(&puppet), |_| {})?;
    let node = Node::inside(running.url(), folder)?;
    let feed = Feed { connections: 2, batch: 500, mix: Mix::Orders, customers: options.subjects, events: options.letters, at_most: Duration::MAX };
    let began = Instant::now();
    publish(&node, 1, feed)?;
    let mut client = node.client()?;
    while parked(&client.get_json("/systems")?) < options.letters {
        ensure!(began.elapsed() < Duration::from_secs(600), "not all were parked in 10 minutes");
        sleep(Duration::from_millis(20));
    }
    let parking = began.elapsed();
    let dry = client.post_json("/dead-letters/redrive", &json!({"system": NAME, "dry_run": true}))?;
    ensure!(dry["redriven"] == options.letters, "a dry run tells {}", dry["redriven"]);
    puppet.refuses.store(false, Ordering::Relaxed);
    let before = puppet.decided.load(Ordering::Relaxed);
    let began = Instant::now();
    let mut state = client.post_json("/dead-letters/redrive", &json!({"system": NAME, "reason": "measurement", "background": true}))?;
    let path = format!("/dead-letters/redrives/{}", state["id"].as_str().unwrap_or_default());
    while state["state"] == "running" {
        sleep(Duration::from_millis(5));
        state = client.get_json(&path)?;
    }
    let took = began.elapsed();
    if state["state"] != "done" || state["redriven"] != options.letters {
        bail!("it ended as {}, {} redriven: {}", state["state"], state["redriven"], state["problem"]);
    }
    let decided = puppet.decided.load(Ordering::Relaxed) - before;
    report.row(
        format!("bulk redrive of {} dead letters of {} subjects", grouped(options.letters as f64), grouped(f64::from(options.subjects))),
        "< 60 s",
        format!("{:.2} s", took.as_secs_f64()),
        format!(
            "{}/s, {decided} decisions, {} left parked; parking them took {:.2} s; node and client in one process",
            grouped(options.letters as f64 / took.as_secs_f64()),
            parked(&client.get_json("/systems")?),
            parking.as_secs_f64()
        ),
    );
    drop(running);
    Ok(())
}

fn parked(systems: &Value) -> u64 {
    systems.as_array().and_then(|all| all.iter().find(|one| one["name"] == NAME)).and_then(|one| one["dead_letters"].as_u64()).unwrap_or_default()
}
