//! Emergency stops and effects on the nodes, and what must not happen during a stop.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use rand::Rng;
use tol_events::EventTime;
use tol_kafka::{EventLog, Position, TopicPartition};
use tol_system::EffectOutcome;

use super::super::rules::{self, Kind};
use super::super::systems::Closing;
use super::{Cluster, Outcome};
use crate::control::ControlGate;
use crate::control::ControlLine;
use crate::effects::EffectQueue;

/// How long effects may start after `control` was read to its end.
pub(super) const LEASE_MS: u64 = 500;

/// What the model knows of one node.
#[derive(Default)]
pub(super) struct Stand {
    /// The stop that was engaged here, unless a release was asked for here since.
    engaged: Option<String>,
    /// The stop that was engaged here was answered: nothing decides and no effect is under way.
    answered: bool,
    /// When it started.
    since_ms: u64,
    /// Until when it does not come to reading `control`.
    pub(super) deaf_until_ms: u64,
    /// It has read `control` to its end since it started.
    informed: bool,
    /// Where `control` ended when it last read it, or when it started.
    pub(super) read_to: Position,
    /// Systems that were paused there.
    pub(super) paused: BTreeSet<Kind>,
}

/// What the model knows of all stops.
#[derive(Default)]
pub(super) struct Stops {
    /// Those that were acknowledged, and when.
    recorded: Vec<(String, u64)>,
    /// Acknowledged since it was last looked.
    acknowledged: Arc<Mutex<Vec<String>>>,
    /// Stops and releases asked for.
    asked: u64,
}

impl Cluster {
    /// A node that starts knows nothing of stops before it has read `control`.
    pub(super) fn open_line(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let place = &mut self.nodes[node];
        place.gate = ControlGate::default();
        place.line = Some(Arc::new(ControlLine::new(place.log.clone(), place.gate.clone(), &place.name)));
        place.stand = Stand { since_ms: now_ms, ..Stand::default() };
        self.is_bound_by_log(node);
    }

    pub(super) fn crash_line(&mut self, node: usize) {
        let place = &mut self.nodes[node];
        place.line = None;
        place.queue = EffectQueue::default();
        place.running.clear();
        place.stand.engaged = None;
    }

    /// Whether no release follows this stop in the log. Unknown counts as released.
    fn holds(&self, stop: &str) -> bool {
        let Ok(batches) = self.log.read(&TopicPartition::new("control", 0), 0, usize::MAX) else { return false };
        let mut ids = batches.iter().flat_map(|batch| batch.events_from(0)).map(|(_, event)| event.id());
        // One that is on its way to the log is not overtaken by a release that is there.
        !ids.any(|id| id == stop) || !ids.any(|id| id.starts_with("release"))
    }

    /// Whether this node must not decide, as the model says: it has not read `control` yet, or a stop was engaged here or recorded before it
    /// started.
    pub(super) fn must_not_decide(&mut self, node: usize) -> bool {
        !self.nodes[node].stand.informed || self.bound_by(node, |recorded_ms, since_ms| recorded_ms < since_ms)
    }

    fn must_not_act(&mut self, node: usize) -> bool {
        let now_ms = self.now_ms;
        self.bound_by(node, |recorded_ms, since_ms| recorded_ms < since_ms || now_ms >= recorded_ms + LEASE_MS)
    }

