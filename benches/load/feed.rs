//! Publishing over several connections, each with one request under way at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::bodies::{Batch, Mix, customer_of};
use crate::client::Client;
use crate::machine::Times;
use crate::node::Node;

/// What to publish.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    /// Connections, each on a thread.
    pub connections: usize,
    /// Events of a request.
    pub batch: usize,
    /// Which.
    pub mix: Mix,
    /// Customers they are about.
    pub customers: u32,
    /// Ends after so many events.
    pub events: u64,
    /// Ends after this time.
    pub at_most: Duration,
}

/// What became of it.
pub struct Fed {
    /// Accepted events.
    pub events: u64,
    /// From the first request to the last answer.
    pub took: Duration,
    /// Of each request.
    pub times: Times,
}

impl Fed {
    /// Events a second.
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64()
    }
}

/// Publishes events with the numbers from `first` on. Requests that the node is too busy for are sent again.
pub fn publish(node: &Node, first: u64, feed: Feed) -> anyhow::Result<Fed> {
    let next = AtomicU64::new(0);
    let began = Instant::now();
    let worker = || -> anyhow::Result<(u64, Times)> {
        let (mut client, mut batch) = (node.client()?, Batch::new(feed.batch, feed.mix));
        let (mut accepted, mut times) = (0, Times::default());
        while began.elapsed() < feed.at_most {
            let start = next.fetch_add(feed.batch as u64, Ordering::Relaxed);
            if start >= feed.events {
                break;
            }
            let request = batch.fill(first + start, |number| customer_of(number - first, feed.customers));
            let asked = Instant::now();
            send(&mut client, request)?;
            times.add(asked.elapsed());
            accepted += feed.batch as u64;
        }
        Ok((accepted, times))
    };
    let mut fed = Fed { events: 0, took: Duration::ZERO, times: Times::default() };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..feed.connections).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            let (accepted, times) = worker.join().map_err(|_| anyhow::anyhow!("a connection's thread panicked"))??;
            fed.events += accepted;
            fed.times.join(times);
        }
        anyhow::Ok(())
    })?;
    fed.took = began.elapsed();
    Ok(fed)
}

/// Sends until it is accepted.
pub fn send(client: &mut Client, request: &[u8]) -> anyhow::Result<()> {
    loop {
        match client.exchange(request).context("publishing")? {
            200 => return Ok(()),
            503 => std::thread::sleep(Duration::from_millis(50)),
            status => bail!("publishing was answered with {status}: {}", String::from_utf8_lossy(client.body())),
        }
    }
}
