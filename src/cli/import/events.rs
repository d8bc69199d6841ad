//! From rows to events: rows that meet the conditions, gathered where several make one event.

use std::io::BufRead;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::condition::Condition;
use super::field::{Field, Gather, Given, insert_at};
use super::mapping::{Mapping, RowError};
use super::rows::{Row, Rows};
use super::template::Template;
use super::value::Reading;

/// Rows of one event, at most: they are held in memory until the last of them.
const ROWS_OF_AN_EVENT: usize = 10_000;

/// A mapping resolved against a file's columns.
#[derive(Clone, Debug)]
pub struct Mapper<'m> {
    pub(super) mapping: &'m Mapping,
    pub(super) columns: Vec<String>,
    pub(super) file: String,
    pub(super) subject: Template,
    pub(super) id: Option<Template>,
    pub(super) group: Option<Template>,
    pub(super) conditions: Vec<Condition>,
    pub(super) reading: Reading,
    pub(super) time: Option<Field>,
    pub(super) fields: Vec<Field>,
}

/// An event of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The last line it was made of.
    pub line: u64,
    /// Bytes of the file up to its end.
    pub end_byte: u64,
    /// How many rows it was made of.
    pub rows: u64,
    /// CloudEvents JSON.
    pub event: String,
}

/// The rows of one event so far.
#[derive(Clone, Debug)]
struct Gathering {
    /// What [`Mapping::group`] gives for all of them.
    key: String,
    first_line: u64,
    last_line: u64,
    end_byte: u64,
    rows: u64,
    id: String,
    subject: String,
    time: Option<Value>,
    /// By field; of a list nothing, its values lie in `elements`.
    given: Vec<Given>,
    /// By row: its element of each list, by the list's name.
    elements: Vec<Map<String, Value>>,
}

impl Mapper<'_> {
    fn bad(&self, row: &Row, template: &Template, problem: String) -> RowError {
        RowError { line: row.line, columns: template.columns(&self.columns), problem }
    }

    /// Whether a row meets all conditions.
    fn is_wanted(&self, row: &Row) -> Result<bool, RowError> {
        if row.values.len() != self.columns.len() {
            let problem = format!("has {} values, but there are {} columns ({})", row.values.len(), self.columns.len(), self.columns.join(", "));
            return Err(RowError { line: row.line, columns: String::new(), problem });
        }
        for condition in &self.conditions {
            let holds = condition.holds(row, &self.file, &self.reading.numbers);
            let holds = holds.map_err(|problem| RowError { line: row.line, columns: condition.columns(&self.columns), problem })?;
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn key_of(&self, row: &Row) -> Option<String> {
        self.group.as_ref().map(|group| group.fill(row, &self.file))
    }

    /// Begins an event with its first row.
    fn begin(&self, row: &Row) -> Result<Gathering, RowError> {
        let key = self.key_of(row).unwrap_or_default();
        let subject = self.subject_of(row)?;
        let id = self.id_of(row, &key)?;
        let time = match &self.time {
            Some(time) => {
                let text = time.template.fill(row, &self.file);
                Some(time.kind.json(&text, &self.reading).map_err(|problem| self.bad(row, &time.template, problem))?)
            }
            None => None,
        };
        let given = vec![Given::Absent; self.fields.len()];
        let mut gathering =
            Gathering { key, first_line: row.line, last_line: row.line, end_byte: row.end_byte, rows: 0, id, subject, time, given, elements: Vec::new() };
        self.add(&mut gathering, row)?;
        Ok(gathering)
    }

    /// Adds a row of the same event.
    fn add(&self, gathering: &mut Gathering, row: &Row) -> Result<(), RowError> {
        if gathering.rows as usize >= ROWS_OF_AN_EVENT {
            let problem = format!("is row {} of one event, which may have {ROWS_OF_AN_EVENT}; is --group-by right?", gathering.rows + 1);
            return Err(RowError { line: row.line, columns: String::new(), problem });
        }
        if gathering.rows > 0 {
            let differs =
                |what: &str, template: &Template| self.bad(row, template, format!("has another {what} than line {}, of the same event", gathering.first_line));
            if self.subject_of(row)? != gathering.subject {
                return Err(differs("subject", &self.subject));
            }
            if self.id_of(row, &gathering.key)? != gathering.id {
                return Err(differs("id", self.id.as_ref().unwrap_or(&self.subject)));
            }
        }
        let mut element = Map::new();
        for (field, given) in self.fields.iter().zip(&mut gathering.given) {
            let bad = |problem: String| self.bad(row, &field.template, problem);
            let more = field.given(row, &self.file, &self.reading).map_err(bad)?;
            if field.gather == Gather::List {
                if let Some(value) = field.json(&more).map_err(bad)? {
                    let place: Vec<String> = std::iter::once(field.path.join(".")).chain(field.inner.iter().cloned()).collect();
                    insert_at(&mut element, &place, value);
                }
            } else {
                field.add(given, more).map_err(bad)?;
            }
        }
        gathering.elements.push(element);
        gathering.rows += 1;
        (gathering.last_line, gathering.end_byte) = (row.line, row.end_byte);
        Ok(())
    }

    /// Makes the event of all its rows.
    fn finish(&self, gathering: Gathering) -> Result<Mapped, RowError> {
        let mut data = Map::new();
        for (field, given) in self.fields.iter().zip(&gathering.given) {
            if field.gather == Gather::List {
                continue;
            }
            let value = field.json(given).map_err(|problem| RowError {
                line: gathering.first_line,
                columns: field.template.columns(&self.columns),
                problem: if gathering.rows > 1 { format!("and {} rows behind it: {problem}", gathering.rows - 1) } else { problem },
            })?;
            if let Some(value) = value {
                insert_at(&mut data, &field.path, value);
            }
        }
        let mut lists: Vec<&[String]> = self.fields.iter().filter(|field| field.gather == Gather::List).map(|field| field.path.as_slice()).collect();
        lists.sort_unstable();
        lists.dedup();
        for list in lists {
            let name = list.join(".");
            let elements: Vec<Value> = gathering.elements.iter().filter_map(|element| element.get(&name).cloned()).collect();
            if !elements.is_empty() {
                insert_at(&mut data, list, Value::Array(elements));
            }
        }
        let mut event = Map::new();
        event.insert("specversion".into(), "1.0".into());
        event.insert("id".into(), gathering.id.into());
        event.insert("source".into(), self.mapping.source.clone().into());
        event.insert("type".into(), self.mapping.event_type.clone().into());
        event.insert("subject".into(), gathering.subject.into());
        event.insert("datacontenttype".into(), "application/json".into());
        if let Some(time) = gathering.time {
            event.insert("time".into(), time);
        }
        event.insert("data".into(), Value::Object(data));
        let event = Value::Object(event).to_string();
        Ok(Mapped { line: gathering.last_line, end_byte: gathering.end_byte, rows: gathering.rows, event })
    }

    fn subject_of(&self, row: &Row) -> Result<String, RowError> {
        let subject = self.subject.fill(row, &self.file);
        if subject.split_once('/').is_none_or(|(kind, id)| kind.is_empty() || id.is_empty()) {
            return Err(self.bad(row, &self.subject, format!("the subject \"{subject}\" is not kind/id")));
        }
        if subject.contains(char::is_control) {
            return Err(self.bad(row, &self.subject, format!("the subject {subject:?} has a control character, which no attribute may have")));
        }
        Ok(subject)
    }

    fn id_of(&self, row: &Row, key: &str) -> Result<String, RowError> {
        let Some(template) = &self.id else {
            let place = if self.group.is_some() { format!("group\u{0}{key}") } else { row.line.to_string() };
            let name = format!("import\u{0}{}\u{0}{}\u{0}{place}", self.mapping.source, self.file);
            return Ok(Uuid::new_v5(&tol_events::id::NAMESPACE, name.as_bytes()).to_string());
        };
        match template.fill(row, &self.file) {
            id if id.is_empty() => Err(self.bad(row, template, "the event's id would be empty".into())),
            id if id.contains(char::is_control) => Err(self.bad(row, template, format!("the id {id:?} has a control character, which no attribute may have"))),
            id => Ok(id),
        }
    }
}

/// The events of a file, one by one; memory does not grow with the file.
pub struct Events<'a, R> {
    rows: Rows<R>,
    mapper: &'a Mapper<'a>,
    /// Rows up to this line are passed over.
    start_line: u64,
    /// The event whose rows are being read, or what is wrong with one of them.
    open: Option<(String, Result<Gathering, RowError>)>,
    /// Rows that did not meet a condition.
    pub unwanted: u64,
}

