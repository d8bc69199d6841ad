//! A mapping: which columns make an event, from flags and a TOML file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;

use super::ImportArgs;
use super::condition::Condition;
use super::events::Mapper;
use super::field::{Field, Gather};
use super::number::NumberFormat;
use super::template::{Expression, Template};
use super::value::{CurrencyOf, FieldType, Reading};
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
    /// What stands before the decimals of numbers: `.` (also when absent) or `,`.
    pub decimal: Option<String>,
    /// What stands between the thousands of numbers; nothing when absent.
    pub thousands: Option<String>,
    /// Time zone of dates and times that name none; UTC when absent.
    pub zone: Option<String>,
    /// Conditions that a row must meet, all of them; other rows are left out.
    #[serde(rename = "where")]
    pub conditions: Vec<String>,
    /// Template: consecutive rows for which it gives the same become one event. Each row is one when absent.
    pub group: Option<String>,
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
    /// Summed up over the rows of one event.
    #[serde(default)]
    pub sum: bool,
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
        for (target, flag) in [
            (&mut mapping.decimal, &args.decimal),
            (&mut mapping.thousands, &args.thousands),
            (&mut mapping.zone, &args.zone),
            (&mut mapping.group, &args.group_by),
        ] {
            if flag.is_some() {
                target.clone_from(flag);
            }
        }
        mapping.conditions.extend(args.conditions.iter().cloned());
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

    /// Adds to a refused id where ids come from, and how to make them differ.
    pub fn explain(&self, error: Error) -> Error {
        let Error::Refused(mut problem) = error else { return error };
        if problem.kind.ends_with("/id-conflict") {
            let together = if self.group.is_some() { "; rows of one event (--group-by) must stand together, so sort the file by them" } else { "" };
            problem.advice = match &self.id {
                None => format!(
                    "without --id, an id follows from source, file name and line{}: where rows were inserted or corrected since the last import, it names another row. Give --id a template that names the row, for example --id 'order-{{order}}'{together}",
                    if self.group.is_some() { " or group" } else { "" }
                ),
                Some(id) => format!(
                    "--id '{id}' gives this row the id of another one, or of this one before it was corrected; add a column that tells them apart, or {{line}}, to --id{together}"
                ),
            };
        }
        Error::Refused(problem)
    }

    /// Resolves templates and types against the file's columns.
    ///
    /// # Errors
    /// A template that names no column, an unknown type, a field inside of another.
    pub fn mapper<'m>(&'m self, file: &Path, columns: &[String]) -> Result<Mapper<'m>, Error> {
        let template = |what: &str, text: &str| Template::parse(text, columns).map_err(|problem| Error::Usage(format!("{what}: {problem}")));
        let numbers = NumberFormat::new(self.decimal.as_deref(), self.thousands.as_deref()).map_err(Error::Usage)?;
        let zone = self.zone.as_deref().map_or(Ok(Default::default()), str::parse).map_err(Error::Usage)?;
        let mut fields = Vec::new();
        for (name, spec) in &self.data {
            fields.push(resolve(name, spec, columns)?);
        }
        if self.data.is_empty() {
            for name in columns {
                fields.push(resolve(name, &FieldSpec::Template(format!("{{{name}}}")), columns)?);
            }
        }
        refuse_overlap(&fields)?;
        let time = self.time.as_ref().map(|spec| resolve("time", spec, columns)).transpose()?;
        if time.as_ref().is_some_and(|field| !field.kind.is_time()) {
            return Err(Error::Usage(
                "--time needs one of the types date:FORMAT, time:FORMAT, rfc3339, seconds, millis, for example 'date:%Y%m%d={date}'".into(),
            ));
        }
        let conditions =
            self.conditions.iter().map(|text| Condition::parse(text, columns, &numbers).map_err(|problem| Error::Usage(format!("--where: {problem}"))));
        Ok(Mapper {
            mapping: self,
            columns: columns.to_vec(),
            file: file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            subject: template("--subject", &self.subject)?,
            id: self.id.as_ref().map(|id| template("--id", id)).transpose()?,
            group: self.group.as_ref().map(|group| template("--group-by", group)).transpose()?,
            conditions: conditions.collect::<Result<_, _>>()?,
            reading: Reading { numbers, zone },
            time,
            fields,
        })
    }
}

