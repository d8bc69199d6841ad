//! Effects of one node, waiting, running and ended, as a state machine without threads.

use std::collections::{BTreeMap, BTreeSet};

use tol_events::EventTime;
use tol_system::{CancelReason, EffectOutcome, OnStop};

use super::lane::{Lane, LaneName};
use super::{Job, RunnerLimits};
use crate::control::{ControlGate, Permit};
use crate::owner::{Moment, Mutation, breaks};

/// The wait before a result is offered a second time, in milliseconds; doubled for each further offer.
const OFFER_MS: u64 = 100;
/// The longest wait between two offers.
const OFFER_MAX_MS: u64 = 30_000;
/// One try of an effect that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Tells it from every other try on this node.
    pub number: u64,
    /// Where it runs.
    pub lane: LaneName,
    /// What it does.
    pub job: Job,
    /// Which try it is, from 1.
    pub attempt: u32,
}

/// What the threads are to do about a try that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOrder {
    /// Tell its runner to end.
    Cancel(u64, CancelReason),
    /// Its runner does not end: another thread takes its place in the lane.
    Abandon(u64, LaneName),
}

/// What became of a try that returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The effect completed.
    Completed,
    /// The effect failed for good.
    Failed,
    /// Another try follows.
    Retried,
    /// It was cancelled and runs again.
    Again,
    /// Its partition is another node's now: the result is dropped.
    Dropped,
    /// It had been given up before it returned.
    Late,
}

/// A result for the owner that requested it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The owner's system.
    pub system: String,
    /// The owner's partition.
    pub partition: u32,
    /// The request.
    pub key: String,
    /// The result.
    pub outcome: EffectOutcome,
    /// When the effect ended: the same at each offer.
    pub at: EventTime,
}

#[derive(Debug)]
pub(super) enum EntryState {
    /// In its lane's queue.
    Ready,
    /// Between two tries, until so many milliseconds.
    Retrying(u64),
    Running {
        number: u64,
        since_ms: u64,
        cancelled: Option<(CancelReason, u64)>,
    },
    /// Kept until the owner has committed the result.
    Ended {
        outcome: EffectOutcome,
        at: EventTime,
        offer_ms: u64,
        offers: u32,
    },
}

#[derive(Debug)]
pub(super) struct Entry {
    pub job: Job,
    /// Tries that ended by themselves.
    pub tried: u32,
    /// What the last of them said.
    pub problem: String,
    /// Since when it is in this state.
    pub since_ms: u64,
    pub state: EntryState,
    /// Its partition is this node's. What runs for a partition that is gone ends, and its result is dropped.
    pub wanted: bool,
}

/// Effects of one node. It holds no more than the pending effects that this node's owners have in their state.
#[derive(Debug, Default)]
pub struct EffectQueue {
    runners: BTreeMap<LaneName, RunnerLimits>,
    /// Limits of runners that are not among them, where there are such.
    any: Option<RunnerLimits>,
    pub(super) lanes: BTreeMap<LaneName, Lane>,
    /// By request id.
    pub(super) entries: BTreeMap<String, Entry>,
    /// Partitions that this node owns.
    owned: BTreeSet<u32>,
    /// When a next try is due, in milliseconds.
    pub(super) retries: BTreeSet<(u64, String)>,
    /// When a result is to be offered, in milliseconds.
    pub(super) offers: BTreeSet<(u64, String)>,
    /// Keys of what runs, by the number of the try.
    pub(super) running: BTreeMap<u64, String>,
    /// Lanes of tries that were given up and have not returned.
    pub(super) abandoned: BTreeMap<u64, LaneName>,
    /// Number of the last try.
    runs: u64,
}

impl EffectQueue {
    /// Runners by the system they serve (`None`: every system) and name.
    pub fn new(runners: impl IntoIterator<Item = (Option<String>, String, RunnerLimits)>) -> Self {
        let named = |(system, runner, limits): (Option<String>, _, _)| (LaneName { system: system.unwrap_or_default(), runner }, limits);
        Self { runners: runners.into_iter().map(named).collect(), ..Self::default() }
    }

    /// Every runner there may be, with the same limits.
    pub(crate) fn of_any_runner(limits: RunnerLimits) -> Self {
        Self { any: Some(limits), ..Self::default() }
    }

    /// These partitions are this node's now. What waits or ended for another one is dropped, as its owner elsewhere starts it again; what
    /// runs is cancelled where its runner allows, and its result dropped.
    pub fn assign(&mut self, owned: BTreeSet<u32>, moment: Moment) -> Vec<RunOrder> {
        self.owned = owned;
        let mut orders = Vec::new();
        let gone: Vec<String> = self.entries.iter().filter(|(_, entry)| !self.owned.contains(&entry.job.partition)).map(|(key, _)| key.clone()).collect();
        for key in &gone {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            entry.wanted = false;
            match &mut entry.state {
                EntryState::Running { number, cancelled, .. } => {
                    let cancels = self.lanes.get(&entry.job.lane()).is_some_and(|lane| lane.limits.on_stop == OnStop::Cancel);
                    if cancels && cancelled.is_none() {
                        *cancelled = Some((CancelReason::Moved, moment.now_ms));
                        orders.push(RunOrder::Cancel(*number, CancelReason::Moved));
                    }
                }
                _ => self.remove(key),
            }
        }
        if !gone.is_empty() {
            for lane in self.lanes.values_mut() {
                lane.ready.retain(|key| self.entries.get(key).is_some_and(|entry| matches!(entry.state, EntryState::Ready)));
            }
        }
        orders
    }

