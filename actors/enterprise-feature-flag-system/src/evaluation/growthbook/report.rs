//! Results as GrowthBook's SDKs report them.

use std::borrow::Cow;

use super::evaluate::{ExperimentResult, FeatureResult};
use super::experiment::Experiment;
use crate::evaluation::value::{Object, Value};

impl FeatureResult<'_> {
    /// Whether the value is truthy.
    pub fn is_on(&self) -> bool {
        self.value.is_truthy()
    }

    /// As SDKs report it.
    pub fn report(&self) -> Value<'static> {
        let text = |text: &str| Value::String(Cow::Owned(text.to_owned()));
        let mut entries: Vec<(Cow<'static, str>, Value<'static>)> = vec![
            ("value".into(), self.value.clone().into_owned()),
            ("on".into(), Value::Bool(self.is_on())),
            ("off".into(), Value::Bool(!self.is_on())),
            ("source".into(), text(self.source.as_str())),
            ("ruleId".into(), text(self.rule_id)),
        ];
        if let Some((experiment, result)) = &self.experiment {
            entries.push(("experiment".into(), experiment.report(result.leaf.map(|(leaf, _)| leaf))));
            entries.push(("experimentResult".into(), result.report()));
        }
        Value::Object(Object::new(entries))
    }
}

/// An experiment as somebody may see it who is in one of its variations: without conditions and without the other variations' values.
fn seen_from(experiment: &Value<'static>, variation: usize) -> Value<'static> {
    let others = |(at, value): (usize, &Value<'static>)| if at == variation { value.clone() } else { Value::Object(Object::default()) };
    let fields = experiment.as_object().into_iter().flat_map(Object::iter).filter(|(name, _)| !matches!(*name, "condition" | "parentConditions"));
    let field = |(name, value): (&str, &Value<'static>)| match value.as_array() {
        Some(variations) if name == "variations" => (Cow::Owned(name.to_owned()), Value::Array(variations.iter().enumerate().map(others).collect())),
        _ => (Cow::Owned(name.to_owned()), value.clone()),
    };
    Value::Object(Object::new(fields.map(field).collect()))
}

impl FeatureResult<'_> {
    /// A feature's definition that gives everybody this result, as remote evaluation answers.
    pub fn reduced(&self) -> Value<'static> {
        let object =
            |fields: Vec<(&'static str, Value<'static>)>| Value::Object(Object::new(fields.into_iter().map(|(name, value)| (name.into(), value)).collect()));
        let value = self.value.clone().into_owned();
        let mut fields = vec![("defaultValue", value.clone())];
        if let Some((experiment, result)) = &self.experiment {
            let experiment = seen_from(&experiment.report(result.leaf.map(|(leaf, _)| leaf)), result.variation);
            let track = object(vec![("experiment", experiment), ("result", result.report())]);
            fields.push(("rules", Value::Array(vec![object(vec![("force", value), ("tracks", Value::Array(vec![track]))])])));
        }
        object(fields)
    }
}

impl ExperimentResult<'_> {
    /// The experiment that was run.
    pub fn experiment(&self) -> &Experiment {
        self.definition
    }

    /// As SDKs report it.
    #[allow(clippy::cast_precision_loss)]
    pub fn report(&self) -> Value<'static> {
        let text = |text: &str| Value::String(Cow::Owned(text.to_owned()));
        let mut entries: Vec<(Cow<'static, str>, Value<'static>)> = vec![
            ("key".into(), text(self.key)),
            ("featureId".into(), self.feature.map_or(Value::Null, text)),
            ("inExperiment".into(), Value::Bool(self.in_experiment)),
            ("hashUsed".into(), Value::Bool(self.hash_used)),
            ("variationId".into(), Value::Number(self.variation as f64)),
            ("value".into(), self.value.clone().into_owned()),
            ("hashAttribute".into(), text(self.hash_attribute)),
            ("hashValue".into(), self.hash_value.map_or_else(|| text(""), |value| value.clone().into_owned())),
            ("stickyBucketUsed".into(), Value::Bool(self.sticky_used)),
        ];
        entries.extend(self.name.map(|name| ("name".into(), text(name))));
        entries.extend(self.bucket.map(|bucket| ("bucket".into(), Value::Number(bucket))));
        if self.passthrough {
            entries.push(("passthrough".into(), Value::Bool(true)));
        }
        if let Some((leaf, version)) = self.leaf {
            entries.push(("leafId".into(), leaf.id.clone()));
            entries.push(("variationWeights".into(), leaf.weights.clone()));
            entries.extend(version.map(|version| ("banditVersion".into(), version.clone())));
        }
        Value::Object(Object::new(entries))
    }
}
