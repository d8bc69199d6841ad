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
        /// What it may be used for: publish, read, operate, admin, node (what nodes ask each other).
        #[arg(long, value_delimiter = ',', required = true)]
        scopes: Vec<Scope>,
    },
}

impl KeysCommand {
    /// Runs it.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn run(&self, format: Format) -> Result<(), Error> {
        let KeysCommand::New { name, scopes } = self;
        let key = generate_key()?;
        let hash = hash_key(key.expose());
        let scope_names: Vec<String> = scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
        let toml = format!("[[security.api_keys]]\nname = {}\nhash = \"{hash}\"\nscopes = [{}]", json!(name), scope_names.join(", "));
        match format {
            Format::Json => output::print(format, &json!({"key": key.expose(), "name": name, "hash": hash, "scopes": scopes, "toml": toml}), &[]),
            Format::Table => {
                output::line(&format!("{}\n\nThis key is shown only now. In the node's configuration:\n\n{toml}", key.expose()));
                Ok(())
            }
        }
    }
}
