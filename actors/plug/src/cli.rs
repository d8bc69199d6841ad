//! Verbs of the command line. A verb talks to a running node over HTTP alone, so it works against any node.

use clap::{ArgMatches, Command};
use serde_json::Value;

/// A verb: `tol <name> …`.
pub struct Verb {
    /// Its options and subcommands.
    pub command: fn() -> Command,
    /// Does it.
    pub run: fn(&ArgMatches, &dyn Client) -> Result<(), Error>,
}

/// A node, as a verb reaches it.
pub trait Client {
    /// Sends a request with a JSON body or none; the answer's body where its status is 2xx.
    ///
    /// # Errors
    /// The node does not answer, or refuses.
    fn send(&self, method: &str, path: &str, query: &[(&str, String)], body: Option<Value>) -> Result<Value, Error>;
    /// Prints a value: as the node's JSON where `--output json` was given, else as `rows` make it.
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
