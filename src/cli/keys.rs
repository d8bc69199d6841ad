//! `tol keys new`: makes an API key.

use serde_json::json;
use tol_config::{generate_key, hash_key, scope};

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
        /// What it may be used for: publish, read, operate, admin, node (what nodes ask each other), and what systems declare, for
        /// example flags:evaluate; a wrong one is refused with the list of all.
        #[arg(long, value_delimiter = ',', required = true)]
        scopes: Vec<String>,
        /// What systems ask about the key, for example environment=staging; may be repeated.
        #[arg(long = "attribute", value_name = "NAME=VALUE")]
        attributes: Vec<String>,
        /// The same as --attribute environment=...
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
        let KeysCommand::New { name, scopes, attributes, environment } = self;
        let declared = crate::node::registry::scopes();
        let scopes = scopes.iter().map(|written| scope::resolve(written, &declared)).collect::<Result<Vec<_>, _>>()?;
        let mut pairs = Vec::new();
        for pair in attributes {
            pairs.push(pair.split_once('=').ok_or_else(|| Error::Usage(format!("\"{pair}\" is not name=value; write for example --attribute team=shop")))?);
        }
        pairs.extend(environment.iter().map(|environment| ("environment", environment.as_str())));
        let key = generate_key()?;
        let hash = hash_key(key.expose());
        let scope_names: Vec<String> = scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
        let attributes: Vec<String> = pairs.iter().map(|(name, value)| format!("{} = {}", json!(name), json!(value))).collect();
        let attributes = if attributes.is_empty() { String::new() } else { format!("\nattributes = {{{}}}", attributes.join(", ")) };
        let toml = format!("[[security.api_keys]]\nname = {}\nhash = \"{hash}\"\nscopes = [{}]{attributes}", json!(name), scope_names.join(", "));
        match format {
            Format::Json => output::print(format, &json!({"key": key.expose(), "name": name, "hash": hash, "scopes": scopes, "toml": toml}), &[]),
            Format::Table => {
                output::line(&format!("{}\n\nThis key is shown only now. In the node's configuration:\n\n{toml}", key.expose()));
                Ok(())
            }
        }
    }
}
