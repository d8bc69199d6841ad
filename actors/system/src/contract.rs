//! The contract that every registered system keeps: [`check`] runs it over any [`AnySystem`]; tests and `tol doctor` call it.
//!
//! The suite plays the runtime's part without log, clock or threads: it feeds a system its own examples in many seeded orders
//! (repeated, under other ids, for several subjects at once), turns what it decides into events as the runtime does, folds them,
//! fires the timers and settles the effects it asked for, and compares bytes.
//!
//! * `rules` — description, types, examples
//! * `play` — one seeded run, its replay, its second decision and its run with states restored at every step
//! * `malformed` — examples with their data damaged, and own events of unknown type
//! * `queries` — the system's queries, with valid and with absurd parameters
//! * `guard` — calls that turn a panic into a [`Violation`]

mod guard;
mod malformed;
mod play;
mod queries;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::AnySystem;
use guard::Guard;
pub use play::moved_to;

/// Seeded orders of the examples that [`check`] tries.
pub const SEEDS: u64 = 32;
/// Timers fired and effects settled in one run; one that sets itself again would go on for ever.
const MAX_FOLLOW_UPS: usize = 200;
/// The same in [`check_quickly`].
const QUICK_FOLLOW_UPS: usize = 20;
/// Events that one input may lead to: a group is held in memory until it is whole (E4).
pub const MAX_GROUP: usize = 1_000;

/// A rule of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The description makes sense: name, tier, versions, inputs, types, uptime target.
    Description,
    /// There are examples, they are wanted by an input, they are decided without error, and one at least leads to an event.
    Examples,
    /// No call panics, whatever the input.
    NoPanic,
    /// Same state and same input give the same bytes.
    Determinism,
    /// Folding the emitted events alone gives the live state; deciding the recorded inputs again gives the same events.
    ReplayEqualsLive,
    /// A state that is written and read back is the same state, and goes on the same way.
    StateRoundTrip,
    /// `decide` changes no state.
    DecideIsPure,
    /// Only listed types are emitted, as JSON, in bounded groups.
    Emits,
    /// `evolve` folds every event that `decide` emits.
    EvolveFoldsOwnEvents,
    /// `evolve` answers an own event of unknown type or version with [`crate::Error::UnknownOwnEvent`].
    UnknownOwnEvent,
    /// Queries are pure, answer valid parameters, and refuse others by name.
    Queries,
    /// An error says which input failed and what is wrong with it.
    ErrorsNameTheInput,
}

/// A broken rule, and how to see that it is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What happened, on which input.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(rule: Rule, detail: impl fmt::Display) -> Self {
        Self { rule, detail: detail.to_string() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.detail)
    }
}

impl std::error::Error for Violation {}

/// Counts what a passing check covered: a report of zeros would be a check of nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The system.
    pub system: String,
    /// Example inputs it brought.
    pub examples: usize,
    /// Seeded runs.
    pub runs: u64,
    /// Inputs decided in them.
    pub inputs: u64,
    /// Events emitted in them.
    pub events: u64,
    /// Timers fired in them.
    pub timers: u64,
    /// Effect results fed back in them.
    pub effects: u64,
    /// Damaged inputs decided.
    pub malformed: u64,
    /// Of these, answered with an error.
    pub refused: u64,
    /// Queries asked, each of every subject of the examples and of one nothing is known of.
    pub queries: u64,
    /// Listed types that no run led to: examples that would are missing.
    pub unreached: Vec<&'static str>,
}

/// Runs the whole suite over `system` with [`SEEDS`] seeds.
///
/// # Errors
/// Every violation found, at most one for each rule and input.
pub fn check(system: &Arc<dyn AnySystem>) -> Result<Report, Vec<Violation>> {
    check_with(system, Extent { seeds: SEEDS, follow_ups: MAX_FOLLOW_UPS, damage: Damage::Every })
}

/// The part of [`check`] that takes milliseconds, for `tol doctor`: every rule is looked at, in one run of the examples in their own order with
/// few timers, and with inputs whose data is damaged as a whole. What takes long in [`check`] is each value of each example's data damaged in every
/// way: that is for tests.
///
/// # Errors
/// As [`check`].
pub fn check_quickly(system: &Arc<dyn AnySystem>) -> Result<Report, Vec<Violation>> {
    check_with(system, Extent { seeds: 1, follow_ups: QUICK_FOLLOW_UPS, damage: Damage::AsWhole })
}

/// How much is tried.
struct Extent {
    /// Orders of the examples.
    seeds: u64,
    /// Timers and effects in each.
    follow_ups: usize,
    /// What is done to the data of examples.
    damage: Damage,
}

/// What is done to the data of examples.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Damage {
    /// The data as a whole is something else.
    AsWhole,
    /// Also each value in it, each cut, and random bytes.
    Every,
}

fn check_with(system: &Arc<dyn AnySystem>, extent: Extent) -> Result<Report, Vec<Violation>> {
    let mut violations = Vec::new();
    let guard = match Guard::new(system.as_ref()) {
        Ok(guard) => guard,
        Err(violation) => return Err(vec![violation]),
    };
    rules::description(&guard.description, &mut violations);
    let examples = rules::examples(&guard, &mut violations);
    let mut report = Report { system: guard.description.name.to_owned(), examples: examples.len(), ..Report::default() };
    let mut reached: BTreeSet<String> = BTreeSet::new();
    if !examples.is_empty() {
        for seed in 0..extent.seeds {
            report.runs += 1;
            if let Err(violation) = play::run(&guard, &examples, (seed, extent.follow_ups), &mut report, &mut reached) {
                violations.push(violation);
                break; // the next seeds would say the same again
            }
        }
        malformed::inputs(&guard, &examples, extent.damage, &mut report, &mut violations);
    }
    if let Err(violation) = queries::check(&guard, &examples, &mut report) {
        violations.push(violation);
    }
    malformed::unknown_own_events(&guard, &mut violations);
    report.unreached = guard.description.emits.iter().copied().filter(|listed| !reached.contains(*listed)).collect();
    if violations.is_empty() { Ok(report) } else { Err(violations) }
}