    /// Queues an effect; whether it was new. One that waits or runs already is left alone, one that ended is offered at once.
    pub fn submit(&mut self, job: Job, moment: Moment) -> bool {
        if !self.owned.contains(&job.partition) {
            return false;
        }
        if let Some(entry) = self.entries.get_mut(&job.key) {
            entry.wanted = true;
            if let EntryState::Ended { offer_ms, offers, .. } = &mut entry.state {
                self.offers.remove(&(*offer_ms, job.key.clone()));
                (*offer_ms, *offers) = (moment.now_ms, 0);
                self.offers.insert((moment.now_ms, job.key));
            }
            return false;
        }
        let name = job.lane();
        let key = job.key.clone();
        let mut entry = Entry { job, tried: 0, problem: String::new(), since_ms: moment.now_ms, state: EntryState::Ready, wanted: true };
        let platform = LaneName { system: String::new(), runner: name.runner.clone() };
        let limits = self.runners.get(&name).or_else(|| self.runners.get(&platform)).or(self.any.as_ref());
        match limits {
            Some(limits) => self.lanes.entry(name).or_insert_with(|| Lane::new(*limits)).ready.push_back(key.clone()),
            None => {
                let outcome = EffectOutcome::Failed(format!("there is no effect runner called {} for {} on this node", name.runner, name.system));
                entry.state = EntryState::Ended { outcome, at: moment.wall, offer_ms: moment.now_ms, offers: 0 };
                self.offers.insert((moment.now_ms, key.clone()));
            }
        }
        self.entries.insert(key, entry);
        true
    }

    /// Starts the next effect of any lane, if one may start now. It is under way until its permit is dropped.
    pub fn start(&mut self, gate: &ControlGate, now_ms: u64) -> Option<(Run, Permit)> {
        let name = self.lanes.iter().find(|(_, lane)| !lane.ready.is_empty() && lane.free() > 0).map(|(name, _)| name.clone())?;
        self.start_in(&name, gate, now_ms)
    }

    /// [`EffectQueue::start`] of one lane.
    pub fn start_in(&mut self, name: &LaneName, gate: &ControlGate, now_ms: u64) -> Option<(Run, Permit)> {
        let lane = self.lanes.get_mut(name)?;
        if lane.ready.is_empty() || lane.free() == 0 {
            return None;
        }
        let permit = gate.permit(now_ms)?;
        let key = lane.ready.pop_front()?;
        let entry = self.entries.get_mut(&key)?;
        lane.running += 1;
        self.runs += 1;
        entry.state = EntryState::Running { number: self.runs, since_ms: now_ms, cancelled: None };
        entry.since_ms = now_ms;
        let run = Run { number: self.runs, lane: name.clone(), job: entry.job.clone(), attempt: entry.tried + 1 };
        self.running.insert(self.runs, key);
        Some((run, permit))
    }

    /// Lanes with effects that may start, and how many.
    pub fn startable(&self) -> impl Iterator<Item = (&LaneName, usize)> {
        self.lanes.iter().map(|(name, lane)| (name, lane.free().min(lane.ready.len()))).filter(|(_, count)| *count > 0)
    }

    /// Results to be offered now. Each is offered again, later each time, until [`EffectQueue::settled`].
    pub fn take_offers(&mut self, now_ms: u64) -> Vec<Offer> {
        let (mut offers, mut again) = (Vec::new(), Vec::new());
        while let Some(key) = pop_due(&mut self.offers, now_ms) {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let EntryState::Ended { outcome, at, offer_ms, offers: count } = &mut entry.state else { continue };
            *offer_ms = now_ms.saturating_add((OFFER_MS << (*count).min(16)).min(OFFER_MAX_MS));
            *count += 1;
            offers.push(Offer { system: entry.job.system.clone(), partition: entry.job.partition, key: key.clone(), outcome: outcome.clone(), at: *at });
            if !breaks(Mutation::OfferedOnce) {
                again.push((*offer_ms, key));
            }
        }
        self.offers.extend(again);
        offers
    }

    /// The owner has committed the result, or the effect is no longer pending: it is forgotten.
    pub fn settled(&mut self, key: &str) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match entry.state {
            EntryState::Running { .. } => entry.wanted = false,
            _ => {
                let name = entry.job.lane();
                let ready = matches!(entry.state, EntryState::Ready);
                self.remove(key);
                if let Some(lane) = self.lanes.get_mut(&name).filter(|_| ready) {
                    lane.ready.retain(|waiting| waiting != key);
                }
            }
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            match entry.state {
                EntryState::Retrying(at_ms) => drop(self.retries.remove(&(at_ms, key.to_owned()))),
                EntryState::Ended { offer_ms, .. } => drop(self.offers.remove(&(offer_ms, key.to_owned()))),
                EntryState::Ready | EntryState::Running { .. } => {}
            }
        }
    }

    /// When the next retry or offer is due, in milliseconds.
    pub fn due_ms(&self) -> Option<u64> {
        let first = |due: &BTreeSet<(u64, String)>| due.first().map(|(at_ms, _)| *at_ms);
        first(&self.retries).into_iter().chain(first(&self.offers)).min()
    }

    /// Whether some effect may start as soon as the gate allows, or runs.
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty() || self.startable().next().is_some()
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Takes out the first key that is due.
pub(super) fn pop_due(due: &mut BTreeSet<(u64, String)>, now_ms: u64) -> Option<String> {
    due.first().filter(|(at_ms, _)| *at_ms <= now_ms)?;
    due.pop_first().map(|(_, key)| key)
}
