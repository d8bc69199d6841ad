//! What the tests of this crate share: a log filled as an owner fills it, and an engine on a throw-away folder.

use std::collections::BTreeMap;
use std::sync::Arc;

use tol_events::commerce::{CustomerRegistered, OrderPlaced, OrderRefunded};
use tol_events::id::partition_of;
use tol_events::reserved::{OWNER_CLAIMED, OwnerClaimed};
use tol_events::{Attribute, DomainEvent, Event, EventTime, Money};
use tol_kafka::{Append, EventLog, Faults, MemoryLog, Record, TopicPartition, TopicSpec};

use crate::{EngineOptions, ProjectionEngine, RocksStore, StoreOptions};

/// A log with one owner that claimed every partition it wrote to.
pub(crate) struct Owned {
    pub(crate) log: MemoryLog,
    pub(crate) partitions: u32,
    sequences: BTreeMap<TopicPartition, u64>,
}

impl Owned {
    pub(crate) fn new(topics: &[&str], partitions: u32) -> Self {
        let log = MemoryLog::new(1, Faults::default());
        let specs: Vec<TopicSpec> = topics.iter().map(|name| TopicSpec { name: (*name).to_owned(), partitions, retention: None }).collect();
        log.ensure_topics(&specs).unwrap();
        Self { log, partitions, sequences: BTreeMap::new() }
    }

    pub(crate) fn append(&self, to: &TopicPartition, events: &[Event]) {
        let records = events.iter().map(Record::from_event).collect();
        self.log.append(vec![Append { to: to.clone(), expected: None, records }], Box::new(|done| drop(done.unwrap())));
    }

    /// Numbers and appends events, each to its subject's partition, in batches of `batch`.
    pub(crate) fn write(&mut self, topic: &str, events: &[Event], batch: usize) {
        let mut by_partition: BTreeMap<TopicPartition, Vec<Event>> = BTreeMap::new();
        for event in events {
            let to = TopicPartition::new(topic, partition_of(event.get(Attribute::Subject), self.partitions));
            if !self.sequences.contains_key(&to) {
                self.claim(&to, 1);
            }
            let sequence = self.sequences.entry(to.clone()).or_default();
            *sequence += 1;
            let mut event = event.clone();
            event.set(Attribute::Sequence, sequence.to_string()).set(Attribute::Epoch, "1");
            by_partition.entry(to).or_default().push(event);
        }
        for (to, events) in by_partition {
            for chunk in events.chunks(batch.max(1)) {
                self.append(&to, chunk);
            }
        }
    }

    pub(crate) fn claim(&mut self, to: &TopicPartition, epoch: u64) {
        let claim = OwnerClaimed { epoch, nonce: "n".into(), node: "http://localhost".into(), code_version: "1".into(), config_hash: "0".into() };
        let mut event = Event::new(format!("claim-{to}-{epoch}"), "/test", OWNER_CLAIMED, "system/test").with_data(&claim).unwrap();
        event.set(Attribute::Epoch, epoch.to_string());
        self.append(to, &[event]);
        self.sequences.entry(to.clone()).or_default();
    }

    /// The event at a position.
    pub(crate) fn log_event(&self, at: &TopicPartition, position: u64) -> Event {
        let batches = self.log.read(at, position, 1).unwrap();
        batches.iter().flat_map(|batch| batch.events_from(position)).next().map(|(_, event)| event.to_event()).unwrap()
    }

    pub(crate) fn ends(&self, topic: &str) -> Vec<(TopicPartition, u64)> {
        let of = |partition| TopicPartition::new(topic, partition);
        let end = |at: TopicPartition| self.log.bounds(&at).unwrap().end.checked_sub(1).map(|last| (at, last));
        (0..self.partitions).filter_map(|partition| end(of(partition))).collect()
    }
}

pub(crate) fn store(folder: &std::path::Path) -> Arc<RocksStore> {
    Arc::new(RocksStore::open(folder, &StoreOptions { cache_bytes: 4 << 20, write_buffer_bytes: 8 << 20, open_files: 64 }).unwrap())
}

pub(crate) fn engine(owned: &Owned, store: &Arc<RocksStore>) -> ProjectionEngine {
    let mut engine =
        ProjectionEngine::new(Arc::new(owned.log.clone()), store.clone(), EngineOptions { read_bytes: 2_000, ..EngineOptions::default() }).unwrap();
    engine.register(crate::customers::Customers);
    engine
}

pub(crate) fn settle(engine: &ProjectionEngine) {
    while engine.step() {}
}

fn at(event: Event, day: i64) -> Event {
    let mut event = event.at(EventTime::from_secs(day * 86_400));
    event.set(Attribute::RecordedTime, EventTime::from_secs((day + 1_000) * 86_400).to_string());
    event
}

pub(crate) fn order(id: usize, customer: u32, day: i64, minor: i64, currency: &str) -> Event {
    let data = OrderPlaced {
        order_id: format!("o{id}").into(),
        customer_id: customer.to_string().into(),
        total: Money::new(minor, currency.parse().unwrap()),
        items: Vec::new(),
    };
    at(data.to_event(format!("order-{id}"), "/shop").unwrap(), day)
}

pub(crate) fn refund(id: usize, customer: u32, day: i64, minor: i64, currency: &str) -> Event {
    let data = OrderRefunded {
        order_id: format!("o{id}").into(),
        customer_id: customer.to_string().into(),
        refund_id: format!("r{id}").into(),
        amount: Money::new(minor, currency.parse().unwrap()),
    };
    at(data.to_event(format!("refund-{id}"), "/shop").unwrap(), day)
}

pub(crate) fn registered(id: usize, customer: u32, day: i64) -> Event {
    let data = CustomerRegistered { customer_id: customer.to_string().into(), name: None, email: None, phone: None };
    at(data.to_event(format!("registered-{id}"), "/shop").unwrap(), day)
}

/// A mix of what the customers projection reads and one type it does not.
pub(crate) fn business(count: usize) -> Vec<Event> {
    (0..count)
        .map(|id| {
            let customer = (id * 7 % 23) as u32;
            let day = (id * 13 % 97) as i64;
            match id % 5 {
                0 => registered(id, customer, day),
                1 => refund(id, customer, day, id as i64 + 1, "EUR"),
                2 => at(Event::new(format!("other-{id}"), "/shop", "commerce.cart_opened.v1", format!("customer/{customer}")), day),
                _ => order(id, customer, day, id as i64 * 3, if id % 2 == 0 { "USD" } else { "EUR" }),
            }
        })
        .collect()
}
