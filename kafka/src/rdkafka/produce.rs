//! Appending: idempotent producers, bounded together, and the delivery reports of a call collected until all are there.
//!
//! librdkafka sends one request a partition, and a broker works on one request a connection at a time: with a single producer sixteen partitions
//! that are written at once wait for each other. So there are [`PRODUCERS`], and a partition number always goes through the same one, which
//! keeps the order of its appends; nothing else rests on there being one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ::rdkafka::client::ClientContext;
use ::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use ::rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use ::rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

use super::{Calls, Ends, KafkaOptions, Topics, lock};
use crate::log::{Append, AppendDone, Appended, Error, TopicPartition};
use crate::metric_definitions as m;

/// Records and bytes that may wait for the broker. librdkafka's own limits are above, so that a call is refused whole, not in the middle.
const RECORDS: usize = 100_000;
const BYTES: usize = 64 << 20;

/// Connections to append through. Measured on 2 cores at 5,000 events/s over 8 partitions: see the README's figures.
const PRODUCERS: u32 = 4;

/// What is on its way to the broker.
#[derive(Default)]
struct Waiting {
    records: AtomicUsize,
    bytes: AtomicUsize,
}

struct Collected {
    appended: Vec<Appended>,
    error: Option<Error>,
    done: Option<AppendDone>,
}

/// One call of `append`.
struct Call {
    left: AtomicUsize,
    collected: Mutex<Collected>,
}

/// Which record of which call a delivery report is about.
pub(super) struct Slot {
    call: Arc<Call>,
    append: usize,
    record: usize,
    size: usize,
}

#[derive(Clone)]
pub(super) struct Reports {
    waiting: Arc<Waiting>,
    calls: Calls,
    ends: Arc<Ends>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Slot>;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: Box<Slot>) {
        self.waiting.records.fetch_sub(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(slot.size, Ordering::Relaxed);
        let outcome = match result {
            Ok(message) => u64::try_from(message.offset()).map_err(|_| Error::Unavailable("the broker gave no position".into())),
            Err((error, message)) => Err(match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownPartition) => {
                    Error::Unknown(format!("{}/{}", message.topic(), message.partition()))
                }
                Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) => Error::Closed,
                _ => Error::Unavailable(error.to_string()),
            }),
        };
        {
            let mut collected = lock(&slot.call.collected);
            match outcome {
                Ok(position) => collected.appended[slot.append].positions[slot.record] = position,
                Err(error) => collected.error = Some(error),
            }
        }
        self.finish(&slot.call, 1);
    }
}

impl Reports {
    /// `count` records of the call are dealt with; with the last one the caller is told.
    fn finish(&self, call: &Call, count: usize) {
        if call.left.fetch_sub(count, Ordering::AcqRel) != count {
            return;
        }
        let mut collected = lock(&call.collected);
        let (Some(done), appended) = (collected.done.take(), std::mem::take(&mut collected.appended)) else { return };
        let result = match collected.error.take() {
            Some(error) => Err(error),
            None => Ok(appended),
        };
        if let Ok(appended) = &result {
            m::records_appended().increment(appended.iter().map(|appended| appended.positions.len() as u64).sum());
            for Appended { to, positions } in appended {
                positions.last().into_iter().for_each(|last| self.ends.at_least(to, last + 1));
            }
        }
        self.calls.call(move || done(result));
    }
}

pub(super) struct Appender {
    producers: Vec<ThreadedProducer<Reports>>,
    waiting: Arc<Waiting>,
    /// Held while a call is handed over: what one call appends lies together.
    order: Mutex<()>,
    topics: Arc<Topics>,
    calls: Calls,
}

