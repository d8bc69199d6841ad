//! Drivers: opened, stepped, and one that replays.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::Rng;
use tol_kafka::{EventLog, TopicPartition};

use super::super::oracle;
use super::super::rules::Kind;
use super::{Cluster, Key, Outcome, Running};
use crate::driver::{Driver, Output};
use crate::effects::Job;
use crate::owner::{Error, Moment, Owner, Positions};
use crate::store::MemoryStore;

impl Cluster {
    pub(super) fn open(&mut self, node: usize, key: Key) -> Outcome {
        self.instances += 1;
        let seed = self.random.random();
        let target = &self.nodes[node];
        let opened =
            Driver::open(self.system(key.0), key.1, &target.name, target.log.clone(), target.store.clone(), self.options.clone(), seed, Arc::new(|| {}));
        let driver = match opened {
            Ok(driver) => driver,
            // The disk is full: somebody opens it again later.
            Err(Error::Store(crate::store::Error::Failed(_))) => return Ok(()),
            Err(error) => return Err(format!("open: {error}")),
        };
        let mut running = Running { driver, instance: self.instances };
        running.driver.owner_mut().seal_with(self.keys.clone());
        running.driver.owner_mut().heed(&self.nodes[node].gate);
        running.driver.owner_mut().assign(self.nodes[node].told.contains(&key.1));
        if let Some(old) = self.nodes[node].drivers.insert(key, running) {
            self.nodes[node].hung.push((key, old));
        }
        Ok(())
    }

    /// Steps one driver; whether it moved.
    pub(super) fn step_driver(&mut self, node: usize, key: Key, hung: Option<usize>) -> Result<bool, String> {
        let moment = self.moment(node);
        let stopped = moment.stopped || self.must_not_decide(node) || self.nodes[node].stand.paused.contains(&key.0);
        self.world.stopped.store(stopped, Ordering::Relaxed);
        self.world.hung.store(hung.is_some(), Ordering::Relaxed);
        let (closing, stops) = match if stopped { None } else { self.stop_in_mid_step(node) } {
            Some((closing, stops)) => (Some(closing), Some(stops)),
            None if stopped => (None, None),
            None => (self.pause_in_mid_step(node, key.0), None),
        };
        self.world.close_after(closing);
        let place = &mut self.nodes[node];
        let running = match hung {
            Some(at) => &mut place.hung[at].1,
            None => match place.drivers.get_mut(&key) {
                Some(running) => running,
                None => return Ok(false),
            },
        };
        let instance = running.instance;
        let result = running.driver.step(moment);
        let epoch = running.driver.owner().reader().epoch();
        self.world.stopped.store(false, Ordering::Relaxed);
        match (self.world.closed(), stops) {
            (closed, Some(stops)) => self.stopped_in_mid_step(node, stops, closed),
            (true, None) => self.paused_in_mid_step(node),
            (false, None) => {}
        }
        let progress = match result {
            Ok(progress) => progress,
            Err(Error::Store(crate::store::Error::TokenLost(_))) if hung.is_some() => {
                self.say(|| format!("n{node} {key:?} driver {instance} lost its token"));
                if let Some(at) = hung {
                    self.nodes[node].hung.remove(at);
                }
                self.forget_tickets(instance);
                return Ok(true);
            }
            Err(Error::Store(crate::store::Error::Failed(_))) => {
                self.say(|| format!("n{node} {key:?} driver {instance} ends: its disk is full"));
                match hung {
                    Some(at) => drop(self.nodes[node].hung.remove(at)),
                    None => drop(self.nodes[node].drivers.remove(&key)),
                }
                self.forget_tickets(instance);
                return Ok(true);
            }
            Err(error) => return Err(format!("n{node} {key:?}: the owner ended: {error}")),
        };
        if progress.moved {
            self.say(|| format!("n{node} {key:?} driver {instance} stepped: {:?}", progress.outputs));
        }
        for output in progress.outputs {
            match output {
                Output::StartEffect(request, effect) => {
                    if !self.starts.insert((request.clone(), instance, epoch)) {
                        return Err(format!("{key:?}: effect {request} started twice by one owner"));
                    }
                    // E7, against the model's reading of the log as it is now.
                    let own = TopicPartition::new(format!("{}.events", key.0.name()), key.1);
                    let counts = oracle::accepted(&self.log, &own).is_ok_and(|groups| groups.iter().flatten().any(|event| event.id == request));
                    if !counts && self.log.health().ready {
                        return Err(format!("{key:?}: effect {request} started before its request was committed"));
                    }
                    let job = Job { system: key.0.name().to_owned(), partition: key.1, key: request, effect };
                    let moment = self.moment(node);
                    self.nodes[node].queue.submit(job, moment);
                }
                Output::EffectSettled(request) => self.nodes[node].queue.settled(&request),
                Output::DeadLetter(_) => {}
                Output::Covered(ticket, covered) => self.covered(ticket, covered)?,
                Output::Answer(ticket, answer) => {
                    let Some((_, asked)) = self.open_tickets.remove(&ticket) else {
                        return Err(format!("ticket {ticket} was answered twice or never asked for"));
                    };
                    if let Ok(answer) = answer {
                        self.promised.note(asked, answer);
                    }
                }
            }
        }
        let handed = hung.is_none() && !stopped && self.hand_out(node, key.0)?;
        Ok(progress.moved || handed)
    }