impl<'a, R: BufRead> Events<'a, R> {
    /// The events behind a line.
    pub fn new(rows: Rows<R>, mapper: &'a Mapper<'a>, start_line: u64) -> Self {
        Self { rows, mapper, start_line, open: None, unwanted: 0 }
    }

    fn finished(&mut self) -> Option<Result<Mapped, RowError>> {
        let (_, gathering) = self.open.take()?;
        Some(gathering.and_then(|gathering| self.mapper.finish(gathering)))
    }
}

impl<R: BufRead> Iterator for Events<'_, R> {
    type Item = Result<Mapped, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = match self.rows.next() {
                None => return self.finished(),
                Some(Ok(row)) if row.line <= self.start_line => continue,
                Some(row) => row.and_then(|row| Ok(self.mapper.is_wanted(&row)?.then_some(row))),
            };
            let row = match (row, &mut self.open) {
                (Ok(Some(row)), _) => row,
                (Ok(None), _) => {
                    self.unwanted += 1;
                    continue;
                }
                // Which event it belongs to is not known: the one that is open may lack it, and is left out with it.
                (Err(bad), Some((_, gathering))) => {
                    if gathering.is_ok() {
                        *gathering = Err(bad);
                    }
                    continue;
                }
                (Err(bad), None) => return Some(Err(bad)),
            };
            let Some(key) = self.mapper.key_of(&row) else {
                return Some(self.mapper.begin(&row).and_then(|gathering| self.mapper.finish(gathering)));
            };
            match &mut self.open {
                Some((open, gathering)) if *open == key => {
                    if let Ok(so_far) = gathering
                        && let Err(bad) = self.mapper.add(so_far, &row)
                    {
                        *gathering = Err(bad);
                    }
                }
                _ => {
                    let before = self.finished();
                    self.open = Some((key, self.mapper.begin(&row)));
                    if before.is_some() {
                        return before;
                    }
                }
            }
        }
    }
}
