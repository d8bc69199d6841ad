//! What a look at a rollout is made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::statistics::summary::Sums;

/// Subjects whose outcome is known, and those with the event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Subjects.
    pub subjects: u64,
    /// Those with the event.
    pub events: u64,
}

/// A guard metric, cumulated since the rollout began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Metric {
    /// Yes or no for each subject.
    Proportion {
        /// The control.
        control: Counts,
        /// The treatment.
        treatment: Counts,
    },
    /// How often it happened, any number of times to each subject.
    Rate {
        /// The control.
        control: Counts,
        /// The treatment.
        treatment: Counts,
    },
    /// A number for each subject.
    Mean {
        /// The control.
        control: Sums,
        /// The treatment.
        treatment: Sums,
    },
}

impl Metric {
    /// What came in since `seen`, or why that cannot be.
    pub(super) fn since(&self, seen: &Self) -> Result<Self, String> {
        let less = |now: u64, before: u64| now.checked_sub(before).ok_or_else(|| format!("{now} after {before}: cumulated counts never fall"));
        let counts = |now: &Counts, before: &Counts| {
            let new = Counts { subjects: less(now.subjects, before.subjects)?, events: less(now.events, before.events)? };
            if new.events > new.subjects { Err(format!("{} new events among {} new subjects", new.events, new.subjects)) } else { Ok(new) }
        };
        let sums = |now: &Sums, before: &Sums| {
            if !(now.sum.is_finite() && now.sum_squares.is_finite()) {
                return Err("a sum is not finite".to_owned());
            }
            let new = Sums { subjects: less(now.subjects, before.subjects)?, sum: now.sum - before.sum, sum_squares: now.sum_squares - before.sum_squares };
            if new.sum_squares < 0.0 { Err("the sum of squares fell".to_owned()) } else { Ok(new) }
        };
        match (self, seen) {
            (Self::Proportion { control, treatment }, Self::Proportion { control: a, treatment: b }) => {
                Ok(Self::Proportion { control: counts(control, a)?, treatment: counts(treatment, b)? })
            }
            (Self::Rate { control, treatment }, Self::Rate { control: a, treatment: b }) => {
                let happenings = |now: &Counts, before: &Counts| {
                    let new = Counts { subjects: less(now.subjects, before.subjects)?, events: less(now.events, before.events)? };
                    if new.subjects == 0 && new.events > 0 { Err(format!("{} new events and no new subjects", new.events)) } else { Ok(new) }
                };
                Ok(Self::Rate { control: happenings(control, a)?, treatment: happenings(treatment, b)? })
            }
            (Self::Mean { control, treatment }, Self::Mean { control: a, treatment: b }) => {
                Ok(Self::Mean { control: sums(control, a)?, treatment: sums(treatment, b)? })
            }
            _ => Err("it is measured in another way than the plan says".to_owned()),
        }
    }
}

/// A look: everything cumulated since the rollout began, so that a look that got lost costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Subjects exposed to the control.
    pub control_subjects: u64,
    /// Subjects exposed to the treatment.
    pub treatment_subjects: u64,
    /// Whether the control is everyone who is not treated, and not a part as large as the plan says: so SDKs count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everyone: bool,
    /// Guard metrics by name; one that is missing has nothing new.
    pub metrics: BTreeMap<String, Metric>,
}
