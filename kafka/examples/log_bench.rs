//! How fast the embedded log is on this machine: `cargo run --release -p tol-kafka --example log_bench [folder]`.
//!
//! Durable appends of 500 records of 388 bytes, one sync a batch and then many waiting at once; then reading all back from the files and decoding it.

use std::error::Error;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Instant;

use tol_events::Attribute;
use tol_kafka::{Append, EmbeddedLog, EmbeddedOptions, EventLog, Record, TopicPartition, TopicSpec};

const BATCH: u64 = 500;
const SIZE: usize = 388;

fn records(first: u64) -> Vec<Record> {
    (first..first + BATCH)
        .map(|number| {
            let mut record = Record::with_capacity(SIZE);
            let subject = format!("customer/{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            record.key(subject.as_bytes()).attribute(Attribute::SpecVersion, "1.0").attribute(Attribute::Id, &format!("{number:032x}"));
            record.attribute(Attribute::Source, "/stripe").attribute(Attribute::Type, "stripe.invoice_paid.v1").attribute(Attribute::Subject, &subject);
            record.attribute(Attribute::Time, "2026-01-02T03:04:05.678901Z").attribute(Attribute::DataContentType, "application/json");
            let mut value = format!(
                "{{\"amount\":{},\"currency\":\"EUR\",\"invoice\":\"in_{:x}\",\"note\":\"",
                number % 10_000,
                number.wrapping_mul(0xD134_2543_DE82_EF95)
            );
            while value.len() + record.size() + 2 < SIZE {
                value.push(char::from(b'a' + (number.wrapping_mul(value.len() as u64 + 7) >> 3) as u8 % 26));
            }
            value.push_str("\"}");
            record.value(value.as_bytes());
            record
        })
        .collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args().nth(1).map(PathBuf::from);
    let folder = given.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("tol-log-bench-{}", std::process::id())));
    let (log, _) = EmbeddedLog::open(&folder, EmbeddedOptions::default())?;
    log.ensure_topics(&[TopicSpec { name: "bench".into(), partitions: 4, retention: None }])?;
    let to: Vec<TopicPartition> = (0..4).map(|partition| TopicPartition::new("bench", partition)).collect();
    for in_flight in [1u64, 8, 32] {
        let calls = 4000;
        let (send, answers) = channel();
        let batches: Vec<Vec<Record>> = (0..calls.min(400)).map(|call| records(call * BATCH)).collect();
        let started = Instant::now();
        let mut waiting = 0;
        for call in 0..calls {
            let send = send.clone();
            let append = Append { to: to[call as usize % 4].clone(), expected: None, records: batches[call as usize % batches.len()].clone() };
            log.append(vec![append], Box::new(move |result| drop(send.send(result))));
            waiting += 1;
            if waiting == in_flight {
                answers.recv()??;
                waiting -= 1;
            }
        }
        for _ in 0..waiting {
            answers.recv()??;
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "append, {in_flight:>2} batches in flight: {:>9.0} events/s, {:.2} ms a batch",
            (calls * BATCH) as f64 / seconds,
            1000.0 * seconds / calls as f64
        );
    }
    let bytes: u64 = log.durable_files().iter().map(|(_, bytes)| bytes).sum();
    drop(log);
    let started = Instant::now();
    let (log, report) = EmbeddedLog::open(&folder, EmbeddedOptions::default())?;
    println!("open {} records in {} segments, {} MB: {:.3} s", report.records, report.segments, bytes >> 20, started.elapsed().as_secs_f64());
    for decode in [false, true] {
        let started = Instant::now();
        let (mut total, mut checked) = (0u64, 0usize);
        for partition in &to {
            let mut next = 0;
            loop {
                let batches = log.read(partition, next, 1 << 20)?;
                let Some(last) = batches.last() else { break };
                next = last.end();
                for batch in &batches {
                    total += batch.len() as u64;
                    if decode {
                        checked += batch.events_from(0).map(|(_, event)| event.subject().len()).sum::<usize>();
                    }
                }
            }
        }
        let what = if decode { "read and decode" } else { "read" };
        println!("{what}: {:.0} events/s ({checked})", total as f64 / started.elapsed().as_secs_f64());
    }
    drop(log);
    if given.is_none() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}
