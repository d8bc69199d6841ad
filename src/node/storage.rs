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

/// Says in the folder of an embedded log that all of it is on Kafka: the identity of that cluster.
const MIGRATED: &str = "migrated";

/// Notes in an embedded log's folder that the cluster of this identity holds all of it.
pub(crate) fn note_migrated(log_folder: &Path, identity: &str) -> std::io::Result<()> {
    std::fs::write(log_folder.join(MIGRATED), identity)
}

/// Refuses a node on Kafka in a folder whose embedded log was not moved there: it would begin without its past, and the past would stay behind unseen.
/// `cluster` is the identity of the Kafka, once that is known.
pub(super) fn refuse_embedded(data: &Path, bootstrap: &str, cluster: Option<&str>) -> anyhow::Result<()> {
    let folder = data.join("log");
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    if !files.into_iter().any(|file| file.path().extension().is_some_and(|extension| extension == "log")) {
        return Ok(());
    }
    let (data, move_it) = (data.display(), format!("`tol migrate --from {} --to-kafka {bootstrap}` moves it there, positions kept", data.display()));
    match (std::fs::read_to_string(folder.join(MIGRATED)), cluster) {
        (Err(_), _) => bail!("{data} holds an embedded log, which a node on Kafka does not read; {move_it}, or choose another folder with --data"),
        (Ok(moved_to), Some(cluster)) if moved_to.trim() != cluster => bail!(
            "the embedded log in {data} was moved to the Kafka cluster {}, and {bootstrap} is the cluster {cluster}; give the other's --kafka, or {move_it}",
            moved_to.trim()
        ),
        (Ok(_), _) => Ok(()),
    }
}

pub(super) fn open_log(node: &Node) -> anyhow::Result<Arc<dyn EventLog>> {
    let config = &node.config;
    if let (LogKind::Kafka, Some(bootstrap)) = (config.log_kind(), &config.log.kafka.bootstrap) {
        refuse_embedded(&node.data(), bootstrap, None)?;
        let log: Arc<dyn EventLog> = KafkaLog::connect(kafka_options(config, bootstrap))?;
        while !log.health().ready {
            node.say(format!("waiting for Kafka at {bootstrap}: {}", log.health().detail));
            std::thread::sleep(Duration::from_millis(500));
        }
        refuse_embedded(&node.data(), bootstrap, Some(&log.identity()))?;
        return Ok(log);
    }
    // It grows from here on: what was moved is no longer all of it.
    match std::fs::remove_file(node.data().join("log").join(MIGRATED)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context("the note that the log was moved to Kafka cannot be removed"),
        _ => {}
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

/// The folder of the keys of personal data.
pub(crate) fn keys_folder(config: &tol_config::Config) -> std::path::PathBuf {
    config.security.keys.clone().unwrap_or_else(|| config.node.data.join("keys"))
}

/// Keys of persons, wrapped by the configured master key; without one, by a key file beside them (mode 0600). In the shared folder, where one is
/// configured.
pub(super) fn open_keys(node: &Node) -> anyhow::Result<Arc<dyn KeyStore>> {
    let sharing = if node.config.security.keys.is_some() { Sharing::Shared } else { Sharing::Alone };
    let folder = keys_folder(&node.config);
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn an_embedded_log_that_was_not_moved_keeps_a_node_off_kafka() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path();
        let refused = |cluster| refuse_embedded(data, "broker:9092", cluster).map_err(|error| error.to_string());
        assert_eq!(refused(None), Ok(()), "an empty folder");
        let (log, report) = EmbeddedLog::open(data.join("log"), EmbeddedOptions::default()).unwrap();
        log.close();
        drop((log, report));
        let why = refused(None).unwrap_err();
        assert!(why.contains(&format!("`tol migrate --from {} --to-kafka broker:9092`", data.display())), "{why}");
        note_migrated(&data.join("log"), "cluster-a").unwrap();
        assert_eq!((refused(None), refused(Some("cluster-a"))), (Ok(()), Ok(())));
        let why = refused(Some("cluster-b")).unwrap_err();
        assert!(why.contains("cluster-a") && why.contains("cluster-b"), "{why}");
    }
}
