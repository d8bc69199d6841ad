//! A whole cluster under a seed: nodes, owners and a log with faults, without threads and without real time.
//!
//! * `rules` — what the test systems do, shared with the oracle
//! * `systems` — the test systems
//! * `feed` — writers of facts and the clock
//! * `client` — publishers, and what they were told
//! * `cluster` — nodes and the schedule
//! * `projection` — a projection that counts
//! * `oracle` — what must be in the log; `history` — what counts there
//! * `seeds` — the command line that runs many of them
//! * `guest` — a real system beside the test systems, with a model of its own: [`Guest`]
//! * [`guests`] — any registered systems, without models
//!
//! [`run`] lets everything go wrong and compares now and then, then lets nothing go wrong any more and compares everything. `cargo run --release -p tol-runtime --example simulate` runs many seeds.

mod client;
mod cluster;
mod feed;
mod guest;
pub mod guests;
mod history;
mod oracle;
mod projection;
mod rules;
mod seeds;
mod systems;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use tol_kafka::{Cursor, Delivery, EventLog, MemoryLog, Reader, TopicPartition};

use crate::store::{MemoryStore, Store, Table};
use cluster::{Cluster, Key};
pub use guest::{Companion, Guest, GuestReads, Judge, TimerSet, Why};
pub use oracle::Recorded;
use oracle::{Findings, Remembered};
use rules::Memory;
pub use seeds::run_seeds;

/// A run that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {} {problem}", .step.map_or("after healing:".to_owned(), |step| format!("step {step}:")))]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The step of the storm; none when it was found afterwards.
    pub step: Option<usize>,
    /// What was found.
    pub problem: String,
}

/// What a run did, so that it can be seen that it did something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events of the systems that count.
    pub events: usize,
    /// Inputs parked.
    pub parked: usize,
    /// Parked inputs decided after all.
    pub redriven: usize,
    /// Redrives of one dead letter that failed again.
    pub failed_again: usize,
    /// Parked inputs given up.
    pub discarded: usize,
    /// Timers that fired.
    pub timers: usize,
    /// Effects that settled.
    pub effects: usize,
    /// Times an effect ran again.
    pub repeated_effects: usize,
    /// Valid claims of systems' partitions.
    pub claims: usize,
    /// Records that readers did not let through.
    pub dropped: u64,
    /// Facts admitted.
    pub facts: usize,
    /// Refusals of other content under a known id.
    pub refused: usize,
    /// Requests that sent again what was stored.
    pub repeated: usize,
    /// Pauses of systems, and those of them that a node read while that system decided.
    pub pauses: (usize, usize),
    /// Stops.
    pub stops: StopCounts,
    /// Events of the guest.
    pub of_guest: usize,
    /// Questions which own position covers an input that were answered, and those refused.
    pub covered: (usize, usize),
}

/// What came of the stops of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopCounts {
    /// Asked for.
    pub asked: usize,
    /// Of which a node was told by another.
    pub told: usize,
    /// Those of them that it had read before.
    pub told_late: usize,
    /// Those whose node crashed at once.
    pub left_alone: usize,
    /// Records of stops beyond the first.
    pub repeated: usize,
    /// Those of them that lie behind a release.
    pub repeated_late: usize,
}

impl std::ops::AddAssign for StopCounts {
    fn add_assign(&mut self, other: Self) {
        self.asked += other.asked;
        self.told += other.told;
        self.told_late += other.told_late;
        self.left_alone += other.left_alone;
        self.repeated += other.repeated;
        self.repeated_late += other.repeated_late;
    }
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.parked += other.parked;
        self.redriven += other.redriven;
        self.failed_again += other.failed_again;
        self.discarded += other.discarded;
        self.timers += other.timers;
        self.effects += other.effects;
        self.repeated_effects += other.repeated_effects;
        self.claims += other.claims;
        self.dropped += other.dropped;
        self.facts += other.facts;
        self.refused += other.refused;
        self.repeated += other.repeated;
        self.pauses.0 += other.pauses.0;
        self.pauses.1 += other.pauses.1;
        self.stops += other.stops;
        self.of_guest += other.of_guest;
        self.covered.0 += other.covered.0;
        self.covered.1 += other.covered.1;
    }
}

/// Steps of the storm of one run.
const STEPS: usize = 3_000;

/// Runs one seed.
///
/// # Errors
/// The first rule that was broken.
pub fn run(seed: u64, verbose: bool) -> Result<Stats, Failure> {
    run_with(seed, verbose, None)
}

/// Runs one seed with a real system beside the test systems, but for every fifth, whose facts come from plain writers.
///
/// # Errors
/// The first rule that was broken.
pub fn run_with(seed: u64, verbose: bool, guest: Option<&Arc<dyn Guest>>) -> Result<Stats, Failure> {
    run_cluster(Cluster::new(seed, verbose, guest.cloned(), None), seed, STEPS).map(|(stats, _)| stats)
}

