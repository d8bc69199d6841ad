//! Registered systems in the simulated cluster, without a model of their own: [`check`] is the one line of a system's `tests/simulation.rs`.
//!
//! All systems that are given run together, so that what one emits is decided by the others that read it. They are told facts built from their
//! examples (`facts`), through the same admission, and everything goes wrong that goes wrong for the test systems: nodes crash and take over, owners
//! hang and wake up, acknowledgements and caches are lost, systems are paused and stopped, inputs fail and are redriven. Timers fire; effects end
//! as [`Guests::with_effects`] says.
//!
//! What must hold, whatever went wrong:
//!
//! * **Own events equal those of a run without faults.** That run is made from the log: one instance of each system decides every input once, in the
//!   order in which its partition took them. Compared, for each input, are its events' types, data, targets, times and ids, the timers and effects
//!   that folding them asks for, and that nothing came of what leads to nothing; never sequence, epoch and `recordedtime`. Between input topics the
//!   order in which a partition takes them is free (a target's event and a fact cross), so it is read from the log; in each topic partition it is fixed.
//! * **Each effect is settled once**, starts only after its request counts, and is asked for the same whenever it runs again.
//! * **States** that were folded from the log alone, by the plain run and by an owner that only follows, are byte for byte those in the cache of each
//!   node.
//! * **Views** (projections) have equal digests on all nodes, and from zero: [`Guests::with_views`].

mod facts;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tol_events::{Event, EventTime};
use tol_kafka::EventLog;
use tol_system::{AnySystem, Description, EffectOutcome, EffectRequest};

use super::cluster::Cluster;
use super::guest::Companion;
use super::rules::{self, Kind};
use super::{Failure, Stats, run_cluster};
use views::Viewed;
pub use views::{View, ViewError, Views};

/// Makes all systems anew, as a node makes them.
type Make = Arc<dyn Fn() -> Vec<Arc<dyn AnySystem>> + Send + Sync>;
/// How an effect ends: by its key and what is asked.
type Answer = Arc<dyn Fn(&str, &EffectRequest) -> EffectOutcome + Send + Sync>;
/// Makes the views of one seed, whose log is its own.
type MakeViews = Arc<dyn Fn() -> Arc<dyn Views> + Send + Sync>;

/// Steps of the storm for one system, and for each further one.
const STEPS: (usize, usize) = (2_500, 1_000);

/// Systems that take part.
#[derive(Clone)]
pub struct Guests {
    make: Make,
    answer: Answer,
    views: Option<MakeViews>,
}

/// What became of many seeds. A report full of zeros would be a check of nothing.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Names of the systems.
    pub systems: Vec<&'static str>,
    /// Seeds.
    pub seeds: u64,
    /// How long they took.
    pub took: Duration,
    /// What happened in them.
    pub stats: Stats,
    /// Own events by type.
    pub emitted: BTreeMap<String, u64>,
    /// Types that a system lists and no seed led to.
    pub unreached: Vec<&'static str>,
}

impl Report {
    /// Own events of all systems.
    pub fn events(&self) -> u64 {
        self.emitted.values().sum()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (stats, rate) = (&self.stats, self.seeds as f64 / self.took.as_secs_f64().max(0.001));
        let (systems, facts, events) = (self.systems.join(", "), stats.facts, self.events());
        write!(f, "{systems}: {} seeds, {rate:.0} a second, {facts} facts, {events} events of {} types, ", self.seeds, self.emitted.len())?;
        write!(f, "{} timers, {} effects of which {} ran again, {} parked, ", stats.timers, stats.effects, stats.repeated_effects, stats.parked)?;
        write!(f, "{} claims, {} records dropped", stats.claims, stats.dropped)?;
        if self.unreached.is_empty() { Ok(()) } else { write!(f, "; never emitted: {}", self.unreached.join(", ")) }
    }
}

/// Runs these systems together for so many seeds.
///
/// # Errors
/// The first rule that was broken.
pub fn check(make: impl Fn() -> Vec<Arc<dyn AnySystem>> + Send + Sync + 'static, seeds: Range<u64>) -> Result<Report, Failure> {
    Guests::new(make).check(seeds)
}

