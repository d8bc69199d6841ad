//! Printing: a table for people, JSON for programs.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::cli::error::Error;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: the node's answer as it is.
    Json,
}

/// Prints a line. A reader that has gone (`| head`) ends the process quietly.
pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Prints a note to standard error, where it does not mix with results.
pub fn note(text: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a value: as JSON, or as a table of `columns` (dotted paths; none given: all the keys of the first row).
pub fn print(format: Format, value: &Value, columns: &[&str]) -> Result<(), Error> {
    match format {
        Format::Json => line(&serde_json::to_string_pretty(value).map_err(|error| Error::Failed(error.to_string()))?),
        Format::Table => line(&table(value, columns)),
    }
    Ok(())
}

/// Rows of cells as a table.
pub fn rows(rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.add_rows(rows);
    table.trim_fmt()
}

/// A value as a table: a row an element, or a row a key.
fn table(value: &Value, columns: &[&str]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    match value {
        Value::Array(rows) => {
            let names: Vec<String> = match (columns, rows.first()) {
                ([], Some(Value::Object(first))) => first.keys().cloned().collect(),
                ([], _) => vec!["value".into()],
                (given, _) => given.iter().map(|name| (*name).to_owned()).collect(),
            };
            table.set_header(names.iter().map(|name| name.rsplit('.').next().unwrap_or(name).to_uppercase()));
            for row in rows {
                table.add_row(names.iter().map(|name| if row.is_object() { cell(at(row, name)) } else { cell(row) }));
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                table.add_row([name.clone(), cell(field)]);
            }
        }
        other => return cell(other),
    }
    table.trim_fmt()
}

/// The value at a dotted path; null where there is none.
pub fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(value, |inner, key| &inner[key])
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Object(fields) if is_money(value) => money(fields),
        Value::Array(items) if !items.is_empty() && items.iter().all(is_money) => {
            let amounts: Vec<String> = items.iter().filter_map(Value::as_object).map(money).collect();
            amounts.join(", ")
        }
        other => other.to_string(),
    }
}

fn is_money(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| fields.len() == 2) && value["minor"].is_i64() && value["currency"].is_string()
}

fn money(fields: &serde_json::Map<String, Value>) -> String {
    let amount: Result<tol_events::Money, _> = serde_json::from_value(Value::Object(fields.clone()));
    amount.map_or_else(|_| Value::Object(fields.clone()).to_string(), |amount| amount.to_string())
}

/// A progress bar on a terminal, nothing elsewhere.
pub fn progress_bar(length: u64, template: &str) -> indicatif::ProgressBar {
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new(length);
    if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_show_nested_values_and_money_as_people_write_it() {
        let rows = json!([{"key": "1", "value": {"orders": 3, "spent": [{"minor": 1177, "currency": "USD"}]}}, {"key": "2"}]);
        let text = table(&rows, &["key", "value.orders", "value.spent"]);
        assert!(text.contains("ORDERS") && text.contains("11.77 USD") && text.contains('-'), "{text}");
        assert!(table(&json!({"a": 1}), &[]).contains('a'));
    }
}
