//! A guard metric of a running rollout: what came in, and whether harm is shown.

use serde::{Deserialize, Serialize};

use super::observation::{Counts, Metric};
use super::plan::{Direction, Guard, Kind};
use super::{Error, Plan};
use crate::statistics::drift::{DriftTest, DriftVerdict};
use crate::statistics::harm::{Design, HarmTest, Look, Outcome, Verdict};
use crate::statistics::summary::Sums;

/// The numbers on which a rollout was rolled back, as they go into the event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The guard metric.
    pub metric: String,
    /// Step of the ramp.
    pub step: usize,
    /// Cumulated counts or sums of both arms.
    pub observed: Metric,
    /// Of a proportion: harmful events among the treated, what they would be without harm, and the boundary that was crossed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<Verdict>,
    /// Of a mean: the difference and its confidence limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asymptotic: Option<DriftVerdict>,
    /// Error that this guard was allowed.
    pub alpha: f64,
}

/// One guard's fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct GuardState {
    seen: Metric,
    /// (control, treatment) subjects of this metric since the step began.
    in_step: (u64, u64),
    test: Test,
    /// Test and numbers of the look that showed harm.
    evidence: Option<Evidence>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "test", rename_all = "snake_case")]
enum Test {
    Harm(HarmTest),
    Drift(DriftTest),
}

impl GuardState {
    pub(super) fn new(guard: &Guard, plan: &Plan) -> Result<Self, Error> {
        let alpha = plan.alpha_of_a_guard();
        let (seen, test) = match guard.kind {
            Kind::Proportion { tolerated_odds_ratio, smallest_harm } => {
                let test = HarmTest::new(Design { alpha, smallest_harm, tolerated_odds_ratio, outcome: Outcome::Once })?;
                (Metric::Proportion { control: Counts::default(), treatment: Counts::default() }, Test::Harm(test))
            }
            Kind::Rate { tolerated_ratio, smallest_harm } => {
                let test = HarmTest::new(Design { alpha, smallest_harm, tolerated_odds_ratio: tolerated_ratio, outcome: Outcome::Repeated })?;
                (Metric::Rate { control: Counts::default(), treatment: Counts::default() }, Test::Harm(test))
            }
            Kind::Mean { tolerated, smallest_harm } => {
                (Metric::Mean { control: Sums::default(), treatment: Sums::default() }, Test::Drift(DriftTest::new(alpha, smallest_harm, tolerated)?))
            }
        };
        Ok(Self { seen, in_step: (0, 0), test, evidence: None })
    }

    /// Folds cumulated counts; on an error nothing has changed.
    pub(super) fn observe(&mut self, guard: &Guard, step: usize, alpha: f64, now: &Metric) -> Result<(), Error> {
        let refuse = |why: String| Error::Observation { what: guard.metric.clone(), why };
        let new = now.since(&self.seen).map_err(refuse)?;
        let (mut exact, mut asymptotic) = (None, None);
        let subjects = match (&mut self.test, new) {
            (Test::Harm(test), Metric::Proportion { control, treatment }) => {
                let look = look(control, treatment);
                let look = if guard.harm == Direction::Increase { look } else { look.complement() };
                exact = Some(test.look(look)?);
                (control.subjects, treatment.subjects)
            }
            (Test::Harm(test), Metric::Rate { control, treatment }) => {
                let look = look(control, treatment);
                // Happenings have no complement; that the treatment has fewer is that the control has more.
                exact = Some(test.look(if guard.harm == Direction::Increase { look } else { look.swapped() })?);
                (control.subjects, treatment.subjects)
            }
            (Test::Drift(test), Metric::Mean { control, treatment }) => {
                let sign = if guard.harm == Direction::Increase { 1.0 } else { -1.0 };
                let turned = |sums: Sums| Sums { sum: sign * sums.sum, ..sums };
                asymptotic = test.look(step, turned(control), turned(treatment));
                (control.subjects, treatment.subjects)
            }
            _ => return Err(refuse("it is measured in another way than the plan says".into())),
        };
        self.in_step = (self.in_step.0 + subjects.0, self.in_step.1 + subjects.1);
        self.seen = now.clone();
        let harmful = exact.is_some_and(|verdict| verdict.harmful) || asymptotic.is_some_and(|verdict| verdict.harmful);
        if harmful && self.evidence.is_none() {
            self.evidence = Some(Evidence { metric: guard.metric.clone(), step, observed: now.clone(), exact, asymptotic, alpha });
        }
        Ok(())
    }

    /// Whether a look can be taken at these counts: events are counted with their subjects, or come later.
    pub(super) fn can_take(&self, now: &Metric) -> bool {
        now.since(&self.seen).is_ok()
    }

    /// What the test says now, for people.
    pub(super) fn shown(&self) -> &Metric {
        &self.seen
    }

    pub(super) fn begin_step(&mut self) {
        self.in_step = (0, 0);
    }

    pub(super) fn least_in_step(&self) -> u64 {
        self.in_step.0.min(self.in_step.1)
    }

    pub(super) fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_ref()
    }
}

fn look(control: Counts, treatment: Counts) -> Look {
    Look { control_subjects: control.subjects, control_events: control.events, treatment_subjects: treatment.subjects, treatment_events: treatment.events }
}
