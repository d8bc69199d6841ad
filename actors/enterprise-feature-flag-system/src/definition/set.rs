//! A set of definitions, and its way in and out of each format.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::model::{Definition, Rule};
use super::{flagd, growthbook, unleash};
use crate::evaluation::Format;

/// Flags, and what they share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FlagDefinitions {
    /// The flags by key.
    pub flags: BTreeMap<String, Definition>,
    /// What several flags of an environment and a format refer to, as that format's file has it beside its flags: Unleash's segments, GrowthBook's
    /// saved groups and bandits, flagd's evaluators and metadata.
    #[serde(default)]
    pub shared: BTreeMap<String, BTreeMap<Format, Map<String, Value>>>,
}

/// What an import does with flags that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Afterwards there is in this environment what the import brings, and nothing else.
    Replace,
    /// Flags that the import does not name stay as they are.
    Merge,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not of the format.
    #[error(transparent)]
    Format(#[from] crate::evaluation::Error),
    /// The text is not JSON.
    #[error("the definitions are not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What could not be said in another way, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The flag; empty for what flags share.
    pub flag: String,
    /// What is wrong, where, and what has become of it.
    pub problem: String,
    /// What has become of it.
    pub effect: Effect,
}

/// What has become of something that has no counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It is kept verbatim with its format and evaluates there as before; other formats cannot have it.
    Kept,
    /// The flag is exported, but this does not go with it; its answers are the same, or differ as the problem says.
    Omitted,
    /// The flag is not exported.
    LeftOut,
}

impl Problem {
    pub(super) fn new(flag: &str, effect: Effect, problem: impl Into<String>) -> Self {
        Self { flag: flag.to_owned(), problem: problem.into(), effect }
    }
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Imported {
    /// Keys of the flags that it brought, sorted.
    pub flags: Vec<String>,
    /// What has no counterpart in the common model; all of it is kept.
    pub problems: Vec<Problem>,
}

/// What an export gives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exported {
    /// The file of that format.
    pub definitions: Value,
    /// What that format cannot say.
    pub problems: Vec<Problem>,
}

/// A format's file, taken apart: its flags in their own JSON, and what stands beside them.
pub(super) struct File {
    pub(super) flags: Vec<(String, Value)>,
    pub(super) shared: Map<String, Value>,
}

impl FlagDefinitions {
    /// Takes a format's own JSON into an environment.
    ///
    /// # Errors
    /// If the text is not of the format; then nothing has changed.
    pub fn import(&mut self, format: Format, json: &str, mode: Mode, environment: &str) -> Result<Imported, Error> {
        // What cannot be compiled is refused as a whole, so that nothing is taken in that cannot be served.
        crate::evaluation::Set::compile(format, json)?;
        let file = match format {
            Format::Unleash => unleash::file(json)?,
            Format::GrowthBook => growthbook::file(serde_json::from_str(json)?),
            Format::Flagd => flagd::file(serde_json::from_str(json)?),
        };
        let mut problems = Vec::new();
        // What the format cannot say about a flag is kept from what was there: who owns it, its tags, kill switch and schedule.
        let before = self.clone();
        if mode == Mode::Replace {
            for flag in self.flags.values_mut() {
                flag.environments.remove(environment);
            }
            self.flags.retain(|_, flag| !flag.environments.is_empty());
            self.shared.remove(environment);
        }
        let mut keys = Vec::new();
        for (key, source) in file.flags {
            let flag = read(format, &key, environment, &source);
            for (index, rule) in flag.environments.values().flat_map(|environment| environment.rules.iter().enumerate()) {
                if let Rule::Native { why, .. } = rule {
                    problems.push(Problem::new(&key, Effect::Kept, format!("rule {index}: {why}; it is kept as it is")));
                }
            }
            match joined(flag, before.flags.get(&key), environment, &mut problems) {
                Some(flag) => drop(self.flags.insert(key.clone(), flag)),
                None => continue,
            }
            keys.push(key);
        }
        let shared = self.shared.entry(environment.to_owned()).or_default().entry(format).or_default();
        for (name, value) in file.shared {
            merge(shared.entry(name).or_insert(Value::Null), value);
        }
        keys.sort();
        keys.dedup();
        Ok(Imported { flags: keys, problems })
    }

    /// Gives an environment's flags as a format's own JSON.
    pub fn export(&self, format: Format, environment: &str) -> Exported {
        let mut problems = Vec::new();
        let mut flags = Vec::new();
        for flag in self.flags.values() {
            if flag.environments.contains_key(environment) {
                flags.extend(write(format, flag, environment, &mut problems).map(|json| (flag.key.clone(), json)));
            }
        }
        let shared = self.shared.get(environment).and_then(|shared| shared.get(&format)).cloned().unwrap_or_default();
        let definitions = match format {
            Format::Unleash => unleash::whole(flags, shared),
            Format::GrowthBook => growthbook::whole(flags, shared),
            Format::Flagd => flagd::whole(flags, shared),
        };
        Exported { definitions, problems }
    }
}

