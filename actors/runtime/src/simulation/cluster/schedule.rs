//! What may happen at each step of a storm, and how everything comes to its end afterwards.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use rand::Rng;
use tol_events::{Attribute, Event, reserved};
use tol_kafka::{Faults, TopicPartition};

use super::{Cluster, Key, Outcome, Running};
use crate::driver::WATCH_MS;

/// Steps between two comparisons with the model.
const COMPARED: usize = 500;

impl Cluster {
    pub(super) fn crash(&mut self, node: usize) {
        self.say(|| format!("n{node} crashes"));
        let lost = if self.random.random_bool(0.5) { self.random.random_range(0..60) } else { 0 };
        let forget = self.random.random_bool(0.1);
        let place = &mut self.nodes[node];
        place.client.crash();
        let gone: BTreeSet<u64> =
            place.drivers.values().map(|running| running.instance).chain(place.hung.iter().map(|(_, running)| running.instance)).collect();
        place.drivers.clear();
        place.inputs.clear();
        place.hung.clear();
        place.up = false;
        place.projections.clear();
        place.companion = None;
        self.crash_line(node);
        self.crash_door(node);
        let place = &mut self.nodes[node];
        place.store.inner.lose_tail(lost);
        if forget {
            place.store.inner.clear();
        }
        gone.into_iter().for_each(|instance| self.forget_tickets(instance));
        self.untold.retain(|(untold, _)| *untold != node);
    }

    fn restart(&mut self, node: usize) -> Outcome {
        self.say(|| format!("n{node} starts"));
        let client = self.log.client(format!("n{node}"));
        self.nodes[node].log = self.wrap(client.clone());
        self.nodes[node].client = client;
        self.nodes[node].up = true;
        self.open_all(node)
    }

    /// Another node becomes the owner; the old one learns of it later.
    fn move_partition(&mut self) -> Outcome {
        let partition = self.random.random_range(0..self.partitions);
        let to = self.random.random_range(0..self.nodes.len());
        let from = std::mem::replace(&mut self.assignment[partition as usize], to);
        if from == to {
            return Ok(());
        }
        self.say(|| format!("partition {partition} goes from n{from} to n{to}"));
        self.untold.push((from, partition));
        self.untold.retain(|untold| *untold != (to, partition));
        self.tell(to, partition, true)
    }

    fn tell(&mut self, node: usize, partition: u32, assigned: bool) -> Outcome {
        if !self.nodes[node].up {
            return Ok(());
        }
        if assigned {
            self.nodes[node].told.insert(partition);
        } else {
            self.nodes[node].told.remove(&partition);
        }
        self.tell_door(node);
        self.assign_effects(node);
        for kind in self.kinds().iter() {
            if let Some(running) = self.nodes[node].drivers.get_mut(&(*kind, partition)) {
                running.driver.owner_mut().assign(assigned);
            } else if assigned {
                self.open(node, (*kind, partition))?;
            }
        }
        Ok(())
    }

    pub(super) fn pick(&mut self) -> (usize, Option<Key>) {
        let node = self.random.random_range(0..self.nodes.len());
        let count = self.nodes[node].drivers.len();
        if count == 0 {
            return (node, None);
        }
        let at = self.random.random_range(0..count);
        (node, self.nodes[node].drivers.keys().nth(at).copied())
    }

    fn tick(&mut self) {
        let mut tick = Event::new(format!("tick {} {}", self.now_ms, self.random.random::<u32>()), "/hub", reserved::CLOCK_TICKED, "clock").at(self.wall());
        tick.set(Attribute::RecordedTime, self.wall().to_string());
        self.clock.push(tick);
    }

