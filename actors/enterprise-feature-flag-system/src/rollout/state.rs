//! The fold of a rollout's events, and what follows from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::guard::{Evidence, GuardState};
use super::{Error, Metric, Observation, Plan};
use crate::statistics::sample_ratio::{self, SampleRatio, SplitWatch};

/// Where a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// On its ramp.
    Running,
    /// Done; everybody may have the treatment.
    Completed,
    /// Nobody has the treatment any more, and this rollout will not begin again.
    RolledBack,
}

/// What a rollout's own events record. Folding them again gives the same state, and so the same decisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A look came in.
    Observed(Observation),
    /// The next step began.
    Advanced {
        /// It, counted from 0.
        step: usize,
        /// When, in milliseconds since 1970.
        at_millis: u64,
    },
    /// Back to nobody.
    RolledBack {
        /// Why; none if a person asked for it.
        evidence: Option<Evidence>,
    },
    /// On to everybody.
    Completed,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// Begin this step.
    Advance {
        /// Counted from 0.
        step: usize,
        /// Its share of treated in ten-thousandths.
        treatment: u32,
    },
    /// Wait.
    Hold {
        /// For what.
        reason: HoldReason,
    },
    /// Take the treatment away from everybody.
    RollBack {
        /// Why.
        evidence: Evidence,
    },
    /// The ramp is done.
    Complete,
}

/// Why a rollout does not advance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum HoldReason {
    /// The step has not lasted long enough.
    TooEarly {
        /// It has at this time, in milliseconds since 1970.
        until_millis: u64,
    },
    /// An arm has too few subjects in this step.
    TooFewSubjects {
        /// The fewer of the two arms.
        subjects: u64,
        /// What the step asks for.
        minimum: u64,
    },
    /// A guard metric has too few subjects in this step: no data is no proof of harmlessness.
    NoData {
        /// The metric.
        metric: String,
        /// In the arm with fewer.
        subjects: u64,
        /// What the step asks for.
        minimum: u64,
    },
    /// The arms did not get the traffic they were meant to get, so their metrics cannot be compared.
    SampleRatio {
        /// Of the split.
        p_value: f64,
    },
    /// The flag is off, by its environment or the kill switch: nobody would be reached.
    Off,
    /// The arms are not the same kind of people, so their metrics cannot be compared.
    Incomparable {
        /// Why, and what would help.
        why: String,
    },
    /// A service that its people meet is being deployed, or is not well: metrics may move without the flag.
    Deployment {
        /// The services, and what is known of them.
        services: BTreeMap<String, String>,
    },
    /// The rollout is over.
    Over {
        /// How it ended.
        phase: Phase,
    },
}

/// A rollout's state: the fold of its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    plan: Plan,
    phase: Phase,
    step: usize,
    step_began_millis: u64,
    /// (control, treatment) subjects since the rollout began, and since its step did.
    subjects: (u64, u64),
    in_step: (u64, u64),
    /// Whether the step's control is everyone else.
    #[serde(default)]
    everyone: bool,
    split: SplitWatch,
    /// In the order of the plan's guards.
    guards: Vec<GuardState>,
    evidence: Option<Evidence>,
}

impl Rollout {
    /// A rollout at its first step, begun at this time (milliseconds since 1970).
    ///
    /// # Errors
    /// [`Error::Plan`] or [`Error::Statistics`] if the plan cannot be carried out.
    pub fn begin(plan: Plan, at_millis: u64) -> Result<Self, Error> {
        plan.check()?;
        let guards = plan.guards.iter().map(|guard| GuardState::new(guard, &plan)).collect::<Result<_, _>>()?;
        Ok(Self {
            plan,
            phase: Phase::Running,
            step: 0,
            step_began_millis: at_millis,
            subjects: (0, 0),
            in_step: (0, 0),
            everyone: false,
            split: SplitWatch::default(),
            guards,
            evidence: None,
        })
    }

    /// Folds one of the rollout's events.
    ///
    /// # Errors
    /// [`Error::Observation`] for counts that cannot be, [`Error::Order`] for an event out of its place; the state is then as it was.
    pub fn evolve(&mut self, event: &Event) -> Result<(), Error> {
        let order = |why| Err(Error::Order { phase: self.phase, step: self.step, why });
        if self.phase != Phase::Running {
            return order("it is over");
        }
        match event {
            Event::Observed(observation) => self.observe(observation),
            Event::Advanced { step, .. } if *step != self.step + 1 || *step >= self.plan.steps.len() => order("steps follow each other"),
            Event::Advanced { step, at_millis } => {
                (self.step, self.step_began_millis, self.in_step) = (*step, *at_millis, (0, 0));
                self.guards.iter_mut().for_each(GuardState::begin_step);
                Ok(())
            }
            Event::RolledBack { evidence } => {
                self.phase = Phase::RolledBack;
                self.evidence.clone_from(evidence);
                Ok(())
            }
            Event::Completed => {
                self.phase = Phase::Completed;
                Ok(())
            }
        }
    }

