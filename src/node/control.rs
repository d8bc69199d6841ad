//! The thread of the single-partition topics: it writes `clock` while this node owns partition 0, and reads `control` to its end,
//! which renews the lease that effects need.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tol_events::{Attribute, DomainEvent, Event, EventTime, tree};
use tol_kafka::{Append, Delivery, EventLog, Reader, Record, TopicPartition};
use tol_runtime::clock::Ticker;
use tol_runtime::owner::Moment;
use tol_runtime::stop::StopGate;

/// How often `control` is read at least.
const ROUND: Duration = Duration::from_millis(25);

/// What the rest of the node shares with the control thread.
pub(crate) struct ControlLine {
    log: Arc<dyn EventLog>,
    gate: StopGate,
    node: String,
    /// The id of a stop engaged here whose record was not read back: earlier records say nothing any more.
    awaiting: Mutex<Option<String>>,
    pub(crate) owns_clock: AtomicBool,
    pub(crate) stopping: AtomicBool,
    /// Rounds in which `control` could be read to its end.
    pub(crate) rounds: AtomicU64,
}

impl ControlLine {
    pub(crate) fn new(log: Arc<dyn EventLog>, gate: StopGate, node: String) -> Self {
        Self { log, gate, node, awaiting: Mutex::default(), owns_clock: AtomicBool::new(false), stopping: AtomicBool::new(false), rounds: AtomicU64::new(0) }
    }

    fn awaiting(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.awaiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops this node at once, and appends the stop to `control`. `done` says whether it was recorded.
    pub(crate) fn engage(&self, reason: &str, by: &str, done: Box<dyn FnOnce(Result<(), String>) + Send>) {
        let now: EventTime = chrono::Utc::now().into();
        let id = uuid::Uuid::new_v4().to_string();
        *self.awaiting() = Some(id.clone());
        self.gate.engage(reason, by, now);
        let event = tree::EmergencyStopEngaged { reason: reason.into(), by: by.into() }.to_event(id, self.source());
        self.append(event.map(|event| event.at(now)), done);
    }

    /// Appends the release; the stop ends on each node when it reads it.
    pub(crate) fn release(&self, reason: &str, by: &str, done: Box<dyn FnOnce(Result<(), String>) + Send>) {
        *self.awaiting() = None;
        let event = tree::EmergencyStopReleased { reason: reason.into(), by: by.into() }.to_event(uuid::Uuid::new_v4().to_string(), self.source());
        self.append(event.map(|event| event.at(chrono::Utc::now().into())), done);
    }

    fn source(&self) -> String {
        format!("/nodes/{}", self.node)
    }

    fn append(&self, event: Result<Event, serde_json::Error>, done: Box<dyn FnOnce(Result<(), String>) + Send>) {
        let mut event = match event {
            Ok(event) => event,
            Err(error) => return done(Err(error.to_string())),
        };
        event.set(Attribute::RecordedTime, event.get(Attribute::Time).to_owned());
        let append = Append { to: TopicPartition::new("control", 0), expected: None, records: vec![Record::from_event(&event)] };
        self.log.append(vec![append], Box::new(move |answer| done(answer.map(drop).map_err(|error| error.to_string()))));
    }
}

/// Runs until [`ControlLine::stopping`].
pub(crate) fn run(line: &ControlLine, ticker: &mut Ticker, started: Instant, lease_ms: u64, upkeep: &dyn Fn()) {
    let partition = TopicPartition::new("control", 0);
    let mut reader = Reader::resume(partition.clone(), Default::default());
    let mut last_upkeep = Instant::now();
    while !line.stopping.load(Ordering::Acquire) {
        // The lease counts from before the read: what is appended later is not covered by it.
        let before_ms = started.elapsed().as_millis() as u64;
        match read_to_end(line, &mut reader, &partition) {
            Ok(()) => {
                line.rounds.fetch_add(1, Ordering::Relaxed);
                line.gate.renew(before_ms + lease_ms);
            }
            Err(error) => tracing::warn!(%error, "control cannot be read; no effect starts until it can"),
        }
        let moment = Moment { now_ms: started.elapsed().as_millis() as u64, wall: chrono::Utc::now().into(), stopped: false };
        if let Err(error) = ticker.step(line.owns_clock.load(Ordering::Acquire), moment) {
            tracing::error!(%error, "the clock stands still");
            std::thread::sleep(Duration::from_secs(1));
        }
        if last_upkeep.elapsed() > Duration::from_secs(5) {
            upkeep();
            last_upkeep = Instant::now();
        }
        std::thread::sleep(ROUND);
    }
}

fn read_to_end(line: &ControlLine, reader: &mut Reader, partition: &TopicPartition) -> Result<(), String> {
    loop {
        let batches = line.log.read(partition, reader.next(), 1 << 20).map_err(|error| error.to_string())?;
        if batches.is_empty() {
            return Ok(());
        }
        for batch in batches {
            let read = reader.read(&batch, &mut |delivery| {
                if let Delivery::Group { events, .. } = delivery {
                    for (_, event) in events {
                        let mut awaiting = line.awaiting();
                        if awaiting.as_deref().is_some_and(|id| id != event.id()) {
                            continue;
                        }
                        *awaiting = None;
                        line.gate.fold(*event);
                    }
                }
                Ok(())
            });
            read.map_err(|stop| stop.to_string())?;
        }
    }
}
