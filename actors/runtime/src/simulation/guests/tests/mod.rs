//! That sound systems pass, and that broken ones are noticed.

mod till;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tol_kafka::{Cursor, Delivery, EventLog, Reader, TopicPartition};
use tol_system::{AnySystem, erase};

use super::*;
use crate::owner::{Mutation, without};
use till::{Audit, Broken, Till};

/// Seeds until a broken guest is noticed, at most.
const PATIENCE: u64 = 40;

fn systems(broken: Broken) -> Vec<Arc<dyn AnySystem>> {
    vec![erase(Till::new(broken)), erase(Audit)]
}

fn sound() -> Guests {
    Guests::new(|| systems(Broken::Nothing))
}

#[test]
fn sound_systems_pass_and_much_happens_to_them() {
    let report = sound().check(0..40).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report}");
    let stats = report.stats;
    assert!(report.unreached.is_empty() && report.events() > 40 * 40 && stats.facts > 40 * 20, "{report}");
    assert!(stats.timers > 100 && stats.effects > 100 && stats.repeated_effects > 5 && stats.parked > 40, "{report}");
    assert!(stats.refused > 10 && stats.repeated > 40 && stats.claims > 200 && stats.dropped > 100, "{stats:?}");
    assert!(stats.stops.asked > 10 && stats.pauses.0 > 20, "{stats:?}");
}

#[test]
fn a_seed_does_the_same_each_time() {
    for seed in 0..3 {
        assert_eq!(sound().run(seed, false).unwrap(), sound().run(seed, false).unwrap());
    }
}

#[test]
fn a_system_alone_is_told_what_an_absent_one_would_write() {
    let report = check(|| vec![erase(Audit)], 0..10).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(report.emitted.get(till::AUDITED).is_some_and(|count| *count > 20), "{report}");
}

#[test]
fn every_broken_system_is_noticed() {
    let mut missed = Vec::new();
    for broken in Broken::ALL {
        match Guests::new(move || systems(broken)).check(0..PATIENCE) {
            Err(failure) => println!("{broken:?}: {}", failure.to_string().chars().take(200).collect::<String>()),
            Ok(_) => missed.push(broken),
        }
    }
    assert!(missed.is_empty(), "{missed:?} were not noticed in {PATIENCE} seeds");
}

#[test]
fn a_shell_that_leaves_out_a_rule_is_noticed() {
    let mut missed = Vec::new();
    for mutation in
        [Mutation::EffectsFirst, Mutation::EffectsForgotten, Mutation::OverlayKept, Mutation::TargetIgnored, Mutation::CacheFirst, Mutation::TimerKept]
    {
        match without(mutation, || sound().check(0..PATIENCE)) {
            Err(failure) => println!("{mutation:?}: {}", failure.to_string().chars().take(200).collect::<String>()),
            Ok(_) => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "{missed:?} were not noticed in {PATIENCE} seeds");
}

/// Events by subject, as nodes count them.
#[derive(Clone, Default)]
struct Counted {
    cursors: BTreeMap<TopicPartition, Cursor>,
    rows: BTreeMap<String, u64>,
}

/// How counting is broken.
#[derive(Clone, Copy, PartialEq, Debug)]
enum BrokenView {
    Nothing,
    /// A subject counts once in what one read gives.
    ByBatch,
    /// What is stored is where it stands, without what it counted since the last time.
    PositionsAhead,
    /// Claims count.
    ByClaim,
}

/// What all nodes stored.
struct Counts {
    broken: BrokenView,
    stored: Arc<Mutex<BTreeMap<String, Counted>>>,
}

struct OfNode {
    node: String,
    log: Arc<dyn EventLog>,
    broken: BrokenView,
    counted: Counted,
    stored: Arc<Mutex<BTreeMap<String, Counted>>>,
}

impl Views for Counts {
    fn open(&self, node: &str, log: Arc<dyn EventLog>) -> Result<Box<dyn View>, ViewError> {
        let counted = self.stored.lock().unwrap().get(node).cloned().unwrap_or_default();
        Ok(Box::new(OfNode { node: node.to_owned(), log, broken: self.broken, counted, stored: self.stored.clone() }))
    }
}

impl View for OfNode {
    fn step(&mut self) -> Result<bool, ViewError> {
        let mut more = false;
        // The network may be down.
        let Ok(topics) = self.log.topics() else { return Ok(false) };
        let partitions = topics.into_iter().find(|(topic, _)| topic == "till.events").map_or(0, |(_, count)| count);
        for of in (0..partitions).map(|partition| TopicPartition::new("till.events", partition)) {
            let mut reader = Reader::resume(of.clone(), self.counted.cursors.get(&of).copied().unwrap_or_default());
            let Ok(batches) = self.log.read(&of, reader.next(), 2_000) else { continue };
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for batch in &batches {
                more = true;
                let read = reader.read(batch, &mut |delivery| {
                    match delivery {
                        Delivery::Group { events, .. } => {
                            events.iter().for_each(|(_, event)| *counts.entry(event.subject().to_owned()).or_default() += 1);
                        }
                        Delivery::Claim { .. } if self.broken == BrokenView::ByClaim => *counts.entry(self.node.clone()).or_default() += 1,
                        Delivery::Claim { .. } => {}
                    }
                    Ok(())
                });
                read.map_err(ViewError::new)?;
            }
            for (subject, count) in counts {
                *self.counted.rows.entry(subject).or_default() += if self.broken == BrokenView::ByBatch { 1 } else { count };
            }
            self.counted.cursors.insert(of, reader.cursor());
        }
        let mut stored = self.stored.lock().unwrap();
        let kept = stored.entry(self.node.clone()).or_default();
        if self.broken == BrokenView::PositionsAhead && self.counted.rows.len() % 2 == 1 {
            kept.cursors = self.counted.cursors.clone();
        } else {
            *kept = self.counted.clone();
        }
        Ok(more)
    }

    fn rebuild(&mut self) {
        self.counted = Counted::default();
    }

    fn digests(&mut self) -> Result<BTreeMap<String, String>, ViewError> {
        Ok(BTreeMap::from([("counts".to_owned(), format!("{:?}", self.counted.rows))]))
    }
}

fn viewed(broken: BrokenView) -> Guests {
    sound().with_views(move || Arc::new(Counts { broken, stored: Arc::default() }))
}

#[test]
fn views_that_depend_on_more_than_the_log_are_noticed() {
    viewed(BrokenView::Nothing).check(0..20).unwrap_or_else(|failure| panic!("{failure}"));
    for broken in [BrokenView::ByBatch, BrokenView::PositionsAhead, BrokenView::ByClaim] {
        let failure = viewed(broken).check(0..PATIENCE).err().unwrap_or_else(|| panic!("{broken:?} was not noticed in {PATIENCE} seeds"));
        println!("{broken:?}: {}", failure.to_string().chars().take(200).collect::<String>());
        assert!(failure.problem.contains("digests of views"), "{failure}");
    }
}
