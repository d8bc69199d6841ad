//! `tol doctor`: checks this machine without a node.

use std::fs;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::json;
use tol_config::{Config, LogKind};
use tol_system::{AnySystem, contract};
use ureq::http::Method;

use crate::cli::client::Client;
use crate::cli::error::Error;
use crate::cli::output::{self, Format};
use crate::cli::run::ConfigArgs;
use crate::node::presence::Presence;
use crate::node::registry;

/// Below this much free disk a node soon stops taking facts.
const LEAST_FREE_BYTES: u64 = 1 << 30;
/// Segments, RocksDB files, Kafka connections and clients at once.
const LEAST_OPEN_FILES: u64 = 4_096;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// 2025-01-01: a clock before it was never set.
const EARLIEST_PLAUSIBLE_SECS: u64 = 1_735_689_600;

/// Arguments of `tol doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    /// `ok`, `warning` or `failed`.
    result: &'static str,
    detail: String,
}

/// What a check found: fine, worth knowing, or in the way.
enum Finding {
    Ok(String),
    Warning(String),
    Failed(String),
}
use Finding::{Failed, Warning};

impl DoctorArgs {
    /// Runs all checks and prints them.
    ///
    /// # Errors
    /// [`Error::Differs`] when one failed.
    pub fn run(&self, key: Option<&str>, format: Format) -> Result<(), Error> {
        let loaded = self.config.load();
        let config = loaded.as_ref().map(|loaded| loaded.config.clone()).unwrap_or_default();
        let configuration = match &loaded {
            Ok(_) => {
                Finding::Ok(format!("{} log, {} partitions", if config.log_kind() == LogKind::Kafka { "Kafka" } else { "embedded" }, config.log.partitions))
            }
            Err(error) => Failed(error.to_string()),
        };
        // This folder's own node: what it holds is in nobody's way.
        let own = Presence::of(&config.node.data);
        let mut findings = vec![
            ("configuration", configuration),
            ("master key", master_key(&config)),
            ("data folder", data_folder(&config.node.data)),
            ("free disk", free_disk(&config.node.data)),
            ("lock", lock(&config.node.data, own.as_ref())),
            ("log files", log_files(&config, own.is_some())),
            ("port", port(&config.http.listen, own.as_ref())),
            ("open files", open_files()),
            ("clock", clock(&config.node.data)),
            ("systems", registry::systems(&config).map_or_else(|error| Failed(error.to_string()), |all| systems(&all))),
        ];
        if let Some(own) = &own {
            findings.push(("node", node(own, key)));
        }
        for server in config.log.kafka.bootstrap.iter().flat_map(|bootstrap| bootstrap.split(',')) {
            findings.push(("kafka", kafka(server.trim())));
        }
        findings.push(("java", java()));
        let checks: Vec<Check> = findings.into_iter().map(|(check, finding)| Check::new(check, finding)).collect();
        let failed = checks.iter().filter(|check| check.result == "failed").count();
        output::print(format, &json!(checks), &["check", "result", "detail"])?;
        if failed > 0 {
            return Err(Error::Differs(format!("{failed} of {} checks failed", checks.len())));
        }
        Ok(())
    }
}

impl Check {
    fn new(check: &'static str, finding: Finding) -> Self {
        let (result, detail) = match finding {
            Finding::Ok(detail) => ("ok", detail),
            Warning(detail) => ("warning", detail),
            Failed(detail) => ("failed", detail),
        };
        Self { check, result, detail }
    }
}

fn master_key(config: &Config) -> Finding {
    match config.security.master_key_bytes() {
        Ok(Some(_)) => Finding::Ok("configured".into()),
        Ok(None) => Warning("none configured; set security.master_key_file before personal data comes in".into()),
        Err(error) => Failed(error.to_string()),
    }
}

/// The folder, or the nearest parent that exists: what will be written to.
fn existing(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    absolute.ancestors().find(|ancestor| ancestor.is_dir()).map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
}

fn data_folder(folder: &Path) -> Finding {
    let target = existing(folder);
    let probe = target.join(format!(".tol-doctor-{}", std::process::id()));
    let written = fs::write(&probe, b"probe").and_then(|()| fs::read(&probe));
    let _absent = fs::remove_file(&probe);
    match written {
        Ok(content) if content == b"probe" => Finding::Ok(format!("{} can be written", target.display())),
        Ok(_) => Failed(format!("{} does not read back what was written; check the disk", target.display())),
        Err(error) => Failed(format!("{} cannot be written: {error}; choose another with --data", target.display())),
    }
}

