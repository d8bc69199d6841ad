//! What leaves the systems: effects to the pool, parked inputs to the dead-letter topics, observations to the hub.

use std::sync::{Arc, OnceLock};

use tol_events::{Attribute, DomainEvent, Event, EventTime, supervision};
use tol_kafka::{Append, EventLog, Record, TopicPartition};
use tol_runtime::admission::AdmissionHandle;
use tol_runtime::effects::Pool;
use tol_runtime::owner::{Parked, PendingEffect};
use tol_runtime::supervision::Observation;
use tol_runtime::supervision::actor::Outlet;

/// The node's outlet.
pub(crate) struct NodeOutlet {
    pub(crate) log: Arc<dyn EventLog>,
    /// Set once the pool runs.
    pub(crate) pool: OnceLock<Pool>,
    pub(crate) partitions: u32,
}

impl Outlet for NodeOutlet {
    fn start_effect(&self, system: &str, partition: u32, request_id: String, effect: PendingEffect) {
        if let Some(pool) = self.pool.get() {
            pool.submit((system.to_owned(), partition, request_id, effect));
        }
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

/// Publishes what supervision sees as facts about `system/<name>`, for the hub to decide on.
pub(crate) fn observe(admission: &AdmissionHandle, node: &str, partitions: u32, system: &str, observation: Observation) {
    let now: EventTime = chrono::Utc::now().into();
    let source = format!("/nodes/{node}");
    let id = uuid::Uuid::new_v4().to_string();
    let name = std::borrow::Cow::Borrowed(system);
    let node = std::borrow::Cow::Borrowed(node);
    let event = match observation {
        Observation::Started => supervision::SystemStartedObserved { system: name, node, planned: true }.to_event(id, source),
        Observation::Restarted { attempt } => {
            supervision::SystemRestartedObserved { system: name, node, attempt: u32::try_from(attempt).unwrap_or(u32::MAX), backoff_ms: 0 }.to_event(id, source)
        }
        Observation::Failed { error } => supervision::SystemFailedObserved { system: name, node, error: error.into() }.to_event(id, source),
        Observation::Degraded { reason } => supervision::SystemDegradedObserved { system: name, node, reason: reason.into() }.to_event(id, source),
        Observation::Recovered => supervision::SystemRecoveredObserved { system: name, node }.to_event(id, source),
        Observation::Stopped => supervision::SystemStoppedObserved { system: name, node, planned: true }.to_event(id, source),
    };
    let Ok(event) = event else { return };
    let event = event.at(now);
    let id = event.get(Attribute::Id).to_owned();
    let candidate = tol_runtime::admission::Candidate::new(event, None, partitions, None, now);
    admission.publish(
        vec![candidate],
        vec![id],
        Box::new(|answer| {
            if let Err(error) = answer {
                tracing::warn!(%error, "an observation of supervision was not recorded");
            }
        }),
    );
}
