//! The `control` topic: stops and releases, pauses and resumptions, which any node may append and every node reads. No thread and no clock of its own.
//!
//! * [`ControlLine`] — one node's end of the topic
//! * [`ControlGate`] — decides by what the topic says whether an owner may decide and an effect may start on that node

mod gate;
mod stops;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tol_events::{Attribute, DomainEvent, Event, EventTime, tree};
use tol_kafka::{Append, Cursor, Delivery, EventLog, Reader, Record, TopicPartition};

use crate::owner::{Mutation, breaks};
pub(crate) use gate::DecisionSlot;
pub use gate::{ControlGate, Permit, StopState};
use stops::Stops;
pub use stops::{LEFT_TO_OTHERS_MS, Stop};

/// Called once with whether the record is in the log.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

/// One node's end of `control`.
pub struct ControlLine {
    log: Arc<dyn EventLog>,
    gate: ControlGate,
    source: String,
    /// Held while the gate follows, so that what is told and what is read come one after the other.
    stops: Mutex<Stops>,
    reader: Mutex<Reader>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn topic() -> TopicPartition {
    TopicPartition::new("control", 0)
}

fn source_of(node: &str) -> String {
    format!("/nodes/{node}")
}

impl ControlLine {
    /// Reads from the first record on: nothing is decided before the first [`ControlLine::read`] went through.
    pub fn new(log: Arc<dyn EventLog>, gate: ControlGate, node: &str) -> Self {
        let reader = Mutex::new(Reader::resume(topic(), Cursor::default()));
        Self { log, gate, source: source_of(node), stops: Mutex::default(), reader }
    }

    /// Stops this node at once, and appends the stop to `control`. `done` says whether the first try was recorded; where it was not,
    /// [`ControlLine::read`] tries again until the record is read back.
    pub fn engage(&self, stop: &Stop, done: Done) {
        let mut stops = lock(&self.stops);
        let attempt = stops.asked(stop);
        self.gate.engage(&stop.reason, &stop.by, stop.time);
        drop(stops);
        match attempt {
            Ok((record, refused)) => self.append(vec![record], Some(refused), done),
            Err(error) => done(Err(error)),
        }
    }

    /// Stops this node at once, because another one was asked to, which records it. Where that record is not read within
    /// [`LEFT_TO_OTHERS_MS`], [`ControlLine::read`] appends it. Nothing happens where it was read already: it holds, or was released since.
    ///
    /// # Errors
    /// The stop makes no record: this node is stopped, and awaits none.
    pub fn told(&self, stop: &Stop) -> Result<(), String> {
        let mut stops = lock(&self.stops);
        let told = stops.told(stop);
        if told != Ok(false) {
            self.gate.engage(&stop.reason, &stop.by, stop.time);
        }
        told.map(drop)
    }

    /// Appends the release; the stop ends on each node when it reads it. The stops that this node awaits go ahead of it.
    pub fn release(&self, id: String, reason: &str, by: &str, now: EventTime, done: Done) {
        match (tree::EmergencyStopReleased { reason: reason.into(), by: by.into() }).to_event(id, self.source.clone()) {
            Ok(event) => {
                let mut records = lock(&self.stops).awaited();
                records.push(record(event, now));
                self.append(records, None, done);
            }
            Err(error) => done(Err(error.to_string())),
        }
    }

    /// Appends that a system is paused, or goes on; each node follows when it reads it.
    pub fn pause(&self, id: String, system: &str, paused: bool, by: &str, now: EventTime, done: Done) {
        let event = if paused {
            tree::SystemPaused { system: system.into(), by: by.into() }.to_event(id, self.source.clone())
        } else {
            tree::SystemResumed { system: system.into(), by: by.into() }.to_event(id, self.source.clone())
        };
        match event {
            Ok(event) => self.append(vec![record(event, now)], None, done),
            Err(error) => done(Err(error.to_string())),
        }
    }

    fn append(&self, records: Vec<Record>, refused: Option<Arc<AtomicBool>>, done: Done) {
        let append = Append { to: topic(), expected: None, records };
        let answered = move |answer: Result<_, tol_kafka::Error>| {
            if let (Some(refused), Err(_)) = (refused, &answer) {
                refused.store(true, Ordering::Release);
            }
            done(answer.map(drop).map_err(|error| error.to_string()));
        };
        self.log.append(vec![append], Box::new(answered));
    }

    /// Reads to the end, which lets decisions begin and effects start until `lease_ms` after `now_ms`; that time must have been taken before
    /// the call, for what is appended later is not covered.
    ///
    /// # Errors
    /// `control` cannot be read: the lease is not renewed.
    pub fn read(&self, now_ms: u64, lease_ms: u64) -> Result<(), String> {
        self.read_to_end()?;
        self.gate.renew(now_ms + lease_ms);
        // A stop that was asked for holds for all nodes, however often it takes.
        let due = lock(&self.stops).due(now_ms);
        for (record, refused) in due {
            self.append(vec![record], Some(refused), Box::new(|_| {}));
        }
        Ok(())
    }

    fn read_to_end(&self) -> Result<(), String> {
        let mut reader = lock(&self.reader);
        loop {
            let batches = self.log.read(&topic(), reader.next(), 1 << 20).map_err(|error| error.to_string())?;
            if batches.is_empty() {
                return Ok(());
            }
            for batch in batches {
                let read = reader.read(&batch, &mut |delivery| {
                    if let Delivery::Group { events, .. } = delivery {
                        for (_, event) in events {
                            if ControlGate::is_of_a_system(event) && !breaks(Mutation::PauseHidden) {
                                self.gate.fold(*event);
                                continue;
                            }
                            let mut stops = lock(&self.stops);
                            let known = stops.was_read(event.id());
                            if stops.read(event) {
                                self.gate.fold(*event);
                            } else if !known {
                                self.gate.note(*event);
                            }
                        }
                    }
                    Ok(())
                });
                read.map_err(|stop| stop.to_string())?;
            }
        }
    }
}

fn record(event: Event, now: EventTime) -> Record {
    let mut event = event.at(now);
    event.set(Attribute::RecordedTime, event.get(Attribute::Time).to_owned());
    Record::from_event(&event)
}
