//! What admission is asked, what it answers, and what it is opened with.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tol_kafka::{Position, TopicPartition};

use super::filter::Budget;
use super::gate::token;
use super::known::Known;
use super::{Candidate, Gate};
use crate::owner::Error;
use crate::store::Store;

/// What was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Stored now.
    pub accepted: u64,
    /// Known already, with the same content.
    pub duplicates: u64,
    /// The highest position of this request's facts in each partition, inclusive.
    pub positions: BTreeMap<TopicPartition, Position>,
}

/// Why nothing of a request was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The same source and id with other content.
    #[error("event {index} (id {id}): this source and id were already used for other content at {at}; give the new fact an id of its own")]
    Conflict {
        /// Place in the request, from 0.
        index: usize,
        /// The id.
        id: String,
        /// Where the first lies.
        at: String,
    },
    /// Too much waits already.
    #[error("{0} requests wait to be stored; send the same events again in a moment, the same ids are safe")]
    Busy(usize),
    /// It was not durable in time; it may still become so.
    #[error("the log did not confirm in time ({0}); send the same events again, the same ids are safe")]
    Unavailable(String),
}

/// Limits of admission.
#[derive(Clone, Debug)]
pub struct AdmissionOptions {
    /// The topics of facts there are at first; others are opened when they come.
    pub topics: Vec<Arc<str>>,
    /// Partitions of each facts topic.
    pub partitions: u32,
    /// Requests that may wait.
    pub queue: usize,
    /// Events that may wait.
    pub queue_events: usize,
    /// Most events of one append to one partition.
    pub batch_events: usize,
    /// How long a request may wait before it is answered as unavailable, in milliseconds.
    pub timeout_ms: u64,
    /// One append call for all partitions: the embedded log syncs once for them.
    pub joint_appends: bool,
    /// Least time between two rounds of appends, in milliseconds: what arrives meanwhile shares them. After a quiet time nothing waits.
    pub gather_ms: u64,
}

/// Events that passed validation. Nothing of them is stored unless all can be.
pub struct Request<R> {
    /// The events.
    pub candidates: Vec<Candidate>,
    /// Their ids, to name one in a refusal.
    pub ids: Vec<String>,
    /// Who gets the answer.
    pub reply: R,
    /// When it came, in monotonic milliseconds.
    pub since_ms: u64,
}

/// What gates are opened with.
pub struct Opener {
    /// The log's identity.
    pub identity: String,
    /// The node's URL.
    pub node: String,
    /// Where the memory lies.
    pub store: Arc<dyn Store>,
    /// Differs between any two that may ever exist.
    pub nonce_seed: u64,
}

/// A node's gates.
pub(super) type Gates = BTreeMap<TopicPartition, Gate>;

/// What one generation of gates shares.
pub(super) struct Session {
    /// The store as it was when they were opened.
    pub(super) store: Arc<dyn Store>,
    budget: Budget,
    /// No two claims share a nonce.
    nonce_seed: u64,
}

impl Opener {
    /// Opens all gates. `held` are those of the generation before: where another process took their memory over, this one ends (E10).
    pub(super) fn open(&self, generation: u64, options: &AdmissionOptions, held: &Gates) -> Result<(Gates, Session), Error> {
        let store = crate::store::session(&self.store)?;
        let nonce_seed = self.nonce_seed.wrapping_add(generation.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let session = Session { store, budget: Budget::default(), nonce_seed };
        for gate in held.values() {
            gate.check_held(session.store.as_ref(), &token(&self.node, nonce_seed))?;
        }
        let mut gates = Gates::new();
        for topic in &options.topics {
            gates.append(&mut self.open_topic(topic, options, &session)?);
        }
        Ok((gates, session))
    }

    /// Opens the gates of one topic.
    pub(super) fn open_topic(&self, topic: &Arc<str>, options: &AdmissionOptions, session: &Session) -> Result<Gates, Error> {
        let open = |partition| {
            let partition = TopicPartition::new(topic.clone(), partition);
            let known = Known::open(&partition, session.store.clone(), session.budget.clone());
            let gate = Gate::open(partition.clone(), &self.node, &self.identity, known, session.nonce_seed, options.batch_events)?;
            Ok((partition, gate))
        };
        (0..options.partitions).map(open).collect()
    }
}