    /// Reads what the partitions of a system share, and hands it out; whether there was anything.
    fn hand_out(&mut self, node: usize, kind: Kind) -> Result<bool, String> {
        let moment = self.moment(node);
        let place = &mut self.nodes[node];
        let inputs = place.inputs.entry(kind).or_default();
        let mut owners: Vec<&mut Owner> = place.drivers.iter_mut().filter(|(key, _)| key.0 == kind).map(|(_, running)| running.driver.owner_mut()).collect();
        // As the log says, not as somebody told: who is told is not simulated.
        inputs.look(place.log.as_ref());
        match inputs.step(place.log.as_ref(), &mut owners, moment, self.options.read_bytes) {
            Ok(handed) => Ok(handed.read || !handed.owners.is_empty()),
            // The disk is full: its owners end when they are stepped.
            Err(Error::Store(crate::store::Error::Failed(_))) => Ok(false),
            Err(error) => Err(format!("n{node} {kind:?}: shared inputs: {error}")),
        }
    }

    /// Where the inputs of an owner stand.
    pub(in crate::simulation) fn input_positions(&self, node: usize, key: Key) -> Positions {
        let place = &self.nodes[node];
        match (place.drivers.get(&key), place.inputs.get(&key.0)) {
            (Some(running), Some(inputs)) => inputs.positions(running.driver.owner()),
            (Some(running), None) => running.driver.owner().positions().clone(),
            (None, _) => Positions::new(),
        }
    }

    /// The active owner of a partition: its node and its driver.
    pub(in crate::simulation) fn owner(&self, key: Key) -> Result<(usize, &Driver), String> {
        let node = self.assignment[key.1 as usize];
        match self.nodes[node].drivers.get(&key) {
            Some(running) if running.driver.owner().phase() == &crate::writer::Phase::Active => Ok((node, &running.driver)),
            _ => Err(format!("{key:?} has no active owner")),
        }
    }

    /// A driver that only follows, on a store of its own.
    pub(in crate::simulation) fn replay(&self, key: Key, store: Arc<MemoryStore>) -> Result<Driver, String> {
        let log: Arc<dyn EventLog> = Arc::new(self.log.clone());
        let mut driver =
            Driver::open(self.system(key.0), key.1, "replay", log, store, self.options.clone(), 1, Arc::new(|| {})).map_err(|error| error.to_string())?;
        let moment = Moment { now_ms: self.now_ms, wall: self.wall(), stopped: false };
        while driver.step(moment).map_err(|error| format!("replay of {key:?}: {error}"))?.moved {}
        Ok(driver)
    }
}
