//! What people see of the effects of a node.

use std::collections::BTreeMap;

use serde::Serialize;
use tol_system::Effect;
use utoipa::ToSchema;

use super::queue::{EffectQueue, Entry, EntryState};

/// Where an effect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EffectState {
    /// A try runs.
    Running,
    /// Until its lane has a place, or the emergency stop is released.
    Waiting,
    /// Until its next try.
    Retrying,
    /// Its result waits for its owner to commit it.
    Ended,
}

/// One effect of this node, for people.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct EffectStatus {
    /// The system that requested it.
    pub system: String,
    /// The partition of its owner.
    pub partition: u32,
    /// The request's event id, which is the effect's idempotency key.
    pub key: String,
    /// The subject it was requested for.
    pub subject: String,
    /// Who does it.
    pub runner: String,
    /// Where it stands.
    pub state: EffectState,
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// Which try runs or comes next, from 1; of one that ended, how many there were.
    pub attempt: u32,
    /// What the try before failed of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Of one that runs: how much is done, from 0 to 1, as its runner said last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// Of one that runs: what is being done, as its runner said last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Of one that runs: how long ago its runner gave a sign of life, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
}

impl EffectQueue {
    /// At most `limit` effects, those that run first; `running` are the tries by number.
    pub(super) fn statuses(&self, running: &BTreeMap<u64, Effect>, limit: usize, now_ms: u64) -> Vec<EffectStatus> {
        let states = [EffectState::Running, EffectState::Waiting, EffectState::Retrying, EffectState::Ended];
        let entries =
            states.into_iter().flat_map(|state| self.entries.iter().filter(move |(_, entry)| state_of(entry) == state).map(move |each| (state, each)));
        let statuses = entries.take(limit).map(|(state, (key, entry))| {
            let report = match entry.state {
                EntryState::Running { number, .. } => running.get(&number).map(Effect::report),
                _ => None,
            };
            EffectStatus {
                system: entry.job.system.clone(),
                partition: entry.job.partition,
                key: key.clone(),
                subject: entry.job.effect.subject.clone(),
                runner: entry.job.effect.request.runner.clone(),
                state,
                for_ms: now_ms.saturating_sub(entry.since_ms),
                attempt: if state == EffectState::Ended { entry.tried } else { entry.tried + 1 },
                problem: Some(entry.problem.clone()).filter(|problem| !problem.is_empty()),
                progress: report.as_ref().map(|report| report.progress),
                silent_ms: report.as_ref().map(|report| report.last_beat.elapsed().as_millis() as u64),
                text: report.map(|report| report.text).filter(|text| !text.is_empty()),
            }
        });
        statuses.collect()
    }
}

fn state_of(entry: &Entry) -> EffectState {
    match entry.state {
        EntryState::Running { .. } => EffectState::Running,
        EntryState::Ready => EffectState::Waiting,
        EntryState::Retrying(_) => EffectState::Retrying,
        EntryState::Ended { .. } => EffectState::Ended,
    }
}
