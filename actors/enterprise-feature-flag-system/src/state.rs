//! What the system remembers about a flag, or about what an environment's flags share: the fold of its own events with that subject.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tol_events::EventTime;
use tol_events::flags::Object;

use crate::definition::Definition;
use crate::rollout::{HoldReason, Rollout};

/// Changes kept for people; the log has all of them.
pub(crate) const HISTORY: usize = 50;

/// A flag.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flag {
    /// The definition's number; 0 before the first.
    pub version: u64,
    /// How the flag is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Definition>,
    /// When it is to be asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_at: Option<EventTime>,
    /// Whether it has outlived its purpose.
    #[serde(default)]
    pub stale: bool,
    /// The rollout that runs, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Ramp>,
    /// Ids of all rollouts there were, so that none begins twice.
    #[serde(default)]
    pub rollouts: Vec<String>,
    /// Experiments by id.
    #[serde(default)]
    pub experiments: BTreeMap<String, Experiment>,
    /// Of a subject `flag-set/{environment}` only: what its flags share, by format.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shared: BTreeMap<String, Object>,
    /// The last changes, oldest first.
    #[serde(default)]
    pub history: Vec<Change>,
}

/// A rollout of one rule in one environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ramp {
    /// Its id.
    pub id: String,
    /// Where.
    pub environment: String,
    /// Which rule, counted from 0.
    pub rule: u32,
    /// The state machine.
    pub rollout: Rollout,
    /// Why it waits, so that the same is not said twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<HoldReason>,
    /// Whether a broken split was told.
    #[serde(default)]
    pub mismatch_told: bool,
}

/// An experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// What is asked, and then what was learned.
    pub statement: String,
    /// The version it ran on.
    pub version: u64,
    /// Whether it is over.
    pub concluded: bool,
}

/// One change, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The definition's number after it.
    pub version: u64,
    /// When.
    pub at: EventTime,
    /// What happened.
    pub what: String,
    /// Who; of a refusal, which request.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Flag {
    /// The rollout of that id, while it runs.
    pub(crate) fn running(&self, id: &str) -> Option<&Ramp> {
        self.rollout.as_ref().filter(|ramp| ramp.id == id && ramp.is_running())
    }
}

impl Ramp {
    pub(crate) fn is_running(&self) -> bool {
        self.rollout.phase() == crate::rollout::Phase::Running
    }
}

/// What is the same in `HoldReason`s whose numbers alone differ.
pub(crate) fn kind_of(reason: &HoldReason) -> std::mem::Discriminant<HoldReason> {
    std::mem::discriminant(reason)
}
