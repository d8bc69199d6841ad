//! The look a rollout takes at what was counted.

use serde::{Deserialize, Serialize};

use super::{Counted, Metric, Tally};
use crate::definition::{Environment, Rule, Serve};
use crate::rollout::{self, Counts, Kind, Observation, Plan};
use crate::statistics::summary::Sums;

/// Which arms are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arms {
    /// Those who have it.
    pub treatment: Vec<String>,
    /// Those who do not.
    pub control: Vec<String>,
}

/// The arms of a rule that grows: whoever is not served by it is the control. They are compared only where nothing but the percentage decides who is
/// who; else the control would be other people.
///
/// # Errors
/// Why they cannot be compared, and what would help.
pub fn arms_of(environment: &Environment, rule: u32) -> Result<Vec<String>, String> {
    let targeted = match environment.rules.as_slice() {
        [Rule::Targeted(targeted)] if rule == 0 => targeted,
        _ => return Err("the flag has other rules; name the arms in the plan, as variants that only people of this rule are served".to_owned()),
    };
    if !(targeted.constraints.is_empty() && targeted.segments.is_empty() && environment.prerequisites.is_empty()) {
        return Err("its rule reaches some people only, and who is out is no control for them; name the arms in the plan, as variants".to_owned());
    }
    let otherwise = match &environment.otherwise {
        Some(Serve::Variant { name }) => Some(name.clone()),
        _ => None,
    };
    Ok(std::iter::once("disabled".to_owned()).chain(otherwise).collect())
}

/// Everything counted so far as a look. Metrics for which there is nothing that fits the plan are left out: the rollout holds for want of data.
pub fn observation(plan: &Plan, control: &[String], counted: &Counted) -> Observation {
    let side = |arm: &str| match &plan.arms {
        Some(arms) if arms.treatment.iter().any(|name| name == arm) => Some(Side::Treatment),
        Some(arms) if arms.control.iter().any(|name| name == arm) => Some(Side::Control),
        Some(_) => None,
        None if control.iter().any(|name| name == arm) => Some(Side::Control),
        None => Some(Side::Treatment),
    };
    // Those who were served a variant are among those exposed, too: one of the two is counted.
    let exposed = |exposures: &std::collections::BTreeMap<String, u64>| {
        let named = |arm: &str| plan.arms.is_some() || matches!(arm, "enabled" | "disabled");
        exposures.iter().filter(|(arm, _)| named(arm)).fold([0u64; 2], |mut sums, (arm, count)| {
            if let Some(side) = side(arm) {
                sums[side as usize] = sums[side as usize].saturating_add(*count);
            }
            sums
        })
    };
    let whole = exposed(if plan.arms.is_some() && !counted.variants.is_empty() { &counted.variants } else { &counted.exposures });
    let metrics = plan.guards.iter().filter_map(|guard| {
        let metric = counted.metrics.get(&guard.metric)?;
        Some((guard.metric.clone(), read(guard.kind, guard.above, metric, exposed(&metric.exposed), &side)?))
    });
    Observation { control_subjects: whole[0], treatment_subjects: whole[1], everyone: plan.arms.is_none(), metrics: metrics.collect() }
}

#[derive(Clone, Copy)]
enum Side {
    Control = 0,
    Treatment = 1,
}

fn read(kind: Kind, above: Option<f64>, metric: &Metric, exposed: [u64; 2], side: &dyn Fn(&str) -> Option<Side>) -> Option<rollout::Metric> {
    let mut sums: [Option<Tally>; 2] = [None, None];
    for (arm, tally) in &metric.arms {
        let Some(side) = side(arm) else { continue };
        match &mut sums[side as usize] {
            Some(sum) => sum.add(tally).ok()?,
            none => *none = Some(tally.clone()),
        }
    }
    let [control, treatment] = sums;
    match kind {
        Kind::Proportion { .. } | Kind::Rate { .. } => {
            // Of an arm in which nothing happened yet: none of those exposed, if happenings are counted; else no subjects.
            let counts_happenings = [&control, &treatment].into_iter().flatten().all(|tally| matches!(tally, Tally::Counter { .. }));
            let counts = |tally: Option<&Tally>, exposed: u64| {
                let (subjects, events) = match tally {
                    Some(tally) => tally.proportion(exposed, above)?,
                    None => (if counts_happenings { exposed } else { 0 }, 0),
                };
                Some(Counts { subjects, events })
            };
            let (control, treatment) = (counts(control.as_ref(), exposed[0])?, counts(treatment.as_ref(), exposed[1])?);
            Some(if matches!(kind, Kind::Rate { .. }) {
                rollout::Metric::Rate { control, treatment }
            } else {
                rollout::Metric::Proportion { control, treatment }
            })
        }
        Kind::Mean { .. } => {
            let sums = |tally: Option<&Tally>| tally.map_or(Some(Sums::default()), Tally::sums);
            Some(rollout::Metric::Mean { control: sums(control.as_ref())?, treatment: sums(treatment.as_ref())? })
        }
    }
}
