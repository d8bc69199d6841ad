//! Nodes tell each other of stops, at once, late or never; and what `control` says of stops, as the model reads it.

use std::collections::BTreeMap;

use rand::Rng;
use tol_kafka::{EventLog, Position, TopicPartition};

use super::super::systems::Closing;
use super::{Cluster, Outcome};
use crate::control::Stop;

/// A stop on its way to a node.
pub(super) struct Telling {
    to: usize,
    stop: Stop,
}

/// What `control` says.
#[derive(Default)]
pub(super) struct ByLog {
    stopped: bool,
    /// The first record of each stop and each release.
    pub(super) positions: BTreeMap<String, Position>,
    /// The last release.
    released: Option<Position>,
    /// Further records of stops.
    pub(super) repeated: usize,
    /// Those of them that lie behind a release.
    pub(super) repeated_late: usize,
}

/// A stop that takes hold while a driver decides.
pub(super) enum InMidStep {
    /// Its own node is asked for it.
    Asked(Stop),
    /// Another node told it.
    Told(Stop),
}

impl Cluster {
    /// None while the log cannot be read.
    pub(super) fn stopped_by_log(&self) -> Option<ByLog> {
        let batches = self.log.read(&TopicPartition::new("control", 0), 0, usize::MAX).ok()?;
        let mut by_log = ByLog::default();
        for (position, event) in batches.iter().flat_map(|batch| batch.events_from(0)) {
            let (stop, release) = (event.id().starts_with("stop"), event.id().starts_with("release"));
            if stop && by_log.positions.contains_key(event.id()) {
                by_log.repeated += 1;
                by_log.repeated_late += usize::from(!by_log.stopped);
                continue;
            }
            if stop || release {
                by_log.stopped = stop;
                by_log.positions.entry(event.id().to_owned()).or_insert(position);
            }
            if release {
                by_log.released = Some(position);
            }
        }
        Some(by_log)
    }

    /// Whether no release follows the first record of this stop in the log; one that is on its way to the log is not overtaken by a release
    /// that is there. Unknown counts as released.
    pub(super) fn holds(&self, stop: &str) -> bool {
        self.stopped_by_log().is_some_and(|by_log| match by_log.positions.get(stop) {
            Some(stopped) => by_log.released.is_none_or(|released| released < *stopped),
            None => true,
        })
    }

    /// A node that has just read all of `control` does as that says, unless it knows of a stop that is not there yet.
    pub(super) fn agrees_with_log(&self, node: usize) -> Outcome {
        let Some(by_log) = self.stopped_by_log() else { return Ok(()) };
        let place = &self.nodes[node];
        let awaited = place.stand.known.iter().find(|stop| !by_log.positions.contains_key(*stop));
        match (place.gate.is_closed(), by_log.stopped, awaited) {
            (false, _, Some(stop)) => Err(format!("n{node} is open although it knows of {stop}, which is not recorded")),
            (false, true, None) => Err(format!("n{node} is open although control says that all is stopped")),
            (true, false, None) => Err(format!("n{node} is stopped although control says that it may go on")),
            _ => Ok(()),
        }
    }

    /// The node that was asked for a stop tells the others, but for `told`, whom it has told already. Some never hear it.
    pub(super) fn tell_others(&mut self, asked: usize, stop: &Stop, told: Option<usize>) {
        for to in (0..self.nodes.len()).filter(|to| *to != asked && Some(*to) != told) {
            let telling = Telling { to, stop: stop.clone() };
            match self.random.random_range(0..10) {
                0..4 => self.deliver(telling),
                4..8 => self.stops.tellings.push(telling),
                _ => {}
            }
        }
    }

    /// One of those that are on their way arrives.
    pub(super) fn tell_one(&mut self) {
        if !self.stops.tellings.is_empty() && self.random.random_bool(0.02) {
            let at = self.random.random_range(0..self.stops.tellings.len());
            let telling = self.stops.tellings.swap_remove(at);
            self.deliver(telling);
        }
    }

    /// What is on its way arrives, or it never will.
    pub(super) fn tell_the_rest(&mut self) {
        for telling in std::mem::take(&mut self.stops.tellings) {
            if self.random.random_bool(0.5) {
                self.deliver(telling);
            }
        }
    }

    fn deliver(&mut self, telling: Telling) {
        let Telling { to, stop } = telling;
        let Some(line) = &self.nodes[to].line else { return };
        let _ = line.told(&stop); // this stop always makes a record
        self.was_told(to, &stop);
    }

    fn was_told(&mut self, node: usize, stop: &Stop) {
        self.say(|| format!("n{node} is told of {}", stop.id));
        let read_to = self.nodes[node].stand.read_to;
        let late = self.stopped_by_log().is_some_and(|by_log| by_log.positions.get(&stop.id).is_some_and(|position| *position < read_to));
        self.stops.counts.told += 1;
        self.stops.counts.told_late += usize::from(late);
        self.knows(node, stop);
    }

    /// Now and then a stop arrives while a driver of this node decides. Where one may.
    pub(super) fn stop_in_mid_step(&mut self, node: usize) -> Option<(Closing, InMidStep)> {
        if self.healing || self.nodes[node].line.is_none() || !self.random.random_bool(0.002) {
            return None;
        }
        let asked = self.random.random_range(0..self.nodes.len());
        let stop = self.new_stop(asked);
        let line = self.nodes[node].line.clone()?;
        let (mut noting, told) = (Some(self.noting(&stop)), stop.clone());
        let (close, what): (Box<dyn FnMut() + Send>, InMidStep) = if asked == node {
            let close = move || {
                if let Some(noting) = noting.take() {
                    line.engage(&told, noting);
                }
            };
            (Box::new(close), InMidStep::Asked(stop))
        } else {
            let other = self.nodes[asked].line.clone()?;
            if let Some(noting) = noting.take() {
                other.engage(&stop, noting);
            }
            self.engaged(asked, stop.clone(), Some(node));
            (Box::new(move || drop(line.told(&told))), InMidStep::Told(stop))
        };
        Some((Closing { gate: self.nodes[node].gate.clone(), left: self.random.random_range(1..=3), close }, what))
    }

    /// What [`Cluster::stop_in_mid_step`] arranged has happened, or did not: then it is on its way.
    pub(super) fn stopped_in_mid_step(&mut self, node: usize, what: InMidStep, closed: bool) {
        match what {
            InMidStep::Asked(stop) if closed => self.engaged(node, stop, None),
            InMidStep::Asked(_) => {}
            InMidStep::Told(stop) if closed => self.was_told(node, &stop),
            InMidStep::Told(stop) => self.stops.tellings.push(Telling { to: node, stop }),
        }
    }
}
