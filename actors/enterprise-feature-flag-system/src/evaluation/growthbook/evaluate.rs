//! Evaluation of features and experiments, step by step as GrowthBook's SDKs do it.

use std::borrow::Cow;

use super::experiment::{Experiment, Filter, Leaf, index};
use super::hash::{choose_variation, hash, in_namespace, in_range, query_string_override};
use super::js::text_in;
use super::{Context, Features, Kind, Part, Rollout};
use crate::evaluation::value::{Object, Value};

/// Chains of prerequisites longer than this count as circular: evaluation recurses along them.
const DEPTH: u32 = 100;

/// Where a feature's value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// There is no such feature.
    UnknownFeature,
    /// No rule applied.
    DefaultValue,
    /// A rule forced it.
    Force,
    /// The caller forced it.
    Override,
    /// An experiment assigned it.
    Experiment,
    /// A prerequisite was not met.
    Prerequisite,
    /// Prerequisites refer to each other.
    CyclicPrerequisite,
}

impl Source {
    /// As SDKs report it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownFeature => "unknownFeature",
            Self::DefaultValue => "defaultValue",
            Self::Force => "force",
            Self::Override => "override",
            Self::Experiment => "experiment",
            Self::Prerequisite => "prerequisite",
            Self::CyclicPrerequisite => "cyclicPrerequisite",
        }
    }
}

/// What the evaluation of a feature found.
#[derive(Clone, Debug)]
pub struct FeatureResult<'a> {
    /// Its value.
    pub value: &'a Value<'a>,
    /// Where that came from.
    pub source: Source,
    /// The rule that applied, if it has an id.
    pub rule_id: &'a str,
    /// The experiment that assigned it.
    pub experiment: Option<(&'a Experiment, ExperimentResult<'a>)>,
}

/// What the run of an experiment found.
#[derive(Clone, Debug)]
pub struct ExperimentResult<'a> {
    /// The variation's key.
    pub key: &'a str,
    /// The feature whose rule it is.
    pub feature: Option<&'a str>,
    /// Whether the person is in the experiment.
    pub in_experiment: bool,
    /// Whether the variation was chosen by hash.
    pub hash_used: bool,
    /// The variation's number.
    pub variation: usize,
    /// Its value.
    pub value: &'a Value<'a>,
    /// The attribute that was hashed.
    pub hash_attribute: &'a str,
    /// Its value; an empty text if it is missing.
    pub hash_value: Option<&'a Value<'a>>,
    /// Whether an earlier assignment was used.
    pub sticky_used: bool,
    /// What is said about the variation.
    pub name: Option<&'a str>,
    /// The hash.
    pub bucket: Option<f64>,
    /// Whether the rules that follow apply to those in this variation.
    pub passthrough: bool,
    /// What a contextual bandit chose.
    pub(super) leaf: Option<(&'a Leaf, Option<&'a Value<'static>>)>,
    pub(super) definition: &'a Experiment,
}

/// An assignment to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The attribute.
    pub attribute: String,
    /// Its value.
    pub value: String,
    /// `experiment__version`
    pub experiment: String,
    /// The variation's key.
    pub variation: String,
}

/// The features that are being evaluated, innermost first.
struct Stack<'s> {
    feature: &'s str,
    depth: u32,
    outer: Option<&'s Stack<'s>>,
}

impl Stack<'_> {
    fn contains(&self, feature: &str) -> bool {
        self.feature == feature || self.outer.is_some_and(|outer| outer.contains(feature))
    }
}

static NULL: Value<'static> = Value::Null;

impl Features {
    /// Evaluates a feature.
    pub fn evaluate<'a>(&'a self, key: &'a str, context: &'a Context<'a>) -> FeatureResult<'a> {
        self.evaluate_sticky(key, context, &mut Vec::new())
    }

    /// The same; assignments to be kept are appended.
    pub fn evaluate_sticky<'a>(&'a self, key: &'a str, context: &'a Context<'a>, assignments: &mut Vec<Assignment>) -> FeatureResult<'a> {
        self.feature(key, context, None, assignments)
    }

