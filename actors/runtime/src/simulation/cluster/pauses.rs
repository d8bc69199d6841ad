//! Operators pause systems and let them go on, through `control` as a node does; and what a node that read of a pause must not do.

use std::collections::BTreeSet;

use rand::Rng;
use tol_kafka::{EventLog, Position, TopicPartition};

use super::super::rules::Kind;
use super::super::systems::Closing;
use super::stops::LEASE_MS;
use super::{Cluster, Outcome};

/// What tells a pause from a resumption, to the model: ids say nothing to nodes.
const PAUSE: &str = "pause";
const RESUME: &str = "resume";

/// What the model knows of all pauses.
#[derive(Default)]
pub(in crate::simulation) struct Pauses {
    /// Pauses and resumptions asked for.
    asked: usize,
    /// Pauses alone.
    pauses: usize,
    /// Pauses that a node read while that system decided.
    in_mid_step: usize,
}

impl Pauses {
    /// Pauses, and those of them that a node read while that system decided.
    pub(in crate::simulation) fn counts(&self) -> (usize, usize) {
        (self.pauses, self.in_mid_step)
    }
}

impl Cluster {
    /// Systems that are paused by what `control` holds now, as the model reads it. None while the log cannot be read.
    fn paused_by_log(&self) -> Option<BTreeSet<Kind>> {
        let batches = self.log.read(&TopicPartition::new("control", 0), 0, usize::MAX).ok()?;
        let mut paused = BTreeSet::new();
        for (_, event) in batches.iter().flat_map(|batch| batch.events_from(0)) {
            let said: Vec<&str> = event.id().split(' ').collect();
            match said[..] {
                [PAUSE, name, _] => paused.extend(self.kind_named(name)),
                [RESUME, name, _] => paused.retain(|kind: &Kind| kind.name() != name),
                _ => {}
            }
        }
        Some(paused)
    }

    fn end_of_control(&self) -> Option<Position> {
        self.log.bounds(&TopicPartition::new("control", 0)).ok().map(|bounds| bounds.end)
    }

    /// This node read all of `control`, or starts now: what is paused there binds it from now on.
    pub(super) fn is_bound_by_log(&mut self, node: usize) {
        if let (Some(paused), Some(end)) = (self.paused_by_log(), self.end_of_control()) {
            let stand = &mut self.nodes[node].stand;
            (stand.paused, stand.read_to) = (paused, end);
        }
    }

    /// An operator of some node pauses a system, or lets it go on; some did not see that another one did already.
    pub(super) fn pause_or_resume(&mut self) {
        let node = self.random.random_range(0..self.nodes.len());
        let kinds = self.kinds();
        let kind = kinds[self.random.random_range(0..kinds.len())];
        let Some(paused) = self.paused_by_log() else { return };
        let resumes = paused.contains(&kind) != self.random.random_bool(0.1);
        if resumes || self.random.random_bool(0.3) {
            self.pause(node, kind, !resumes);
        }
    }

    fn pause(&mut self, node: usize, kind: Kind, paused: bool) {
        let wall = self.wall();
        let Some(line) = &self.nodes[node].line else { return };
        self.pauses.asked += 1;
        self.pauses.pauses += usize::from(paused);
        let what = if paused { PAUSE } else { RESUME };
        let id = format!("{what} {} {}", kind.name(), self.pauses.asked);
        line.pause(id.clone(), kind.name(), paused, "somebody", wall, Box::new(drop));
        self.say(|| format!("n{node} asks for {id}"));
    }

    /// Where `control` holds a pause of a system that this node has not read yet, it is often read while a driver of it decides.
    pub(super) fn pause_in_mid_step(&mut self, node: usize, kind: Kind) -> Option<Closing> {
        let now_ms = self.now_ms;
        let place = &self.nodes[node];
        let line = place.line.as_ref().filter(|_| now_ms >= place.stand.deaf_until_ms)?.clone();
        // Asked at each step: the log is read only where there is something new.
        if self.healing || place.stand.paused.contains(&kind) || self.end_of_control()? == place.stand.read_to {
            return None;
        }
        if !self.paused_by_log()?.contains(&kind) || self.random.random_bool(0.2) {
            return None;
        }
        let read = move || drop(line.read(now_ms, LEASE_MS)); // the log was read just now
        Some(Closing { gate: self.nodes[node].gate.clone(), left: self.random.random_range(1..=3), close: Box::new(read) })
    }

    /// What [`Cluster::pause_in_mid_step`] arranged has happened.
    pub(super) fn paused_in_mid_step(&mut self, node: usize) {
        self.pauses.in_mid_step += 1;
        self.is_bound_by_log(node);
    }

    /// Whatever was paused goes on.
    pub(super) fn resume_all(&mut self) -> Outcome {
        for _ in 0..100 {
            self.log.run_all();
            (0..self.nodes.len()).try_for_each(|node| self.read_line(node, self.now_ms))?;
            let paused = self.paused_by_log().ok_or("control cannot be read although nothing goes wrong any more")?;
            if paused.is_empty() {
                return Ok(());
            }
            let node = self.random.random_range(0..self.nodes.len());
            paused.into_iter().for_each(|kind| self.pause(node, kind, false));
        }
        Err("pauses cannot be lifted although nothing goes wrong any more".to_owned())
    }
}