    fn bound_by(&mut self, node: usize, binds: impl Fn(u64, u64) -> bool) -> bool {
        let noted = std::mem::take(&mut *self.stops.acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
        self.stops.recorded.extend(noted.into_iter().map(|stop| (stop, self.now_ms)));
        let stand = &self.nodes[node].stand;
        let recorded = self.stops.recorded.iter().filter(|(_, recorded_ms)| binds(*recorded_ms, stand.since_ms)).map(|(stop, _)| stop);
        stand.engaged.iter().chain(recorded).any(|stop| self.holds(stop))
    }

    /// An operator stops everything, or lets it go on.
    pub(super) fn stop_or_release(&mut self) {
        let node = self.random.random_range(0..self.nodes.len());
        if self.random.random_bool(0.2) {
            self.stop(node);
        } else if self.nodes.iter().any(|node| node.line.is_some() && node.gate.is_closed()) {
            self.release(node);
            // Somebody who saw it differently, perhaps on a node that has not read the release.
            if self.random.random_bool(0.3) {
                let other = self.random.random_range(0..self.nodes.len());
                self.stop(other);
            }
        }
    }

    pub(super) fn stop(&mut self, node: usize) {
        let wall = self.wall();
        let Some(line) = &self.nodes[node].line else { return };
        // Somebody else may be slow to read of it: its lease ends.
        let deaf = self.random.random_range(0..self.nodes.len());
        let deaf_until_ms = self.now_ms + self.random.random_range(0..3_000);
        self.stops.asked += 1;
        let stop = format!("stop {}", self.stops.asked);
        let (noted, acknowledged) = (stop.clone(), self.stops.acknowledged.clone());
        let done = move |recorded: Result<(), String>| {
            if recorded.is_ok() {
                acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
            }
        };
        line.engage(stop.clone(), "a test", "nobody", wall, Box::new(done));
        self.say(|| format!("n{node} engages {stop}"));
        self.nodes[node].stand.engaged = Some(stop);
        self.nodes[node].stand.answered = false;
        self.nodes[deaf].stand.deaf_until_ms = deaf_until_ms;
    }

    fn release(&mut self, node: usize) {
        let wall = self.wall();
        let Some(line) = &self.nodes[node].line else { return };
        self.stops.asked += 1;
        let asked = self.stops.asked;
        line.release(format!("release {asked}"), "a test", "nobody", wall, Box::new(drop));
        self.nodes[node].stand.engaged = None;
        self.say(|| format!("n{node} releases the stop {asked}"));
    }

    /// Now and then another node's stop arrives while a driver of this one decides. Where one may.
    pub(super) fn stop_in_mid_step(&mut self, node: usize) -> Option<Closing> {
        let place = &self.nodes[node];
        if self.healing || place.line.is_none() || !self.random.random_bool(0.002) {
            return None;
        }
        let (gate, engaged) = (place.gate.clone(), place.gate.clone());
        let close = move || engaged.engage("a test", "another node", EventTime::default());
        Some(Closing { gate, left: self.random.random_range(1..=3), close: Box::new(close) })
    }

    /// The stop that was engaged here is answered as soon as no effect is under way. (Between two steps nobody decides.)
    fn answer_stop(&mut self, node: usize) {
        let place = &mut self.nodes[node];
        place.stand.answered |= place.stand.engaged.is_some() && place.gate.is_closed() && place.gate.effects() == 0;
    }

    /// A node reads `control`.
    pub(super) fn step_line(&mut self) -> Outcome {
        let node = self.random.random_range(0..self.nodes.len());
        self.answer_stop(node);
        // Now and then the lease is older than the read.
        let before_ms = self.now_ms.saturating_sub(self.random.random_range(0..50));
        if self.now_ms >= self.nodes[node].stand.deaf_until_ms {
            let _ = self.read_line(node, before_ms); // one that cannot read has no lease
        }
        Ok(())
    }

    /// A node starts an effect, if it may.
    pub(super) fn start_effect(&mut self) -> Outcome {
        let node = self.random.random_range(0..self.nodes.len());
        self.start_effect_on(node).map(drop)
    }

    fn start_effect_on(&mut self, node: usize) -> Result<bool, String> {
        let now_ms = self.now_ms;
        let place = &mut self.nodes[node];
        let Some((job, permit)) = place.queue.next(&place.gate, now_ms) else { return Ok(false) };
        if place.running.iter().any(|(running, _)| running.2 == job.2) {
            return Err(format!("n{node}: effect {} runs twice at once", job.2));
        }
        if self.must_not_act(node) {
            return Err(format!("n{node}: effect {} started during a stop", job.2));
        }
        *self.runs.entry(job.2.clone()).or_default() += 1;
        self.say(|| format!("n{node} runs effect {}", job.2));
        self.nodes[node].running.push((job, Some(permit)));
        Ok(true)
    }

    /// An effect ends, or one of its tries does.
    pub(super) fn finish_effect(&mut self) -> Outcome {
        let node = self.random.random_range(0..self.nodes.len());
        if self.nodes[node].running.is_empty() {
            return Ok(());
        }
        let at = self.random.random_range(0..self.nodes[node].running.len());
        let (now_ms, answered) = (self.now_ms, self.nodes[node].stand.answered && self.must_not_decide(node));
        let (job, permit) = &self.nodes[node].running[at];
        let request = job.2.clone();
        if permit.is_none() {
            let permit = self.nodes[node].gate.permit(now_ms);
            if permit.is_some() && self.must_not_act(node) {
                return Err(format!("n{node}: effect {request} was tried again during a stop"));
            }
            self.nodes[node].running[at].1 = permit;
        } else if answered {
            return Err(format!("n{node}: the stop was answered while effect {request} was under way"));
        } else if self.random.random_bool(0.2) {
            self.nodes[node].running[at].1 = None;
        } else {
            self.finish_effect_on(node, at);
        }
        Ok(())
    }

    fn finish_effect_on(&mut self, node: usize, at: usize) {
        let ((system, partition, request, _), _permit) = self.nodes[node].running.swap_remove(at);
        self.nodes[node].queue.ended(&request);
        let outcome = if rules::outcome(&request) { EffectOutcome::Completed(serde_json::json!({})) } else { EffectOutcome::Failed("no".to_owned()) };
        let wall = self.wall();
        let twice = self.random.random_bool(0.1);
        let running = Kind::named(&system).and_then(|kind| self.nodes[node].drivers.get_mut(&(kind, partition)));
        if let Some(running) = running {
            if twice {
                running.driver.effect_ended(request.clone(), outcome.clone(), wall);
            }
            running.driver.effect_ended(request, outcome, wall);
        }
    }

    /// All effects run and end; whether there were any.
    pub(super) fn settle_effects(&mut self) -> Result<bool, String> {
        let mut moved = false;
        for node in 0..self.nodes.len() {
            self.read_line(node, self.now_ms)?;
            while self.start_effect_on(node)? {
                moved = true;
            }
            while let Some(last) = self.nodes[node].running.len().checked_sub(1) {
                self.finish_effect_on(node, last);
            }
            moved |= !self.nodes[node].queue.is_empty();
        }
        Ok(moved)
    }

    /// A node reads `control` to its end, with the lease counted from `before_ms` on.
    pub(super) fn read_line(&mut self, node: usize, before_ms: u64) -> Outcome {
        let Some(line) = &self.nodes[node].line else { return Ok(()) };
        line.read(before_ms, LEASE_MS)?;
        self.nodes[node].stand.informed = true;
        self.is_bound_by_log(node);
        Ok(())
    }

    /// Whatever was stopped goes on.
    pub(super) fn lift_stop(&mut self) -> Outcome {
        for _ in 0..100 {
            // What a node that crashed had on its way may land yet.
            self.log.run_all();
            (0..self.nodes.len()).try_for_each(|node| self.read_line(node, self.now_ms))?;
            if !self.nodes.iter().any(|node| node.gate.is_closed()) && self.log.pending() == 0 {
                return Ok(());
            }
            let node = self.random.random_range(0..self.nodes.len());
            self.release(node);
        }
        Err("the stop cannot be released although nothing goes wrong any more".to_owned())
    }
}
