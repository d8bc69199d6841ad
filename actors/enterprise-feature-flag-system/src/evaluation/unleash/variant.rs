//! Which variant a context is served.

use super::constraint::{Field, Texts};
use super::context::Context;
use super::model::{self, Payload};
use super::strategy::bucket;
use crate::evaluation::random::Random;

/// Differs from the seed of rollouts, so that a rollout's percentage does not decide the variant (client specification 5).
const SEED: u32 = 86_028_157;

/// The variants of a feature or a strategy.
#[derive(Clone, Debug)]
pub(super) struct Variants {
    variants: Box<[Variant]>,
    stickiness: Stickiness,
    group: Box<str>,
    total: u32,
    overridden: bool,
}

/// One thing to serve.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Its name.
    pub name: Box<str>,
    /// What it carries.
    pub payload: Option<Payload>,
    /// As Unleash's frontend API says it.
    text: Box<str>,
    /// Of the text.
    hash: u64,
    weight: u32,
    overrides: Box<[(Field, Texts)]>,
}

#[derive(Clone, Debug)]
enum Stickiness {
    Default,
    Field(Field),
}

impl Variants {
    pub(super) fn of_feature(source: &[model::Variant], feature: &str) -> Self {
        let stickiness = source.first().and_then(|first| first.stickiness.as_deref()).unwrap_or("default");
        Self::new(source, stickiness, feature, true)
    }

    pub(super) fn of_strategy(source: &[model::Variant], stickiness: &str, group: &str) -> Self {
        Self::new(source, stickiness, group, false)
    }

    fn new(source: &[model::Variant], stickiness: &str, group: &str, overrides: bool) -> Self {
        let variants: Box<[Variant]> = source.iter().map(|variant| Variant::new(variant, overrides)).collect();
        // The engine adds up 32 bits; a total beyond them serves nothing here.
        let total = variants.iter().try_fold(0_u32, |total, variant| total.checked_add(variant.weight)).unwrap_or(0);
        let stickiness = match stickiness {
            "default" => Stickiness::Default,
            // Variants know no field `currentTime`: it is looked up among the properties, as is `random`, which is never there.
            "currentTime" => Stickiness::Field(Field::Property("currentTime".into())),
            field => Stickiness::Field(Field::named(field)),
        };
        let overridden = variants.iter().any(|variant| !variant.overrides.is_empty());
        Self { variants, stickiness, group: group.into(), total, overridden }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.variants.is_empty()
    }

    /// Bytes of the longest text.
    pub(super) fn longest(&self) -> usize {
        self.variants.iter().map(|variant| variant.text.len()).max().unwrap_or(0)
    }

    /// The variant for this context.
    pub(super) fn choose(&self, context: &Context<'_>, random: &mut Random) -> Option<&Variant> {
        if self.overridden
            && let Some(found) = self.variants.iter().find(|variant| variant.is_forced(context))
        {
            return Some(found);
        }
        if self.total == 0 {
            return None;
        }
        let sticky = match &self.stickiness {
            Stickiness::Default => context.user_id.as_deref().or(context.session_id.as_deref()),
            Stickiness::Field(field) => field.of(context),
        };
        let target = match sticky {
            Some(value) => bucket(&self.group, value, self.total, SEED),
            None => random.one_to(self.total),
        };
        let mut reached = 0;
        self.variants.iter().find(|variant| {
            reached += variant.weight;
            reached >= target
        })
    }
}

impl Variant {
    fn new(source: &model::Variant, overrides: bool) -> Self {
        let overrides = if overrides { source.overrides.as_slice() } else { &[] };
        let text = text(source);
        Self {
            name: source.name.as_str().into(),
            payload: source.payload.clone(),
            hash: xxhash_rust::xxh3::xxh3_64(text.as_bytes()),
            text: text.into(),
            weight: u32::try_from(source.weight).unwrap_or(0),
            overrides: overrides.iter().map(|one| (Field::named(&one.context_name), Texts::new(one.values.iter().cloned()))).collect(),
        }
    }

    /// As Unleash's frontend API says it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The hash of [`Variant::text`].
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    fn is_forced(&self, context: &Context<'_>) -> bool {
        self.overrides.iter().any(|(field, values)| {
            let value = match field {
                // Only a time that the caller named counts here.
                Field::CurrentTime => context.given_time(),
                field => field.of(context),
            };
            value.is_some_and(|value| values.contains(value))
        })
    }
}

fn text(source: &model::Variant) -> String {
    let name = serde_json::Value::from(source.name.as_str());
    let payload = source.payload.as_ref().map(|payload| serde_json::json!({"type": payload.kind, "value": payload.value}));
    let payload = payload.map(|payload| format!(r#""payload":{payload},"#)).unwrap_or_default();
    format!(r#"{{"name":{name},{payload}"enabled":true,"feature_enabled":true,"featureEnabled":true}}"#)
}
