//! Limits of an owner, and why it ends.

use std::sync::Arc;

use tol_events::kinds;
use tol_kafka::{Position, TopicPartition};
use tol_system::InputSpec;

/// Limits of one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many partitions every subject-keyed topic has.
    pub partitions: u32,
    /// Tries of an input before it is parked.
    pub attempts: u32,
    /// Wait before the second try, doubled for each further one, in milliseconds.
    pub retry_ms: u64,
    /// Most events one input may lead to (E4: groups are bounded).
    pub group_events: usize,
    /// Most events in one append.
    pub batch_events: usize,
    /// Inputs that led to nothing before their positions are recorded in a checkpoint (E8).
    pub checkpoint_inputs: u64,
    /// Times a parked input may be redriven in vain before a redrive has to be forced.
    pub redrives: u32,
    /// Questions which own position covers an input that may wait at a time.
    pub questions: usize,
    /// Bytes asked for at one read of an input.
    pub read_bytes: usize,
    /// Bytes folded from the own topic before they are written to the cache, while there is more to read: a cache that is filled from empty
    /// would write a subject's state again for each of its events otherwise.
    pub unwritten_bytes: usize,
    /// Topics of facts of which some kinds lie under `facts.other`: a reader of such a topic reads `facts.other` too.
    pub split_topics: Vec<Arc<str>>,
}

impl super::Owner {
    /// Records that a shared reader may pass before it says so: a part of a checkpoint's.
    pub(crate) fn told_every(&self) -> u64 {
        (self.options.checkpoint_inputs / 4).max(1)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            partitions: 8,
            attempts: 3,
            retry_ms: 50,
            group_events: 1_000,
            batch_events: 2_000,
            checkpoint_inputs: 20_000,
            redrives: 5,
            questions: 1_024,
            read_bytes: 256 * 1024,
            unwritten_bytes: 16 << 20,
            split_topics: Vec::new(),
        }
    }
}

/// What is read beside `inputs`, given the [split topics](Options::split_topics): the same types under `facts.other`.
pub fn inputs_under_other(inputs: &[InputSpec], split_topics: &[Arc<str>]) -> Vec<InputSpec> {
    let split = inputs.iter().filter(|input| split_topics.iter().any(|topic| **topic == *input.topic));
    split.map(|input| InputSpec { topic: kinds::OTHER, types: input.types }).collect()
}

/// Why an owner ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The store failed, or another owner took the cache (E10).
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The log is damaged.
    #[error("{0}")]
    Log(String),
    /// A topic cannot be read on.
    #[error(transparent)]
    Stopped(#[from] tol_kafka::Stop),
    /// The system refused its own state.
    #[error("{0}")]
    System(#[from] tol_system::Error),
    /// An own event cannot be folded: the partition stops, nothing is skipped.
    #[error("{partition} position {position}: {problem}; run a version of the system that can fold it")]
    Fold {
        /// The own partition.
        partition: TopicPartition,
        /// The event's position.
        position: Position,
        /// What the system said.
        problem: String,
    },
    /// The key store failed: nothing that holds personal data can be written.
    #[error("{0}")]
    Keys(String),
    /// A mistake in this program.
    #[error("internal: {0}; please report it")]
    Internal(&'static str),
}

impl From<tol_kafka::Error> for Error {
    fn from(error: tol_kafka::Error) -> Self {
        Error::Log(error.to_string())
    }
}
