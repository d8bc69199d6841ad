//! Verbs of the command line. A verb talks to a running node over HTTP alone, so it works against any node.

use clap::{ArgMatches, Command};
use serde_json::Value;

/// A verb: `tol <name> …`.
pub struct Verb {
    /// Makes its options and subcommands; called when the command line is parsed.
    pub command: fn() -> Command,
    /// Runs the verb with its parsed arguments.
    pub run: fn(&ArgMatches, &dyn Client) -> Result<(), Error>,
}

/// The node that a verb talks to.
pub trait Client {
    /// Sends a request, with a JSON body or none, and returns the answer's body where its status is 2xx.
    ///
    /// # Errors
    /// The node does not answer, or refuses the request.
    fn send(&self, method: &str, path: &str, query: &[(&str, String)], body: Option<Value>) -> Result<Value, Error>;
    /// Prints a value: as JSON with `--output json`, else as the table that `rows` makes of it.
    fn print(&self, value: &Value, rows: &dyn Fn(&Value) -> Vec<Vec<String>>);
}

/// Why a verb ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// The node does not answer (exit code 4).
    #[error("{0}")]
    NotReachable(String),
    /// The node refused (exit code 5).
    #[error("{0}")]
    Refused(String),
    /// Anything else (exit code 1).
    #[error("{0}")]
    Failed(String),
}