    fn observe(&mut self, observation: &Observation) -> Result<(), Error> {
        let new = (observation.control_subjects.checked_sub(self.subjects.0), observation.treatment_subjects.checked_sub(self.subjects.1));
        let (Some(control), Some(treatment)) = new else {
            return Err(Error::Observation { what: "subjects".into(), why: "cumulated counts never fall".into() });
        };
        // All guards on a copy, so that one refused metric leaves nothing half folded.
        let mut guards = self.guards.clone();
        let alpha = self.plan.alpha_of_a_guard();
        for (name, metric) in &observation.metrics {
            let Some(index) = self.plan.guards.iter().position(|guard| guard.metric == *name) else {
                return Err(Error::Observation { what: name.clone(), why: "the plan does not guard it".into() });
            };
            guards[index].observe(&self.plan.guards[index], self.step, alpha, metric)?;
        }
        self.guards = guards;
        self.subjects = (observation.control_subjects, observation.treatment_subjects);
        self.in_step = (self.in_step.0 + control, self.in_step.1 + treatment);
        self.everyone = observation.everyone;
        let [of_control, of_treatment] = self.weights();
        self.split.observe(control, treatment, of_treatment / (of_control + of_treatment));
        Ok(())
    }

    /// What to do at this time (milliseconds since 1970).
    pub fn decide(&self, now_millis: u64) -> Decision {
        if self.phase != Phase::Running {
            return Decision::Hold { reason: HoldReason::Over { phase: self.phase } };
        }
        // Harm goes first: to roll back is right even when the split is broken.
        if let Some(evidence) = self.guards.iter().find_map(GuardState::evidence) {
            return Decision::RollBack { evidence: evidence.clone() };
        }
        if let Some(reason) = self.reason_to_hold(now_millis) {
            return Decision::Hold { reason };
        }
        match self.plan.steps.get(self.step + 1) {
            Some(next) => Decision::Advance { step: self.step + 1, treatment: next.treatment },
            None => Decision::Complete,
        }
    }

    fn reason_to_hold(&self, now_millis: u64) -> Option<HoldReason> {
        let step = &self.plan.steps[self.step];
        if let Some(p_value) = self.broken_split() {
            return Some(HoldReason::SampleRatio { p_value });
        }
        let minimum = step.minimum_subjects;
        let subjects = self.in_step.0.min(self.in_step.1);
        if subjects < minimum {
            return Some(HoldReason::TooFewSubjects { subjects, minimum });
        }
        for (guard, state) in self.plan.guards.iter().zip(&self.guards) {
            let subjects = state.least_in_step();
            if subjects < minimum {
                return Some(HoldReason::NoData { metric: guard.metric.clone(), subjects, minimum });
            }
        }
        let until_millis = self.step_began_millis.saturating_add(step.minimum_millis);
        (now_millis < until_millis).then_some(HoldReason::TooEarly { until_millis })
    }

    /// Broken since any look (a p-value for all looks at once), or in this step (a test for one look, but of fresh subjects only).
    fn broken_split(&self) -> Option<f64> {
        let watched = self.split.p_value();
        if watched < self.plan.split_threshold {
            return Some(watched);
        }
        match sample_ratio::check(&[self.in_step.0, self.in_step.1], &self.weights(), self.plan.split_threshold) {
            Ok(SampleRatio::Mismatch { p_value }) => Some(p_value),
            _ => None,
        }
    }

    /// What the arms should get in this step: (control, treatment).
    fn weights(&self) -> [f64; 2] {
        let step = &self.plan.steps[self.step];
        let control = if self.everyone { super::WHOLE - step.treatment } else { step.control };
        [f64::from(control), f64::from(step.treatment)]
    }

    /// The part of an observation that can be taken now; what is left out is so much larger at the next look. (A counter that was sent before the
    /// exposures it belongs to, for instance.)
    pub fn takeable(&self, mut observation: Observation) -> Observation {
        observation.metrics.retain(|name, metric| {
            let guard = self.plan.guards.iter().position(|guard| guard.metric == *name);
            guard.is_some_and(|index| self.guards[index].can_take(metric))
        });
        observation
    }

    /// Subjects of (control, treatment) so far, and what was seen of each guard metric.
    pub fn seen(&self) -> ((u64, u64), BTreeMap<&str, &Metric>) {
        let metrics = self.plan.guards.iter().zip(&self.guards).map(|(guard, state)| (guard.metric.as_str(), state.shown()));
        (self.subjects, metrics.collect())
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The step it stands at, from 0.
    pub fn step(&self) -> usize {
        self.step
    }

    /// When the step began, milliseconds since 1970.
    pub fn step_began_millis(&self) -> u64 {
        self.step_began_millis
    }

    /// Share of treated now, in ten-thousandths.
    pub fn treatment(&self) -> u32 {
        match self.phase {
            Phase::Running => self.plan.steps[self.step].treatment,
            Phase::Completed => super::WHOLE,
            Phase::RolledBack => 0,
        }
    }

    /// What it was asked to do.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Why it was rolled back, if the statistics did it.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_ref()
    }
}
