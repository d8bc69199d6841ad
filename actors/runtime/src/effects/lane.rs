//! The effects of one runner for one system, and how many of them run at a time.

use std::collections::VecDeque;

use super::RunnerLimits;

/// Names a lane. A platform's runner has a lane a system, so that one system's slow endpoint delays no other system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneName {
    /// The system that requests.
    pub system: String,
    /// The runner that does.
    pub runner: String,
}

/// Queue and places of one lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub limits: RunnerLimits,
    /// Keys of effects that may start, in order. Bounded by the pending effects that owners hold in their state.
    pub ready: VecDeque<String>,
    /// Tries that run.
    pub running: usize,
    /// Tries that were given up because their runner does not end, and that have not returned.
    pub abandoned: usize,
}

impl Lane {
    pub fn new(limits: RunnerLimits) -> Self {
        Self { limits, ready: VecDeque::new(), running: 0, abandoned: 0 }
    }

    /// Tries that may start beside those that run. A try that was given up frees its place, but as many as the lane's places at most may be
    /// given up at a time: a runner that never returns must not use up the machine's threads.
    pub fn free(&self) -> usize {
        let places = self.limits.at_once.max(1);
        places.saturating_sub(self.running).min((2 * places).saturating_sub(self.running + self.abandoned))
    }
}
