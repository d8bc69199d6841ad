//! A field of an event's data: what a row gives it, and what several rows of one event give it together.

use serde_json::{Map, Value};
use tol_events::Currency;

use super::number::{Exact, TOO_LARGE};
use super::rows::Row;
use super::template::{Expression, Template};
use super::value::{FieldType, Reading};

/// How the rows of one event make one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// They all say the same.
    Same,
    /// They are summed up.
    Sum,
    /// Each has its place in a list.
    List,
}

/// A field resolved against a file's columns.
#[derive(Clone, Debug)]
pub struct Field {
    /// The names from the outside inwards; of a list, those before it.
    pub path: Vec<String>,
    /// Of a list: the names within its elements.
    pub inner: Vec<String>,
    /// How rows are gathered.
    pub gather: Gather,
    /// Its text.
    pub template: Template,
    /// Its computation, where it is one.
    pub expression: Option<Expression>,
    /// Its currency, where rows tell it.
    pub currency: Option<Template>,
    /// Its type.
    pub kind: FieldType,
    /// Whether it is left out where it is empty.
    pub optional: bool,
}

/// What one row gives a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// Nothing.
    Absent,
    /// A number, with the currency of an amount.
    Number(Exact, Option<Currency>),
    /// Anything else.
    Other(Value),
}

impl Field {
    /// What a row gives.
    ///
    /// # Errors
    /// A value that does not have the type.
    pub fn given(&self, row: &Row, file: &str, reading: &Reading) -> Result<Given, String> {
        let text = self.template.fill(row, file);
        if self.optional && text.trim().is_empty() {
            return Ok(Given::Absent);
        }
        // A number that is neither computed nor summed up keeps its own form.
        let is_plain = self.kind == FieldType::Number && self.expression.is_none() && self.gather != Gather::Sum;
        if !self.kind.is_number() || is_plain {
            return self.kind.json(&text, reading).map(Given::Other);
        }
        let number = match &self.expression {
            Some(expression) => expression.evaluate(row, file, &reading.numbers)?,
            None => Exact::parse(&reading.numbers.plain(&text)?)?,
        };
        let currency = match (&self.currency, self.kind.currency()) {
            (Some(template), _) => Some(template.fill(row, file).trim().parse().map_err(|error: tol_events::money::Error| error.to_string())?),
            (None, Some(super::value::CurrencyOf::Fixed(currency))) => Some(*currency),
            (None, _) => None,
        };
        // Of a sum only the whole must fit.
        if self.gather != Gather::Sum {
            self.kind.json_of(number, currency)?;
        }
        Ok(Given::Number(number, currency))
    }

    /// The JSON of what was given.
    ///
    /// # Errors
    /// A sum that has digits for which there is no place.
    pub fn json(&self, given: &Given) -> Result<Option<Value>, String> {
        match given {
            Given::Absent => Ok(None),
            Given::Number(number, currency) => self.kind.json_of(*number, *currency).map(Some),
            Given::Other(value) => Ok(Some(value.clone())),
        }
    }

    /// Adds what another row of the same event gives.
    ///
    /// # Errors
    /// It says something else, or has another currency.
    pub fn add(&self, so_far: &mut Given, more: Given) -> Result<(), String> {
        let name = self.path.join(".");
        *so_far = match (self.gather, &*so_far, more) {
            (_, Given::Absent, more) => more,
            (_, _, Given::Absent) => return Ok(()),
            (Gather::Sum, Given::Number(sum, currency), Given::Number(number, other)) if *currency == other => {
                Given::Number(sum.checked_add(number).ok_or(TOO_LARGE)?, *currency)
            }
            (Gather::Sum, Given::Number(_, Some(currency)), Given::Number(_, Some(other))) => {
                return Err(format!("{name} has rows in {currency} and in {other}, and currencies are never added up"));
            }
            (_, before, more) if *before == more => return Ok(()),
            _ => return Err(format!("rows of one event differ in {name}; name it {name}+ to sum it up, put it into a list ({name}[]), or leave it out")),
        };
        Ok(())
    }
}

/// Puts a value where the path says.
pub fn insert_at(table: &mut Map<String, Value>, path: &[String], value: Value) {
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
