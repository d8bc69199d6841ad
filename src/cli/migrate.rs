//! `tol migrate`: an embedded log into Kafka, positions kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tol_config::{Loaded, Sources};
use tol_kafka::migrate::{Progress, migrate};
use tol_kafka::{EmbeddedLog, EmbeddedOptions, EventLog, KafkaLog};

use crate::cli::backup::failed;
use crate::cli::error::Error;
use crate::cli::output::{self, Format};
use crate::cli::restore;
use crate::node::storage;

/// How long the brokers may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `tol migrate`.
#[derive(Debug, clap::Args)]
pub struct MigrateArgs {
    /// Data folder of the node that is to be moved; the node must be stopped. Nothing in it is changed but the file log/migrated, which says where the log is now.
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Bootstrap servers of the Kafka that is to have the log.
    #[arg(long, value_name = "BOOTSTRAP")]
    pub to_kafka: String,
    /// Configuration file (TOML): for log.kafka.settings (TLS, SASL, …).
    #[arg(long, value_name = "FILE", env = "TOL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Sets any key; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl MigrateArgs {
    /// Moves, compares, and says how many records are there.
    ///
    /// # Errors
    /// A node runs on the folder, Kafka does not answer, or positions would differ: nothing is appended then.
    pub fn run(&self, format: Format) -> Result<(), Error> {
        let mut sources = Sources::of_process(self.config.clone());
        crate::node::registry::describe_to(&mut sources);
        for pair in &self.set {
            sources.set_pair(pair)?;
        }
        let config = Loaded::load(&sources)?.config;
        let folder = self.from.join("log");
        if !folder.is_dir() {
            return Err(Error::Usage(format!("{} holds no embedded log; --from names a data folder", self.from.display())));
        }
        let _alone = restore::lock(&self.from)?;
        let (source, report) = EmbeddedLog::open(&folder, EmbeddedOptions::default()).map_err(failed)?;
        if let Some(cut) = report.cut {
            output::note(&format!("the end of an interrupted write was cut off: {} bytes of {}", cut.bytes, cut.file.display()));
        }
        let target = self.connect(&config)?;
        let bar = output::progress_bar(0, "moving {bar:30} {percent}% {per_sec}");
        let mut progress = |progress: Progress| {
            bar.set_length(progress.of);
            bar.set_position(progress.done);
        };
        let moved = migrate(&*source, &*target, &mut progress);
        let cluster = target.identity();
        source.close();
        target.close();
        let moved = moved.map_err(failed)?;
        bar.finish_and_clear();
        storage::note_migrated(&folder, &cluster).map_err(|error| Error::Failed(format!("{} cannot be written: {error}; migrate again", folder.display())))?;
        output::note(&format!(
            "start the node with --data {} --kafka {}: keys of personal data stay in that folder, caches are folded again",
            self.from.display(),
            self.to_kafka
        ));
        let answer = json!({"partitions": moved.partitions, "records": moved.found + moved.appended, "found": moved.found, "appended": moved.appended});
        output::print(format, &answer, &[])
    }

    fn connect(&self, config: &tol_config::Config) -> Result<Arc<KafkaLog>, Error> {
        let log = KafkaLog::connect(crate::node::kafka_options(config, &self.to_kafka)).map_err(failed)?;
        let until = Instant::now() + PATIENCE;
        while !log.health().ready {
            if Instant::now() > until {
                return Err(Error::NotReachable { url: self.to_kafka.clone(), why: log.health().detail });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(log)
    }
}
