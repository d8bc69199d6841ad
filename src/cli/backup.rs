//! `tol backup`: a consistent copy of the embedded log and of the blobs that its events name, made from their files, whether a node runs or not.

use std::path::{Path, PathBuf};

use serde_json::json;
use tol_config::{Config, LogKind};
use tol_kafka::embedded::{self, Copied};
use tol_plug::blobs::Error as BlobError;

use crate::cli::error::Error;
use crate::cli::output::{self, Format};
use crate::cli::run::ConfigArgs;
use crate::node::{blobs, storage};

/// Arguments of `tol backup`.
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// Folder for the copy: empty, or an earlier backup of the same log, which is brought up to date.
    pub destination: PathBuf,
    /// Links blobs, and segments that get no more batches, instead of copying them, where both folders lie on one file system: free, but one bad disk takes both.
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
        LogKind::Kafka => Err(Error::Failed(
            "the log of this configuration is Kafka: its topics are the data, copy them with Kafka's own tools, and the folder blobs of each node beside them"
                .into(),
        )),
    }
}

impl BackupArgs {
    /// Copies, and says what the copy holds.
    ///
    /// # Errors
    /// What the copy does not allow.
    pub fn run(&self, format: Format) -> Result<(), Error> {
        let config = self.config.load()?.config;
        let folder = log_folder(&config)?;
        if !folder.is_dir() {
            let data = config.node.data.display();
            return Err(Error::Usage(format!(
                "{data} holds no embedded log (there is no folder {}); name the node's data folder with --data",
                folder.display()
            )));
        }
        let bar = output::progress_bar(0, "copying {bar:30} segment {pos} of {len}");
        let mut progress = |done: u32, total: u32| {
            bar.set_length(total.into());
            bar.set_position(done.into());
        };
        let copied = embedded::backup(&folder, &self.destination.join("log"), self.link, &mut progress).map_err(failed)?;
        bar.finish_and_clear();
        // After the log: each blob that an event of the copy names was there before the event.
        let blobs = blobs::backup::copy(&config.node.data.join("blobs"), &self.destination.join("blobs"), self.link)?;
        write_manifest(&self.destination, &copied, blobs.blobs)?;
        output::note(&format!(
            "the keys of personal data ({}) are not in it; keep a copy of them in another place, or erasing a person will not last",
            storage::keys_folder(&config).display()
        ));
        output::print(format, &summary(&copied, &blobs), &[])
    }
}

impl From<BlobError> for Error {
    fn from(error: BlobError) -> Self {
        Error::Failed(error.to_string())
    }
}

/// An error of the log as one of the command line.
pub fn failed(error: tol_kafka::Error) -> Error {
    Error::Failed(error.to_string())
}

/// A copy as people and programs see it.
pub fn summary(copied: &Copied, blobs: &blobs::backup::Copied) -> serde_json::Value {
    json!({
        "log": copied.identity,
        "records": copied.records,
        "segments": copied.segments,
        "copied_bytes": copied.copied_bytes + blobs.copied_bytes,
        "segments_spared": copied.spared,
        "blobs": blobs.blobs,
        "blobs_spared": blobs.spared,
    })
}

/// Says beside the copy what it holds: for people, nothing reads it back.
fn write_manifest(destination: &Path, copied: &Copied, blobs: u64) -> Result<(), Error> {
    let ends: serde_json::Map<String, serde_json::Value> = copied.ends.iter().map(|(of, end)| (of.to_string(), (*end).into())).collect();
    let manifest = json!({"made": chrono::Utc::now().to_rfc3339(), "log": copied.identity, "records": copied.records, "ends": ends, "blobs": blobs});
    let path = destination.join("backup.json");
    std::fs::write(&path, format!("{manifest:#}\n")).map_err(|error| Error::Failed(format!("{} cannot be written: {error}", path.display())))
}
