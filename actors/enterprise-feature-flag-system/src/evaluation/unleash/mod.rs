//! Unleash's semantics, as client specification 6.1 and Unleash's own engine define them.
//!
//! * [`model`] — the JSON that Unleash servers send, and deltas
//! * `literal`, `constraint`, `strategy`, `variant`, `toggle` — its compiled form
//! * [`Context`] — who asks
//! * [`CompiledFeatures`] — a compiled set, to evaluate against

mod constraint;
mod context;
mod literal;
pub mod model;
mod strategy;
mod toggle;
mod variant;

use std::collections::BTreeMap;

use self::constraint::Broken;
use self::strategy::Strategy;
use self::toggle::Toggle;
use self::variant::Variants;
use super::keyed::Keyed;
use super::random::Random;

pub use self::context::Context;
pub use self::model::{Definitions, Delta, Payload};
pub use self::strategy::bucket;
pub use self::variant::Variant;

/// A compiled set of features.
#[derive(Clone, Debug, Default)]
pub struct CompiledFeatures {
    flags: Keyed<Flag>,
}

/// A compiled feature.
#[derive(Clone, Debug)]
pub struct Flag {
    name: Box<str>,
    toggle: Toggle,
    enabled: bool,
    /// Why it could not be compiled; it is off for everyone then.
    broken: Option<Box<str>>,
    strategies: Box<[Strategy]>,
    variants: Variants,
    dependencies: Box<[Dependency]>,
    impression_data: bool,
}

#[derive(Clone, Debug)]
struct Dependency {
    parent: Box<str>,
    enabled: bool,
    /// Any if absent or empty.
    variants: Option<Box<[Box<str>]>>,
}

/// What an evaluation found.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// Whether the feature is on.
    pub enabled: bool,
    /// What is served, if it is on and has variants.
    pub variant: Option<&'a Variant>,
    /// Why.
    pub reason: Reason,
}

/// Why an evaluation came out as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no such feature.
    NotFound,
    /// The feature is switched off.
    Disabled,
    /// The feature could not be compiled.
    Broken,
    /// A feature it depends on is not as it must be.
    Dependency,
    /// It has strategies, and none matched.
    NoMatch,
    /// A strategy matched.
    Match,
    /// It has no strategies, so it is on for everyone.
    Static,
}

impl CompiledFeatures {
    /// Compiles a set. A feature that cannot be compiled is off; [`CompiledFeatures::problems`] tells which and why.
    pub fn compile(definitions: &Definitions) -> Self {
        let segments: BTreeMap<i64, &model::Segment> = definitions.segments.iter().map(|segment| (segment.id, segment)).collect();
        Self { flags: definitions.features.iter().map(|feature| (feature.name.as_str().into(), Flag::compile(feature, &segments))).collect() }
    }

