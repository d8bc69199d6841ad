//! `tol config check`: each value with its origin.

use crate::cli::error::Error;
use crate::cli::output::{self, Format};
use crate::cli::run::ConfigArgs;

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Checks the configuration and prints each value with its origin; secrets as ***.
    Check(ConfigArgs),
}

impl ConfigCommand {
    /// Runs it.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn run(&self, format: Format) -> Result<(), Error> {
        let ConfigCommand::Check(arguments) = self;
        let lines = serde_json::to_value(arguments.load()?.explain()).map_err(|error| Error::Failed(error.to_string()))?;
        output::print(format, &lines, &["key", "value", "origin"])
    }
}
