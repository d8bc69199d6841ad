//! Sends calls to a node as an SDK does, and prints how many a second were durable: `cdp_load http://127.0.0.1:7700 [seconds] [connections]`.
//!
//! Then identifies people one by one, and prints how long it takes until each is one profile.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Calls of a batch.
const BATCH: usize = 100;
/// Visitors that the calls are about.
const VISITORS: u64 = 10_000;
/// People who are identified one by one.
const PEOPLE: usize = 500;

struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    fn open(host: &str) -> Self {
        let stream = TcpStream::connect(host).expect("the node answers");
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream), host: host.to_owned() }
    }

    fn send(&mut self, method: &str, path: &str, body: &str) -> (u16, String) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Basic d3JpdGVLZXk6\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let (mut line, mut length, mut status) = (String::new(), 0usize, 0u16);
        loop {
            line.clear();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "the node closed the connection");
            let text = line.trim_end();
            if status == 0 {
                status = text.split(' ').nth(1).unwrap().parse().unwrap();
            } else if text.is_empty() {
                break;
            } else if let Some(value) = text.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).unwrap();
        (status, String::from_utf8_lossy(&answer).into_owned())
    }
}

fn batch(run: u64, number: u64) -> String {
    let calls: Vec<String> = (0..BATCH as u64)
        .map(|call| {
            let visitor = (number * BATCH as u64 + call) % VISITORS;
            format!(
                r#"{{"type":"track","anonymousId":"visitor-{visitor}","event":"Product Viewed","messageId":"{run:x}-{number}-{call}","properties":{{"revenue":{call},"sku":"G-{call}"}},"context":{{"library":{{"name":"cdp_load"}}}}}}"#
            )
        })
        .collect();
    format!(r#"{{"batch":[{}]}}"#, calls.join(","))
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "http://127.0.0.1:7700".to_owned());
    let host = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let seconds: u64 = arguments.next().map_or(10, |text| text.parse().expect("seconds"));
    let connections: u64 = arguments.next().map_or(16, |text| text.parse().expect("connections"));
    let run = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (stop, calls, numbers) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let started = Instant::now();
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| {
                    let (mut connection, mut took) = (Connection::open(&host), Vec::new());
                    while !stop.load(Ordering::Relaxed) {
                        let body = batch(run, numbers.fetch_add(1, Ordering::Relaxed));
                        let began = Instant::now();
                        let (status, answer) = connection.send("POST", "/compat/segment/v1/batch", &body);
                        if status == 429 {
                            std::thread::sleep(Duration::from_millis(100));
                            continue;
                        }
                        assert_eq!(status, 200, "{answer}");
                        took.push(began.elapsed());
                        calls.fetch_add(BATCH as u64, Ordering::Relaxed);
                    }
                    took
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let elapsed = started.elapsed().as_secs_f64();
    took.sort();
    println!("calls through /v1/batch, batches of {BATCH}, {connections} connections: {:.0} durable a second", calls.load(Ordering::Relaxed) as f64 / elapsed);
    println!("a batch: median {:?}, p99 {:?}", percentile(&took, 0.5), percentile(&took, 0.99));
    let mut connection = Connection::open(&host);
    let mut merged: Vec<Duration> = (0..PEOPLE)
        .map(|number| {
            let visit = format!(r#"{{"anonymousId":"{run:x}-a{number}","event":"Visited","messageId":"{run:x}-v{number}"}}"#);
            connection.send("POST", "/compat/segment/v1/track", &visit);
            let identify =
                format!(r#"{{"userId":"{run:x}-u{number}","anonymousId":"{run:x}-a{number}","messageId":"{run:x}-i{number}","traits":{{"plan":"pro"}}}}"#);
            let began = Instant::now();
            connection.send("POST", "/compat/segment/v1/identify", &identify);
            loop {
                let (status, answer) = connection.send("GET", &format!("/cdp/profiles/lookup?type=anonymous_id&value={run:x}-a{number}"), "");
                if status == 200 && answer.contains(&format!("{run:x}-u{number}")) {
                    return began.elapsed();
                }
                assert!(began.elapsed() < Duration::from_secs(30), "{status} {answer}");
            }
        })
        .collect();
    merged.sort();
    println!("identify to merged profile, one at a time: median {:?}, p99 {:?}", percentile(&merged, 0.5), percentile(&merged, 0.99));
    let mut read: Vec<Duration> = (0..2_000)
        .map(|number| {
            let began = Instant::now();
            connection.send("GET", &format!("/cdp/profiles/lookup?type=anonymous_id&value={run:x}-a{}", number % PEOPLE), "");
            began.elapsed()
        })
        .collect();
    read.sort();
    println!("look-up: median {:?}, p99 {:?}", percentile(&read, 0.5), percentile(&read, 0.99));
}
