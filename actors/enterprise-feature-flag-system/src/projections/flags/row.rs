//! A row, and how it remembers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tol_events::flags::{Object, RolloutAdvanced};
use tol_events::{EventTime, EventView};

/// Changes that a row remembers; the log has all of them.
pub const HISTORY: usize = 50;
/// Refused requests that a row remembers: those who asked look for theirs at once.
pub const REFUSED: usize = 16;

/// One change, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The definition's number after it.
    pub version: u64,
    /// Microseconds.
    pub at: i64,
    /// What happened: the event's type without domain and version.
    pub what: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The event that says so.
    pub event: String,
}

/// A request that changed nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its id.
    pub request: String,
    /// What was wrong with it.
    pub problem: String,
}

/// The rollout that runs, or the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its id.
    pub id: String,
    /// Where.
    pub environment: String,
    /// Which rule, from 0.
    pub rule: u32,
    /// `running`, `completed`, `rolled_back` or `killed`.
    pub state: String,
    /// The step, from 0.
    pub step: u32,
    /// How many have it, in ten-thousandths.
    pub treatment: u32,
    /// When the step began, microseconds.
    pub began_at: i64,
    /// The plan, as JSON.
    pub plan: String,
    /// Why it waits, as JSON.
    pub held: Option<String>,
    /// What showed harm, as JSON.
    pub evidence: Option<String>,
    /// The probability of its split, where that was found broken, as JSON.
    pub mismatch: Option<String>,
}

/// An experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experiment {
    /// What is asked.
    pub statement: String,
    /// Variations and metrics, as JSON.
    pub details: String,
    /// The definition's number it began on.
    pub version: u64,
    /// When it began, microseconds.
    pub began_at: i64,
    /// Who began it.
    pub by: String,
    /// What was counted since, as JSON; its results follow from this alone.
    pub counted: Option<String>,
    /// Subjects that each variation was meant to get, where a bandit changed the weights, as JSON.
    pub expected: Option<String>,
    /// What a bandit serves, as JSON.
    pub propensities: Option<String>,
    /// The probability of its split, where that was found broken, as JSON.
    pub mismatch: Option<String>,
    /// How it ended.
    pub conclusion: Option<Conclusion>,
}

/// How an experiment ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conclusion {
    /// What was learned.
    pub statement: String,
    /// When, microseconds.
    pub at: i64,
    /// Who.
    pub by: String,
    /// Its results as they were then, and what its author added, as JSON.
    pub details: String,
}

/// A flag, or what an environment's flags share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagRow {
    /// The number of the last change; 0 while there was none but refused ones.
    pub version: u64,
    /// The definition as JSON.
    pub definition: Option<String>,
    /// When it is to be asked about, microseconds.
    pub stale_at: Option<i64>,
    /// Since when it has outlived its purpose, microseconds.
    pub stale_since: Option<i64>,
    /// The rollout that runs, or the last one.
    pub rollout: Option<Rollout>,
    /// By id.
    pub experiments: BTreeMap<String, Experiment>,
    /// Of a `flag-set/…` only: what its flags share as JSON, by format.
    pub shared: BTreeMap<String, String>,
    /// The last [`HISTORY`] changes, oldest first.
    pub changes: Vec<Change>,
    /// The last [`REFUSED`] requests that were refused.
    pub refused: Vec<Refused>,
}

pub(super) fn keep<T>(list: &mut Vec<T>, item: T, most: usize) {
    if list.len() >= most {
        list.remove(0);
    }
    list.push(item);
}

pub(super) fn text(object: &Object) -> String {
    // A map with texts for keys is always JSON.
    serde_json::to_string(object).unwrap_or_default()
}

impl FlagRow {
    pub(super) fn change(&mut self, event: &EventView<'_>, version: u64, definition: Option<&Object>, by: &str, reason: &str) {
        self.version = version;
        if let Some(definition) = definition {
            self.definition = Some(text(definition));
        }
        let what = event.event_type().split('.').nth(1).unwrap_or_default().to_owned();
        let at = event.time().map_or(0, EventTime::as_micros);
        keep(&mut self.changes, Change { version, at, what, by: by.to_owned(), reason: reason.to_owned(), event: event.id().to_owned() }, HISTORY);
    }

    pub(super) fn experiment(&mut self, id: &str) -> Option<&mut Experiment> {
        self.experiments.get_mut(id)
    }

    pub(super) fn rollout(&mut self, id: &str) -> Option<&mut Rollout> {
        self.rollout.as_mut().filter(|rollout| rollout.id == id)
    }

    pub(super) fn advanced(&mut self, event: &EventView<'_>, advanced: &RolloutAdvanced<'_>) {
        if let Some(plan) = &advanced.plan {
            let (id, environment) = (advanced.rollout_id.to_string(), advanced.environment.to_string());
            self.rollout = Some(Rollout { id, environment, rule: advanced.rule, plan: text(plan), ..Rollout::default() });
        }
        if let Some(rollout) = self.rollout(&advanced.rollout_id) {
            rollout.state = if advanced.completed { "completed" } else { "running" }.to_owned();
            (rollout.step, rollout.treatment, rollout.held) = (advanced.step, advanced.treatment, None);
            rollout.began_at = advanced.began_at.as_micros();
        }
        self.change(event, advanced.version, Some(&advanced.definition), &advanced.by, &advanced.reason);
    }
}
