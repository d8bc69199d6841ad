//! Evaluates flags for scripts: reads lines of `{"format", "definitions", "contexts", "flags"}`, writes for each a line with the answers, one list
//! a context. Definitions that are left out are those of the line before. `scripts/flag-differences` compares the answers with the SDKs'.

use std::io::{BufRead, Write};

use serde::Deserialize;
use serde_json::value::RawValue;
use tol_enterprise_feature_flag_system::evaluation::{Error, Format, Set};

#[derive(Deserialize)]
struct Line<'a> {
    format: String,
    #[serde(borrow)]
    definitions: Option<&'a RawValue>,
    #[serde(borrow)]
    contexts: Vec<&'a RawValue>,
    flags: Vec<String>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let now = chrono::Utc::now();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut set: Result<Set, Error> = Err(Error::Format(String::new()));
    for text in std::io::stdin().lock().lines() {
        let text = text?;
        let line: Line<'_> = serde_json::from_str(&text)?;
        if let Some(definitions) = line.definitions {
            set = line.format.parse::<Format>().and_then(|format| Set::compile(format, definitions.get()));
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
