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