impl Guests {
    /// These systems, which `make` makes anew at each call: nodes share nothing but the log.
    pub fn new(make: impl Fn() -> Vec<Arc<dyn AnySystem>> + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make), answer: Arc::new(stand_in), views: None }
    }

    /// Effects end as `answer` says from their key and what is asked; always the same for the same key. Without it, two in three are completed with
    /// nothing, and the others fail.
    #[must_use]
    pub fn with_effects(mut self, answer: impl Fn(&str, &EffectRequest) -> EffectOutcome + Send + Sync + 'static) -> Self {
        self.answer = Arc::new(answer);
        self
    }

    /// Each node folds these views beside its systems. `make` is called once a seed: each has a log of its own.
    #[must_use]
    pub fn with_views(mut self, make: impl Fn() -> Arc<dyn Views> + Send + Sync + 'static) -> Self {
        self.views = Some(Arc::new(make));
        self
    }

    /// Runs the seeds one by one.
    ///
    /// # Errors
    /// The first rule that was broken.
    pub fn check(&self, seeds: Range<u64>) -> Result<Report, Failure> {
        let described: Vec<Description> = (self.make)().iter().map(|system| system.describe()).collect();
        let mut report = Report { systems: described.iter().map(|description| description.name).collect(), ..Report::default() };
        let started = Instant::now(); // for the report only
        for seed in seeds {
            let (stats, emitted) = self.run(seed, false)?;
            report.stats += stats;
            report.seeds += 1;
            for (event_type, count) in emitted {
                *report.emitted.entry(event_type).or_default() += count;
            }
        }
        report.took = started.elapsed();
        let listed = described.iter().flat_map(|description| description.emits.iter().copied());
        report.unreached = listed.filter(|event_type| !report.emitted.contains_key(*event_type)).collect();
        Ok(report)
    }

    /// Runs one seed, and says what happens if it is to; what was emitted, by type.
    ///
    /// # Errors
    /// The first rule that was broken.
    pub fn run(&self, seed: u64, verbose: bool) -> Result<(Stats, BTreeMap<String, u64>), Failure> {
        let cast = Arc::new(Cast::new(self));
        let steps = STEPS.0 + STEPS.1 * cast.described.len().saturating_sub(1);
        run_cluster(Cluster::new(seed, verbose, None, Some(cast)), seed, steps)
    }
}

/// How an effect ends that nobody said more about.
fn stand_in(key: &str, _: &EffectRequest) -> EffectOutcome {
    if rules::outcome(key) { EffectOutcome::Completed(json!({})) } else { EffectOutcome::Failed("the simulation let it fail".to_owned()) }
}

/// Guests in one run.
pub(super) struct Cast {
    make: Make,
    answer: Answer,
    views: Option<Arc<dyn Views>>,
    described: Vec<Description>,
    examples: Vec<Vec<Event>>,
}

impl Cast {
    fn new(guests: &Guests) -> Self {
        let systems = (guests.make)();
        Self {
            make: guests.make.clone(),
            answer: guests.answer.clone(),
            views: guests.views.as_ref().map(|make| make()),
            described: systems.iter().map(|system| system.describe()).collect(),
            examples: systems.iter().map(|system| system.examples()).collect(),
        }
    }

    pub(super) fn kinds(&self) -> Arc<[Kind]> {
        self.described.iter().map(|description| Kind::System(description.name)).collect()
    }

    /// The system of this kind, made anew.
    pub(super) fn make(&self, kind: Kind) -> Option<Arc<dyn AnySystem>> {
        let Kind::System(name) = kind else { return None };
        let at = self.described.iter().position(|description| description.name == name)?;
        (self.make)().into_iter().nth(at)
    }

    /// What they read, but for the clock.
    pub(super) fn topics(&self) -> impl Iterator<Item = &'static str> {
        let inputs = self.described.iter().flat_map(|description| &description.inputs);
        inputs.map(|input| input.topic).filter(|topic| *topic != "clock")
    }

    /// Topics of facts that they read and no test system does.
    pub(super) fn further_facts(&self) -> BTreeSet<&'static str> {
        self.topics().filter(|topic| topic.starts_with("facts.") && !rules::FACTS_TOPICS.contains(topic)).collect()
    }

    /// When simulated time begins: at the first of the examples, whose data names times.
    pub(super) fn begins(&self) -> EventTime {
        let times = self.examples.iter().flatten().filter_map(|example| example.encode().view().time());
        times.min().unwrap_or_default()
    }

    pub(super) fn answer(&self, key: &str, effect: &EffectRequest) -> EffectOutcome {
        (self.answer)(key, effect)
    }

    pub(super) fn companion(&self, node: &str, log: Arc<dyn EventLog>) -> Result<Option<Box<dyn Companion>>, String> {
        let Some(views) = &self.views else { return Ok(None) };
        let opened = Viewed::open(views.clone(), node, log).map_err(|problem| problem.to_string())?;
        Ok(Some(Box::new(opened)))
    }
}
