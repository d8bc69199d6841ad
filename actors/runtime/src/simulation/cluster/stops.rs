//! Emergency stops on the nodes, and what must not happen during a stop.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use rand::Rng;
use tol_kafka::Position;

use super::super::StopCounts;
use super::super::rules::Kind;
use super::tellings::Telling;
use super::{Cluster, Outcome};
use crate::control::{ControlGate, ControlLine, Done, Stop};

/// How long effects may start after `control` was read to its end.
pub(super) const LEASE_MS: u64 = 500;

/// What the model knows of one node.
#[derive(Default)]
pub(super) struct Stand {
    /// Stops that it was asked for, or told of.
    pub(super) known: BTreeSet<String>,
    /// The last of them was answered: nothing decides and no effect is under way.
    pub(super) answered: bool,
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
    /// On their way to nodes, and perhaps never there.
    pub(super) tellings: Vec<Telling>,
    /// Releases that were acknowledged, and a stop each that the node knew of which was asked for it.
    lifted: Arc<Mutex<Vec<(String, String)>>>,
    pub(super) counts: StopCounts,
}

impl Cluster {
    pub(in crate::simulation) fn stop_counts(&self) -> StopCounts {
        self.stops.counts
    }

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
        place.queue = super::effects::effects_of(node);
        place.running.clear();
        place.stand.known.clear();
    }

    /// Whether this node must not decide, as the model says: it has not read `control` yet, or a stop that it knows of holds, or one that was recorded
    /// before it started.
    pub(super) fn must_not_decide(&mut self, node: usize) -> bool {
        !self.nodes[node].stand.informed || self.bound_by(node, |recorded_ms, since_ms| recorded_ms < since_ms)
    }

    pub(super) fn must_not_act(&mut self, node: usize) -> bool {
        let now_ms = self.now_ms;
        self.bound_by(node, |recorded_ms, since_ms| recorded_ms < since_ms || now_ms >= recorded_ms + LEASE_MS)
    }

    fn bound_by(&mut self, node: usize, binds: impl Fn(u64, u64) -> bool) -> bool {
        let noted = std::mem::take(&mut *self.stops.acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
        self.stops.recorded.extend(noted.into_iter().map(|stop| (stop, self.now_ms)));
        let stand = &self.nodes[node].stand;
        let recorded = self.stops.recorded.iter().filter(|(_, recorded_ms)| binds(*recorded_ms, stand.since_ms)).map(|(stop, _)| stop);
        stand.known.iter().chain(recorded).any(|stop| self.holds(stop))
    }

    /// An operator stops everything, or lets it go on.
    pub(super) fn stop_or_release(&mut self) {
        let node = self.random.random_range(0..self.nodes.len());
        if self.random.random_bool(0.2) {
            self.stop(node);
            if self.random.random_bool(0.2) {
                self.leave_alone(node);
            } else if self.random.random_bool(0.3) {
                self.take_back(node);
            }
        } else if self.nodes.iter().any(|node| node.line.is_some() && node.gate.is_closed()) {
            self.release(node);
            // Somebody who saw it differently, perhaps on a node that has not read the release.
            if self.random.random_bool(0.3) {
                let other = self.random.random_range(0..self.nodes.len());
                self.stop(other);
            }
        }
    }

    /// Now and then the storm ends with a stop that may be recorded nowhere.
    pub(super) fn stop_last(&mut self) {
        if self.random.random_bool(0.3) {
            let node = self.random.random_range(0..self.nodes.len());
            self.stop(node);
            if self.random.random_bool(0.5) {
                self.leave_alone(node);
            } else {
                self.take_back(node);
            }
        }
    }

    /// A stop is released as soon as it was asked for, on another node, which was told of it.
    fn take_back(&mut self, asked: usize) {
        let told: Vec<usize> = (0..self.nodes.len()).filter(|node| *node != asked && !self.nodes[*node].stand.known.is_empty()).collect();
        if !told.is_empty() {
            let node = told[self.random.random_range(0..told.len())];
            self.release(node);
        }
    }

    /// A node ends that was just asked for a stop: perhaps before that is recorded, and before everybody was told.
    fn leave_alone(&mut self, node: usize) {
        if self.nodes[node].line.is_some() {
            self.stops.counts.left_alone += 1;
            self.crash(node);
        }
    }

    /// An operator asks this node for a stop.
    fn stop(&mut self, node: usize) {
        let stop = self.new_stop(node);
        let Some(line) = &self.nodes[node].line else { return };
        line.engage(&stop, self.noting(&stop));
        self.engaged(node, stop, None);
    }

    pub(super) fn new_stop(&mut self, node: usize) -> Stop {
        self.stops.asked += 1;
        let (id, name) = (format!("stop {}", self.stops.asked), self.nodes[node].name.clone());
        Stop { id, node: name, reason: "a test".to_owned(), by: "nobody".to_owned(), time: self.wall() }
    }

    /// What is to be called when the stop is recorded.
    pub(super) fn noting(&self, stop: &Stop) -> Done {
        let (noted, acknowledged) = (stop.id.clone(), self.stops.acknowledged.clone());
        Box::new(move |recorded: Result<(), String>| {
            if recorded.is_ok() {
                acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
            }
        })
    }

    /// This node was asked for a stop, and tells all others but `told`.
    pub(super) fn engaged(&mut self, node: usize, stop: Stop, told: Option<usize>) {
        self.say(|| format!("n{node} engages {}", stop.id));
        self.stops.counts.asked += 1;
        // Somebody else may be slow to read of it: its lease ends.
        let deaf = self.random.random_range(0..self.nodes.len());
        self.nodes[deaf].stand.deaf_until_ms = self.now_ms + self.random.random_range(0..3_000);
        self.knows(node, &stop);
        self.tell_others(node, &stop, told);
    }

    pub(super) fn knows(&mut self, node: usize, stop: &Stop) {
        let stand = &mut self.nodes[node].stand;
        stand.known.insert(stop.id.clone());
        stand.answered = false;
    }

    fn release(&mut self, node: usize) {
        let wall = self.wall();
        let Some(line) = &self.nodes[node].line else { return };
        self.stops.asked += 1;
        let release = format!("release {}", self.stops.asked);
        let known: Vec<String> = self.nodes[node].stand.known.iter().cloned().collect();
        let (lifted, noted) = (self.stops.lifted.clone(), release.clone());
        let done = move |recorded: Result<(), String>| {
            if recorded.is_ok() {
                let pairs = known.into_iter().map(|stop| (noted.clone(), stop));
                lifted.lock().unwrap_or_else(PoisonError::into_inner).extend(pairs);
            }
        };
        line.release(release.clone(), "a test", "nobody", wall, Box::new(done));
        self.say(|| format!("n{node} asks for {release}"));
    }

    /// The stop that is known here is answered as soon as no effect is under way. (Between two steps nobody decides.)
    fn answer_stop(&mut self, node: usize) {
        let place = &mut self.nodes[node];
        place.stand.answered |= !place.stand.known.is_empty() && place.gate.is_closed() && place.gate.effects() == 0;
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

    /// A node reads `control` to its end, with the lease counted from `before_ms` on.
    pub(super) fn read_line(&mut self, node: usize, before_ms: u64) -> Outcome {
        let Some(line) = &self.nodes[node].line else { return Ok(()) };
        line.read(before_ms, LEASE_MS)?;
        self.nodes[node].stand.informed = true;
        self.is_bound_by_log(node);
        self.agrees_with_log(node)
    }

    /// Whatever was stopped goes on.
    pub(super) fn lift_stop(&mut self) -> Outcome {
        self.tell_the_rest();
        if self.random.random_bool(0.7) {
            self.wait_until_recorded()?;
        }
        for _ in 0..100 {
            // What a node that crashed had on its way may land yet.
            self.log.run_all();
            (0..self.nodes.len()).try_for_each(|node| self.read_line(node, self.now_ms))?;
            if !self.nodes.iter().any(|node| node.gate.is_closed()) && self.log.pending() == 0 {
                return self.check_lifted();
            }
            let node = self.random.random_range(0..self.nodes.len());
            self.release(node);
            self.now_ms += 50;
        }
        Err("the stop cannot be released although nothing goes wrong any more".to_owned())
    }

    /// Whichever node a stop was told to, it gets to `control`.
    fn wait_until_recorded(&mut self) -> Outcome {
        for _ in 0..100 {
            self.log.run_all();
            (0..self.nodes.len()).try_for_each(|node| self.read_line(node, self.now_ms))?;
            let recorded = self.stopped_by_log().ok_or("control cannot be read although nothing goes wrong any more")?;
            if self.nodes.iter().all(|node| node.stand.known.iter().all(|stop| recorded.positions.contains_key(stop))) {
                return Ok(());
            }
            self.now_ms += 100;
        }
        Err("a stop that a node knows of is not recorded although nothing goes wrong any more".to_owned())
    }

    /// What a node knew of lies before the release that was asked of it.
    fn check_lifted(&mut self) -> Outcome {
        let recorded = self.stopped_by_log().ok_or("control cannot be read although nothing goes wrong any more")?;
        self.stops.counts.repeated = recorded.repeated;
        self.stops.counts.repeated_late = recorded.repeated_late;
        for (release, stop) in self.stops.lifted.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let Some(released) = recorded.positions.get(release) else { continue };
            if recorded.positions.get(stop).is_none_or(|stopped| stopped > released) {
                return Err(format!("{release} does not lift {stop}, which was known where it was asked for"));
            }
        }
        Ok(())
    }
}
