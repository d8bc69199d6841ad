//! `tol systems`.

use crate::cli::client::{Client, encode};
use crate::cli::error::Error;
use crate::cli::output::{self, Format};

/// What to do with systems.
#[derive(Debug, clap::Subcommand)]
pub enum SystemsCommand {
    /// Lists all with their state.
    List,
    /// Shows one.
    Show {
        /// Its name.
        name: String,
    },
    /// Stops it after the input it is at; counts as planned downtime.
    Pause {
        /// Its name.
        name: String,
    },
    /// Lets a paused one go on.
    Resume {
        /// Its name.
        name: String,
    },
    /// Restarts it.
    Restart {
        /// Its name.
        name: String,
    },
}

impl SystemsCommand {
    /// Runs it.
    ///
    /// # Errors
    /// What the client says.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        let path = |name: &str| format!("/systems/{}", encode(name));
        match self {
            SystemsCommand::List => output::print(format, &client.get("/systems", &[])?, &["name", "state", "lag", "restarts", "dead_letters"]),
            SystemsCommand::Show { name } => output::print(format, &client.get(&path(name), &[])?, &[]),
            SystemsCommand::Pause { name } => output::print(format, &client.post(&format!("{}/pause", path(name)), None)?, &[]),
            SystemsCommand::Resume { name } => output::print(format, &client.post(&format!("{}/resume", path(name)), None)?, &[]),
            SystemsCommand::Restart { name } => output::print(format, &client.post(&format!("{}/restart", path(name)), None)?, &[]),
        }
    }
}