    /// Runs an experiment by itself; assignments to be kept are appended.
    pub fn run<'a>(&'a self, experiment: &'a Experiment, context: &'a Context<'a>, assignments: &mut Vec<Assignment>) -> ExperimentResult<'a> {
        self.experiment(experiment, None, context, None, assignments)
    }

    fn feature<'a>(&'a self, key: &'a str, context: &'a Context<'a>, outer: Option<&Stack<'_>>, assignments: &mut Vec<Assignment>) -> FeatureResult<'a> {
        let result = |value: &'a Value<'a>, source| FeatureResult { value, source, rule_id: "", experiment: None };
        let depth = outer.map_or(0, |outer| outer.depth + 1);
        if depth > DEPTH || outer.is_some_and(|outer| outer.contains(key)) {
            return result(&NULL, Source::CyclicPrerequisite);
        }
        if let Some(value) = context.forced_features.as_ref().and_then(|forced| forced.get(key)) {
            return result(value, Source::Override);
        }
        let Some(feature) = self.get(key) else {
            return result(&NULL, Source::UnknownFeature);
        };
        let stack = Stack { feature: key, depth, outer };
        'rules: for rule in &feature.rules {
            for parent in &rule.parents {
                let found = self.feature(&parent.id, context, Some(&stack), assignments);
                if found.source == Source::CyclicPrerequisite {
                    return result(&NULL, Source::CyclicPrerequisite);
                }
                if !self.value_satisfies(found.value, &parent.condition, context) {
                    if parent.gate {
                        return result(&NULL, Source::Prerequisite);
                    }
                    continue 'rules;
                }
            }
            if rule.filters.as_ref().is_some_and(|filters| filtered_out(filters, context)) {
                continue;
            }
            match &rule.kind {
                Kind::Nothing => {}
                Kind::Force { value, condition, rollout } => {
                    let holds = condition.as_ref().is_none_or(|condition| condition.holds(&context.attributes, &mut self.scope(context)));
                    if holds && rollout.as_ref().is_none_or(|rollout| rollout.reaches(context)) {
                        return FeatureResult { value, source: Source::Force, rule_id: &rule.id, experiment: None };
                    }
                }
                Kind::Experiment(experiment) => {
                    let found = self.experiment(experiment, Some(key), context, Some(&stack), assignments);
                    if found.in_experiment && !found.passthrough {
                        return FeatureResult { value: found.value, source: Source::Experiment, rule_id: &rule.id, experiment: Some((experiment, found)) };
                    }
                }
            }
        }
        result(&feature.default, Source::DefaultValue)
    }

    /// Whether `{"value": value}` satisfies a condition.
    fn value_satisfies(&self, value: &Value<'_>, condition: &super::Condition, context: &Context<'_>) -> bool {
        // The only place that builds a value: a prerequisite's condition speaks of the attribute `value`.
        let attributes = Value::Object(Object::new(vec![(Cow::Borrowed("value"), value.clone())]));
        condition.holds(&attributes, &mut self.scope(context))
    }

    fn experiment<'a>(
        &'a self,
        experiment: &'a Experiment,
        feature: Option<&'a str>,
        context: &'a Context<'a>,
        stack: Option<&Stack<'_>>,
        assignments: &mut Vec<Assignment>,
    ) -> ExperimentResult<'a> {
        let count = experiment.variations.len();
        let sticky = context.sticky.as_ref().zip(experiment.sticky.as_ref());
        let fallback = experiment.fallback_attribute.as_deref().filter(|_| sticky.is_some());
        let (attribute, value) = hash_attribute(context, &experiment.hash_attribute, fallback);
        let result = |variation: Option<usize>| {
            let in_experiment = variation.is_some_and(|variation| variation < count);
            let variation = variation.filter(|_| in_experiment).unwrap_or(0);
            let meta = experiment.meta.get(variation);
            ExperimentResult {
                key: meta.map_or("0", |meta| &meta.key),
                feature,
                in_experiment,
                hash_used: false,
                variation,
                value: experiment.variations.get(variation).unwrap_or(&NULL),
                hash_attribute: attribute,
                hash_value: value,
                sticky_used: false,
                name: meta.and_then(|meta| meta.name.as_deref()),
                bucket: None,
                passthrough: meta.is_some_and(|meta| meta.passthrough),
                leaf: None,
                definition: experiment,
            }
        };
        let outside = || result(None);
        if count < 2 || !context.enabled || experiment.targets.as_ref().is_some_and(|targets| !targets.match_page(context.url)) {
            return outside();
        }
        if let Some(forced) = query_string_override(&experiment.key, context.url, count) {
            return result(Some(forced));
        }
        if let Some(forced) = context.forced_variations.as_ref().and_then(|forced| forced.get(&experiment.key)) {
            return result(index(forced));
        }
        let (false, Some(hash_value)) = (experiment.inactive, value) else {
            return outside();
        };
        let mut buffer = ryu_js::Buffer::new();
        let hash_text = text_in(hash_value, &mut buffer);
        let (assigned, blocked) = match sticky {
            Some((documents, sticky)) => earlier(documents, assignments, sticky, experiment, context),
            None => (None, false),
        };
        let found_sticky = assigned.is_some();
        if !found_sticky {
            let filtered = match (&experiment.filters, &experiment.namespace) {
                (Some(filters), _) => filtered_out(filters, context),
                (None, Some((name, range))) => !in_namespace(&hash_text, name, *range),
                (None, None) => false,
            };
            if filtered || experiment.condition.as_ref().is_some_and(|condition| !condition.holds(&context.attributes, &mut self.scope(context))) {
                return outside();
            }
            for parent in &experiment.parents {
                let found = self.feature(&parent.id, context, stack, assignments);
                if found.source == Source::CyclicPrerequisite || !self.value_satisfies(found.value, &parent.condition, context) {
                    return outside();
                }
            }
            let among = |group: &str| context.groups.as_ref().and_then(|groups| groups.get(group)).is_some_and(Value::is_truthy);
            if experiment.groups.as_ref().is_some_and(|groups| !groups.iter().any(|group| among(group))) {
                return outside();
            }
        }
        if experiment.old_target.as_ref().is_some_and(|target| !target.matches_page(context.url)) {
            return outside();
        }
        let Some(bucket) = hash(&experiment.seed, &hash_text, experiment.hash_version) else {
            return outside();
        };
        let leaf = experiment.bandit.as_ref().map(|bandit| {
            let chosen = bandit.leaves.iter().find(|leaf| leaf.condition.holds(&context.attributes, &mut self.scope(context)));
            (chosen.unwrap_or(&bandit.fallback), bandit.version.as_ref())
        });
        let ranges = leaf.map_or(&experiment.ranges, |(leaf, _)| &leaf.ranges);
        let assigned = assigned.or_else(|| choose_variation(bucket, ranges));
        if blocked {
            return ExperimentResult { sticky_used: true, ..outside() };
        }
        let Some(assigned) = assigned else {
            return outside();
        };
        if let Some(forced) = experiment.force {
            return result(forced);
        }
        if context.qa_mode || experiment.stopped {
            return outside();
        }
        let mut found = ExperimentResult { hash_used: true, bucket: Some(bucket), sticky_used: found_sticky, ..result(Some(assigned)) };
        found.leaf = leaf.filter(|_| found.in_experiment);
        if let Some((documents, sticky)) = sticky {
            let known = document(documents, attribute, &stringified(hash_value)).and_then(|known| known.get(&sticky.assignment)).and_then(Value::as_str);
            if known != Some(found.key) {
                assignments.push(Assignment {
                    attribute: attribute.to_owned(),
                    value: stringified(hash_value).into_owned(),
                    experiment: sticky.assignment.to_string(),
                    variation: found.key.to_owned(),
                });
            }
        }
        found
    }
}

