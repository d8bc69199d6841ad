//! A mapping: which columns make an event, from flags and a TOML file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::ImportArgs;
use super::rows::Row;
use super::value::FieldType;
use crate::cli::error::Error;

/// How rows become events. The TOML file has these keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mapping {
    /// Event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Event source.
    pub source: String,
    /// Template of the subject.
    pub subject: String,
    /// Template of the id; derived from source, file name and line when absent.
    pub id: Option<String>,
    /// When it happened; the node's clock when absent.
    pub time: Option<FieldSpec>,
    /// One character, `tab`, or `whitespace`; a comma when absent.
    pub delimiter: Option<String>,
    /// Names of the columns; absent: the file's first line.
    pub columns: Vec<String>,
    /// Fields of the data by dotted name; none: every column as text.
    pub data: BTreeMap<String, FieldSpec>,
}

/// A field: a template alone, or with a type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum FieldSpec {
    /// Text.
    Template(String),
    /// Typed.
    Typed(TypedField),
}

/// A field with a type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypedField {
    /// Template.
    pub from: String,
    /// Type, e.g. `money:USD`.
    #[serde(rename = "as", default)]
    pub kind: String,
    /// Left out when empty.
    #[serde(default)]
    pub optional: bool,
}

/// A row that cannot be mapped.
#[derive(Debug, PartialEq, Eq)]
pub struct RowError {
    /// Its line, from 1.
    pub line: u64,
    /// The columns at fault; empty when it is the whole row.
    pub columns: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.columns.as_str() {
            "" => write!(f, "line {}: {}", self.line, self.problem),
            columns => write!(f, "line {}, column {columns}: {}", self.line, self.problem),
        }
    }
}

impl Mapping {
    /// The mapping file, and flags over it.
    ///
    /// # Errors
    /// An unreadable file, an unknown key, a missing type, source or subject.
    pub fn from_arguments(args: &ImportArgs) -> Result<Mapping, Error> {
        let mut mapping = match &args.mapping {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| Error::Usage(format!("mapping {} cannot be read: {error}", path.display())))?;
                toml::from_str(&text).map_err(|error| Error::Usage(format!("mapping {}: {error}", path.display())))?
            }
            None => Mapping::default(),
        };
        let replace = |target: &mut String, flag: &Option<String>| target.clone_from(flag.as_ref().unwrap_or(&target.clone()));
        replace(&mut mapping.event_type, &args.event_type);
        replace(&mut mapping.source, &args.source);
        replace(&mut mapping.subject, &args.subject);
        mapping.id = args.id.clone().or(mapping.id);
        mapping.delimiter = args.delimiter.clone().or(mapping.delimiter);
        if !args.columns.is_empty() {
            mapping.columns.clone_from(&args.columns);
        }
        if let Some(time) = &args.time {
            mapping.time = Some(field_of_flag(&format!("time:{time}"), "--time")?.1);
        }
        for field in &args.field {
            let (name, spec) = field_of_flag(field, "--field")?;
            mapping.data.insert(name, spec);
        }
        for (name, value) in [("type", &mapping.event_type), ("source", &mapping.source), ("subject", &mapping.subject)] {
            if value.is_empty() {
                return Err(Error::Usage(format!("--{name} is missing: give it as a flag or in the --mapping file")));
            }
        }
        Ok(mapping)
    }

    /// Resolves templates and types against the file's columns.
    ///
    /// # Errors
    /// A template that names no column, an unknown type, a field inside of another.
    pub fn mapper<'m>(&'m self, file: &Path, columns: &[String]) -> Result<Mapper<'m>, Error> {
        let template = |what: &str, text: &str| Template::parse(text, columns).map_err(|problem| Error::Usage(format!("{what}: {problem}")));
        let field = |name: &str, spec: &FieldSpec| {
            let (from, kind, optional) = match spec {
                FieldSpec::Template(from) => (from.as_str(), "", false),
                FieldSpec::Typed(typed) => (typed.from.as_str(), typed.kind.as_str(), typed.optional),
            };
            let kind: FieldType = kind.parse().map_err(|problem| Error::Usage(format!("field {name}: {problem}")))?;
            Ok::<_, Error>(Field { path: name.split('.').map(str::to_owned).collect(), template: template(name, from)?, kind, optional })
        };
        let mut fields = Vec::new();
        for (name, spec) in &self.data {
            fields.push(field(name, spec)?);
        }
        if self.data.is_empty() {
            for name in columns {
                fields.push(field(name, &FieldSpec::Template(format!("{{{name}}}")))?);
            }
        }
        refuse_overlap(&fields)?;
        let time = self.time.as_ref().map(|spec| field("time", spec)).transpose()?;
        if time.as_ref().is_some_and(|field| !field.kind.is_time()) {
            return Err(Error::Usage(
                "--time needs one of the types date:FORMAT, time:FORMAT, rfc3339, seconds, millis, for example 'date:%Y%m%d={date}'".into(),
            ));
        }
        Ok(Mapper {
            mapping: self,
            columns: columns.to_vec(),
            file: file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            subject: template("--subject", &self.subject)?,
            id: self.id.as_ref().map(|id| template("--id", id)).transpose()?,
            time,
            fields,
        })
    }
}