/// Resolves one field: `name`, `outer.inner`, or `list[].inner`.
fn resolve(name: &str, spec: &FieldSpec, columns: &[String]) -> Result<Field, Error> {
    let wrong = |problem: String| Error::Usage(format!("field {name}: {problem}"));
    let (from, kind, optional, sum) = match spec {
        FieldSpec::Template(from) => (from.as_str(), "", false, false),
        FieldSpec::Typed(typed) => (typed.from.as_str(), typed.kind.as_str(), typed.optional, typed.sum),
    };
    let names = |text: &str| text.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<String>>();
    let (path, inner, is_list) = match name.split_once("[]") {
        Some((list, inner)) => (names(list), names(inner), true),
        None => (name.split('.').map(str::to_owned).collect(), Vec::new(), false),
    };
    if is_list && (path.is_empty() || inner.iter().any(|name| name.contains("[]"))) {
        return Err(wrong("a list is written list[].field, once in a name".to_owned()));
    }
    let gather = match (is_list, sum) {
        (true, true) => return Err(wrong("it is a list, and is not summed up as well".to_owned())),
        (true, false) => Gather::List,
        (false, true) => Gather::Sum,
        (false, false) => Gather::Same,
    };
    let kind: FieldType = kind.parse().map_err(wrong)?;
    if gather == Gather::Sum && !kind.is_number() {
        return Err(wrong("only int, number, money and minor are summed up".to_owned()));
    }
    let template = Template::parse(from, columns).map_err(wrong)?;
    let expression = if kind.is_number() { Expression::of(&template).map_err(wrong)? } else { None };
    let currency = match kind.currency() {
        Some(CurrencyOf::Template(text)) => Some(Template::parse(text, columns).map_err(wrong)?),
        _ => None,
    };
    Ok(Field { path, inner, gather, template, expression, currency, kind, optional })
}

/// One place of the data holds one value: `a` and `a.b` together would lose one of them in every row.
fn refuse_overlap(fields: &[Field]) -> Result<(), Error> {
    let whole = |field: &Field| -> Vec<String> {
        let list = (field.gather == Gather::List).then(|| "[]".to_owned());
        field.path.iter().cloned().chain(list).chain(field.inner.iter().cloned()).collect()
    };
    let mut paths: Vec<Vec<String>> = fields.iter().map(whole).collect();
    // What begins with a path follows right after it.
    paths.sort_unstable();
    // A list and an object of the same name differ in what follows it.
    let clash = |a: &[String], b: &[String]| {
        let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
        b.starts_with(a) || matches!((a.get(same).map(String::as_str), b.get(same).map(String::as_str)), (Some("[]"), _) | (_, Some("[]")))
    };
    let Some(two) = paths.windows(2).find(|two| clash(&two[0], &two[1])) else { return Ok(()) };
    let told = |path: &[String]| path.join(".").replace(".[]", "[]");
    Err(Error::Usage(format!("the field \"{}\" cannot hold a value and the field \"{}\"; rename one of them in the mapping", told(&two[0]), told(&two[1]))))
}

/// `name[?][+][:type]=template`.
fn field_of_flag(text: &str, flag: &str) -> Result<(String, FieldSpec), Error> {
    let wrong = || Error::Usage(format!("{flag} \"{text}\" is not NAME[:TYPE]=TEMPLATE; write for example 'total:money:USD={{dollars}}'"));
    let (head, from) = text.split_once('=').ok_or_else(wrong)?;
    let (name, kind) = head.split_once(':').unwrap_or((head, ""));
    let (name, sum) = name.strip_suffix('+').map_or((name, false), |name| (name, true));
    let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
    if name.is_empty() {
        return Err(wrong());
    }
    Ok((name.to_owned(), FieldSpec::Typed(TypedField { from: from.to_owned(), kind: kind.to_owned(), optional, sum })))
}