/// Everything goes wrong for so many steps, then nothing does; what the systems without a model emitted, by type.
fn run_cluster(mut cluster: Cluster, seed: u64, steps: usize) -> Result<(Stats, BTreeMap<String, u64>), Failure> {
    cluster.storm(steps).map_err(|(step, problem)| Failure { seed, step: Some(step), problem })?;
    cluster.heal().and_then(|()| check(&mut cluster)).map_err(|problem| Failure { seed, step: None, problem })
}

/// What must hold at any step: what counts so far is what the model says, and everything acknowledged is there.
fn check_so_far(cluster: &Cluster) -> Result<(), String> {
    if !cluster.log.health().ready {
        return Ok(());
    }
    let mut findings = Findings::default();
    for partition in 0..cluster.partitions {
        // A system without a model is run plainly once all is over: what counts in the log stays there.
        for kind in cluster.kinds().iter().filter(|kind| !matches!(kind, rules::Kind::System(_))) {
            oracle::check(&cluster.log, (*kind, cluster.judged(*kind)), partition, cluster.limits(), &mut findings, None)?;
        }
    }
    check_clock(cluster)?;
    cluster.clients.check_acknowledged(&cluster.log)
}

/// The time the clock shows.
fn check_clock(cluster: &Cluster) -> Result<i64, String> {
    let ticks: Vec<i64> = oracle::accepted(&cluster.log, &TopicPartition::new("clock", 0))?.into_iter().flatten().map(|tick| tick.time).collect();
    if ticks.is_sorted() { Ok(ticks.last().copied().unwrap_or(i64::MIN)) } else { Err(format!("the clock goes back: {ticks:?}")) }
}

