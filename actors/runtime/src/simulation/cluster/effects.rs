//! Effects on the nodes: they start, fail, are cancelled, end, and their results find their owners, now and then at the second offer.

use std::time::Duration;

use rand::Rng;
use serde_json::Value;
use tol_system::{EffectOutcome, Failure, OnStop};

use super::{Cluster, Outcome};
use crate::effects::{EffectQueue, RunOrder, RunnerLimits};

/// The effects of a node that starts. On some a stop cancels what runs, on others it ends.
pub(super) fn effects_of(node: usize) -> EffectQueue {
    let on_stop = if node == 0 { OnStop::Finish } else { OnStop::Cancel };
    // A try that fails here says nothing about the result, which is the same whatever went wrong.
    EffectQueue::of_any_runner(RunnerLimits { at_once: 3, tries: u32::MAX, limit: Duration::from_secs(1 << 20), on_stop })
}

impl Cluster {
    /// The node's effects are told which partitions are its own, before its owners are.
    pub(super) fn assign_effects(&mut self, node: usize) {
        let moment = self.moment(node);
        let place = &mut self.nodes[node];
        let orders = place.queue.assign(place.told.clone(), moment);
        self.follow_orders(node, orders);
    }

    /// A node's effects are looked after, and it starts one, if it may.
    pub(super) fn start_effect(&mut self) -> Outcome {
        let node = self.random.random_range(0..self.nodes.len());
        self.look_after_effects(node);
        self.start_effect_on(node).map(drop)
    }

    fn look_after_effects(&mut self, node: usize) {
        let moment = self.moment(node);
        let orders = self.nodes[node].queue.tick(moment);
        self.follow_orders(node, orders);
        self.offer_results(node);
    }

    fn follow_orders(&mut self, node: usize, orders: Vec<RunOrder>) {
        for order in orders {
            let RunOrder::Cancel(number, _) = order else { continue };
            if let Some(at) = self.nodes[node].running.iter().position(|(run, _)| run.number == number) {
                self.end_try(node, at, Err(Failure::Cancelled));
            }
        }
    }

    fn start_effect_on(&mut self, node: usize) -> Result<bool, String> {
        let now_ms = self.now_ms;
        let place = &mut self.nodes[node];
        let Some((run, permit)) = place.queue.start(&place.gate, now_ms) else { return Ok(false) };
        let key = run.job.key.clone();
        if place.running.iter().any(|(running, _)| running.job.key == key) {
            return Err(format!("n{node}: effect {key} runs twice at once"));
        }
        if self.must_not_act(node) {
            return Err(format!("n{node}: effect {key} started during a stop"));
        }
        let request = run.job.effect.request.clone();
        self.asked_before(&key, &request)?;
        *self.runs.entry(key.clone()).or_default() += u32::from(run.attempt == 1);
        self.say(|| format!("n{node} runs effect {key}, try {}", run.attempt));
        self.nodes[node].running.push((run, permit));
        Ok(true)
    }

    /// An effect ends, or one of its tries does.
    pub(super) fn finish_effect(&mut self) -> Outcome {
        let node = self.random.random_range(0..self.nodes.len());
        if self.nodes[node].running.is_empty() {
            return Ok(());
        }
        let at = self.random.random_range(0..self.nodes[node].running.len());
        if self.nodes[node].stand.answered && self.must_not_decide(node) {
            let key = &self.nodes[node].running[at].0.job.key;
            return Err(format!("n{node}: the stop was answered while effect {key} was under way"));
        }
        if self.random.random_bool(0.2) {
            self.end_try(node, at, Err(Failure::retry("bad luck")));
        } else {
            self.finish_effect_on(node, at);
            self.offer_results(node);
        }
        Ok(())
    }

    fn finish_effect_on(&mut self, node: usize, at: usize) {
        let job = &self.nodes[node].running[at].0.job;
        let (key, request) = (job.key.clone(), job.effect.request.clone());
        let result = match self.outcome_of(&key, &request).0 {
            EffectOutcome::Completed(value) => Ok(value),
            EffectOutcome::Failed(problem) => Err(Failure::Permanent(problem)),
        };
        self.end_try(node, at, result);
    }

    fn end_try(&mut self, node: usize, at: usize, result: Result<Value, Failure>) {
        let moment = self.moment(node);
        let place = &mut self.nodes[node];
        let (run, _permit) = place.running.swap_remove(at);
        place.queue.ended(run.number, result, moment);
    }

    /// Results go to their owners, some not at the first time, some twice.
    fn offer_results(&mut self, node: usize) {
        let now_ms = self.now_ms;
        for offer in self.nodes[node].queue.take_offers(now_ms) {
            let times = match self.random.random_range(0..10) {
                0 => 0,
                1 => 2,
                _ => 1,
            };
            let (outcome, at) = self.ended.get(&offer.key).cloned().unwrap_or((offer.outcome, offer.at));
            let running = self.kind_named(&offer.system).and_then(|kind| self.nodes[node].drivers.get_mut(&(kind, offer.partition)));
            if let Some(running) = running {
                for _ in 0..times {
                    running.driver.effect_ended(offer.key.clone(), outcome.clone(), at);
                }
            }
        }
    }

    /// All effects run and end, and their owners take the results; whether there were any.
    pub(super) fn settle_effects(&mut self) -> Result<bool, String> {
        let mut moved = false;
        for node in 0..self.nodes.len() {
            self.read_line(node, self.now_ms)?;
            self.look_after_effects(node);
            while self.start_effect_on(node)? {
                while let Some(last) = self.nodes[node].running.len().checked_sub(1) {
                    self.finish_effect_on(node, last);
                }
            }
            while let Some(last) = self.nodes[node].running.len().checked_sub(1) {
                self.finish_effect_on(node, last);
            }
            self.offer_results(node);
            moved |= !self.nodes[node].queue.is_empty();
        }
        Ok(moved)
    }
}
