//! Finds the node that owns a partition: this node, as its group says; another node by its claims, which carry its URL.
//!
//! The claims read are those of the hub: every node runs it, and its topic holds little else. What they say may be a moment old; a node
//! that is asked for what it does not own says so, and the one that asked looks again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tol_kafka::{Delivery, EventLog, Reader, TopicPartition};

/// The topic whose claims are read.
const CLAIMS: &str = "tree-of-life-system.events";
/// How long a node that starts waits for them.
const LONGEST: Duration = Duration::from_secs(5);
/// How often.
const ROUND: Duration = Duration::from_millis(50);

/// Who owns a partition number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This node.
    Here,
    /// The node at this URL, by its last claim.
    There(String),
    /// Nobody that is known: it is moving, or was never claimed.
    Nobody,
}

/// Owners by partition number.
#[derive(Debug)]
pub(crate) struct Routing {
    partitions: u32,
    url: String,
    /// Hash of the hub's configuration on this node, which names the systems it runs.
    hub_hash: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    own: BTreeSet<u32>,
    /// What is owned is only what this node owned last, until the group has spoken.
    provisional: bool,
    claims: BTreeMap<u32, String>,
    /// Hash of the hub's configuration in the last claim of each partition.
    hashes: BTreeMap<u32, String>,
}

impl Routing {
    /// Of a node at `url` that owns nothing yet; `hub_hash` stands in the claims of its hub.
    pub(crate) fn new(partitions: u32, url: String, hub_hash: String) -> Self {
        Self { partitions, url, hub_hash, state: Mutex::default() }
    }

    /// A node that owns partitions and runs other systems, or the same with other targets, as far as its claims tell.
    pub(crate) fn disagreeing(&self) -> Option<String> {
        let state = self.state();
        let theirs = state.claims.iter().filter(|(partition, url)| !state.own.contains(partition) && **url != self.url);
        theirs.filter(|(partition, _)| state.hashes.get(partition).is_some_and(|hash| *hash != self.hub_hash)).map(|(_, url)| url.clone()).next()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the group assigned.
    pub(crate) fn assign(&self, partitions: BTreeSet<u32>) {
        let mut state = self.state();
        state.own = partitions;
        state.provisional = false;
    }

    /// Takes up again what this node owned last, as nobody claimed it since: claims keep that safe, and a node that restarts faster than
    /// its group notices does not wait for the session of its former self. Empty if there is nothing.
    pub(crate) fn take_up(&self) -> BTreeSet<u32> {
        let mut state = self.state();
        state.own = state.claims.iter().filter(|(_, url)| **url == self.url).map(|(partition, _)| *partition).collect();
        state.provisional = true;
        state.own.clone()
    }

    /// What this node owns.
    pub(crate) fn own(&self) -> BTreeSet<u32> {
        self.state().own.clone()
    }

    /// Tells whether this node owns all partitions, so that no other node need be asked.
    pub(crate) fn owns_all(&self) -> bool {
        self.state().own.len() == self.partitions as usize
    }

    /// Who owns a partition number.
    pub(crate) fn owner(&self, partition: u32) -> Owner {
        let state = self.state();
        if state.own.contains(&partition) {
            return Owner::Here;
        }
        match state.claims.get(&partition) {
            // Its own claim from before it lost the partition: the next owner has not claimed yet.
            Some(url) if *url != self.url => Owner::There(url.clone()),
            _ => Owner::Nobody,
        }
    }

    /// The other nodes, as far as claims tell: those that own something.
    pub(crate) fn others(&self) -> BTreeSet<String> {
        let state = self.state();
        let theirs = state.claims.iter().filter(|(partition, url)| !state.own.contains(partition) && **url != self.url);
        theirs.map(|(_, url)| url.clone()).collect()
    }

    /// Takes note of a claim. If it ends what was only taken up, the rest of that.
    fn claimed(&self, partition: u32, url: String, hub_hash: String) -> Option<BTreeSet<u32>> {
        let mut state = self.state();
        state.hashes.insert(partition, hub_hash);
        let ended = state.provisional && url != self.url && state.own.remove(&partition);
        state.claims.insert(partition, url);
        ended.then(|| state.own.clone())
    }
}

/// Reads the claims.
pub(crate) struct Follower {
    readers: Vec<Reader>,
}

impl Follower {
    pub(crate) fn new(partitions: u32) -> Self {
        Self { readers: (0..partitions).map(|partition| Reader::resume(TopicPartition::new(CLAIMS, partition), Default::default())).collect() }
    }