    /// Puts features in place of those of their names, or takes them away, and leaves the others as they are. The segments are those that the
    /// new features refer to; where a segment itself has changed, compile anew all who refer to it.
    pub fn set<'s>(&mut self, changes: impl IntoIterator<Item = (&'s str, Option<&'s model::Feature>)>, segments: &[model::Segment]) {
        let segments: BTreeMap<i64, &model::Segment> = segments.iter().map(|segment| (segment.id, segment)).collect();
        self.flags.set(changes.into_iter().map(|(name, feature)| (name.into(), feature.map(|feature| Flag::compile(feature, &segments)))));
    }

    /// Reads a full response or a delta from nothing, and compiles it.
    ///
    /// # Errors
    /// If the text is of neither form.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        Ok(Self::compile(&Definitions::from_json(json)?))
    }

    /// The feature of that name.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&Flag> {
        self.flags.get(name)
    }

    /// All features, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Flag> {
        self.flags.values()
    }

    /// Features that could not be compiled, and why.
    pub fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        self.flags.values().filter_map(|flag| Some((flag.name.as_ref(), flag.broken.as_deref()?)))
    }

    /// Whether a feature is on.
    #[inline]
    pub fn is_enabled(&self, name: &str, context: &Context<'_>, random: &mut Random) -> bool {
        self.get(name).is_some_and(|flag| self.matched(flag, flag.name(), context, random).is_ok())
    }

    /// Whether a feature is on, and what is served.
    pub fn evaluate(&self, name: &str, context: &Context<'_>, random: &mut Random) -> Evaluation<'_> {
        match self.get(name) {
            Some(flag) => self.evaluate_flag(flag, context, random),
            None => Evaluation { enabled: false, variant: None, reason: Reason::NotFound },
        }
    }

    /// The same for a feature of this set that was looked up before.
    pub fn evaluate_flag<'a>(&'a self, flag: &'a Flag, context: &Context<'_>, random: &mut Random) -> Evaluation<'a> {
        match self.matched(flag, flag.name(), context, random) {
            Ok(strategy) => {
                let reason = if strategy.is_some() { Reason::Match } else { Reason::Static };
                Evaluation { enabled: true, variant: flag.serve(strategy, context, random), reason }
            }
            Err(reason) => Evaluation { enabled: false, variant: None, reason },
        }
    }

    /// The strategy that matched (none if the feature has none), or why the feature is off. `asked` is the feature that was asked for, which
    /// is another one when this is evaluated as a parent.
    #[inline]
    fn matched<'a>(&'a self, flag: &'a Flag, asked: &str, context: &Context<'_>, random: &mut Random) -> Result<Option<&'a Strategy>, Reason> {
        if !flag.enabled {
            return Err(Reason::Disabled);
        }
        if !flag.dependencies.is_empty() && !self.dependencies_hold(flag, context, random) {
            return Err(Reason::Dependency);
        }
        flag.strategy(asked, context, random)
    }

    fn dependencies_hold(&self, flag: &Flag, context: &Context<'_>, random: &mut Random) -> bool {
        flag.dependencies.iter().all(|dependency| {
            let Some(parent) = self.flags.get(&dependency.parent) else {
                return false;
            };
            // Parents have no parents: the server does not allow it, and evaluation is bounded by it.
            if !parent.dependencies.is_empty() {
                return false;
            }
            let strategy = parent.strategy(&flag.name, context, random);
            if let Some(wanted) = &dependency.variants
                && !wanted.is_empty()
                && let Some(served) = parent.serve(strategy.ok().flatten(), context, random)
                && !wanted.contains(&served.name)
            {
                return false;
            }
            (parent.enabled && strategy.is_ok()) == dependency.enabled
        })
    }
}

impl Flag {
    fn compile(source: &model::Feature, segments: &BTreeMap<i64, &model::Segment>) -> Self {
        let strategies = source.strategies.iter().map(|strategy| Strategy::compile(strategy, &source.name, segments)).collect::<Result<Vec<_>, _>>();
        let (strategies, broken) = match strategies {
            Ok(strategies) => (strategies, None),
            Err(Broken(reason)) => (Vec::new(), Some(reason.into_boxed_str())),
        };
        let dependencies = source.dependencies.iter().map(|dependency| Dependency {
            parent: dependency.feature.as_str().into(),
            enabled: dependency.enabled.unwrap_or(true),
            variants: dependency.variants.as_ref().map(|names| names.iter().map(|name| Box::from(name.as_str())).collect()),
        });
        Self {
            name: source.name.as_str().into(),
            toggle: Toggle::new(&source.name, source.impression_data),
            enabled: source.enabled,
            broken,
            strategies: strategies.into(),
            variants: Variants::of_feature(&source.variants, &source.name),
            dependencies: dependencies.collect(),
            impression_data: source.impression_data,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As Unleash's frontend API says it.
    pub(crate) fn toggle(&self) -> &Toggle {
        &self.toggle
    }

    /// Bytes of the longest of its own variants, as the frontend API says them.
    pub(crate) fn longest_variant(&self) -> usize {
        self.variants.longest()
    }

    /// Whether it answers the same to everybody, whatever other flags do.
    pub(crate) fn is_fixed(&self) -> bool {
        !self.enabled || self.broken.is_some() || (self.strategies.is_empty() && self.variants.is_empty() && self.dependencies.is_empty())
    }

    /// Whether SDKs shall report each evaluation.
    pub fn impression_data(&self) -> bool {
        self.impression_data
    }

    #[inline]
    fn strategy(&self, asked: &str, context: &Context<'_>, random: &mut Random) -> Result<Option<&Strategy>, Reason> {
        if self.broken.is_some() {
            return Err(Reason::Broken);
        }
        if self.strategies.is_empty() {
            return Ok(None);
        }
        self.strategies.iter().find(|strategy| strategy.holds(context, asked, random)).map(Some).ok_or(Reason::NoMatch)
    }

    /// The variant of the strategy that matched, or else the feature's own.
    fn serve<'a>(&'a self, strategy: Option<&'a Strategy>, context: &Context<'_>, random: &mut Random) -> Option<&'a Variant> {
        let variants = strategy.map(|strategy| &strategy.variants).filter(|variants| !variants.is_empty()).unwrap_or(&self.variants);
        variants.choose(context, random)
    }
}

#[cfg(test)]
mod tests;