/// One place of the data holds one value: `a` and `a.b` together would lose one of them in every row.
fn refuse_overlap(fields: &[Field]) -> Result<(), Error> {
    let mut paths: Vec<&[String]> = fields.iter().map(|field| field.path.as_slice()).collect();
    // What begins with a path follows right after it.
    paths.sort_unstable();
    let Some(two) = paths.windows(2).find(|two| two[1].starts_with(two[0])) else { return Ok(()) };
    let (outer, inner) = (two[0].join("."), two[1].join("."));
    Err(Error::Usage(format!("the field \"{outer}\" cannot hold a value and the field \"{inner}\"; rename one of them in the mapping")))
}

/// `name[?][:type]=template`.
fn field_of_flag(text: &str, flag: &str) -> Result<(String, FieldSpec), Error> {
    let wrong = || Error::Usage(format!("{flag} \"{text}\" is not NAME[:TYPE]=TEMPLATE; write for example 'total:money:USD={{dollars}}'"));
    let (head, from) = text.split_once('=').ok_or_else(wrong)?;
    let (name, kind) = head.split_once(':').unwrap_or((head, ""));
    let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
    if name.is_empty() {
        return Err(wrong());
    }
    Ok((name.to_owned(), FieldSpec::Typed(TypedField { from: from.to_owned(), kind: kind.to_owned(), optional })))
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Column(usize),
    Line,
    File,
}

/// Text with `{column}`, `{line}` and `{file}` in it; `{{` is a brace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

impl Template {
    /// Reads a template for a file with these columns.
    ///
    /// # Errors
    /// A name that is no column, a brace that is not closed.
    pub fn parse(text: &str, columns: &[String]) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(escaped) = after.strip_prefix(brace) {
                literal.push_str(brace);
                rest = escaped;
                continue;
            }
            let closed = after.split_once('}').filter(|_| brace == "{");
            let (name, after) = closed.ok_or_else(|| format!("the brace in \"{text}\" has no partner; write {{{{ for a brace itself"))?;
            let piece = match columns.iter().position(|column| column == name) {
                Some(index) => Piece::Column(index),
                None if name == "line" => Piece::Line,
                None if name == "file" => Piece::File,
                None => return Err(format!("there is no column {{{name}}}; the columns are {}, and {{line}} and {{file}} always exist", columns.join(", "))),
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Template(pieces))
    }

    fn fill(&self, row: &Row, file: &str) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Column(index) => text.push_str(row.values.get(*index).map_or("", |value| value.trim())),
                Piece::Line => text.push_str(&row.line.to_string()),
                Piece::File => text.push_str(file),
            }
        }
        text
    }

    fn columns(&self, names: &[String]) -> String {
        let used: Vec<&str> =
            self.0.iter().filter_map(|piece| if let Piece::Column(index) = piece { names.get(*index).map(String::as_str) } else { None }).collect();
        used.join(", ")
    }
}

