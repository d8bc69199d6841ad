//! The stops that a node knows of: those whose record it has read, and those whose record it has yet to see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tol_events::{DomainEvent, EventTime, EventView, reserved, tree};
use tol_kafka::Record;

use crate::owner::{Mutation, breaks};

/// How long a node that was told of a stop leaves its record to the node that was asked for it, which needs milliseconds.
pub const LEFT_TO_OTHERS_MS: u64 = 1_000;

/// A stop that some node was asked for. Every node that records it writes the same record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Names it among all stops there ever are.
    pub id: String,
    /// The name of the node that was asked.
    pub node: String,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
    /// When.
    pub time: EventTime,
}

impl Stop {
    fn to_record(&self) -> Result<Record, String> {
        let said = tree::EmergencyStopEngaged { reason: self.reason.as_str().into(), by: self.by.as_str().into() };
        let event = said.to_event(self.id.clone(), super::source_of(&self.node)).map_err(|error| error.to_string())?;
        Ok(super::record(event, self.time))
    }
}

/// Who appends the record of a stop that was not read yet.
enum Recorder {
    /// The node that was asked for it, until this moment of the clock of [`super::ControlLine::read`]; the first read sets it.
    Other(Option<u64>),
    /// This one. True when the log refused it, or did not say.
    Here(Arc<AtomicBool>),
}

struct Awaited {
    record: Record,
    recorder: Recorder,
}

/// A record to be appended, and where to note that the log refused it.
pub(super) type Attempt = (Record, Arc<AtomicBool>);

/// The stops that one node knows of.
///
/// The rule: a node is stopped while `control`, as far as it was read, says so, **and** while any stop is awaited. So
///
/// * no node opens before it has read the record of a stop that it knows of: a release that it read before was written before that record, and opens nothing;
/// * no node stays stopped for ever: each node that awaits a stop records it if no other node does, tries until it has read the record, and from
///   then on follows `control`;
/// * a release that is asked for here takes what is awaited here along, ahead of itself, so that it lifts that too. One asked for on a node
///   that does not know of the stop may be written before the stop's record, and does not lift it: the stop is the newer of both;
/// * several nodes may record one stop, and one node may do so twice: only the first record counts. All nodes read `control` from its first
///   record on, so they agree which that is; and a node that is told late of a stop it has read does nothing about it.
#[derive(Default)]
pub(super) struct Stops {
    /// Ids of the stops in `control`, as far as it was read.
    read: BTreeSet<String>,
    /// By id.
    awaited: BTreeMap<String, Awaited>,
}

impl Stops {
    /// A stop that this node was asked for, to be appended at once.
    pub(super) fn asked(&mut self, stop: &Stop) -> Result<Attempt, String> {
        let (record, refused) = (stop.to_record()?, Arc::new(AtomicBool::new(false)));
        self.awaited.insert(stop.id.clone(), Awaited { record: record.clone(), recorder: Recorder::Here(refused.clone()) });
        Ok((record, refused))
    }

    /// A stop that another node was asked for; whether it is news.
    pub(super) fn told(&mut self, stop: &Stop) -> Result<bool, String> {
        if breaks(Mutation::StopToldUnawaited) {
            return Ok(true);
        }
        if (self.read.contains(&stop.id) && !breaks(Mutation::StopToldLate)) || self.awaited.contains_key(&stop.id) {
            return Ok(false);
        }
        self.awaited.insert(stop.id.clone(), Awaited { record: stop.to_record()?, recorder: Recorder::Other(None) });
        Ok(true)
    }

    /// Whether the record of the stop `id` was read.
    pub(super) fn was_read(&self, id: &str) -> bool {
        self.read.contains(id)
    }

    /// Takes note of a record of `control`; whether it says anything.
    pub(super) fn read(&mut self, event: &EventView<'_>) -> bool {
        let is_stop = event.event_type() == reserved::STOP_ENGAGED;
        if is_stop && !self.read.insert(event.id().to_owned()) && !breaks(Mutation::StopTwice) {
            return false;
        }
        (is_stop && self.awaited.remove(event.id()).is_some()) || self.awaited.is_empty() || breaks(Mutation::StaleRelease)
    }

    /// What is to be appended now. `control` was just read to its end, and what is awaited was not there.
    pub(super) fn due(&mut self, now_ms: u64) -> Vec<Attempt> {
        let mut due = Vec::new();
        for awaited in self.awaited.values_mut() {
            let (due_now, refused) = match &mut awaited.recorder {
                Recorder::Here(refused) => (refused.swap(false, Ordering::AcqRel), refused.clone()),
                Recorder::Other(until) => {
                    let until = until.get_or_insert(now_ms + LEFT_TO_OTHERS_MS);
                    (now_ms >= *until && !breaks(Mutation::StopToldUnrecorded), Arc::default())
                }
            };
            if !due_now {
                continue;
            }
            awaited.recorder = Recorder::Here(refused.clone());
            due.push((awaited.record.clone(), refused));
        }
        due
    }

    /// The records of all that is awaited.
    pub(super) fn awaited(&self) -> Vec<Record> {
        self.awaited.values().filter(|_| !breaks(Mutation::ReleaseAlone)).map(|awaited| awaited.record.clone()).collect()
    }
}
