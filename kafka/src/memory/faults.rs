//! What may go wrong in a [`MemoryLog`](super::MemoryLog), each with a probability from 0 to 1 for one append.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Faults a simulation asks for. `Default` has none and applies appends at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// Appends complete inside `append`, nothing waits for [`MemoryLog::run_one`](super::MemoryLog::run_one).
    pub auto: bool,
    /// As on Kafka: `expected` is ignored, and the parts of one call are applied one by one with other writers' in between.
    pub kafka_like: bool,
    /// Applied, but the writer is told that the log is unavailable.
    pub lost_ack: f64,
    /// Not applied, and the writer is told that the log is unavailable.
    pub failed: f64,
    /// Applied, and the writer is told at some later step.
    pub delayed_ack: f64,
    /// The parts of the call are applied one by one even where `kafka_like` is off.
    pub split: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self { auto: true, kafka_like: false, lost_ack: 0.0, failed: 0.0, delayed_ack: 0.0, split: 0.0 }
    }
}

impl Faults {
    /// No faults, but the test says when each append is applied and acknowledged.
    pub fn stepped() -> Self {
        Self { auto: false, ..Self::default() }
    }

    /// Like Kafka with an unreliable network.
    pub fn kafka_storm() -> Self {
        Self { auto: false, kafka_like: true, lost_ack: 0.05, failed: 0.05, delayed_ack: 0.5, split: 1.0 }
    }

    /// Like the embedded log on an unreliable disk.
    pub fn embedded_storm() -> Self {
        Self { auto: false, lost_ack: 0.05, failed: 0.05, delayed_ack: 0.5, ..Self::default() }
    }

    pub(super) fn fate(&self, random: &mut ChaCha8Rng) -> Fate {
        let mut with = |probability: f64| probability > 0.0 && random.random_bool(probability.min(1.0));
        let answer = if with(self.failed) {
            Answer::Failed
        } else if with(self.lost_ack) {
            Answer::Lost
        } else {
            Answer::True
        };
        let split = self.kafka_like || with(self.split);
        Fate { answer, split, delayed: with(self.delayed_ack) }
    }
}

/// What the writer will be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    True,
    /// Unavailable although applied.
    Lost,
    /// Unavailable and not applied.
    Failed,
}

/// What happens to one append.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    pub answer: Answer,
    pub split: bool,
    pub delayed: bool,
}
