//! Printing: a table for people, JSON for programs.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::cli::client::Reply;
use crate::cli::error::Error;
use crate::cli::people;

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
    write(format!("{text}\n").as_bytes());
}

/// Writes to standard output. A reader that has gone ends the process quietly; anything else that keeps it from being written is said.
pub fn write(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            note(&format!("error: standard output cannot be written: {error}"));
            std::process::exit(1);
        }
    }
}

/// Prints a note to standard error, where it does not mix with results.
pub fn note(text: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}

/// What can be printed: a value, and its text as JSON.
pub trait Printed {
    /// What it says.
    fn value(&self) -> &Value;
    /// Its text as JSON: what the node sent, byte for byte, where it comes from one.
    ///
    /// # Errors
    /// It does not serialise.
    fn json(&self) -> Result<String, Error>;
}

impl Printed for Value {
    fn value(&self) -> &Value {
        self
    }

    fn json(&self) -> Result<String, Error> {
        serde_json::to_string_pretty(self).map_err(|error| Error::Failed(error.to_string()))
    }
}

impl Printed for Reply {
    fn value(&self) -> &Value {
        &self.value
    }

    fn json(&self) -> Result<String, Error> {
        Ok(if self.text.is_empty() { "null".to_owned() } else { self.text.trim_end_matches('\n').to_owned() })
    }
}

/// Prints a value: as JSON, or as a table of `columns` (dotted paths; none given: all the keys of the first row).
///
/// # Errors
/// It does not serialise.
pub fn print(format: Format, printed: &impl Printed, columns: &[&str]) -> Result<(), Error> {
    match format {
        Format::Json => line(&printed.json()?),
        Format::Table => line(&table(printed.value(), columns)),
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

/// A value as a table: a row an element, or a row a key, those of nested objects by their dotted path.
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
            table.set_header(names.iter().map(|name| people::label(last(name)).to_uppercase()));
            for row in rows {
                table.add_row(names.iter().map(|name| if row.is_object() { people::cell(last(name), at(row, name)) } else { people::cell("", row) }));
            }
        }
        Value::Object(fields) => add_fields(&mut table, "", fields),
        other => return people::cell("", other),
    }
    table.trim_fmt()
}

/// A row a field. Objects in objects are opened, but for those that a person reads as one value.
fn add_fields(table: &mut Table, prefix: &str, fields: &serde_json::Map<String, Value>) {
    for (name, field) in fields {
        match field {
            Value::Object(inner) if !inner.is_empty() && !people::is_one_value(field) => add_fields(table, &format!("{prefix}{name}."), inner),
            _ => {
                table.add_row([format!("{prefix}{}", people::label(name)), people::cell(name, field)]);
            }
        }
    }
}

/// The last name of a dotted path.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The value at a dotted path; null where there is none.
pub fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(value, |inner, key| &inner[key])
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

    #[test]
    fn one_object_shows_its_inner_fields_by_their_path() {
        let row = json!({"key": "web/production", "value": {"change_failure_rate": 0.125, "windows": {"7d": {"lead_time_seconds": 7200}}}, "positions": {}});
        let text = table(&row, &[]);
        for expected in ["value.change_failure_rate", "12.5 %", "value.windows.7d.lead_time", "2 h"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!text.contains('{'), "{text}");
    }

    #[test]
    fn json_of_a_node_is_its_very_text() {
        let text = "{\"b\": 1.50,\n \"a\":1e2 }";
        let reply = Reply { text: format!("{text}\n"), value: serde_json::from_str(text).unwrap_or_default() };
        assert_eq!(reply.json().ok().as_deref(), Some(text));
    }
}