    /// Reads to the end. `lost` is told what is left of what was taken up, whenever another node claimed a part of it.
    ///
    /// # Errors
    /// The log is unavailable, or a partition does not read.
    pub(crate) fn read(&mut self, log: &dyn EventLog, routing: &Routing, lost: &dyn Fn(BTreeSet<u32>)) -> Result<(), String> {
        for reader in &mut self.readers {
            let at = reader.topic_partition().clone();
            loop {
                let batches = log.read(&at, reader.next(), 1 << 20).map_err(|error| error.to_string())?;
                if batches.is_empty() {
                    break;
                }
                for batch in batches {
                    let read = reader.read(&batch, &mut |delivery| {
                        if let Delivery::Claim { claim, .. } = delivery
                            && let Some(left) = routing.claimed(at.partition, claim.node, claim.config_hash)
                        {
                            lost(left);
                        }
                        Ok(())
                    });
                    read.map_err(|stop| stop.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// Reads to where the claims end now: on Kafka a read may come back with nothing although there is more.
    ///
    /// # Errors
    /// As [`Follower::read`], or it takes too long.
    pub(crate) fn read_all(&mut self, log: &dyn EventLog, routing: &Routing) -> Result<(), String> {
        let until = Instant::now() + LONGEST;
        let ends = self.readers.iter().map(|reader| log.bounds(reader.topic_partition()).map(|bounds| bounds.end));
        let ends = ends.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        loop {
            self.read(log, routing, &|_| {})?;
            if self.readers.iter().zip(&ends).all(|(reader, end)| reader.next() >= *end) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err("they do not come".to_owned());
            }
        }
    }

    /// Reads on until `ended`.
    pub(crate) fn run(mut self, log: &dyn EventLog, routing: &Routing, lost: &dyn Fn(BTreeSet<u32>), ended: &dyn Fn() -> bool) {
        let mut told = false;
        while !ended() {
            match self.read(log, routing, lost) {
                Ok(()) => told = false,
                Err(problem) if told => tracing::debug!(problem, "the claims of other nodes cannot be read"),
                Err(problem) => {
                    tracing::warn!(problem, "the claims of other nodes cannot be read; what is theirs goes where it last was");
                    told = true;
                }
            }
            std::thread::sleep(ROUND);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routing() -> Routing {
        let routing = Routing::new(4, "http://a".into(), "h".into());
        for (partition, url) in [(0, "http://a"), (1, "http://b"), (2, "http://a")] {
            routing.claimed(partition, url.into(), "h".into());
        }
        routing
    }

    #[test]
    fn the_group_goes_before_claims_and_an_old_claim_of_its_own_is_nobodys() {
        let routing = routing();
        assert_eq!((routing.owner(0), routing.owner(1), routing.owner(3)), (Owner::Nobody, Owner::There("http://b".into()), Owner::Nobody));
        routing.assign(BTreeSet::from([0, 1]));
        assert_eq!((routing.owner(0), routing.owner(1), routing.owner(2)), (Owner::Here, Owner::Here, Owner::Nobody));
        assert!(routing.others().is_empty() && !routing.owns_all());
        routing.assign(BTreeSet::from([0, 1, 2, 3]));
        assert!(routing.owns_all());
    }

    #[test]
    fn what_was_taken_up_ends_with_a_claim_of_another_until_the_group_has_spoken() {
        let routing = routing();
        assert_eq!(routing.take_up(), BTreeSet::from([0, 2]));
        assert_eq!(routing.claimed(0, "http://a".into(), "h".into()), None);
        assert_eq!(routing.claimed(2, "http://b".into(), "h".into()), Some(BTreeSet::from([0])));
        assert_eq!(routing.owner(2), Owner::There("http://b".into()));
        routing.assign(BTreeSet::from([0, 1]));
        assert_eq!(routing.claimed(0, "http://b".into(), "h".into()), None);
        assert_eq!(routing.owner(0), Owner::Here);
    }

    #[test]
    fn a_node_that_runs_other_systems_is_named_while_it_owns_something() {
        let routing = routing();
        assert_eq!(routing.disagreeing(), None);
        routing.claimed(1, "http://b".into(), "other".into());
        assert_eq!(routing.disagreeing().as_deref(), Some("http://b"));
        routing.assign(BTreeSet::from([0, 1, 2, 3]));
        assert_eq!(routing.disagreeing(), None, "its partitions are this node's now");
    }
}
