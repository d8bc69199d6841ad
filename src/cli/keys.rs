//! `tol keys new`: makes an API key.

use serde_json::json;
use tol_config::{Scope, generate_key, hash_key};

use crate::cli::error::Error;
use crate::cli::output::{self, Format};

/// What to do with API keys.
#[derive(Debug, clap::Subcommand)]
pub enum KeysCommand {
    /// Makes a key: prints it once, and the lines to paste into the node's configuration.
    New {
        /// Who will use it.
        #[arg(long)]
        name: String,
        /// What it may be used for: publish, read, operate, admin, node (what nodes ask each other), evaluate (an SDK's answers
        /// about flags), definitions (flags with their rules).
        #[arg(long, value_delimiter = ',', required = true)]
        scopes: Vec<Scope>,
        /// The environment whose flags an SDK with this key is served; `production` without it.
        #[arg(long)]
        environment: Option<String>,
    },
}

impl KeysCommand {
    /// Runs it.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn run(&self, format: Format) -> Result<(), Error> {
        let KeysCommand::New { name, scopes, environment } = self;
        let key = generate_key()?;
        let hash = hash_key(key.expose());
        let scope_names: Vec<String> = scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
        let environment = environment.as_ref().map(|environment| format!("\nenvironment = {}", json!(environment))).unwrap_or_default();
        let toml = format!("[[security.api_keys]]\nname = {}\nhash = \"{hash}\"\nscopes = [{}]{environment}", json!(name), scope_names.join(", "));
        match format {
            Format::Json => output::print(format, &json!({"key": key.expose(), "name": name, "hash": hash, "scopes": scopes, "toml": toml}), &[]),
            Format::Table => {
                output::line(&format!("{}\n\nThis key is shown only now. In the node's configuration:\n\n{toml}", key.expose()));
                Ok(())
            }
        }
    }
}
