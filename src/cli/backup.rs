//! `tol backup`: a consistent copy of the embedded log, made from its files, whether a node runs or not.

use std::path::{Path, PathBuf};

use serde_json::json;
use tol_config::{Config, LogKind};
use tol_kafka::embedded::{self, Copied};

use crate::cli::error::Error;
use crate::cli::output::{self, Format};
use crate::cli::run::ConfigArgs;

/// Arguments of `tol backup`.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// Folder for the copy: empty, or an earlier backup of the same log, which is brought up to date.
    pub destination: PathBuf,
    /// Links segments that get no more batches instead of copying them, where both folders lie on one file system: free, but one bad disk takes both.
    #[arg(long)]
    pub link: bool,
    /// The configuration; `--data` names the node's folder.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// The folder of the embedded log of a configuration.
///
/// # Errors
/// [`Error::Failed`] where the log is Kafka.
pub fn log_folder(config: &Config) -> Result<PathBuf, Error> {
    match config.log_kind() {
        LogKind::Embedded => Ok(config.node.data.join("log")),
        LogKind::Kafka => Err(Error::Failed("the log of this configuration is Kafka: its topics are the data, copy them with Kafka's own tools".into())),
    }
}

impl BackupArgs {
    /// Copies, and says what the copy holds.
    ///
    /// # Errors
    /// What the copy does not allow.
    pub fn run(&self, format: Format) -> Result<(), Error> {
        let config = self.config.load()?.config;
        let bar = output::progress_bar(0, "copying {bar:30} segment {pos} of {len}");
        let mut progress = |done: u32, total: u32| {
            bar.set_length(total.into());
            bar.set_position(done.into());
        };
        let copied = embedded::backup(&log_folder(&config)?, &self.destination.join("log"), self.link, &mut progress).map_err(failed)?;
        bar.finish_and_clear();
        write_manifest(&self.destination, &copied)?;
        output::note(&format!(
            "the keys of personal data ({}) are not in it; keep a copy of them in another place, or erasing a person will not last",
            config.node.data.join("keys").display()
        ));
        output::print(format, &summary(&copied), &[])
    }
}

/// An error of the log as one of the command line.
pub fn failed(error: tol_kafka::Error) -> Error {
    Error::Failed(error.to_string())
}

/// A copy as people and programs see it.
pub fn summary(copied: &Copied) -> serde_json::Value {
    json!({
        "log": copied.identity,
        "records": copied.records,
        "segments": copied.segments,
        "copied_bytes": copied.copied_bytes,
        "segments_spared": copied.spared,
    })
}

/// Says beside the copy what it holds: for people, nothing reads it back.
fn write_manifest(destination: &Path, copied: &Copied) -> Result<(), Error> {
    let ends: serde_json::Map<String, serde_json::Value> = copied.ends.iter().map(|(of, end)| (of.to_string(), (*end).into())).collect();
    let manifest = json!({"made": chrono::Utc::now().to_rfc3339(), "log": copied.identity, "records": copied.records, "ends": ends});
    let path = destination.join("backup.json");
    std::fs::write(&path, format!("{manifest:#}\n")).map_err(|error| Error::Failed(format!("{} cannot be written: {error}", path.display())))
}