fn check(cluster: &mut Cluster) -> Result<(Stats, BTreeMap<String, u64>), String> {
    let mut findings = Findings::default();
    let mut stats = Stats::default();
    let clock = check_clock(cluster)?;
    for partition in 0..cluster.partitions {
        for kind in cluster.kinds().iter().copied() {
            let remembered = oracle::check(&cluster.log, (kind, cluster.judged(kind)), partition, cluster.limits(), &mut findings, Some(clock))?;
            check_replay(cluster, (kind, partition), &remembered)?;
            check_reader(&cluster.log, &TopicPartition::new(format!("{}.events", kind.name()), partition), &mut stats)?;
        }
        check_reader(&cluster.log, &TopicPartition::new(rules::FACTS, partition), &mut Stats::default())?;
    }
    check_reader(&cluster.log, &TopicPartition::new("clock", 0), &mut Stats::default())?;
    for node in &cluster.nodes {
        node.projections.iter().try_for_each(|projection| projection.check(&cluster.log, &node.store.inner))?;
    }
    cluster.check_companions()?;
    if !cluster.is_plain() {
        stats.facts = cluster.clients.check(&cluster.log)?;
        stats.refused = cluster.clients.refused;
        stats.repeated = cluster.clients.repeated;
    }
    for request in cluster.started() {
        if !findings.requests.contains(request) {
            return Err(format!("effect {request} was started but its request does not count"));
        }
    }
    for request in &findings.requests {
        match cluster.runs.get(request) {
            None | Some(0) => return Err(format!("effect {request} settled but never ran")),
            Some(runs) => stats.repeated_effects += *runs as usize - 1,
        }
    }
    if let Some(lost) = cluster.promised.discarded.iter().find(|id| !findings.discarded.contains(*id)) {
        return Err(format!("the discard of {lost} was answered but is not in the log"));
    }
    for (promised, found) in [(&cluster.promised.redriven, &findings.redriven_in), (&cluster.promised.failed, &findings.failed_in)] {
        if let Some((letter, redrive)) = promised.iter().find(|promise| !found.contains(*promise)) {
            return Err(format!("what became of {letter} in {redrive} was answered but is not in the log"));
        }
    }
    stats.covered = cluster.questions.check(&cluster.log)?;
    stats.events = findings.events;
    stats.parked = findings.parked;
    stats.redriven = findings.redriven;
    stats.failed_again = findings.failed_in.len();
    stats.discarded = findings.discarded.len();
    stats.timers = findings.timers;
    stats.effects = findings.effects;
    stats.pauses = cluster.pauses.counts();
    stats.stops = cluster.stop_counts();
    stats.of_guest = findings.of_guest;
    Ok((stats, findings.emitted))
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn rows(store: &MemoryStore, prefix: &str) -> Result<Rows, String> {
    Ok(store.scan(Table::State, prefix.as_bytes(), None, usize::MAX).map_err(|error| error.to_string())?.into_iter().collect())
}

/// Replay equals live: a cache folded from the first position holds the rows of every node and the owner's positions, and all hold what the model says.
fn check_replay(cluster: &Cluster, key: Key, remembered: &Remembered) -> Result<(), String> {
    let (node, live) = cluster.owner(key)?;
    let store = Arc::new(MemoryStore::new(0));
    let replayed = cluster.replay(key, store.clone())?;
    let prefix = cluster.rows_prefix(key);
    let replayed_rows = rows(&store, &prefix)?;
    for number in cluster.nodes_with(key) {
        let live_rows = rows(&cluster.nodes[number].store.inner, &prefix)?;
        if live_rows != replayed_rows {
            let differs = live_rows.keys().chain(replayed_rows.keys()).find(|row| live_rows.get(*row) != replayed_rows.get(*row));
            let shown = differs.map(|row| String::from_utf8_lossy(row).replace('\u{0}', "/"));
            let whose = if number == node { "the owner's" } else { "a follower's" };
            return Err(format!("{key:?}: row {shown:?} differs between {whose} cache and a replay"));
        }
    }
    let (ours, theirs) = (live.owner().reader().epoch(), replayed.owner().reader().epoch());
    if ours != theirs {
        return Err(format!("{key:?}: the owner writes in epoch {ours}, which ended with the claim of {theirs}"));
    }
    let (ours, theirs) = (live.owner().recorded(), replayed.owner().positions());
    if ours != theirs {
        return Err(format!("{key:?}: input positions are {ours:?} live and {theirs:?} in a replay"));
    }
    check_remembered(&prefix, &replayed_rows, remembered).map_err(|problem| format!("{key:?}: {problem}"))?;
    for (input, cursor) in cluster.input_positions(node, key) {
        let end = cluster.log.bounds(&input).map_err(|error| error.to_string())?.end;
        if cursor.position != end {
            return Err(format!("{key:?} rests at {cursor} of {input}, which ends at {end}"));
        }
    }
    Ok(())
}

/// The rows of states are what the model says.
fn check_remembered(prefix: &str, rows: &Rows, remembered: &Remembered) -> Result<(), String> {
    let prefix = format!("{prefix}s");
    let row_of = |subject: &str| rows.get(format!("{prefix}{subject}").as_bytes());
    match remembered {
        Remembered::Memories(memories) => {
            for (subject, expected) in memories.iter().filter(|(_, memory)| memory.count > 0) {
                let found: Option<Memory> = row_of(subject).and_then(|row| serde_json::from_slice(row).ok());
                if found.as_ref() != Some(expected) {
                    return Err(format!("{subject} is remembered as {found:?} instead of {expected:?}"));
                }
            }
        }
        Remembered::Rows(expected) => {
            let text = |row: Option<&Vec<u8>>| row.map(|row| String::from_utf8_lossy(row).into_owned());
            for (subject, row) in expected {
                if row_of(subject) != Some(row) {
                    return Err(format!("{subject} is remembered as {:?} under faults, and as {:?} without", text(row_of(subject)), text(Some(row))));
                }
            }
            let states = rows.keys().filter(|row| row.starts_with(prefix.as_bytes())).count();
            if states != expected.len() {
                return Err(format!("{states} subjects are remembered instead of {}", expected.len()));
            }
        }
    }
    Ok(())
}

/// Reading from any stored cursor gives what reading from the start gives, and that is what the model accepts.
fn check_reader(log: &MemoryLog, of: &TopicPartition, stats: &mut Stats) -> Result<(), String> {
    let read = |cursor: Cursor| -> Result<_, String> {
        let mut reader = Reader::resume(of.clone(), cursor);
        let (mut events, mut cursors, mut claims): (Vec<(u64, u64)>, Vec<Cursor>, usize) = Default::default();
        loop {
            let batches = log.read(of, reader.next(), 300).map_err(|error| error.to_string())?;
            if batches.is_empty() {
                return Ok((events, cursors, reader, claims));
            }
            for batch in batches {
                reader
                    .read(&batch, &mut |delivery| {
                        match delivery {
                            Delivery::Group { events: group, first_sequence, .. } => {
                                events.extend(group.iter().enumerate().map(|(offset, (position, _))| (*position, first_sequence + offset as u64)));
                            }
                            Delivery::Claim { .. } => claims += 1,
                        }
                        Ok(())
                    })
                    .map_err(|stop| stop.to_string())?;
                cursors.push(reader.cursor());
            }
        }
    };
    let (all, cursors, reader, claims) = read(Cursor::default())?;
    let expected: Vec<(u64, u64)> = oracle::accepted(log, of)?.into_iter().flatten().map(|event| (event.position, event.sequence)).collect();
    if all != expected {
        return Err(format!("{of}: the reader lets through {all:?} instead of {expected:?}"));
    }
    for cursor in cursors.iter().step_by(1 + cursors.len() / 8) {
        let (rest, _, resumed, _) = read(*cursor)?;
        let from = all.partition_point(|(position, _)| *position < cursor.position);
        if rest != all[from..] || resumed.cursor() != reader.cursor() {
            return Err(format!("{of}: reading on from {cursor} gives something else than reading from the start"));
        }
    }
    let dropped = reader.dropped();
    stats.claims += claims;
    stats.dropped += dropped.stale + dropped.repeated + dropped.beyond_gap + dropped.void_claims + dropped.voided;
    Ok(())
}
