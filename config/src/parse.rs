//! From TOML and from defaults to keys with values.

use serde::Serialize;
use serde_json::{Map, Value};
use tol_system::settings::key::join;
use toml::de::{DeTable, DeValue};

/// The leaves of a default as (dotted key, value).
pub(crate) fn leaves_of<T: Serialize>(value: &T) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    walk("", &serde_json::to_value(value).unwrap_or_default(), &mut found);
    found
}

fn walk(prefix: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(table) => table.iter().for_each(|(key, inner)| walk(&join(prefix, key), inner, found)),
        leaf => found.push((prefix.to_owned(), leaf.clone())),
    }
}

/// Puts a value at a path into nested tables.
pub(crate) fn insert_at(table: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [leaf] => {
            table.insert((*leaf).to_owned(), value);
        }
        [section, rest @ ..] => {
            let inner = table.entry(*section).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert_at(inner, rest, value);
            }
        }
    }
}

/// The values of a TOML table as (key, value, offset of the key in the file). `quotes` tells of a key whether names with dots below it are one level.
pub(crate) fn collect(table: &DeTable<'_>, prefix: &str, quotes: &dyn Fn(&str) -> bool, found: &mut Vec<(String, Value, usize)>) {
    for (name, value) in table {
        let key = match prefix {
            "" => name.get_ref().to_string(),
            _ if quotes(prefix) => join(prefix, name.get_ref()),
            _ => format!("{prefix}.{}", name.get_ref()),
        };
        match value.get_ref() {
            DeValue::Table(inner) => collect(inner, &key, quotes, found),
            leaf => found.push((key, json_of_spanned(leaf), name.span().start)),
        }
    }
}

fn json_of_spanned(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).map_or_else(|_| Value::from(number.as_str()), Value::from),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or_else(|_| Value::from(number.as_str()), Value::from),
        DeValue::Array(items) => items.iter().map(|item| json_of_spanned(item.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(table.iter().map(|(key, inner)| (key.get_ref().to_string(), json_of_spanned(inner.get_ref()))).collect()),
    }
}

/// A value given as text, if it is TOML.
pub(crate) fn from_text(text: &str) -> Option<Value> {
    let value = toml::from_str::<toml::Table>(&format!("v = {text}")).ok()?.remove("v")?;
    Some(json_of(&value))
}

fn json_of(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(flag) => Value::from(*flag),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(items) => items.iter().map(json_of).collect(),
        toml::Value::Table(table) => Value::Object(table.iter().map(|(key, inner)| (key.clone(), json_of(inner))).collect()),
    }
}

/// A value as text without quotes.
pub(crate) fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
