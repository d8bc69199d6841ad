//! `tol systems`.

use serde_json::Value;

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
            SystemsCommand::List => {
                let systems = client.get("/systems", &[])?;
                if let Some(stop) = halted_by(&systems) {
                    output::note(&format!("nothing is decided: {stop}; `tol resume --reason TEXT` releases it"));
                }
                output::print(format, &systems, &["name", "state", "lag", "restarts", "dead_letters"])
            }
            SystemsCommand::Show { name } => output::print(format, &client.get(&path(name), &[])?, &[]),
            SystemsCommand::Pause { name } => output::print(format, &client.post(&format!("{}/pause", path(name)), None)?, &[]),
            SystemsCommand::Resume { name } => output::print(format, &client.post(&format!("{}/resume", path(name)), None)?, &[]),
            SystemsCommand::Restart { name } => output::print(format, &client.post(&format!("{}/restart", path(name)), None)?, &[]),
        }
    }
}

/// What the systems that the emergency stop halts say of it.
fn halted_by(systems: &Value) -> Option<&str> {
    systems.as_array()?.iter().find(|system| system["state"] == "halted")?["reason"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_emergency_stop_is_told_where_it_halts_a_system() {
        let running = json!({"name": "a", "state": "running", "reason": "it failed once"});
        let halted = json!({"name": "b", "state": "halted", "reason": "emergency stop since noon by ann: fire"});
        assert_eq!(halted_by(&json!([running, halted])), Some("emergency stop since noon by ann: fire"));
        assert_eq!(halted_by(&json!([running])), None);
    }
}
