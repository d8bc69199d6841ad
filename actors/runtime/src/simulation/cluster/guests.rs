//! Real systems without a model on the nodes: what they are told, their effects, and the time their timers wait for.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tol_events::{Attribute, EventTime, id};
use tol_kafka::{EventLog, MemoryLog, TopicPartition};
use tol_system::{EffectOutcome, EffectRequest};

use super::super::client::Clients;
use super::super::feed::Feed;
use super::super::guests::Cast;
use super::super::rules;
use super::{Cluster, Key, Outcome};
use crate::owner;

/// Facts that a client may send before the first of them is stored: they are told roughly in the order of the examples.
const WINDOW: usize = 6;
/// Timers further off than this never fire in the simulation, in microseconds: two years.
const FAR_OFF_MICROS: i64 = 2 * 366 * 86_400 * 1_000_000;

/// Hands the clients what they are to tell, and gives the writers of topics whose systems are not here.
pub(super) fn told(cast: &Cast, random: &mut ChaCha8Rng, clients: &mut Clients, log: &MemoryLog, (partitions, inbox): (u32, bool)) -> Vec<Feed> {
    let (facts, of_absent) = cast.facts(random);
    clients.tell_of_guest(random, facts, inbox, true);
    clients.tell_in_order(WINDOW);
    let log: std::sync::Arc<dyn EventLog> = log.client("elsewhere");
    let mut feeds = std::collections::BTreeMap::new();
    for (topic, event) in of_absent {
        let of = TopicPartition::new(topic, id::partition_of(event.get(Attribute::Subject), partitions));
        feeds.entry(of.clone()).or_insert_with(|| Feed::new(of, log.clone())).push(event);
    }
    feeds.into_values().collect()
}

impl Cluster {
    /// What happens only where real systems without a model take part.
    pub(super) fn step_guests(&mut self) -> Outcome {
        if self.cast.is_none() {
            return Ok(());
        }
        if !self.absent.is_empty() && self.random.random_bool(0.06) {
            let at = self.random.random_range(0..self.absent.len());
            self.absent[at].step(&mut self.random);
        }
        if self.random.random_bool(0.005) {
            self.skip_to_timer();
        }
        Ok(())
    }

    /// Writers of topics whose systems are not here go on; whether there is more to write.
    pub(super) fn step_absent(&mut self) -> bool {
        for feed in &mut self.absent {
            feed.step(&mut self.random);
        }
        self.absent.iter().any(|feed| !feed.is_done())
    }

    /// Nothing happens until the next timer of a real system is due.
    pub(super) fn skip_to_timer(&mut self) {
        if self.cast.is_none() {
            return;
        }
        let wall = self.wall();
        let drivers = self.nodes.iter().flat_map(|node| node.drivers.values());
        let next = drivers.filter_map(|running| running.driver.owner().next_timer()).filter(|due| *due > wall).min();
        if let Some(waits) = next.map(|due| due.micros_since(wall)).filter(|waits| *waits < FAR_OFF_MICROS) {
            self.say(|| format!("nothing happens until {}", next.unwrap_or_default()));
            self.now_ms += waits as u64 / 1_000 + 1;
        }
    }

    /// How an effect ends, and when. A real one ends the same each time that it runs, as whoever is asked does it once for a key.
    pub(super) fn outcome_of(&mut self, request: &str, effect: &EffectRequest) -> (EffectOutcome, EventTime) {
        let wall = self.wall();
        match &self.cast {
            Some(cast) => self.ended.entry(request.to_owned()).or_insert_with(|| (cast.answer(request, effect), wall)).clone(),
            None if rules::outcome(request) => (EffectOutcome::Completed(serde_json::json!({})), wall),
            None => (EffectOutcome::Failed("no".to_owned()), wall),
        }
    }

    /// An effect that runs again under its key is asked to do the same.
    pub(super) fn asked_before(&mut self, request: &str, effect: &EffectRequest) -> Outcome {
        if self.cast.is_none() {
            return Ok(());
        }
        match self.asked.get(request) {
            Some(before) if before != effect => Err(format!("effect {request} runs again and is asked for {effect:?} instead of {before:?}")),
            Some(_) => Ok(()),
            None => {
                self.asked.insert(request.to_owned(), effect.clone());
                Ok(())
            }
        }
    }

    /// Where the rows of a partition lie in a store.
    pub(in crate::simulation) fn rows_prefix(&self, key: Key) -> String {
        owner::rows_prefix(&self.system(key.0).describe(), key.1)
    }

    /// Nodes that hold a partition, as its owner or as one that follows.
    pub(in crate::simulation) fn nodes_with(&self, key: Key) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].drivers.contains_key(&key)).collect()
    }
}