#[derive(Clone, Debug)]
struct Field {
    path: Vec<String>,
    template: Template,
    kind: FieldType,
    optional: bool,
}

/// A mapping resolved against a file's columns.
#[derive(Clone, Debug)]
pub struct Mapper<'m> {
    mapping: &'m Mapping,
    columns: Vec<String>,
    file: String,
    subject: Template,
    id: Option<Template>,
    time: Option<Field>,
    fields: Vec<Field>,
}

impl Mapper<'_> {
    /// The event of a row, as CloudEvents JSON. The same row always gives the same event.
    ///
    /// # Errors
    /// A value that does not have its type, an empty id or subject.
    pub fn event(&self, row: &Row) -> Result<String, RowError> {
        let bad = |template: &Template, problem: String| RowError { line: row.line, columns: template.columns(&self.columns), problem };
        if row.values.len() != self.columns.len() {
            let problem = format!("has {} values, but there are {} columns ({})", row.values.len(), self.columns.len(), self.columns.join(", "));
            return Err(RowError { line: row.line, columns: String::new(), problem });
        }
        let mut data = Map::new();
        for field in &self.fields {
            let text = field.template.fill(row, &self.file);
            if field.optional && text.trim().is_empty() {
                continue;
            }
            let value = field.kind.json(&text).map_err(|problem| bad(&field.template, problem))?;
            insert_at(&mut data, &field.path, value);
        }
        let subject = self.subject.fill(row, &self.file);
        if subject.split_once('/').is_none_or(|(kind, id)| kind.is_empty() || id.is_empty()) {
            return Err(bad(&self.subject, format!("the subject \"{subject}\" is not kind/id")));
        }
        if subject.contains(char::is_control) {
            return Err(bad(&self.subject, format!("the subject {subject:?} has a control character, which no attribute may have")));
        }
        let mut event = Map::new();
        event.insert("specversion".into(), "1.0".into());
        event.insert("id".into(), self.id_of(row)?.into());
        event.insert("source".into(), self.mapping.source.clone().into());
        event.insert("type".into(), self.mapping.event_type.clone().into());
        event.insert("subject".into(), subject.into());
        event.insert("datacontenttype".into(), "application/json".into());
        if let Some(time) = &self.time {
            let text = time.template.fill(row, &self.file);
            event.insert("time".into(), time.kind.json(&text).map_err(|problem| bad(&time.template, problem))?);
        }
        event.insert("data".into(), Value::Object(data));
        Ok(Value::Object(event).to_string())
    }

    fn id_of(&self, row: &Row) -> Result<String, RowError> {
        let Some(template) = &self.id else {
            let name = format!("import\u{0}{}\u{0}{}\u{0}{}", self.mapping.source, self.file, row.line);
            return Ok(Uuid::new_v5(&tol_events::id::NAMESPACE, name.as_bytes()).to_string());
        };
        match template.fill(row, &self.file) {
            id if id.is_empty() => Err(RowError { line: row.line, columns: template.columns(&self.columns), problem: "the event's id would be empty".into() }),
            id if id.contains(char::is_control) => {
                let problem = format!("the id {id:?} has a control character, which no attribute may have");
                Err(RowError { line: row.line, columns: template.columns(&self.columns), problem })
            }
            id => Ok(id),
        }
    }
}

fn insert_at(table: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [leaf] => {
            table.insert(leaf.clone(), value);
        }
        [section, rest @ ..] => {
            if let Value::Object(inner) = table.entry(section.clone()).or_insert_with(|| Value::Object(Map::new())) {
                insert_at(inner, rest, value);
            }
        }
    }
}
