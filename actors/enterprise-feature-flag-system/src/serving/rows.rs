//! Rows of the projection `flags` as flags.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tol_events::EventTime;
use tol_system::ChangedRows;

use crate::definition::Definition;
use crate::evaluation::Format;
use crate::projections::flags::{Change as RowChange, FlagRow};
use crate::served::{Change, FlagSet, Served, Shared};

const FLAG: &str = "flag/";
const FLAG_SET: &str = "flag-set/";

/// What changed rows mean for the set. A row that does not read changes nothing: what was served before is better than nothing.
pub(super) fn changes(rows: ChangedRows<FlagRow>) -> Vec<Change> {
    rows.into_iter()
        .filter_map(|(subject, row)| {
            let change = change(&subject, row.as_ref());
            change.inspect_err(|problem| tracing::error!(subject, %problem, "a stored flag does not read; it is served as it was before")).ok().flatten()
        })
        .collect()
}

/// Keys of the flags among the rows that have experiments.
pub(super) fn with_experiments(rows: &ChangedRows<FlagRow>) -> impl Iterator<Item = &str> {
    let has = |row: &Option<FlagRow>| row.as_ref().is_some_and(|row| !row.experiments.is_empty());
    rows.iter().filter(move |(_, row)| has(row)).filter_map(|(subject, _)| subject.strip_prefix(FLAG))
}

/// The flags of rows as queries show them: of a past moment, for example.
pub(crate) fn set_of(rows: Vec<(String, Value)>) -> FlagSet {
    FlagSet::default().with(changes_of_values(rows))
}

fn changes_of_values(rows: Vec<(String, Value)>) -> Vec<Change> {
    let row = |value: &Value| {
        let moment = |name: &str| value.get(name).and_then(Value::as_str).and_then(EventTime::parse).map(EventTime::as_micros);
        let changed = RowChange { at: moment("changed_at").unwrap_or_default(), ..RowChange::default() };
        FlagRow {
            version: value.get("version").and_then(Value::as_u64).unwrap_or_default(),
            definition: value.get("definition").filter(|definition| definition.is_object()).map(Value::to_string),
            stale_at: moment("stale_at"),
            stale_since: moment("stale_since"),
            shared: value.get("shared").and_then(Value::as_object).into_iter().flatten().map(|(format, shared)| (format.clone(), shared.to_string())).collect(),
            changes: vec![changed],
            ..FlagRow::default()
        }
    };
    changes(rows.into_iter().map(|(subject, value)| (subject, Some(row(&value)))).collect())
}

fn change(subject: &str, row: Option<&FlagRow>) -> Result<Option<Change>, serde_json::Error> {
    if let Some(key) = subject.strip_prefix(FLAG) {
        let served = row.map(served).transpose()?.flatten();
        return Ok(Some(Change::Flag { key: key.to_owned(), served }));
    }
    let Some(environment) = subject.strip_prefix(FLAG_SET) else { return Ok(None) };
    let shared = row.map(shared).transpose()?.unwrap_or_default();
    Ok(Some(Change::Shared { environment: environment.to_owned(), shared: Arc::new(shared) }))
}

/// A flag that is in no environment is served nowhere.
fn served(row: &FlagRow) -> Result<Option<Arc<Served>>, serde_json::Error> {
    let Some(text) = &row.definition else { return Ok(None) };
    let definition: Definition = serde_json::from_str(text)?;
    if definition.environments.is_empty() {
        return Ok(None);
    }
    let changed_at = EventTime::from_micros(row.changes.last().map_or(0, |change| change.at));
    let (stale_at, stale_since) = (row.stale_at.map(EventTime::from_micros), row.stale_since.map(EventTime::from_micros));
    Ok(Some(Arc::new(Served { definition, version: row.version, changed_at, stale_at, stale_since })))
}

fn shared(row: &FlagRow) -> Result<Shared, serde_json::Error> {
    let mut shared: BTreeMap<Format, Map<String, Value>> = BTreeMap::new();
    for (format, text) in &row.shared {
        if let Ok(format) = format.parse() {
            shared.insert(format, serde_json::from_str(text)?);
        }
    }
    Ok(shared)
}
