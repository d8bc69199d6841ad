//! Opens what a node keeps on disk or with a broker: its folder, the log with its topics, the store, the keys.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tol_config::LogKind;
use tol_events::kinds;
use tol_events::personal::{FileKeyStore, Key, KeyStore, Sharing};
use tol_kafka::{EmbeddedLog, EmbeddedOptions, EventLog, KafkaLog, TopicSpec};
use tol_projections::{RocksStore, StoreOptions};
use tol_runtime::admission::Kinds;
use tol_runtime::owner::inputs_under_other;
use tol_runtime::supervision::Registered;

use super::Node;
use super::kafka::kafka_options;

/// One process a folder.
pub(super) fn lock_folder(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("{} cannot be written; check the folder's owner", path.display()))?;
    if file.try_lock().is_err() {
        bail!("{} is in use by another tol; stop it, or choose another folder with --data", folder.display());
    }
    Ok(file)
}

pub(super) fn open_log(node: &Node) -> anyhow::Result<Arc<dyn EventLog>> {
    let config = &node.config;
    if let (LogKind::Kafka, Some(bootstrap)) = (config.log_kind(), &config.log.kafka.bootstrap) {
        let log: Arc<dyn EventLog> = KafkaLog::connect(kafka_options(config, bootstrap))?;
        while !log.health().ready {
            node.say(format!("waiting for Kafka at {bootstrap}: {}", log.health().detail));
            std::thread::sleep(Duration::from_millis(500));
        }
        return Ok(log);
    }
    let options = EmbeddedOptions { segment_bytes: config.log.segment_bytes, sync: config.log.sync, ..EmbeddedOptions::default() };
    let (log, report) = EmbeddedLog::open(node.data().join("log"), options)?;
    if report.cut.is_some() {
        tracing::warn!(
            ?report,
            "the log's end does not read and was cut off; unless the disk lost what it had confirmed, what was acknowledged lies before it"
        );
    }
    Ok(log)
}

/// Which topic the facts of each kind lie in. The kinds that `read` topics are declared for get their place now, so that those who read a
/// topic know whether all of its kinds lie there; all others when they are met.
pub(super) fn open_kinds(node: &Node, log: &Arc<dyn EventLog>, read: &BTreeSet<&str>) -> anyhow::Result<Kinds> {
    let config = &node.config;
    let opened = until_available(node, || {
        let opened = Kinds::open(log.clone(), config.log.partitions, &config.node.name)?;
        opened.place(read.iter().flat_map(|topic| kinds::kinds_of(topic)).copied())?;
        Ok(opened)
    })?;
    for topic in read.iter().filter(|topic| opened.is_split(topic)) {
        tracing::warn!(topic, "some of its kinds were met before they were declared; their facts stay in facts.other, which is read too");
    }
    Ok(opened)
}

/// The topics that the registered systems read some kinds of which lie under `facts.other`; that one is added to what they read.
pub(super) fn split_topics(registered: &mut [Registered], kinds: &Kinds) -> Vec<Arc<str>> {
    let read: BTreeSet<&str> = registered.iter().flat_map(|system| &system.description.inputs).map(|input| input.topic).collect();
    let split: Vec<Arc<str>> = read.into_iter().filter(|topic| kinds.is_split(topic)).map(Into::into).collect();
    for system in registered {
        let more = inputs_under_other(&system.description.inputs, &split);
        system.description.inputs.extend(more);
    }
    split
}

/// Tries until the log is available.
pub(super) fn until_available<T>(node: &Node, mut attempt: impl FnMut() -> Result<T, tol_kafka::Error>) -> anyhow::Result<T> {
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error @ (tol_kafka::Error::Unavailable(_) | tol_kafka::Error::DiskFull(_))) if !node.closing.load(Ordering::Acquire) => {
                node.say(format!("waiting for the log: {error}"));
                std::thread::sleep(Duration::from_millis(500));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes the topics that are missing, beside those of facts, which [`Kinds`] makes.
pub(super) fn ensure_topics(node: &Node, log: &dyn EventLog, registered: &[Registered]) -> anyhow::Result<()> {
    let config = &node.config;
    let partitions = config.log.partitions;
    let spec = |name: &str, partitions, retention| TopicSpec { name: name.to_owned(), partitions, retention };
    let mut topics: Vec<TopicSpec> = Vec::new();
    for name in registered.iter().map(|system| system.description.name) {
        topics.push(spec(&format!("{name}.events"), partitions, None));
        topics.push(spec(&format!("{name}.dead-letters"), partitions, None));
    }
    // What a system reads of another one is there also while that one is disabled.
    let read = registered.iter().flat_map(|system| &system.description.inputs).map(|input| input.topic);
    let others: BTreeSet<&str> = read.filter(|topic| topic.ends_with(".events") && !topics.iter().any(|known| known.name == *topic)).collect();
    topics.extend(others.into_iter().map(|topic| spec(topic, partitions, None)));
    topics.extend([spec("clock", 1, None), spec("control", 1, None), spec("ownership", partitions, None)]);
    if config.log_kind() == LogKind::Kafka {
        topics.push(spec("inbox", partitions, Some(Duration::from_secs(u64::from(config.log.kafka.inbox_retention_hours) * 3_600))));
    }
    until_available(node, || log.ensure_topics(&topics))
}

/// Opens the caches; with a full disk, as soon as there is room.
pub(super) fn open_store(node: &Node, options: &StoreOptions) -> anyhow::Result<Arc<RocksStore>> {
    loop {
        match RocksStore::open(&node.data().join("projections"), options) {
            Ok(store) => return Ok(Arc::new(store)),
            Err(full @ tol_projections::Error::Full(_)) if !node.closing.load(Ordering::Acquire) => {
                node.say(format!("waiting for disk: {full}"));
                std::thread::sleep(Duration::from_millis(500));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Keys of persons, wrapped by the configured master key; without one, by a key file beside them (mode 0600). In the shared folder, where one is
/// configured.
pub(super) fn open_keys(node: &Node) -> anyhow::Result<Arc<dyn KeyStore>> {
    let shared = node.config.security.keys.clone();
    let sharing = if shared.is_some() { Sharing::Shared } else { Sharing::Alone };
    let folder = shared.unwrap_or_else(|| node.data().join("keys"));
    std::fs::create_dir_all(&folder)?;
    let master = match node.config.security.master_key_bytes()? {
        Some(bytes) => Key::new(bytes),
        None => {
            use std::io::Write as _;
            use std::os::unix::fs::OpenOptionsExt as _;
            let path = folder.join("master.key");
            if !path.exists() {
                let mut bytes = [0u8; 32];
                bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
                bytes[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
                let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
                file.write_all(blake3::hash(&bytes).as_bytes())?;
                file.sync_all()?;
                File::open(&folder)?.sync_all()?;
            }
            let bytes: [u8; 32] = std::fs::read(&path)?
                .try_into()
                .map_err(|_| anyhow::anyhow!("{} does not hold 32 bytes; restore it, without it personal data cannot be read", path.display()))?;
            Key::new(bytes)
        }
    };
    Ok(Arc::new(FileKeyStore::open(&folder, master, sharing)?))
}
