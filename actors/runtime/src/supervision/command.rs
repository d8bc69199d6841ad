//! What a running system is asked.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::Message;
use tol_events::EventTime;
use tol_kafka::{Position, TopicPartition};
use tol_system::{EffectOutcome, Parameters, QueryError};

use crate::owner::{Answered, Redrive, Uncovered};

/// Take a turn.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake;

/// Called once with an answer, from the system's thread; must not block.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// The own partition and the position below which everything lies that was decided from an input.
pub type Covered = Result<(TopicPartition, Position), Uncovered>;

/// What operators and other parts of the node ask of a system.
#[derive(Message)]
#[rtype(result = "()")]
pub enum Command {
    /// These partition numbers are this node's now.
    Assign(BTreeSet<u32>),
    /// Decide these parked inputs of this partition again.
    Redrive(u32, Vec<Redrive>, Reply<Result<Answered, String>>),
    /// Give up a dead letter.
    Discard(Discard, Reply<Result<Answered, String>>),
    /// A subject's state as people may see it.
    Observe(String, Reply<serde_json::Value>),
    /// A question of the system's own about a subject.
    Query(Question, Reply<Result<serde_json::Value, QueryError>>),
    /// Which own position covers this input: answered once that is committed, or cannot be said within the time given.
    Covering(TopicPartition, Position, Duration, Reply<Covered>),
    /// An effect ended: partition, request, result, when. It may come more than once.
    EffectEnded(u32, String, EffectOutcome, EventTime),
}

/// A question to a system.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The subject it is about.
    pub subject: String,
    /// The query's name.
    pub query: String,
    /// Its parameters.
    pub parameters: Parameters,
}

/// A dead letter to be given up.
#[derive(Clone, Debug)]
pub struct Discard {
    /// Its partition.
    pub partition: u32,
    /// Its id.
    pub id: String,
    /// Who gives it up.
    pub by: String,
    /// Why.
    pub reason: String,
}