    /// One thing happens.
    fn step(&mut self) -> Outcome {
        let rare = if self.storm_of_crashes { 30 } else { 6 };
        if self.rivals && self.random.random_bool(0.05) {
            self.move_partition()?;
        }
        self.tell_one();
        self.ask_what_covers();
        self.step_guests()?;
        match self.random.random_range(0..1000) {
            0..300 => {
                if let (node, Some(key)) = self.pick() {
                    self.step_driver(node, key, None)?;
                }
            }
            300..370 if !self.plain => {
                let node = self.random.random_range(0..self.nodes.len());
                self.step_door(node, None)?;
            }
            370..380 => {
                let node = self.random.random_range(0..self.nodes.len());
                self.write_memory(node, None)?;
            }
            380..384 => {
                let node = self.random.random_range(0..self.nodes.len());
                if !self.nodes[node].hung_doors.is_empty() {
                    let at = self.random.random_range(0..self.nodes[node].hung_doors.len());
                    if self.random.random_bool(0.5) {
                        self.step_door(node, Some(at))?
                    } else {
                        self.write_memory(node, Some(at))?
                    };
                }
            }
            384..394 => self.step_line()?,
            394..400 => {
                let node = self.random.random_range(0..self.nodes.len());
                self.step_clock(node)?;
            }
            400..430 => {
                let node = self.random.random_range(0..self.nodes.len());
                if !self.nodes[node].hung.is_empty() {
                    let at = self.random.random_range(0..self.nodes[node].hung.len());
                    let key = self.nodes[node].hung[at].0;
                    self.step_driver(node, key, Some(at))?;
                }
            }
            430..700 => {
                self.log.run_one();
            }
            700..760 if !self.plain => match self.random.random_range(0..6) {
                0 => self.write_inbox(),
                1 | 2 => {
                    let node = self.random.random_range(0..self.nodes.len());
                    self.pump(node)?;
                }
                _ => self.publish(),
            },
            760..790 if !self.plain => {
                if let (node, Some(key)) = self.pick() {
                    self.step_driver(node, key, None)?;
                }
            }
            700..790 => {
                let at = self.random.random_range(0..self.feeds.len());
                self.feeds[at].step(&mut self.random);
            }
            790..800 if !self.plain => {
                let node = self.random.random_range(0..self.nodes.len());
                let at = self.random.random_range(0..3 * self.partitions as usize);
                let bytes = self.random.random_range(1..3_000);
                if self.random.random_bool(0.05) {
                    self.rebuild(node)?;
                }
                self.step_projection(node, at, bytes)?;
                self.step_companion(node)?;
            }
            790..810 if self.plain => self.clock.step(&mut self.random),
            810..860 => self.now_ms += self.random.random_range(1..100),
            860..870 if self.plain => self.tick(),
            870..890 => self.start_effect()?,
            890..910 => self.finish_effect()?,
            910..920 => self.operate(false)?,
            920..924 => self.operate(true)?,
            924..926 => self.stop_or_release(),
            926..936 if self.random.random_bool(0.9) => self.step_line()?,
            930..936 if self.random.random_bool(0.2) => {
                let reachable = self.random.random_bool(0.7);
                self.log.set_reachable(reachable);
            }
            930..942 => self.log.set_reachable(true),
            942..948 => {
                if let (node, Some(key)) = self.pick() {
                    self.say(|| format!("n{node} {key:?} is opened again"));
                    self.open(node, key)?;
                }
            }
            948..954 if !self.untold.is_empty() => {
                let at = self.random.random_range(0..self.untold.len());
                let (node, partition) = self.untold.swap_remove(at);
                self.say(|| format!("n{node} learns that partition {partition} is gone"));
                self.tell(node, partition, false)?;
            }
            954..958 => self.move_partition()?,
            958..960 if !self.plain => {
                let node = self.random.random_range(0..self.nodes.len());
                if self.nodes[node].up && self.random.random_bool(0.3) {
                    self.say(|| format!("n{node} door is opened again"));
                    self.open_door(node)?;
                }
            }
            960..962 if self.random.random_bool(0.3) => {
                let node = self.random.random_range(0..self.nodes.len());
                let full = self.random.random_bool(0.4);
                self.say(|| format!("n{node} disk full: {full}"));
                self.nodes[node].store.full.store(full, Ordering::Relaxed);
            }
            958..964 => self.pause_or_resume(),
            964.. if self.random.random_range(0..100) < rare => {
                let node = self.random.random_range(0..self.nodes.len());
                if self.nodes[node].up {
                    self.crash(node);
                } else {
                    self.restart(node)?;
                }
            }
            966..984 => self.pause_or_resume(),
            _ => {}
        }
        self.world.first_violation().map_or(Ok(()), Err)
    }

