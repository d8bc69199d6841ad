//! `tol import`: CSV rows to events.
//!
//! * [`mapping`] — which column becomes what; [`value`] — the types of fields; [`rows`] — reading; [`state`] — where an interrupted import stood

pub mod mapping;
pub mod rows;
pub mod state;
#[cfg(test)]
mod tests;
pub mod value;

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::output::{self, Format};
use crate::cli::sender::{Sender, Sent, partly};
use mapping::{Mapping, RowError};
use rows::Rows;
use state::State;

/// Warnings about bad rows that are printed; the rest is counted.
const SHOWN_BAD_ROWS: u64 = 20;

const EXAMPLES: &str = "Templates hold {column}, {line} (from 1) and {file}. Field types: string, int, number, bool, money:USD (decimal),
minor:USD (integer minor units), date:FORMAT and time:FORMAT (strftime, UTC), rfc3339, seconds, millis. `name?` leaves an empty value out; dots nest.

  tol import CDNOW_sample.txt --mapping config/imports/cdnow.toml
  tol import orders.csv --type commerce.order_placed.v1 --source /shop --subject 'customer/{customer}' --time 'date:%Y-%m-%d={day}' \\
      --field 'order_id={order}' --field 'customer_id={customer}' --field 'total:money:EUR={amount}' --id 'order-{order}'";

/// Arguments of `tol import`.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// The CSV file.
    pub file: PathBuf,
    /// Mapping file (TOML); flags win over it.
    #[arg(long, value_name = "FILE")]
    pub mapping: Option<PathBuf>,
    /// Event type, e.g. commerce.order_placed.v1.
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: Option<String>,
    /// Event source, e.g. /shop.
    #[arg(long)]
    pub source: Option<String>,
    /// Subject, e.g. 'customer/{customer_id}'.
    #[arg(long, visible_alias = "subject-template", value_name = "TEMPLATE")]
    pub subject: Option<String>,
    /// Event id. Without it, derived from source, file name and line.
    #[arg(long, value_name = "TEMPLATE")]
    pub id: Option<String>,
    /// When it happened, e.g. 'date:%Y%m%d={date}'.
    #[arg(long, value_name = "TYPE=TEMPLATE")]
    pub time: Option<String>,
    /// A field of the data, e.g. 'total:money:USD={dollars}'; may be repeated. None at all: every column as text.
    #[arg(long, value_name = "NAME[:TYPE]=TEMPLATE")]
    pub field: Vec<String>,
    /// One character, `tab`, or `whitespace`.
    #[arg(long)]
    pub delimiter: Option<String>,
    /// Names of the columns of a file without a header line.
    #[arg(long, value_delimiter = ',')]
    pub columns: Vec<String>,
    /// What to do with a row that cannot be mapped.
    #[arg(long, value_enum, default_value_t)]
    pub on_bad_row: OnBadRow,
    /// Events a request.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// How often a batch is tried again when the node is busy or away.
    #[arg(long, default_value_t = 20)]
    pub retries: u32,
    /// Goes on where an interrupted import of this file stood. Without it, it begins at the first line; what is there counts as a duplicate.
    #[arg(long)]
    pub resume: bool,
    /// File that remembers how far the import is; by default below $XDG_STATE_HOME/tol.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Prints the events instead of sending them.
    #[arg(long)]
    pub dry_run: bool,
}

/// What to do with a row that cannot be mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnBadRow {
    /// Stop there; what came before stays imported.
    #[default]
    Stop,
    /// Leave it out, tell about it, and end with exit code 6.
    Skip,
}

impl ImportArgs {
    /// Imports the file.
    ///
    /// # Errors
    /// A wrong mapping, a bad row, a refusal, a node that is away for too long.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        let mapping = Mapping::from_arguments(self)?;
        let file = File::open(&self.file).map_err(|error| Error::Failed(format!("{} cannot be read: {error}", self.file.display())))?;
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let rows = Rows::open(BufReader::new(file), &mapping)?;
        let mapper = mapping.mapper(&self.file, rows.columns())?;
        if self.dry_run {
            return dry_run(rows, &mapper);
        }
        let state = State::at(self.state.clone(), client.base(), &self.file, &mapping, length)?;
        let start_line = if self.resume { state.load()? } else { 0 };
        let mut import = Import { sender: Sender::new(client, self.batch as usize, self.retries), rows: 0, skipped: 0, args: self };
        let outcome = import.send_rows(rows, &mapper, &state, start_line, length);
        let Import { sender, rows, skipped, .. } = import;
        output::print(format, &result(rows, skipped, &sender.sent), &[])?;
        if let Err(error) = outcome {
            return Err(partly(error, &sender.sent, "import it again (--resume goes on where it stopped): what is there counts as a duplicate"));
        }
        state.clear();
        match skipped {
            0 => Ok(()),
            _ => Err(Error::Partly(format!("{skipped} rows were left out; mend them and import the file again: what is there counts as a duplicate"))),
        }
    }
}

/// What is printed of an import.
fn result(rows: u64, skipped: u64, sent: &Sent) -> Value {
    let mut result = json!({"rows": rows, "accepted": sent.accepted, "duplicates": sent.duplicates, "skipped": skipped, "positions": sent.positions});
    if !sent.warnings.is_empty() {
        result["warnings"] = json!(sent.warnings);
    }
    result
}

struct Import<'a> {
    sender: Sender<'a>,
    rows: u64,
    skipped: u64,
    args: &'a ImportArgs,
}

impl Import<'_> {
    fn send_rows(&mut self, rows: Rows<impl std::io::BufRead>, mapper: &mapping::Mapper<'_>, state: &State, start_line: u64, length: u64) -> Result<(), Error> {
        let bar = output::progress_bar(length, "{bar:30} {percent}% {bytes_per_sec} {msg}");
        let mut done_bytes = 0;
        for row in rows {
            let mapped = row.and_then(|row| {
                done_bytes = row.end_byte;
                if row.line <= start_line { Ok(None) } else { mapper.event(&row).map(|event| Some((row.line, event))) }
            });
            let sent_batch = match mapped {
                Ok(None) => continue,
                Ok(Some((line, event))) => {
                    self.rows += 1;
                    self.sender.push(line, event)?
                }
                Err(bad) => self.bad_row(&bad)?,
            };
            if sent_batch {
                state.save(self.sender.acknowledged_line);
                bar.set_position(done_bytes);
                bar.set_message(format!("{} accepted, {} duplicates", self.sender.sent.accepted, self.sender.sent.duplicates));
            }
        }
        self.sender.flush()?;
        bar.finish_and_clear();
        Ok(())
    }

    fn bad_row(&mut self, bad: &RowError) -> Result<bool, Error> {
        let message = format!("{}: {bad}", self.args.file.display());
        if self.args.on_bad_row == OnBadRow::Stop {
            self.sender.flush()?;
            return Err(Error::Failed(format!("{message}; mend the row, or leave such rows out with --on-bad-row skip")));
        }
        self.rows += 1;
        self.skipped += 1;
        if self.skipped <= SHOWN_BAD_ROWS {
            output::note(&format!("left out: {message}"));
        }
        Ok(false)
    }
}

fn dry_run(rows: Rows<impl std::io::BufRead>, mapper: &mapping::Mapper<'_>) -> Result<(), Error> {
    for row in rows {
        let event = row.and_then(|row| mapper.event(&row)).map_err(|bad| Error::Failed(bad.to_string()))?;
        output::line(&event);
    }
    Ok(())
}