/// A flag that was read, with what was known of it before. `None` if it cannot take its place.
fn joined(mut flag: Definition, known: Option<&Definition>, environment: &str, problems: &mut Vec<Problem>) -> Option<Definition> {
    let Some(known) = known else { return Some(flag) };
    let elsewhere: BTreeMap<_, _> = known.environments.iter().filter(|(name, _)| *name != environment).map(|(name, one)| (name.clone(), one.clone())).collect();
    if known.family != flag.family {
        let families = (known.family.name(), flag.family.name());
        if !elsewhere.is_empty() {
            let problem = format!("it is of {} in other environments and would be of {} here; it is not imported, give it another key", families.0, families.1);
            problems.push(Problem::new(&flag.key, Effect::LeftOut, problem));
            return None;
        }
        let problem = format!("the flag was of {} and is of {} now: people may change sides, as each format has its own hash", families.0, families.1);
        problems.push(Problem::new(&flag.key, Effect::Omitted, problem));
    }
    (flag.owner, flag.tags, flag.services) = (known.owner.clone(), known.tags.clone(), known.services.clone());
    if let (Some(old), Some(new)) = (known.environments.get(environment), flag.environments.get_mut(environment)) {
        new.schedule.clone_from(&old.schedule);
        new.killed = old.killed;
        if old.killed {
            problems.push(Problem::new(&flag.key, Effect::Kept, "the kill switch stays on; a change of the flag releases it"));
        }
    }
    if !elsewhere.is_empty() {
        if flag.variants != known.variants {
            let own = std::mem::replace(&mut flag.variants, known.variants.clone());
            flag.environments.values_mut().for_each(|new| new.variants = Some(own.clone()));
        }
        flag.environments.extend(elsewhere);
    }
    Some(flag)
}

/// One flag of a format, as its definition in one environment.
pub(super) fn read(format: Format, key: &str, environment: &str, source: &Value) -> Definition {
    let mut flag = read_plain(format, key, environment, source);
    let anew = write_anew(format, &flag, environment);
    if let Some(environment) = flag.environments.get_mut(environment)
        && anew.as_ref() != Some(source)
    {
        environment.source = Some(source.clone());
    }
    flag
}

fn read_plain(format: Format, key: &str, environment: &str, source: &Value) -> Definition {
    match format {
        Format::Unleash => unleash::read(key, environment, source),
        Format::GrowthBook => growthbook::read(key, environment, source),
        Format::Flagd => flagd::read(key, environment, source),
    }
}

/// A flag of the format's own family, written from the common model.
fn write_anew(format: Format, flag: &Definition, environment: &str) -> Option<Value> {
    write_from_model(format, flag, environment, &mut Vec::new())
}

fn write_from_model(format: Format, flag: &Definition, environment: &str, problems: &mut Vec<Problem>) -> Option<Value> {
    let live = flag.environments.get(environment)?;
    match format {
        Format::Unleash => unleash::write(flag, live, problems),
        Format::GrowthBook => growthbook::write(flag, live, problems),
        Format::Flagd => flagd::write(flag, live, problems),
    }
}

/// One flag as a format says it in an environment; `None` if it is not there, or cannot be said.
pub(crate) fn written(format: Format, flag: &Definition, environment: &str) -> Option<Value> {
    write(format, flag, environment, &mut Vec::new())
}

fn write(format: Format, flag: &Definition, environment: &str, problems: &mut Vec<Problem>) -> Option<Value> {
    let live = flag.environments.get(environment)?;
    let own = live.variants.as_ref().map(|variants| Definition { variants: variants.clone(), ..flag.clone() });
    let flag = own.as_ref().unwrap_or(flag);
    if format == flag.family
        && let Some(source) = &live.source
        && still_says(format, flag, environment, source)
    {
        problems.extend(unsaid(format, flag, live.schedule.len()));
        return Some(source.clone());
    }
    let mut found = Vec::new();
    let json = write_from_model(format, flag, environment, &mut found);
    if json.is_none() && !found.iter().any(|problem| problem.effect == Effect::LeftOut) {
        found.push(Problem::new(&flag.key, Effect::LeftOut, format!("the flag has no counterpart in {}", format.name())));
    }
    if json.is_some() {
        found.extend(unsaid(format, flag, live.schedule.len()));
    }
    problems.extend(found);
    json
}

/// What people know about a flag and the format has no place for; answers do not depend on it, but for what is scheduled.
fn unsaid(format: Format, flag: &Definition, scheduled: usize) -> Vec<Problem> {
    let unleash = format == Format::Unleash;
    let fields = [
        ("description", flag.description.is_some() && format == Format::GrowthBook),
        ("owner", flag.owner.is_some()),
        ("project", flag.project.is_some() && !unleash),
        ("purpose", flag.purpose.is_some() && !unleash),
        ("tags", !flag.tags.is_empty()),
        ("services", !flag.services.is_empty()),
        ("schedule", scheduled > 0),
    ];
    let absent = fields.into_iter().filter(|(_, there)| *there);
    absent.map(|(name, _)| Problem::new(&flag.key, Effect::Omitted, format!("{} has no place for its {name}", format.name()))).collect()
}

/// Whether a flag is still what its source says: nobody has changed it since.
fn still_says(format: Format, flag: &Definition, environment: &str, source: &Value) -> bool {
    let said = read_plain(format, &flag.key, environment, source);
    let (Some(now), Some(then)) = (flag.environments.get(environment), said.environments.get(environment)) else { return false };
    let unchanged = (&now.rules, &now.otherwise, &now.on, &now.prerequisites, &now.extra, now.is_live())
        == (&then.rules, &then.otherwise, &then.on, &then.prerequisites, &then.extra, then.is_live());
    unchanged
        && said.variants.iter().all(|(name, value)| flag.variants.get(name) == Some(value))
        && (&said.description, &said.project, &said.purpose) == (&flag.description, &flag.project, &flag.purpose)
}

/// Merges objects and keyed lists; anything else is replaced.
fn merge(known: &mut Value, new: Value) {
    match (known, new) {
        (Value::Object(known), Value::Object(new)) => known.extend(new),
        (Value::Array(known), Value::Array(new)) => {
            for item in new {
                match known.iter_mut().find(|old| item.get("id").is_some() && old.get("id") == item.get("id")) {
                    Some(old) => *old = item,
                    None => known.push(item),
                }
            }
        }
        (known, new) => *known = new,
    }
}
