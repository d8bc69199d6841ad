//! `tol stop` and `tol resume`: the emergency stop.

use serde_json::json;

use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::output::{self, Format};

/// Arguments of `tol stop`.
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    /// Why; it is recorded.
    #[arg(long, required_unless_present = "status")]
    pub reason: Option<String>,
    /// Only tells whether the stop is engaged.
    #[arg(long, conflicts_with = "reason")]
    pub status: bool,
}

/// Arguments of `tol resume`.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// Why; it is recorded.
    #[arg(long)]
    pub reason: String,
}

impl StopArgs {
    /// Engages the stop, or tells its state.
    ///
    /// # Errors
    /// What the client says.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        let answer = match &self.reason {
            Some(reason) => client.post("/emergency-stop", Some(&json!({"reason": reason})))?,
            None => client.get("/emergency-stop", &[])?,
        };
        output::print(format, &answer, &[])
    }
}

impl ResumeArgs {
    /// Releases the stop.
    ///
    /// # Errors
    /// What the client says.
    pub fn run(&self, client: &Client, format: Format) -> Result<(), Error> {
        output::print(format, &client.post("/emergency-stop/release", Some(&json!({"reason": self.reason})))?, &[])
    }
}
