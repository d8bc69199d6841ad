//! `tol restore`: puts a backup of the embedded log and its blobs into a data folder.

use std::fs::File;
use std::path::{Path, PathBuf};

use tol_kafka::embedded;

use crate::cli::backup::{failed, log_folder, summary};
use crate::cli::error::Error;
use crate::cli::output::{self, Format};
use crate::cli::run::ConfigArgs;
use crate::node::{blobs, storage};

/// Arguments of `tol restore`.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// The folder that `tol backup` filled.
    pub source: PathBuf,
    /// Moves a log that is there aside (to `log.replaced-<n>`).
    #[arg(long)]
    pub replace: bool,
    /// The configuration; `--data` names the folder to restore into.
    #[command(flatten)]
    pub config: ConfigArgs,
}

impl RestoreArgs {
    /// Reads the backup with all checksums, copies it into its place, and says what is there now.
    ///
    /// # Errors
    /// A node runs there, there is a log already, or the backup is damaged: nothing is changed then.
    pub fn run(&self, format: Format) -> Result<(), Error> {
        let config = self.config.load()?.config;
        let data = &config.node.data;
        std::fs::create_dir_all(data).map_err(|error| Error::Failed(format!("{} cannot be made: {error}", data.display())))?;
        let _alone = lock(data)?;
        let (kept_blobs, blobs) = (self.source.join("blobs"), data.join("blobs"));
        blobs::backup::verify(&kept_blobs)?;
        let bar = output::progress_bar(0, "restoring {bar:30} segment {pos} of {len}");
        let mut progress = |done: u32, total: u32| {
            bar.set_length(total.into());
            bar.set_position(done.into());
        };
        let restored = embedded::restore(&self.source.join("log"), &log_folder(&config)?, self.replace, &mut progress).map_err(failed)?;
        bar.finish_and_clear();
        // Blobs that are there stay: each is what its name says.
        let copied_blobs = blobs::backup::copy(&kept_blobs, &blobs, false)?;
        if let Some(aside) = &restored.moved_aside {
            output::note(&format!("the log that was there is now in {}", aside.display()));
        }
        let keys = storage::keys_folder(&config);
        if !keys.is_dir() {
            output::note(&format!("put the keys of personal data into {} before the first start, or personal fields stay unreadable", keys.display()));
        }
        output::note("caches that are ahead of the restored log are noticed at the next start and folded again");
        output::print(format, &summary(&restored.copied, &copied_blobs), &[])
    }
}

/// Keeps a node from starting on the folder meanwhile.
///
/// # Errors
/// A node runs there.
pub fn lock(data: &Path) -> Result<File, Error> {
    let path = data.join("lock");
    let file = File::create(&path).map_err(|error| Error::Failed(format!("{} cannot be written: {error}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(Error::Failed(format!("{} is in use by another tol; stop it first", data.display()))),
    }
}
