//! Fills an embedded log with orders, then prints the rate at which it is read and decoded, and at which `customers` is rebuilt while queries run.
//!
//! `cargo run --release -p tol-projections --example rebuild_bench -- [events] [customers]`

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tol_events::commerce::OrderPlaced;
use tol_events::id::partition_of;
use tol_events::reserved::{OWNER_CLAIMED, OwnerClaimed};
use tol_events::{Attribute, DomainEvent, Event, EventTime, Money};
use tol_kafka::{Append, EmbeddedLog, EmbeddedOptions, EventLog, Record, TopicPartition, TopicSpec};
use tol_projections::customers::Customers;
use tol_projections::{EngineOptions, ProjectionEngine, RebuildState, RocksStore, StoreOptions};

const TOPIC: &str = "facts.customer";
const PARTITIONS: u32 = 8;
const BATCH: usize = 500;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let events = arguments.next().transpose()?.unwrap_or(1_000_000);
    let customers = arguments.next().transpose()?.unwrap_or(200_000);
    let folder = tempfile::tempdir()?;
    let (log, _) = EmbeddedLog::open(folder.path().join("log"), EmbeddedOptions { sync: false, ..EmbeddedOptions::default() })?;
    log.ensure_topics(&[TopicSpec { name: TOPIC.to_owned(), partitions: PARTITIONS, retention: None }])?;
    let began = Instant::now();
    let bytes = fill(&*log, events, customers)?;
    println!("wrote {events} orders of {customers} customers, {} bytes an event, in {:.1} s", bytes / events.max(1), began.elapsed().as_secs_f64());

    // Twice: the second finds the files in the page cache, as the rebuild does.
    for _ in 0..2 {
        let began = Instant::now();
        let read = read_and_decode(&*log)?;
        println!("read and decoded on 2 threads: {:.0} events/s", read as f64 / began.elapsed().as_secs_f64());
    }

    let store = Arc::new(RocksStore::open(&folder.path().join("projections"), &StoreOptions::default())?);
    let mut engine = ProjectionEngine::new(log.clone(), store, EngineOptions::default())?;
    engine.register(Customers);
    let began = Instant::now();
    engine.start();
    let ends = (0..PARTITIONS)
        .map(|partition| TopicPartition::new(TOPIC, partition))
        .map(|at| Ok((at.clone(), log.bounds(&at)?.end - 1)))
        .collect::<Result<Vec<_>, Failure>>()?;
    engine.wait_for("customers", &ends, Duration::from_secs(3_600))?;
    println!("first fold on 1 thread: {:.0} events/s", events as f64 / began.elapsed().as_secs_f64());

    let before = engine.digest("customers")?;
    let began = Instant::now();
    engine.rebuild("customers")?;
    let (mut queries, mut failed, mut took) = (0u64, 0u64, Vec::new());
    while engine.rebuild_status("customers")?.state == RebuildState::Running {
        let asked = Instant::now();
        queries += 1;
        failed += u64::from(!matches!(engine.get("customers", &(queries * 7_919 % customers).to_string()), Ok(Some(_))));
        took.push(asked.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }
    let seconds = began.elapsed().as_secs_f64();
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
    println!("rebuilt: {:.0} events/s, {queries} queries meanwhile, {failed} failed, p99 {:.2} ms", events as f64 / seconds, p99.as_secs_f64() * 1e3);
    println!(
        "rebuild: {:?}; digest {}",
        engine.rebuild_status("customers")?.state,
        if engine.digest("customers")?.digest == before.digest { "unchanged" } else { "CHANGED" }
    );
    let began = Instant::now();
    let asked = 200_000;
    for number in 0..asked {
        engine.get("customers", &(number * 7_919 % customers).to_string())?;
    }
    println!("point queries on 1 thread: {:.0}/s", asked as f64 / began.elapsed().as_secs_f64());
    engine.stop();
    Ok(())
}

fn fill(log: &dyn EventLog, events: u64, customers: u64) -> Result<u64, Failure> {
    let mut pending: Vec<Vec<Record>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    let mut sequences = vec![0u64; PARTITIONS as usize];
    let (mut bytes, mut outstanding) = (0, 0);
    let (done, finished) = channel();
    for (partition, records) in pending.iter_mut().enumerate() {
        let claim = OwnerClaimed { epoch: 1, nonce: "n".into(), node: "n".into(), code_version: "1".into(), config_hash: "0".into() };
        let mut event = Event::new(format!("claim-{partition}"), "/bench", OWNER_CLAIMED, "system/bench").with_data(&claim)?;
        event.set(Attribute::Epoch, "1");
        records.push(Record::from_event(&event));
    }
    let mut random = 1u64;
    for number in 0..events {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Each customer once, then at random.
        let customer = if number < customers { number } else { (random >> 33) % customers }.to_string();
        let order = OrderPlaced {
            order_id: format!("order-{number:010}").into(),
            customer_id: customer.as_str().into(),
            total: Money::new((random >> 50) as i64, "USD".parse()?),
            items: Vec::new(),
        };
        let mut event = order.to_event(format!("{number:032x}"), "/bench")?.at(EventTime::from_secs(1_700_000_000 + number as i64 / 10));
        let partition = partition_of(event.get(Attribute::Subject), PARTITIONS) as usize;
        sequences[partition] += 1;
        event.set(Attribute::Sequence, sequences[partition].to_string()).set(Attribute::Epoch, "1").set(Attribute::RecordedTime, "2026-01-01T00:00:00.123456Z");
        let record = Record::from_event(&event);
        bytes += record.size() as u64;
        pending[partition].push(record);
        if pending[partition].len() == BATCH || number + 1 == events {
            for (partition, records) in
                pending.iter_mut().enumerate().filter(|(place, records)| *place == partition || (number + 1 == events && !records.is_empty()))
            {
                let (to, records, done) = (TopicPartition::new(TOPIC, partition as u32), std::mem::take(records), done.clone());
                log.append(vec![Append { to, expected: None, records }], Box::new(move |result| drop(done.send(result))));
                outstanding += 1;
            }
        }
        while outstanding > 64 {
            finished.recv()??;
            outstanding -= 1;
        }
    }
    for _ in 0..outstanding {
        finished.recv()??;
    }
    Ok(bytes)
}

fn read_and_decode(log: &dyn EventLog) -> Result<u64, Failure> {
    let read = |partitions: std::ops::Range<u32>| -> Result<u64, tol_kafka::Error> {
        let (mut count, mut total) = (0, 0i64);
        for partition in partitions {
            let (at, mut next) = (TopicPartition::new(TOPIC, partition), 0);
            loop {
                let batches = log.read(&at, next, 1 << 20)?;
                let Some(last) = batches.last() else { break };
                for (_, event) in batches.iter().flat_map(|batch| batch.events_from(next)) {
                    count += 1;
                    if let Ok(order) = event.data_as::<OrderPlaced<'_>>() {
                        total = total.wrapping_add(order.total.minor);
                    }
                }
                next = last.end();
            }
        }
        std::hint::black_box(total);
        Ok(count)
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| read(0..PARTITIONS / 2));
        let own = read(PARTITIONS / 2..PARTITIONS)?;
        Ok(own + other.join().map_err(|_| "the other reader panicked")??)
    })
}
