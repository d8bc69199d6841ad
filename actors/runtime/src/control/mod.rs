//! The `control` topic: stops and releases, pauses and resumptions, which any node may append and every node reads. No thread and no clock of its own.
//!
//! * [`ControlLine`] — one node's end of the topic
//! * [`ControlGate`] — what it says, for all that decides or acts on that node

mod gate;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tol_events::{Attribute, DomainEvent, Event, EventTime, tree};
use tol_kafka::{Append, Cursor, Delivery, EventLog, Reader, Record, TopicPartition};

use crate::owner::{Mutation, breaks};
pub(crate) use gate::Seat;
pub use gate::{ControlGate, Permit, StopState};

/// Called once with whether the record is in the log.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

/// A stop engaged here whose record was not read back.
struct Awaited {
    id: String,
    record: Record,
    /// The log refused it, or did not say.
    failed: Arc<AtomicBool>,
}

/// One node's end of `control`.
pub struct ControlLine {
    log: Arc<dyn EventLog>,
    gate: ControlGate,
    source: String,
    /// While there is one, what is read before it says nothing any more.
    awaited: Mutex<Option<Awaited>>,
    reader: Mutex<Reader>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn topic() -> TopicPartition {
    TopicPartition::new("control", 0)
}

impl ControlLine {
    /// Reads from the first record on: nothing is decided before the first [`ControlLine::read`] went through.
    pub fn new(log: Arc<dyn EventLog>, gate: ControlGate, node: &str) -> Self {
        let reader = Mutex::new(Reader::resume(topic(), Cursor::default()));
        Self { log, gate, source: format!("/nodes/{node}"), awaited: Mutex::default(), reader }
    }

    /// Stops this node at once, and appends the stop to `control`. `done` says whether the first try was recorded; where it was not,
    /// [`ControlLine::read`] tries again until the record is read back.
    pub fn engage(&self, id: String, reason: &str, by: &str, now: EventTime, done: Done) {
        let event = tree::EmergencyStopEngaged { reason: reason.into(), by: by.into() }.to_event(id.clone(), self.source.clone());
        let record = event.map(|event| record(event, now));
        let failed = Arc::new(AtomicBool::new(false));
        if let Ok(record) = &record {
            *lock(&self.awaited) = Some(Awaited { id, record: record.clone(), failed: failed.clone() });
        }
        self.gate.engage(reason, by, now);
        match record {
            Ok(record) => self.append(record, Some(failed), done),
            Err(error) => done(Err(error.to_string())),
        }
    }

    /// Appends the release; the stop ends on each node when it reads it.
    pub fn release(&self, id: String, reason: &str, by: &str, now: EventTime, done: Done) {
        *lock(&self.awaited) = None;
        match (tree::EmergencyStopReleased { reason: reason.into(), by: by.into() }).to_event(id, self.source.clone()) {
            Ok(event) => self.append(record(event, now), None, done),
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
            Ok(event) => self.append(record(event, now), None, done),
            Err(error) => done(Err(error.to_string())),
        }
    }

    fn append(&self, record: Record, failed: Option<Arc<AtomicBool>>, done: Done) {
        let append = Append { to: topic(), expected: None, records: vec![record] };
        let answered = move |answer: Result<_, tol_kafka::Error>| {
            if let (Some(failed), Err(_)) = (failed, &answer) {
                failed.store(true, Ordering::Release);
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
        // A stop that was asked for holds for all nodes, however often it takes. Its record was not among what was read.
        let again = lock(&self.awaited)
            .as_ref()
            .filter(|awaited| awaited.failed.swap(false, Ordering::AcqRel))
            .map(|awaited| (awaited.record.clone(), awaited.failed.clone()));
        if let Some((record, failed)) = again {
            self.append(record, Some(failed), Box::new(|_| {}));
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
                            let mut awaited = lock(&self.awaited);
                            if awaited.as_ref().is_some_and(|awaited| awaited.id != event.id()) && !breaks(Mutation::StaleRelease) {
                                continue;
                            }
                            *awaited = None;
                            self.gate.fold(*event);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tol_kafka::{Faults, MemoryLog, TopicSpec};

    #[test]
    fn a_pause_is_known_to_nodes_that_start_later_until_the_system_is_resumed() {
        let log = MemoryLog::new(1, Faults { auto: true, ..Faults::default() });
        log.ensure_topics(&[TopicSpec { name: "control".into(), partitions: 1, retention: None }]).unwrap();
        let node = |name: &str| {
            let gate = ControlGate::default();
            (ControlLine::new(log.client(name), gate.clone(), name), gate)
        };
        let say = |line: &ControlLine, id: &str, system: &str, paused| {
            line.pause(id.into(), system, paused, "ann", EventTime::from_secs(1), Box::new(|recorded| recorded.unwrap()));
        };
        let (line, gate) = node("a");
        say(&line, "1", "revenue", true);
        say(&line, "2", "hub", true);
        assert!(!gate.is_paused("revenue"), "only what the log has counts");
        // A stop that is not recorded yet hides older stops, not pauses.
        log.set_reachable(false);
        line.engage("s".into(), "fire", "ann", EventTime::from_secs(2), Box::new(|recorded| assert!(recorded.is_err())));
        log.set_reachable(true);
        line.read(0, 500).unwrap();
        assert!(gate.is_paused("revenue") && gate.is_paused("hub") && gate.is_closed());
        say(&line, "3", "hub", false);
        let (later_line, later) = node("b");
        later_line.read(0, 500).unwrap();
        assert!(later.is_paused("revenue") && !later.is_paused("hub"));
        say(&later_line, "4", "revenue", false);
        line.read(0, 500).unwrap();
        assert!(!gate.is_paused("revenue") && !gate.is_paused("hub"));
    }

    #[test]
    fn a_stop_that_the_log_refused_is_recorded_when_the_log_is_back() {
        let log = MemoryLog::new(1, Faults { auto: true, ..Faults::default() });
        log.ensure_topics(&[TopicSpec { name: "control".into(), partitions: 1, retention: None }]).unwrap();
        let (gate, other) = (ControlGate::default(), ControlGate::default());
        let line = ControlLine::new(log.client("a"), gate.clone(), "a");
        let other_line = ControlLine::new(log.client("b"), other.clone(), "b");
        log.set_reachable(false);
        line.engage("s".into(), "fire", "ann", EventTime::from_secs(1), Box::new(|recorded| assert!(recorded.is_err())));
        assert!(gate.is_closed() && line.read(0, 500).is_err());
        log.set_reachable(true);
        line.read(0, 500).unwrap();
        other_line.read(0, 500).unwrap();
        assert!(gate.is_closed() && other.is_closed());
        line.read(0, 500).unwrap();
        other_line.release("r".into(), "done", "bob", EventTime::from_secs(2), Box::new(|recorded| recorded.unwrap()));
        line.read(0, 500).unwrap();
        other_line.read(0, 500).unwrap();
        assert!(!gate.is_closed() && !other.is_closed());
    }
}