impl Appender {
    pub(super) fn new(options: &KafkaOptions, topics: Arc<Topics>, calls: Calls, ends: Arc<Ends>) -> Result<Self, KafkaError> {
        let mut config = options.config();
        config.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", "0").set("linger.ms", "0.3");
        config.set("queue.buffering.max.messages", (2 * RECORDS).to_string()).set("queue.buffering.max.kbytes", (4 * (BYTES >> 10)).to_string());
        config.set("compression.codec", "lz4").set("message.max.bytes", super::MESSAGE_BYTES.to_string());
        options.pass_through(&mut config);
        let waiting = Arc::new(Waiting::default());
        let reports = Reports { waiting: waiting.clone(), calls: calls.clone(), ends };
        let producers = (0..PRODUCERS).map(|_| config.create_with_context(reports.clone())).collect::<Result<_, _>>()?;
        Ok(Self { producers, waiting, order: Mutex::new(()), topics, calls })
    }

    pub(super) fn fatal(&self) -> Option<String> {
        self.producers.iter().find_map(|producer| producer.client().fatal_error()).map(|(_, reason)| reason)
    }

    pub(super) fn append(&self, appends: Vec<Append>, done: AppendDone) {
        if let Err(error) = self.try_append(&appends) {
            return self.calls.call(move || done(Err(error)));
        }
        let total: usize = appends.iter().map(|append| append.records.len()).sum();
        let appended = appends.iter().map(|append| Appended { to: append.to.clone(), positions: vec![0; append.records.len()] }).collect();
        let collected = Mutex::new(Collected { appended, error: None, done: Some(done) });
        let call = Arc::new(Call { left: AtomicUsize::new(total), collected });
        let _order = lock(&self.order);
        let mut handed = 0;
        for (number, append) in appends.iter().enumerate() {
            let producer = &self.producers[(append.to.partition % PRODUCERS) as usize];
            for (place, record) in append.records.iter().enumerate() {
                let mut headers = OwnedHeaders::new_with_capacity(16);
                for (name, value) in record.headers() {
                    headers = headers.insert(Header { key: name.as_str(), value: Some(value) });
                }
                let slot = Box::new(Slot { call: call.clone(), append: number, record: place, size: record.size() });
                let mut message = BaseRecord::<[u8], [u8], _>::with_opaque_to(&append.to.topic, slot);
                message = message.partition(append.to.partition as i32).payload(record.value_bytes()).headers(headers);
                if let Some(key) = record.key_bytes() {
                    message = message.key(key);
                }
                self.waiting.records.fetch_add(1, Ordering::Relaxed);
                self.waiting.bytes.fetch_add(record.size(), Ordering::Relaxed);
                if let Err((error, _)) = producer.send(message) {
                    self.waiting.records.fetch_sub(1, Ordering::Relaxed);
                    self.waiting.bytes.fetch_sub(record.size(), Ordering::Relaxed);
                    lock(&call.collected).error = Some(refusal(&error, &append.to, record.size()));
                    // Nothing after it may be written either.
                    return producer.context().finish(&call, total - handed);
                }
                handed += 1;
            }
        }
    }

    fn try_append(&self, appends: &[Append]) -> Result<(), Error> {
        if appends.is_empty() || appends.iter().any(|append| append.records.is_empty()) {
            return Err(Error::Invalid("an append has no records".into()));
        }
        appends.iter().try_for_each(|append| self.topics.check_known(&append.to))?;
        let (records, bytes) = (self.waiting.records.load(Ordering::Relaxed), self.waiting.bytes.load(Ordering::Relaxed));
        let more: usize = appends.iter().map(|append| append.records.len()).sum();
        let size: usize = appends.iter().flat_map(|append| &append.records).map(crate::record::Record::size).sum();
        if records > 0 && (records + more > RECORDS || bytes + size > BYTES) {
            return Err(Error::Unavailable(format!("its append queue is full ({records} records, {bytes} bytes wait for the broker)")));
        }
        Ok(())
    }

    /// Waits a little for what is on its way, then gives it up.
    pub(super) fn close(&self) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
        for producer in &self.producers {
            let _ = producer.flush(until.saturating_duration_since(std::time::Instant::now()));
            producer.purge(::rdkafka::producer::PurgeConfig::default().queue().inflight());
        }
    }
}

fn refusal(error: &KafkaError, to: &TopicPartition, size: usize) -> Error {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => Error::Invalid(format!("a record of {size} bytes for {to} is too large; see message.max.bytes")),
        _ => Error::Unavailable(error.to_string()),
    }
}
