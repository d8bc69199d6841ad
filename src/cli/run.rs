//! `tol run`, and the flags that make a configuration.

use std::path::PathBuf;

use tol_config::{Config, Loaded, Sources};

use crate::cli::error::Error;

/// Where a configuration comes from: shared by `run`, `config check` and `doctor`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "TOL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Data folder (node.data).
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address and port (http.listen); port 0 takes a free one.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Kafka bootstrap servers (log.kafka.bootstrap); without them the embedded log is used.
    #[arg(long, value_name = "BOOTSTRAP")]
    pub kafka: Option<String>,
    /// Sets any key; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// Lays file, environment and flags over the defaults.
    ///
    /// # Errors
    /// What `tol-config` refuses.
    pub fn load(&self) -> Result<Loaded, Error> {
        let mut sources = Sources::of_process(self.config.clone());
        crate::node::registry::describe_to(&mut sources);
        for pair in &self.set {
            sources.set_pair(pair)?;
        }
        if let Some(data) = &self.data {
            sources.set("node.data", data.display().to_string(), "--data");
        }
        if let Some(listen) = &self.listen {
            sources.set("http.listen", listen, "--listen");
        }
        if let Some(kafka) = &self.kafka {
            sources.set("log.kafka.bootstrap", kafka, "--kafka");
        }
        Ok(Loaded::load(&sources)?)
    }
}

/// Arguments of `tol run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

impl RunArgs {
    /// Runs the node until it is told to end.
    ///
    /// # Errors
    /// A wrong configuration, or what ended the node.
    pub fn run(self) -> Result<(), Error> {
        let loaded = self.config.load()?;
        start(loaded.config).map_err(|error| Error::Failed(format!("{error:#}")))
    }
}

/// Starts the node and blocks until it has ended.
///
/// # Errors
/// What ended the node.
pub fn start(config: Config) -> anyhow::Result<()> {
    crate::node::run(config)
}
