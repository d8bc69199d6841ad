//! What becomes of tries that run: they return, are cancelled, or are given up.

use std::time::Duration;

use serde_json::Value;
use tol_system::{CancelReason, EffectOutcome, Failure, OnStop};

use super::Job;
use super::queue::{EffectQueue, EntryState, Fate, RunOrder, pop_due};
use crate::owner::Moment;

/// The wait before the second try, in milliseconds; doubled for each further one.
const RETRY_MS: u64 = 400;
/// The longest wait between two tries.
const RETRY_MAX_MS: u64 = 300_000;
/// How long a try that was cancelled because of its limit may take to end, before its place is given to another, in milliseconds.
pub(super) const GRACE_MS: u64 = 2_000;

impl EffectQueue {
    /// A try returned.
    pub fn ended(&mut self, number: u64, result: Result<Value, Failure>, moment: Moment) -> Fate {
        if let Some(name) = self.abandoned.remove(&number) {
            if let Some(lane) = self.lanes.get_mut(&name) {
                lane.abandoned -= 1;
            }
            return Fate::Late;
        }
        let Some(key) = self.running.remove(&number) else { return Fate::Late };
        let Some(entry) = self.entries.get_mut(&key) else { return Fate::Late };
        let name = entry.job.lane();
        let Some(lane) = self.lanes.get_mut(&name) else { return Fate::Late };
        lane.running -= 1;
        let EntryState::Running { cancelled, .. } = entry.state else { return Fate::Late };
        if !entry.wanted {
            self.entries.remove(&key);
            return Fate::Dropped;
        }
        let failure = match result {
            Ok(value) => {
                entry.tried += 1;
                self.end(key, EffectOutcome::Completed(value), moment);
                return Fate::Completed;
            }
            Err(failure) => failure,
        };
        match cancelled {
            Some((CancelReason::Overrun, _)) => {
                entry.tried += 1;
                let problem = overrun(&entry.job, lane.limits.limit);
                self.end(key, EffectOutcome::Failed(problem), moment);
                return Fate::Failed;
            }
            // The failure may be the cancellation itself, so the effect runs again with the same key, and the try does not count.
            Some(_) => {
                (entry.state, entry.since_ms) = (EntryState::Ready, moment.now_ms);
                lane.ready.push_front(key);
                return Fate::Again;
            }
            None => {}
        }
        entry.tried += 1;
        entry.problem = failure.to_string();
        let tries = lane.limits.tries.max(1);
        let after = match failure {
            Failure::Retry { after, .. } => after,
            Failure::Cancelled => None,
            Failure::Permanent(problem) => {
                self.end(key, EffectOutcome::Failed(problem), moment);
                return Fate::Failed;
            }
        };
        if entry.tried >= tries {
            let problem = format!("{} (tried {tries} times)", entry.problem);
            self.end(key, EffectOutcome::Failed(problem), moment);
            return Fate::Failed;
        }
        let wait_ms = after.map_or(RETRY_MS << (entry.tried - 1).min(16), |after| after.as_millis() as u64).min(RETRY_MAX_MS);
        let at_ms = moment.now_ms.saturating_add(wait_ms);
        (entry.state, entry.since_ms) = (EntryState::Retrying(at_ms), moment.now_ms);
        self.retries.insert((at_ms, key));
        Fate::Retried
    }

    fn end(&mut self, key: String, outcome: EffectOutcome, moment: Moment) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.state = EntryState::Ended { outcome, at: moment.wall, offer_ms: moment.now_ms, offers: 0 };
        entry.since_ms = moment.now_ms;
        self.offers.insert((moment.now_ms, key));
    }

    /// Time passed: retries that are due get ready, what runs is cancelled where it must end.
    pub fn tick(&mut self, moment: Moment) -> Vec<RunOrder> {
        while let Some(key) = pop_due(&mut self.retries, moment.now_ms) {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            (entry.state, entry.since_ms) = (EntryState::Ready, moment.now_ms);
            if let Some(lane) = self.lanes.get_mut(&entry.job.lane()) {
                lane.ready.push_back(key);
            }
        }
        let mut orders = Vec::new();
        for number in self.running.keys().copied().collect::<Vec<_>>() {
            orders.extend(self.watch(number, moment));
        }
        orders
    }

    /// What is to be done about a try that runs.
    fn watch(&mut self, number: u64, moment: Moment) -> Option<RunOrder> {
        let key = self.running.get(&number)?.clone();
        let entry = self.entries.get_mut(&key)?;
        let name = entry.job.lane();
        let lane = self.lanes.get_mut(&name)?;
        let EntryState::Running { since_ms, cancelled, .. } = &mut entry.state else { return None };
        let overruns = moment.now_ms.saturating_sub(*since_ms) >= lane.limits.limit.as_millis() as u64;
        match cancelled {
            None if overruns => {
                *cancelled = Some((CancelReason::Overrun, moment.now_ms));
                Some(RunOrder::Cancel(number, CancelReason::Overrun))
            }
            None if moment.stopped && lane.limits.on_stop == OnStop::Cancel => {
                *cancelled = Some((CancelReason::Stopped, moment.now_ms));
                Some(RunOrder::Cancel(number, CancelReason::Stopped))
            }
            // A try that heeds no cancellation is held to its limit.
            Some((reason @ (CancelReason::Stopped | CancelReason::Moved), since)) if overruns => {
                (*reason, *since) = (CancelReason::Overrun, moment.now_ms);
                None
            }
            Some((CancelReason::Overrun, since)) if moment.now_ms.saturating_sub(*since) >= GRACE_MS && lane.abandoned < lane.limits.at_once.max(1) => {
                lane.running -= 1;
                lane.abandoned += 1;
                self.running.remove(&number);
                self.abandoned.insert(number, name.clone());
                if entry.wanted {
                    let problem = format!("{}, and its runner has not ended since", overrun(&entry.job, lane.limits.limit));
                    self.end(key, EffectOutcome::Failed(problem), moment);
                } else {
                    self.entries.remove(&key);
                }
                Some(RunOrder::Abandon(number, name))
            }
            _ => None,
        }
    }

    /// The node ends: what runs is cancelled where its runner allows.
    pub fn close(&mut self, moment: Moment) -> Vec<RunOrder> {
        let mut orders = Vec::new();
        for (number, key) in &self.running {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            let cancels = self.lanes.get(&entry.job.lane()).is_some_and(|lane| lane.limits.on_stop == OnStop::Cancel);
            if let EntryState::Running { cancelled: cancelled @ None, .. } = &mut entry.state
                && cancels
            {
                *cancelled = Some((CancelReason::Closing, moment.now_ms));
                orders.push(RunOrder::Cancel(*number, CancelReason::Closing));
            }
        }
        orders
    }
}

fn overrun(job: &Job, limit: Duration) -> String {
    format!(
        "effect {} of runner {} for {} ran longer than {} s, its runner's limit",
        job.key,
        job.effect.request.runner,
        job.effect.subject,
        limit.as_secs_f64()
    )
}
