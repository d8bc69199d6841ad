//! The answers about flags, with a format's semantics, from a set in memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::{Environment, FlagDefinitions, Rule};
use crate::evaluation::{Answer, Error, Format, Set};
use crate::served::{FlagSet, Shared};
use crate::serving::Serving;
use chrono::{DateTime, Utc};
use serde_json::Value;

/// What is asked of a set.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Whose semantics.
    pub format: Format,
    /// Where.
    pub environment: &'a str,
    /// Who asks, as JSON in that format's form.
    pub context: &'a str,
    /// Which flags; all of the environment without it.
    pub flags: Option<&'a [String]>,
    /// Now.
    pub now: DateTime<Utc>,
    /// For what a format leaves to chance.
    pub seed: u64,
}

/// The answers by flag. Where what is served now is asked about, it is `serving`, which is compiled already; else only what is asked about is
/// compiled, and what that depends on.
///
/// # Errors
/// If the context is no JSON object.
pub fn evaluate(set: &FlagSet, serving: Option<&Serving>, question: &Question<'_>) -> Result<BTreeMap<String, Answer>, Error> {
    if let Some(environment) = serving.and_then(|serving| serving.environment(question.environment)) {
        let wanted: BTreeSet<&str> = match question.flags {
            Some(keys) => keys.iter().map(String::as_str).collect(),
            None => environment.keys().collect(),
        };
        let keys: Vec<&str> = wanted.into_iter().collect();
        if let Some(answers) = environment.evaluate(question.format, question.context, &keys, question.now, question.seed) {
            return Ok(keys.into_iter().map(str::to_owned).zip(answers?).collect());
        }
    }
    let wanted: BTreeSet<String> = match question.flags {
        Some(keys) => keys.iter().cloned().collect(),
        None => in_environment(set, question.environment),
    };
    let exported = with_what_they_need(set, question.environment, &wanted).export(question.format, question.environment);
    let compiled = Set::compile(question.format, &exported.definitions.to_string())?;
    let keys: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let answers = compiled.evaluate(question.context, &keys, question.now, question.seed)?;
    Ok(wanted.iter().cloned().zip(answers).collect())
}

fn in_environment(set: &FlagSet, environment: &str) -> BTreeSet<String> {
    let all = set.sorted().into_iter();
    all.filter(|(_, served)| served.definition.environments.contains_key(environment)).map(|(key, _)| key.to_owned()).collect()
}

/// Flags with their prerequisites, theirs, and so on, in one environment.
fn with_what_they_need(set: &FlagSet, environment: &str, keys: &BTreeSet<String>) -> FlagDefinitions {
    let mut found = FlagDefinitions::default();
    if let Some(shared) = set.shared(environment) {
        found.shared.insert(environment.to_owned(), Shared::clone(shared));
    }
    let mut left: Vec<String> = keys.iter().cloned().collect();
    while let Some(key) = left.pop() {
        if found.flags.contains_key(&key) {
            continue;
        }
        let Some(served) = set.get(&key) else { continue };
        let Some(here) = served.definition.environments.get(environment) else { continue };
        left.extend(needed(here));
        let mut definition = served.definition.clone();
        definition.environments.retain(|name, _| name == environment);
        found.flags.insert(key, definition);
    }
    found
}

/// The flags that come before this one: prerequisites, and GrowthBook's parent conditions, which are kept as they came.
fn needed(environment: &Environment) -> Vec<String> {
    let mut needed: Vec<String> = environment.prerequisites.iter().map(|prerequisite| prerequisite.flag.clone()).collect();
    for rule in &environment.rules {
        if let Rule::Native { rule, .. } = rule {
            let parents = rule.get("parentConditions").and_then(Value::as_array).into_iter().flatten();
            needed.extend(parents.filter_map(|parent| parent.get("id").and_then(Value::as_str)).map(str::to_owned));
        }
    }
    needed
}
