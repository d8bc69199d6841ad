//! What a bandit serves next.

use tol_events::flags::Propensity;

use super::spec::{Goal, Spec};
use crate::counts::Counted;
use crate::definition::{Definition, Rule, Serve, Split};
use crate::evaluation::Format;
use crate::statistics::bandit::{Arm, propensities};

/// The probability of each variation by what was counted, in the order of the experiment.
///
/// # Errors
/// Why none can be told.
pub fn allocate(spec: &Spec, counted: &Counted) -> Result<Vec<Propensity>, String> {
    let (Some(bandit), Some(primary)) = (&spec.bandit, spec.primary()) else {
        return Err("the experiment has no bandit, or no metric".to_owned());
    };
    let metric = counted.metrics.get(&primary.name);
    let arm = |variation: &str| {
        let known = metric.and_then(|metric| {
            let exposed = metric.exposed.get(variation).copied().unwrap_or(0);
            metric.arms.get(variation).map_or(Some((exposed, 0)), |tally| tally.proportion(exposed, primary.above))
        });
        let (subjects, events) = known.unwrap_or((0, 0));
        let events = events.min(subjects);
        Arm { subjects, successes: if primary.goal == Goal::Increase { events } else { subjects - events } }
    };
    let arms: Vec<Arm> = spec.variations.iter().map(|variation| arm(&variation.name)).collect();
    let shares = propensities(&arms, bandit.policy).map_err(|problem| problem.to_string())?;
    let named = spec.variations.iter().zip(&arms).zip(shares);
    Ok(named
        .map(|((variation, arm), probability)| Propensity { variation: variation.name.clone(), probability, subjects: arm.subjects, successes: arm.successes })
        .collect())
}

/// The definition with these weights in the experiment's rule, and the propensities as the rounded weights have them. None where the experiment names
/// no rule, or the rule does not serve exactly its variations by weight.
pub fn applied(definition: &Definition, spec: &Spec, propensities: &[Propensity]) -> Option<(Definition, Vec<Propensity>)> {
    let mut definition = definition.clone();
    let family = definition.family;
    let environment = definition.environments.get_mut(spec.environment.as_ref()?)?;
    let split: &mut Split = match environment.rules.get_mut(usize::try_from(spec.rule?).ok()?)? {
        Rule::Targeted(rule) => match &mut rule.serve {
            Serve::Split(split) => split,
            Serve::On => environment.on.as_mut()?,
            Serve::Variant { .. } => return None,
        },
        Rule::Native { .. } => return None,
    };
    if split.parts.len() != propensities.len() {
        return None;
    }
    let of = match (split.of, family) {
        (0, Format::Unleash) => 1_000,
        (0, _) => crate::rollout::WHOLE,
        (of, _) => of,
    };
    let shares: Option<Vec<f64>> = split
        .parts
        .iter()
        .map(|part| propensities.iter().find(|propensity| propensity.variation == part.variant).map(|propensity| propensity.probability))
        .collect();
    let weights = rounded(&shares?, of);
    split.of = of;
    split.parts.iter_mut().zip(&weights).for_each(|(part, weight)| part.weight = *weight);
    let served = |propensity: &Propensity| {
        let part = split.parts.iter().find(|part| part.variant == propensity.variation);
        Propensity { probability: part.map_or(0.0, |part| f64::from(part.weight) / f64::from(of)), ..propensity.clone() }
    };
    let served = propensities.iter().map(served).collect();
    Some((definition, served))
}

/// Whole parts of `of` that add up to it, by largest remainders.
fn rounded(shares: &[f64], of: u32) -> Vec<u32> {
    let exact: Vec<f64> = shares.iter().map(|share| share * f64::from(of)).collect();
    let mut parts: Vec<u32> = exact.iter().map(|part| *part as u32).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
    let missing = of.saturating_sub(parts.iter().sum());
    for &index in order.iter().cycle().take(usize::try_from(missing).unwrap_or(0)) {
        parts[index] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn weights_add_up_to_the_whole() {
        assert_eq!(rounded(&[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0], 1000), [334, 333, 333]);
        assert_eq!(rounded(&[0.9996, 0.0004], 1000), [1000, 0]);
        assert_eq!(rounded(&[0.05, 0.95], 100), [5, 95]);
    }
}