/// The attribute to hash and its value, if that is there.
fn hash_attribute<'a>(context: &'a Context<'a>, attribute: &'a str, fallback: Option<&'a str>) -> (&'a str, Option<&'a Value<'a>>) {
    let truthy = |name: &str| context.attributes.get(name).filter(|value| value.is_truthy());
    match (truthy(attribute), fallback) {
        (None, Some(fallback)) => match truthy(fallback) {
            Some(value) => (fallback, Some(value)),
            None => (attribute, None),
        },
        (found, _) => (attribute, found),
    }
}

fn filtered_out(filters: &[Filter], context: &Context<'_>) -> bool {
    filters.iter().any(|filter| {
        let Some(value) = hash_attribute(context, &filter.attribute, None).1 else { return true };
        let Some(number) = hash(&filter.seed, &text_in(value, &mut ryu_js::Buffer::new()), filter.hash_version) else { return true };
        !filter.ranges.iter().any(|range| in_range(number, *range))
    })
}

impl Rollout {
    fn reaches(&self, context: &Context<'_>) -> bool {
        if matches!(self.part, Part::Nobody) {
            return false;
        }
        let fallback = self.fallback.as_deref().filter(|_| self.sticky && context.sticky.is_some());
        let Some(value) = hash_attribute(context, &self.attribute, fallback).1 else { return false };
        let Some(number) = hash(&self.seed, &text_in(value, &mut ryu_js::Buffer::new()), self.hash_version) else { return false };
        match self.part {
            Part::Nobody => false,
            Part::Range(range) => in_range(number, range),
            Part::Coverage(coverage) => number <= coverage,
        }
    }
}

