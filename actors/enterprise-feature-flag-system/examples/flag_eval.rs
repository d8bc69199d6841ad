//! Evaluates flags for scripts: reads lines of `{"format", "definitions", "contexts", "flags"}`, writes for each a line with the answers, one list
//! a context. Definitions that are left out are those of the line before; with `"imported": true` they go through import and export first, as they do in a
//! node. `scripts/flag-differences` compares the answers with the SDKs'.

use std::io::{BufRead, Write};

use serde::Deserialize;
use serde_json::value::RawValue;
use tol_enterprise_feature_flag_system::definition::{FlagDefinitions, Mode};
use tol_enterprise_feature_flag_system::evaluation::{Error, Format, Set};

#[derive(Deserialize)]
struct Line<'a> {
    format: String,
    #[serde(borrow)]
    definitions: Option<&'a RawValue>,
    #[serde(borrow)]
    contexts: Vec<&'a RawValue>,
    flags: Vec<String>,
    #[serde(default)]
    imported: bool,
}

/// Definitions as a node gives them back.
fn through_import(format: Format, definitions: &str) -> Result<String, Box<dyn std::error::Error>> {
    let mut flags = FlagDefinitions::default();
    flags.import(format, definitions, Mode::Replace, "production")?;
    Ok(flags.export(format, "production").definitions.to_string())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = chrono::Utc::now();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut set: Result<Set, Error> = Err(Error::Format(String::new()));
    for text in std::io::stdin().lock().lines() {
        let text = text?;
        let line: Line<'_> = serde_json::from_str(&text)?;
        if let Some(definitions) = line.definitions {
            let format = line.format.parse::<Format>()?;
            let exported = if line.imported { through_import(format, definitions.get())? } else { definitions.get().to_owned() };
            set = Set::compile(format, &exported);
        }
        match &set {
            Ok(set) => {
                let flags: Vec<&str> = line.flags.iter().map(String::as_str).collect();
                let answers = line.contexts.iter().map(|context| set.evaluate(context.get(), &flags, now, 1)).collect::<Result<Vec<_>, _>>()?;
                serde_json::to_writer(&mut out, &answers)?;
            }
            Err(error) => serde_json::to_writer(&mut out, &serde_json::json!({"error": error.to_string()}))?,
        }
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}
