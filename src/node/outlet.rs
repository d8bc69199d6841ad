//! Takes what systems give out: effects go to their lanes, parked inputs to the dead-letter topics, observations to the hub.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use tol_events::{Attribute, DomainEvent, Event, EventTime, supervision};
use tol_kafka::{Append, EventLog, Record, TopicPartition};
use tol_runtime::effects::{Effects, Job};
use tol_runtime::owner::{Parked, PendingEffect};
use tol_runtime::supervision::Observation;
use tol_runtime::supervision::actor::Outlet;

use super::publish::Fact;
use super::{Node, Open};

/// The node's outlet.
pub(crate) struct NodeOutlet {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) effects: Effects,
    pub(crate) partitions: u32,
}

impl Outlet for NodeOutlet {
    fn start_effect(&self, system: &str, partition: u32, request_id: String, effect: PendingEffect) {
        self.effects.submit(Job { system: system.to_owned(), partition, key: request_id, effect });
    }

    fn effect_settled(&self, request_id: &str) {
        self.effects.settled(request_id);
    }

    fn dead_letter(&self, parked: &Parked) {
        let mut event =
            Event::new(parked.id.clone(), format!("/systems/{}", parked.system), tol_events::reserved::INPUT_PARKED, parked.subject.clone()).at(parked.time);
        event.set(Attribute::CorrelationId, parked.correlation.clone());
        let Ok(data) = serde_json::to_vec(parked) else { return };
        event.data = data;
        let partition = tol_events::id::partition_of(&parked.subject, self.partitions);
        let to = TopicPartition::new(format!("{}.dead-letters", parked.system), partition);
        // A copy for people; what counts is the own event. A copy that is lost is only not seen on that topic.
        let done = Box::new(|answer: Result<_, tol_kafka::Error>| {
            if let Err(error) = answer {
                tracing::warn!(%error, "a dead letter was not copied");
            }
        });
        self.log.append(vec![Append { to, expected: None, records: vec![Record::from_event(&event)] }], done);
    }
}

/// Observations that may wait for their owner.
const OBSERVATIONS: usize = 1_024;
/// How long one is tried: longer than a takeover by another node takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hands observations over to the thread that [`publish_observations`] runs on.
pub(crate) fn observations() -> (SyncSender<Event>, Receiver<Event>) {
    mpsc::sync_channel(OBSERVATIONS)
}

/// Stores observations with the owners of their partitions, until the node closes.
pub(crate) fn publish_observations(node: &Node, open: &Open, observations: &Receiver<Event>) {
    while !node.closing.load(Ordering::Acquire) {
        let event = match observations.recv_timeout(Duration::from_millis(200)) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let until = Instant::now() + PATIENCE;
        while let Err(problem) = open.settle(vec![Fact::own(event.clone())], Duration::from_secs(1)) {
            if node.closing.load(Ordering::Acquire) || Instant::now() >= until {
                tracing::warn!(%problem, "an observation of supervision was not recorded");
                break;
            }
        }
    }
}

/// Hands what supervision sees over as a fact.
pub(crate) fn observe(to: &SyncSender<Event>, fact: Option<Event>) {
    if let Some(fact) = fact
        && to.try_send(fact).is_err()
    {
        tracing::warn!("too many observations of supervision wait; one was not recorded");
    }
}

/// What supervision sees, as a fact about `system/<name>` for the hub to decide on. `last_alive` is when the clock last ticked before this
/// node started, where that tells that nothing ran since.
pub(crate) fn observed(node: &str, system: &str, observation: Observation, last_alive: Option<EventTime>) -> Option<Event> {
    let now: EventTime = chrono::Utc::now().into();
    let source = format!("/nodes/{node}");
    let id = uuid::Uuid::new_v4().to_string();
    let name = std::borrow::Cow::Borrowed(system);
    let node = std::borrow::Cow::Borrowed(node);
    let event = match observation {
        Observation::Started => supervision::SystemStartedObserved { system: name, node, planned: true, last_alive }.to_event(id, source),
        Observation::Restarted { attempt, backoff_ms } => {
            supervision::SystemRestartedObserved { system: name, node, attempt: u32::try_from(attempt).unwrap_or(u32::MAX), backoff_ms }.to_event(id, source)
        }
        Observation::Failed { error } => supervision::SystemFailedObserved { system: name, node, error: error.into() }.to_event(id, source),
        Observation::Degraded { reason } => supervision::SystemDegradedObserved { system: name, node, reason: reason.into() }.to_event(id, source),
        Observation::Recovered => supervision::SystemRecoveredObserved { system: name, node }.to_event(id, source),
        Observation::Stopped => supervision::SystemStoppedObserved { system: name, node, planned: true }.to_event(id, source),
    };
    event.ok().map(|event| event.at(now))
}