/// As sticky buckets write values: texts as they are, anything else as JSON.
fn stringified<'v>(value: &'v Value<'_>) -> Cow<'v, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        value => Cow::Owned(value.to_json()),
    }
}

/// An attribute as sticky buckets write it; empty if it is missing.
fn sticky_value<'c>(context: &'c Context<'_>, name: &str) -> Cow<'c, str> {
    context.attributes.get(name).filter(|value| value.is_truthy()).map_or(Cow::Borrowed(""), |value| stringified(value))
}

/// The assignments kept for an attribute's value.
fn document<'d>(documents: &'d Object<'_>, attribute: &str, value: &str) -> Option<&'d Value<'d>> {
    documents.get(&format!("{attribute}||{value}"))?.get("assignments")
}

/// The variation of an earlier assignment, of this evaluation or before it, and whether an earlier version blocks the person.
fn earlier(
    documents: &Object<'_>,
    assignments: &[Assignment],
    sticky: &super::experiment::Sticky,
    experiment: &Experiment,
    context: &Context<'_>,
) -> (Option<usize>, bool) {
    // Without a fallback attribute the SDKs look under `id`.
    let attributes = [experiment.hash_attribute.as_ref(), experiment.fallback_attribute.as_deref().unwrap_or("id")];
    let values = attributes.map(|attribute| sticky_value(context, attribute));
    let kept = |assignment: &str| {
        let of = |place: usize| {
            let (attribute, value) = (attributes[place], values[place].as_ref());
            let now = assignments.iter().rev().find(|known| known.attribute == attribute && known.value == value && known.experiment == assignment);
            let before = || document(documents, attribute, value).and_then(|known| known.get(assignment));
            now.map(|known| Cow::Owned(Value::String(known.variation.as_str().into()))).or_else(|| before().map(Cow::Borrowed))
        };
        of(0).or_else(|| if values[1].is_empty() { None } else { of(1) })
    };
    if sticky.blocked.iter().any(|assignment| kept(assignment).is_some()) {
        return (None, true);
    }
    let found = kept(&sticky.assignment);
    let key = found.as_deref().and_then(Value::as_str);
    (key.and_then(|key| experiment.meta.iter().position(|meta| meta.given && meta.key.as_ref() == key)), false)
}
