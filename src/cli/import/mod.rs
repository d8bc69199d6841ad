//! `tol import`: CSV rows to events.
//!
//! * [`mapping`] — which column becomes what; [`field`] and [`value`] — fields and their types; [`template`] — text and arithmetic with columns
//! * [`number`] — numbers as files write them; [`condition`] — which rows are wanted
//! * [`rows`] — reading; [`events`] — the events that rows make; [`state`] — where an interrupted import stood

pub mod condition;
pub mod events;
pub mod field;
pub mod mapping;
pub mod number;
pub mod rows;
pub mod state;
pub mod template;
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
use crate::cli::sender::{Sender, partly};
use events::{Events, Mapper};
use mapping::{Mapping, RowError};
use rows::Rows;
use state::State;

/// Warnings about bad rows that are printed; the rest is counted.
const SHOWN_BAD_ROWS: u64 = 20;

const EXAMPLES: &str = "Templates hold {column}, {line} (from 1) and {file}. Field types: string, int, number, bool, money:USD (decimal),
minor:USD (integer minor units), date:FORMAT and time:FORMAT (strftime), rfc3339, seconds, millis. A currency may be a column: money:{currency}.
Numbers may be computed: 'total:money:EUR={quantity}*{price}'. `name?` leaves an empty value out, `name+` sums the rows of one event up,
`items[].sku` is a list with a row an element; dots nest.

  tol import CDNOW_sample.txt --mapping config/imports/cdnow.toml
  tol import orders.csv --type commerce.order_placed.v1 --source /shop --subject 'customer/{customer}' --time 'date:%Y-%m-%d={day}' \\
      --field 'order_id={order}' --field 'customer_id={customer}' --field 'total:money:EUR={amount}' --id 'order-{order}'
  tol import lines.csv --mapping config/imports/order-lines.toml --where '{status}=paid' --decimal , --thousands . --zone Europe/Berlin";

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
    /// Only rows of which this holds: '{status}=paid|shipped', '{order}!=C*' (begins with C), '{amount}>0'; may be repeated, all must hold.
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<String>,
    /// Consecutive rows for which this gives the same become one event, e.g. '{order}'.
    #[arg(long, value_name = "TEMPLATE")]
    pub group_by: Option<String>,
    /// What stands before the decimals of numbers: `.` (the default) or `,`.
    #[arg(long)]
    pub decimal: Option<String>,
    /// What stands between the thousands of numbers: one character, or `space`; nothing by default.
    #[arg(long)]
    pub thousands: Option<String>,
    /// Time zone of dates and times that name none, e.g. Europe/Berlin or +02:00; UTC by default.
    #[arg(long)]
    pub zone: Option<String>,
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
        let mut import = Import { sender: Sender::new(client, self.batch as usize, self.retries), rows: 0, skipped: 0, unwanted: 0, args: self };
        let outcome = import.send_events(Events::new(rows, &mapper, start_line), &state, length);
        output::print(format, &import.result(), &[])?;
        let Import { sender, skipped, .. } = import;
        if let Err(error) = outcome {
            let error = mapping.explain(error);
            return Err(partly(error, &sender.sent, "import it again (--resume goes on where it stopped): what is there counts as a duplicate"));
        }
        state.clear();
        match skipped {
            0 => Ok(()),
            _ => Err(Error::Partly(format!("{skipped} rows were left out; mend them and import the file again: what is there counts as a duplicate"))),
        }
    }
}

struct Import<'a> {
    sender: Sender<'a>,
    /// Rows that became events, or should have.
    rows: u64,
    skipped: u64,
    unwanted: u64,
    args: &'a ImportArgs,
}

impl Import<'_> {
    /// What is printed of the import.
    fn result(&self) -> Value {
        let Import { rows, skipped, unwanted, sender: Sender { sent, .. }, .. } = self;
        let (accepted, duplicates, positions) = (sent.accepted, sent.duplicates, &sent.positions);
        let mut result =
            json!({"rows": rows, "accepted": accepted, "duplicates": duplicates, "skipped": skipped, "unwanted": unwanted, "positions": positions});
        if !sent.warnings.is_empty() {
            result["warnings"] = json!(sent.warnings);
        }
        result
    }

    fn send_events(&mut self, mut events: Events<'_, impl std::io::BufRead>, state: &State, length: u64) -> Result<(), Error> {
        let bar = output::progress_bar(length, "{bar:30} {percent}% {bytes_per_sec} {msg}");
        while let Some(mapped) = events.next() {
            self.unwanted = events.unwanted;
            let sent_batch = match mapped {
                Ok(mapped) => {
                    self.rows += mapped.rows;
                    bar.set_position(mapped.end_byte);
                    self.sender.push(mapped.line, mapped.event)?
                }
                Err(bad) => self.bad_row(&bad)?,
            };
            if sent_batch {
                state.save(self.sender.acknowledged_line);
                bar.set_message(format!("{} accepted, {} duplicates", self.sender.sent.accepted, self.sender.sent.duplicates));
            }
        }
        self.unwanted = events.unwanted;
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

fn dry_run(rows: Rows<impl std::io::BufRead>, mapper: &Mapper<'_>) -> Result<(), Error> {
    for mapped in Events::new(rows, mapper, 0) {
        output::line(&mapped.map_err(|bad| Error::Failed(bad.to_string()))?.event);
    }
    Ok(())
}