fn free_disk(folder: &Path) -> Finding {
    let target = existing(folder);
    let output = Command::new("df").arg("-Pk").arg(&target).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    match free_bytes(&text) {
        Some(free) if free >= LEAST_FREE_BYTES => Finding::Ok(format!("{} MB free", free >> 20)),
        Some(free) => Failed(format!("only {} MB free at {}; a node needs at least {} MB", free >> 20, target.display(), LEAST_FREE_BYTES >> 20)),
        None => Warning("df does not tell the free space here".into()),
    }
}

/// The fourth column of the second line of `df -Pk` (POSIX), in bytes.
fn free_bytes(df: &str) -> Option<u64> {
    let kilobytes: u64 = df.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    kilobytes.checked_mul(1_024)
}

/// Tries the lock files of the folder and those below it (the embedded log's, RocksDB's): a node holds them while it runs.
fn lock(folder: &Path, own: Option<&Presence>) -> Finding {
    if let Some(own) = own {
        return Finding::Ok(format!("held by the node of this folder (process {}, {})", own.pid, own.url));
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = std::iter::once(folder.to_owned()).chain(entries.filter(|path| path.is_dir()));
    for path in folders.flat_map(|folder| ["lock", "LOCK"].map(|name| folder.join(name))).filter(|path| path.is_file()) {
        let held = fs::File::open(&path).map(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)));
        if matches!(held, Ok(true)) {
            return Failed(format!("{} is held: another node runs on this folder; end it, or choose another folder with --data", path.display()));
        }
    }
    Finding::Ok("no other node runs on this folder".into())
}

/// Whether the node that runs on this folder can do its work.
fn node(own: &Presence, key: Option<&str>) -> Finding {
    let answer = Client::new(&own.url, key).and_then(|client| {
        let answer = client.send(Method::GET, "/readyz", &[], None)?;
        Ok((answer.status, serde_json::from_str::<serde_json::Value>(&answer.body).unwrap_or_default()))
    });
    match answer {
        Ok((200, _)) => Finding::Ok(format!("{} runs and is ready", own.url)),
        Ok((status, body)) => {
            let checks = body["checks"].as_array().into_iter().flatten().filter(|check| check["ok"] == false);
            let why: Vec<String> =
                checks.map(|check| format!("{}: {}", check["name"].as_str().unwrap_or("?"), check["detail"].as_str().unwrap_or("?"))).collect();
            Failed(format!("{} runs and is not ready (status {status}): {}", own.url, why.join("; ")))
        }
        Err(error) => Failed(format!("process {} holds this folder and does not answer: {error}", own.pid)),
    }
}

/// Reads the whole embedded log with all checksums. While a node writes it, its end may be half a write.
fn log_files(config: &Config, is_written: bool) -> Finding {
    let folder = config.node.data.join("log");
    if config.log_kind() == LogKind::Kafka || !folder.is_dir() {
        return Finding::Ok("there is no embedded log here".into());
    }
    match tol_kafka::embedded::inspect(&folder) {
        Ok(found) if !found.damages.is_empty() => {
            let damages: Vec<String> = found.damages.iter().map(ToString::to_string).collect();
            Failed(format!("{}; bring these files back with tol restore, nothing past them is served", damages.join("; ")))
        }
        Ok(found) => match found.torn {
            Some((file, at, bytes)) if !is_written => Warning(format!(
                "the last write was interrupted: {} does not read from byte {at} on ({bytes} bytes); the next start cuts that off and keeps it beside",
                file.display()
            )),
            _ => Finding::Ok(format!("{} records in {} segments, every checksum matches", found.records, found.segments)),
        },
        Err(error) => Failed(error.to_string()),
    }
}

fn port(listen: &str, own: Option<&Presence>) -> Finding {
    let port_of = |address: &str| address.trim_end_matches('/').rsplit(':').next().map(str::to_owned);
    match TcpListener::bind(listen) {
        Ok(_) => Finding::Ok(format!("{listen} is free")),
        Err(_) if own.is_some_and(|own| port_of(&own.url) == port_of(listen)) => Finding::Ok(format!("{listen} is where the node of this folder listens")),
        Err(error) => {
            let node = Client::new(&format!("http://{listen}"), None).and_then(|client| client.get("/version", &[]));
            let who = if node.is_ok() { "a tol node already answers there" } else { "something else may listen there" };
            Failed(format!("{listen} cannot be listened on: {error}; {who}, choose another with --listen"))
        }
    }
}

fn open_files() -> Finding {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    match soft_limit_of_open_files(&limits) {
        Some(limit) if limit >= LEAST_OPEN_FILES => Finding::Ok(format!("{limit} allowed")),
        Some(limit) => Warning(format!("only {limit} allowed, {LEAST_OPEN_FILES} are better: `ulimit -n 65536`, or LimitNOFILE in the unit")),
        None => Warning("this system does not tell its limit".into()),
    }
}

