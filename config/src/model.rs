//! The configuration's types. `Default` of each is the lowest layer, and the list of the keys that exist.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tol_system::Secret;

use crate::keys::ApiKey;
use crate::systems::SettingsTable;

/// Everything a node can be told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// This node.
    pub node: Node,
    /// The HTTP server.
    pub http: Http,
    /// The event log.
    pub log: Log,
    /// What systems run, by name; one that is not named has [`SystemSettings::default`].
    pub systems: BTreeMap<String, SystemSettings>,
    /// Restarts and heartbeats.
    pub supervision: Supervision,
    /// The projections' memory.
    pub projections: Projections,
    /// Keys and secrets.
    pub security: Security,
    /// Content beside the log.
    pub blobs: Blobs,
    /// What effects may touch.
    pub effects: Effects,
    /// The `clock` topic.
    pub clock: Clock,
    /// The emergency stop.
    pub stop: Stop,
}

/// This node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Folder of the embedded log, the projections' caches and the subjects' keys. One process at a time.
    pub data: PathBuf,
    /// Name in logs and metrics.
    pub name: String,
    /// URL at which other nodes reach this one; written into its claims. Without it, `http://` and `http.listen`.
    pub url: Option<String>,
}

impl Default for Node {
    fn default() -> Self {
        Self { data: PathBuf::from("./data"), name: "tol".into(), url: None }
    }
}

/// The HTTP server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// Largest request body, bytes.
    pub body_limit_bytes: u64,
    /// Threads that serve requests.
    pub workers: u32,
    /// Requests a second of each API key that has no limit of its own, and of all callers together where there are no keys;
    /// 0 is no limit.
    pub requests_per_second: u32,
    /// Connections open at a time; fewer where the process may not open that many files.
    pub max_connections: u32,
    /// How long a request may take to arrive, seconds: its head, and its body beside one second for each 16 KB.
    pub request_timeout_s: u64,
    /// A client that takes nothing of its answer for so long, seconds, is cut off.
    pub write_timeout_s: u64,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7700".into(),
            body_limit_bytes: 10_000_000,
            workers: 2,
            requests_per_second: 0,
            max_connections: 20_000,
            request_timeout_s: 10,
            write_timeout_s: 30,
        }
    }
}

/// Which log is used: follows from `log.kafka.bootstrap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// Segments in `node.data`.
    Embedded,
    /// Apache Kafka.
    Kafka,
}

/// The event log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Partitions of every topic but `clock`, `control` and `ownership`. Cannot change once the topics exist.
    pub partitions: u32,
    /// Size at which the embedded log starts a new segment, bytes.
    pub segment_bytes: u64,
    /// Whether the embedded log syncs to disk before it acknowledges. Off only for trials: a power cut then loses what was acknowledged.
    pub sync: bool,
    /// Apache Kafka.
    pub kafka: Kafka,
}

impl Default for Log {
    fn default() -> Self {
        Self { partitions: 8, segment_bytes: 256 << 20, sync: true, kafka: Kafka::default() }
    }
}

/// Apache Kafka.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// `host:port[,host:port…]`. Set: the log is Kafka. Absent: it is embedded.
    pub bootstrap: Option<String>,
    /// Replicas of the topics the node creates.
    pub replication_factor: u32,
    /// How long records stay in `inbox`, hours.
    pub inbox_retention_hours: u32,
    /// librdkafka settings, passed through (`"security.protocol" = "SASL_SSL"`). Treated as secrets, since passwords are among them.
    pub settings: BTreeMap<String, Secret>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self { bootstrap: None, replication_factor: 1, inbox_retention_hours: 168, settings: BTreeMap::new() }
    }
}

/// How one system runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SystemSettings {
    /// Whether it is started.
    pub enabled: bool,
    /// Percent of the time it must be up. Without it, what the system itself declares.
    pub uptime_target: Option<f64>,
    /// Times an input that fails is tried before it is parked.
    pub retry_attempts: u32,
    /// Wait before the first retry, milliseconds; doubles.
    pub retry_backoff_initial_ms: u64,
    /// The system's own settings, described in its README.
    pub settings: SettingsTable,
}

impl Default for SystemSettings {
    fn default() -> Self {
        Self { enabled: true, uptime_target: None, retry_attempts: 5, retry_backoff_initial_ms: 50, settings: SettingsTable::default() }
    }
}

/// Restarts and heartbeats of all systems.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Supervision {
    /// Restarts within the window after which a system is `degraded`.
    pub restart_limit: u32,
    /// The window, seconds.
    pub restart_window_s: u64,
    /// Wait before the first restart, milliseconds; doubles, with jitter.
    pub backoff_initial_ms: u64,
    /// Longest wait before a restart, milliseconds.
    pub backoff_max_ms: u64,
    /// Silence after which a system counts as hung and is replaced, milliseconds.
    pub hung_after_ms: u64,
    /// Hung threads of one system after which it stays degraded until an operator restarts it.
    pub max_abandoned: u32,
}

impl Default for Supervision {
    fn default() -> Self {
        Self { restart_limit: 5, restart_window_s: 60, backoff_initial_ms: 200, backoff_max_ms: 30_000, hung_after_ms: 10_000, max_abandoned: 3 }
    }
}

/// The projections' memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Projections {
    /// Block cache shared by all projections, bytes.
    pub cache_bytes: u64,
    /// Rows held in memory at most while rebuilding, bytes.
    pub rebuild_memory_bytes: u64,
}

impl Default for Projections {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, rebuild_memory_bytes: 256 << 20 }
    }
}

/// Keys and secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Who may use the HTTP interface. None: loopback only, and everything is allowed there.
    pub api_keys: Vec<ApiKey>,
    /// Wraps the subjects' keys: 32 bytes as hex or base64. See [`Security::master_key_bytes`].
    pub master_key: Option<Secret>,
    /// A file that holds the master key, instead of `master_key`.
    pub master_key_file: Option<PathBuf>,
    /// The API key this node presents to the other nodes of its cluster; they have it among their `api_keys` with the scope `node`.
    pub node_key: Option<Secret>,
}

/// Content beside the log: files that events name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Blobs {
    /// Largest content, bytes.
    pub max_bytes: u64,
}

impl Default for Blobs {
    fn default() -> Self {
        Self { max_bytes: 1 << 30 }
    }
}

/// What effects may touch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Effects {
    /// Prefixes of the URLs that effects may call where the URL comes in an event's data; URLs in settings need no leave. Empty: none.
    pub allow: Vec<String>,
}

/// The `clock` topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clock {
    /// Time between ticks, milliseconds.
    pub tick_ms: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { tick_ms: 1_000 }
    }
}

/// The emergency stop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// How long an effect may start after `control` was last read to its end, milliseconds.
    pub lease_ms: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { lease_ms: 500 }
    }
}