    /// Everything that may go wrong goes wrong.
    pub(in super::super) fn storm(&mut self, steps: usize) -> Result<(), (usize, String)> {
        self.fill();
        for node in 0..self.nodes.len() {
            self.open_all(node).map_err(|problem| (0, problem))?;
        }
        for step in 0..steps {
            self.step().map_err(|problem| (step, problem))?;
            if step % COMPARED == COMPARED - 1 {
                super::super::check_so_far(self).map_err(|problem| (step, problem))?;
            }
        }
        Ok(())
    }

    /// Nothing goes wrong any more, and everything comes to its end.
    pub(in super::super) fn heal(&mut self) -> Outcome {
        self.stop_last();
        self.say(|| "healed".to_owned());
        self.healing = true;
        self.world.healed.store(true, Ordering::Relaxed);
        self.log.set_reachable(true);
        self.log.set_faults(Faults { lost_ack: 0.0, failed: 0.0, delayed_ack: 0.0, ..self.faults.clone() });
        for node in 0..self.nodes.len() {
            self.nodes[node].store.full.store(false, Ordering::Relaxed);
            for door in std::mem::take(&mut self.nodes[node].hung_doors) {
                self.clients.forget_door(door.instance);
            }
            let hung = std::mem::take(&mut self.nodes[node].hung);
            let gone: BTreeSet<u64> = hung.iter().map(|(_, running)| running.instance).collect();
            gone.into_iter().for_each(|instance| self.forget_tickets(instance));
            if !self.nodes[node].up {
                self.restart(node)?;
            }
            if self.nodes[node].door.is_none() {
                self.open_door(node)?;
            }
        }
        for (node, partition) in std::mem::take(&mut self.untold) {
            self.tell(node, partition, false)?;
        }
        for partition in 0..self.partitions {
            self.tell(self.assignment[partition as usize], partition, true)?;
        }
        self.lift_stop()?;
        self.resume_all()?;
        self.settle()?;
        // Twice, because what is redriven may set timers and request effects.
        for _ in 0..2 {
            for node in 0..self.nodes.len() {
                for running in self.nodes[node].drivers.values_mut().filter(|running| running.driver.owner().phase() == &crate::writer::Phase::Active) {
                    let parked = running.driver.owner().parked(1000).map_err(|error| error.to_string())?;
                    for subject in parked.into_iter().map(|parked| parked.subject).collect::<BTreeSet<_>>() {
                        self.tickets += 1;
                        self.open_tickets.insert(self.tickets, (running.instance, None));
                        running.driver.owner_mut().redrive_subject(&subject, self.tickets);
                    }
                }
            }
            self.settle()?;
            self.skip_to_timer();
            self.now_ms += 60_000;
            self.tick_beyond()?;
            self.settle()?;
        }
        match self.open_tickets.first_key_value() {
            Some((ticket, _)) => Err(format!("ticket {ticket} was never answered")),
            None => self.questions.none_is_open(),
        }
    }

