//! What an import asks for: the changes that make the flags of an environment what a format's own JSON says.

use crate::definition::{Definition, Effect, Error, FlagDefinitions, Mode, Problem};
use crate::evaluation::Format;
use crate::served::FlagSet;
use serde::Serialize;
use serde_json::{Map, Value};
use tol_events::flags::{ChangeRequested, SharedChangeRequested};
use tol_events::{DomainEvent as _, Event, EventTime};

/// Where requests of this interface come from.
pub(crate) const SOURCE: &str = "/flags";

/// What is to be imported, and who wants it.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    pub(crate) format: Format,
    pub(crate) mode: Mode,
    pub(crate) environment: String,
    pub(crate) by: String,
    pub(crate) reason: String,
}

/// A request and what is served once it has been granted.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Of the flag; the environment for what flags share.
    pub(crate) key: String,
    pub(crate) event: Event,
    /// The version it changes.
    pub(crate) base_version: Option<u64>,
    pub(crate) outcome: Outcome,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Flag(Box<Definition>),
    Gone,
    Shared(Format, Map<String, Value>),
}

impl Wanted {
    /// Whether a set is as wanted.
    pub(crate) fn is_met(&self, set: &FlagSet) -> bool {
        match &self.outcome {
            Outcome::Flag(definition) => set.get(&self.key).is_some_and(|served| served.definition == **definition),
            Outcome::Gone => set.get(&self.key).is_none(),
            Outcome::Shared(format, wanted) => shared(set, &self.key, *format) == *wanted,
        }
    }

    pub(crate) fn is_change(&self) -> bool {
        matches!(self.outcome, Outcome::Flag(_))
    }

    pub(crate) fn is_removal(&self) -> bool {
        matches!(self.outcome, Outcome::Gone)
    }

    /// The subject of the request.
    pub(crate) fn subject(&self) -> String {
        match self.outcome {
            Outcome::Shared(..) => format!("flag-set/{}", self.key),
            _ => format!("flag/{}", self.key),
        }
    }
}

/// What an import comes to.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) wanted: Vec<Wanted>,
    /// Flags that the import brings.
    pub(crate) flags: usize,
    pub(crate) problems: Vec<Problem>,
}

fn shared(set: &FlagSet, environment: &str, format: Format) -> Map<String, Value> {
    set.shared(environment).and_then(|shared| shared.get(&format)).cloned().unwrap_or_default()
}

/// The changes that lead from a set to what the text says.
///
/// # Errors
/// If the text is not of the format.
pub(crate) fn plan(set: &FlagSet, import: &Import, text: &str, now: EventTime) -> Result<Plan, Error> {
    let mut flags = set.definitions();
    let imported = flags.import(import.format, text, import.mode, &import.environment)?;
    let mut plan = Plan { flags: imported.flags.len(), problems: imported.problems, ..Plan::default() };
    plan.shared(set, import, &flags, now)?;
    for (key, definition) in std::mem::take(&mut flags.flags) {
        let known = set.get(&key);
        if known.is_some_and(|served| served.definition == definition) {
            continue;
        }
        let problems = definition.problems();
        if !problems.is_empty() {
            plan.problems.push(Problem { flag: key, problem: problems.join("; "), effect: Effect::LeftOut });
            continue;
        }
        let anew = known.is_some_and(|served| served.definition.family != definition.family);
        let event = import.change(set, &key, as_object(&definition), anew, now)?;
        let base_version = known.map(|served| served.version);
        plan.wanted.push(Wanted { key, event, base_version, outcome: Outcome::Flag(Box::new(definition)) });
    }
    if import.mode == Mode::Replace {
        plan.remove(set, import, &imported.flags, now)?;
    }
    Ok(plan)
}

impl Plan {
    /// Flags of no other environment that the import does not bring are nowhere any more.
    fn remove(&mut self, set: &FlagSet, import: &Import, brought: &[String], now: EventTime) -> Result<(), Error> {
        for (key, served) in set.sorted() {
            let only_here = served.definition.environments.keys().all(|name| *name == import.environment);
            if !only_here || brought.binary_search_by(|found| found.as_str().cmp(key)).is_ok() {
                continue;
            }
            let mut archived = served.definition.clone();
            archived.environments.clear();
            let event = import.change(set, key, as_object(&archived), false, now)?;
            self.wanted.push(Wanted { key: key.to_owned(), event, base_version: Some(served.version), outcome: Outcome::Gone });
        }
        Ok(())
    }

    fn shared(&mut self, set: &FlagSet, import: &Import, flags: &FlagDefinitions, now: EventTime) -> Result<(), Error> {
        let environment = &import.environment;
        for format in [Format::Unleash, Format::GrowthBook, Format::Flagd] {
            let wanted = flags.shared.get(environment).and_then(|shared| shared.get(&format)).cloned().unwrap_or_default();
            if shared(set, environment, format) == wanted {
                continue;
            }
            let request = SharedChangeRequested {
                environment: environment.into(),
                format: format.name().into(),
                shared: wanted,
                by: import.by.as_str().into(),
                reason: import.reason.as_str().into(),
            };
            self.wanted.push(shared_wanted(&request, format, now)?);
        }
        Ok(())
    }
}

impl Import {
    fn change(&self, set: &FlagSet, key: &str, definition: Map<String, Value>, anew: bool, now: EventTime) -> Result<Event, Error> {
        let known = set.get(key);
        let request = ChangeRequested {
            key: key.into(),
            definition,
            base_version: known.map(|served| served.version),
            by: self.by.as_str().into(),
            reason: self.reason.as_str().into(),
            stale_at: known.and_then(|served| served.stale_at),
            anew,
        };
        Ok(request.to_event(new_id(), SOURCE)?.at(now))
    }
}

/// What is wanted by a request about what an environment's flags share.
pub(crate) fn shared_wanted(request: &SharedChangeRequested<'_>, format: Format, now: EventTime) -> Result<Wanted, serde_json::Error> {
    let event = request.to_event(new_id(), SOURCE)?.at(now);
    Ok(Wanted { key: request.environment.to_string(), event, base_version: None, outcome: Outcome::Shared(format, request.shared.clone()) })
}

/// The id of a request.
pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// A definition as a request carries it.
pub(crate) fn as_object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}
