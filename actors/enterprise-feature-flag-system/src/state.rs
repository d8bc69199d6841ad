//! What the system remembers about a flag, or about what an environment's flags share: the fold of its own events with that subject.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tol_events::EventTime;
use tol_events::flags::{Exclusion, Object, Propensity};

use crate::counts::{Counted, Measured};
use crate::definition::Definition;
use crate::experiments::{Spec, Variation, results, subjects};
use crate::rollout::{HoldReason, Kind, Rollout};

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
    /// What SDKs and pipelines reported since it began.
    #[serde(default)]
    pub counted: Counted,
    /// Customers' outcomes that are not looked at yet.
    #[serde(default)]
    pub waiting: Counted,
    /// Customers who do not count, by why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub excluded: BTreeMap<Exclusion, u64>,
    /// Services it waits for, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub troubles: BTreeMap<String, String>,
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
    /// What is asked, in numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Spec>,
    /// When it began.
    #[serde(default)]
    pub began: EventTime,
    /// What was counted since.
    #[serde(default)]
    pub counted: Counted,
    /// Customers' outcomes that are not looked at yet.
    #[serde(default)]
    pub waiting: Counted,
    /// Customers who do not count, by why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub excluded: BTreeMap<Exclusion, u64>,
    /// Whether a broken split was told.
    #[serde(default)]
    pub mismatch_told: bool,
    /// What a bandit serves now, and since when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub propensities: Vec<Propensity>,
    /// Subjects each variation was meant to get, where a bandit changed the weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<f64>,
    /// Its results, once it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Value>,
}

impl Experiment {
    /// Adds a customer's outcome to `counted`.
    pub(crate) fn add_outcome(&self, counted: &mut Counted, arm: &str, values: &BTreeMap<String, i64>) -> Result<(), String> {
        let metrics = self.spec.as_ref().map_or(&[][..], |spec| &spec.metrics);
        counted.add_outcome(arm, values, &|name| metrics.iter().any(|metric| metric.name == name && metric.above.is_none()).then(|| Measured::of(name)))
    }

    /// Whether people meet it there.
    pub(crate) fn runs_in(&self, environment: &str) -> bool {
        self.spec.as_ref().is_some_and(|spec| spec.environment.as_ref().is_none_or(|own| own == environment))
    }

    /// It with these counts: who came since was allocated by what is served now.
    pub(crate) fn after(&self, counted: &Counted) -> Self {
        let mut next = Self { counted: counted.clone(), waiting: Counted::default(), ..self.clone() };
        let Some(spec) = self.spec.as_ref().filter(|spec| spec.bandit.is_some()) else { return next };
        let all = |counted: &Counted| spec.variations.iter().map(|variation| subjects(counted, &variation.name)).sum::<u64>();
        let new = all(counted).saturating_sub(all(&self.counted)) as f64;
        let weights: f64 = spec.variations.iter().map(|variation| variation.weight).sum();
        let share = |variation: &Variation| {
            let served = self.propensities.iter().find(|propensity| propensity.variation == variation.name);
            served.map_or(variation.weight / weights, |served| served.probability)
        };
        next.expected.resize(spec.variations.len(), 0.0);
        next.expected.iter_mut().zip(&spec.variations).for_each(|(expected, variation)| *expected += new * share(variation));
        next
    }
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
    /// What rollout and experiments have shown so far; of one experiment only, if asked.
    pub fn results(&self, only: Option<&str>) -> Value {
        let experiments = self.experiments.iter().filter(|(id, _)| only.is_none_or(|only| only == id.as_str())).map(|(id, experiment)| {
            let now = experiment.spec.as_ref().map(|spec| json!(results(spec, &experiment.counted, &experiment.expected)));
            json!({
                "experiment_id": id, "statement": experiment.statement, "began": experiment.began, "version": experiment.version,
                "concluded": experiment.concluded, "variations": experiment.spec.as_ref().map(|spec| &spec.variations),
                "propensities": experiment.propensities, "waiting": experiment.waiting.subjects(), "excluded": experiment.excluded, "results": experiment.results.clone().or(now),
            })
        });
        let rollout = self.rollout.as_ref().filter(|_| only.is_none()).map(|ramp| {
            let (subjects, metrics) = ramp.rollout.seen();
            json!({
                "rollout_id": ramp.id, "environment": ramp.environment, "rule": ramp.rule, "phase": ramp.rollout.phase(), "step": ramp.rollout.step(),
                "treatment": ramp.rollout.treatment(), "control_subjects": subjects.0, "treatment_subjects": subjects.1, "metrics": metrics,
                "held": ramp.held, "waiting": ramp.waiting.subjects(), "excluded": ramp.excluded, "evidence": ramp.rollout.evidence(),
            })
        });
        json!({"version": self.version, "rollout": rollout, "experiments": experiments.collect::<Vec<_>>()})
    }

    /// The rollout of that id, while it runs.
    pub(crate) fn running(&self, id: &str) -> Option<&Ramp> {
        self.rollout.as_ref().filter(|ramp| ramp.id == id && ramp.is_running())
    }
}

impl Ramp {
    /// Adds a customer's outcome to `counted`, as the plan's guards measure it.
    pub(crate) fn add_outcome(&self, counted: &mut Counted, arm: &str, values: &BTreeMap<String, i64>) -> Result<(), String> {
        let guards = &self.rollout.plan().guards;
        let measured = |name: &str| {
            let guard = guards.iter().find(|guard| guard.metric == name && guard.above.is_none())?;
            Some(match guard.kind {
                Kind::Proportion { .. } => Measured::Happened,
                Kind::Rate { .. } => Measured::Times,
                Kind::Mean { .. } => Measured::Number,
            })
        };
        counted.add_outcome(arm, values, &measured)
    }

    /// One at its first step, that has seen nothing.
    pub(crate) fn begin(id: String, environment: String, rule: u32, rollout: Rollout) -> Self {
        Self {
            id,
            environment,
            rule,
            rollout,
            held: None,
            mismatch_told: false,
            counted: Counted::default(),
            waiting: Counted::default(),
            excluded: BTreeMap::new(),
            troubles: BTreeMap::new(),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.rollout.phase() == crate::rollout::Phase::Running
    }
}

/// What is the same in `HoldReason`s whose numbers alone differ.
pub(crate) fn kind_of(reason: &HoldReason) -> std::mem::Discriminant<HoldReason> {
    std::mem::discriminant(reason)
}