    /// The clock shows a time at which everything is due.
    fn tick_beyond(&mut self) -> Outcome {
        if self.plain {
            self.tick();
            return Ok(());
        }
        let beyond = self.now_ms as i64 * 1000 + self.epoch_micros - 20_000_000;
        for _ in 0..2_000 {
            let ticks = super::super::oracle::accepted(&self.log, &TopicPartition::new("clock", 0))?;
            if ticks.last().and_then(|group| group.last()).is_some_and(|tick| tick.time > beyond) {
                return Ok(());
            }
            (0..self.nodes.len()).try_for_each(|node| self.step_clock(node))?;
            self.log.run_all();
            self.now_ms += 20;
        }
        Err("the clock stands still although nothing goes wrong any more".to_owned())
    }

    /// Each partition of each system.
    fn keys(&self) -> impl Iterator<Item = Key> + use<> {
        let (kinds, partitions) = (self.kinds(), self.partitions);
        let keys: Vec<Key> = (0..partitions).flat_map(|partition| kinds.iter().map(move |kind| (*kind, partition))).collect();
        keys.into_iter()
    }

    fn settle_doors(&mut self) -> Result<bool, String> {
        let mut moved = !self.plain && (!self.clients.is_done() || !self.unwritten.is_empty());
        for node in 0..self.nodes.len() {
            moved |= self.step_door(node, None)?;
            while self.write_memory(node, None)? {}
            moved |= self.pump(node)?;
        }
        (0..3).for_each(|_| self.publish());
        self.write_inbox();
        Ok(moved)
    }

    fn settle(&mut self) -> Outcome {
        // At rest is who has nothing to do although everybody looked at the end of their partition since.
        let mut quiet = false;
        // Views read a few hundred bytes a round, and each system adds its events to what they read.
        let rounds = 2_000 * (1 + self.kinds().len());
        for _ in 0..rounds {
            let mut moved = false;
            for node in 0..self.nodes.len() {
                for key in self.nodes[node].drivers.keys().copied().collect::<Vec<_>>() {
                    moved |= self.step_driver(node, key, None)?;
                }
            }
            moved |= self.settle_doors()?;
            for node in 0..self.nodes.len() {
                for at in 0..self.nodes[node].projections.len() {
                    moved |= self.step_projection(node, at, 10_000)?;
                }
                moved |= self.step_companion(node)?;
            }
            moved |= self.log.pending() > 0;
            moved |= self.settle_effects()?;
            self.log.run_all();
            let feeds = if self.plain { self.feeds.len() } else { 0 };
            for at in 0..feeds {
                self.feeds[at].step(&mut self.random);
                moved |= !self.feeds[at].is_done();
            }
            moved |= self.step_absent();
            if self.plain {
                self.clock.step(&mut self.random);
                moved |= !self.clock.is_done();
            }
            self.now_ms += 100;
            let waiting = |running: &Running| !running.driver.owner().is_idle();
            moved |= self.nodes.iter().any(|node| node.drivers.values().any(waiting));
            let inactive = self.keys().any(|key| self.owner(key).is_err());
            if let Some(violation) = self.world.first_violation() {
                return Err(violation);
            }
            let rests = !moved && !inactive;
            if rests && quiet {
                return Ok(());
            }
            quiet = rests;
            self.now_ms += if rests { WATCH_MS } else { 0 };
        }
        let mut waits: Vec<String> = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let busy = node.drivers.iter().filter(|(_, running)| !running.driver.owner().is_idle());
            waits.extend(
                busy.map(|(key, running)| format!("n{number} {key:?} driver {} is not idle ({:?})", running.instance, running.driver.owner().last_problem())),
            );
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let (gate, effects) = (node.gate.is_closed(), node.queue.is_empty());
            waits.push(format!("n{number}: stopped {gate}, no effects wait {effects}, {} run, log {}", node.running.len(), self.log.pending()));
        }
        for key in self.keys() {
            waits.extend(self.owner(key).err());
        }
        if !self.clients.is_done() || !self.unwritten.is_empty() {
            waits.push("clients wait".to_owned());
        }
        Err(format!("does not come to rest although nothing goes wrong any more: {waits:?}"))
    }
}