fn soft_limit_of_open_files(limits: &str) -> Option<u64> {
    let value = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?;
    if value == "unlimited" { Some(u64::MAX) } else { value.parse().ok() }
}

fn clock(folder: &Path) -> Finding {
    let now = SystemTime::now();
    if now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()) < EARLIEST_PLAUSIBLE_SECS {
        return Failed("this machine's clock is years behind; set it (timedatectl set-ntp true)".into());
    }
    let newest = fs::read_dir(folder).ok().and_then(|entries| entries.flatten().filter_map(|entry| entry.metadata().ok()?.modified().ok()).max());
    match newest.and_then(|written| written.duration_since(now).ok()) {
        Some(ahead) if ahead > Duration::from_secs(5) => {
            Failed(format!("the data folder was written {} s in the future: the clock went back; set it (timedatectl set-ntp true)", ahead.as_secs()))
        }
        _ => Finding::Ok("plausible, and not behind the data folder".into()),
    }
}

/// The quick part of the contract suite over every system of this build, enabled or not.
fn systems(systems: &[Arc<dyn AnySystem>]) -> Finding {
    let mut broken = Vec::new();
    for system in systems {
        if let Err(violations) = contract::check_quickly(system) {
            let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
            broken.push(format!("{} does not keep the contract of systems: {}", system.describe().name, list.join("; ")));
        }
    }
    if broken.is_empty() {
        Finding::Ok(format!("{} systems keep their contract", systems.len()))
    } else {
        Failed(format!("{}; disable it with systems.NAME.enabled = false, or run another build", broken.join("; ")))
    }
}

fn kafka(server: &str) -> Finding {
    let addresses = match server.to_socket_addrs() {
        Ok(addresses) => addresses,
        Err(error) => return Failed(format!("{server} cannot be resolved: {error}; check log.kafka.bootstrap")),
    };
    let mut problem = "it has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(_) => return Finding::Ok(format!("{server} accepts connections")),
            Err(error) => problem = error.to_string(),
        }
    }
    Failed(format!("{server} cannot be connected to: {problem}; is the broker running (`make kafka-up` starts one here)?"))
}

/// Only needed to run a local Kafka, so its absence is no failure.
fn java() -> Finding {
    match Command::new("java").arg("-version").output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Finding::Ok(text.lines().find(|line| line.contains("version")).unwrap_or("found").trim().to_owned())
        }
        Err(_) => Warning("not found; only `make kafka-up` and the tests on Kafka need it".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_system_are_read() {
        let df = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 100 40 60 40% /\n";
        assert_eq!((free_bytes(df), free_bytes("")), (Some(61_440), None));
        let limits = "Limit Soft Limit Hard Limit Units\nMax open files            1024                 524288               files\n";
        assert_eq!(soft_limit_of_open_files(limits), Some(1_024));
    }

    #[test]
    fn a_held_lock_fails_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(lock(folder.path(), None), Finding::Ok(_)));
        fs::create_dir(folder.path().join("log")).unwrap();
        let file = fs::File::create(folder.path().join("log/lock")).unwrap();
        file.try_lock().unwrap();
        assert!(matches!(lock(folder.path(), None), Failed(_)));
        assert!(matches!(data_folder(&folder.path().join("not/yet/there")), Finding::Ok(_)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// A system whose examples it does not want.
    struct Unfit;

    impl tol_system::System for Unfit {
        type State = u64;

        fn describe(&self) -> tol_system::Description {
            tol_system::Description {
                name: "unfit",
                tier: 7,
                code_version: "1",
                state_version: 1,
                about: "A test's own",
                inputs: Vec::new(),
                emits: &[],
                depends_on: &[],
                uptime_target: 0.9,
            }
        }

        fn decide(&self, _: &u64, _: tol_system::Input<'_>, _: &mut tol_system::Decision) -> Result<(), tol_system::Error> {
            Ok(())
        }

        fn evolve(&self, _: &mut u64, _: tol_events::EventView<'_>, _: &mut tol_system::Evolution) -> Result<(), tol_system::Error> {
            Ok(())
        }

        fn examples(&self) -> Vec<tol_events::Event> {
            Vec::new()
        }
    }

    #[test]
    fn systems_that_break_their_contract_are_named() {
        assert!(matches!(systems(&registry::systems(&Config::default()).unwrap()), Finding::Ok(_)));
        assert!(matches!(systems(&[tol_system::erase(Unfit)]), Failed(detail) if detail.starts_with("unfit does not keep the contract")));
    }

    #[test]
    fn an_absent_broker_fails_with_its_address() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        assert!(matches!(kafka(&free), Failed(detail) if detail.contains(&free)));
    }
}
