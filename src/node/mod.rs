//! A node: the log, the store, admission, the systems and the projections, wired together.
//!
//! * [`registry`] — the table of systems
//! * [`publish`] — validates and seals events, and routes them to their partitions as candidates
//! * [`facts`] — hands facts to the owners of their partitions, here or on another node
//! * [`plugs`] — the mounted systems
//! * [`standing`] — tells systems whether memory is up to date with the log, and whether the emergency stop is engaged
//! * [`routing`] — finds the node that owns a partition
//! * [`peers`] — requests among the nodes of a cluster
//! * [`control`] — the thread of the `clock` and `control` topics
//! * [`effects`] — starts the lanes of effects with the runners of all systems
//! * [`outlet`] — takes effects, dead letters and observations from systems
//! * [`inbox`] — admits facts that Kafka publishers wrote
//! * [`refused`] — those of them that admission refused, until they are redriven or discarded
//! * [`process`] — measures the process, the disk and the uptime
//! * [`metric_definitions`] — names of metrics
//! * [`kafka`] — the configuration's options of Kafka
//! * [`erase`] — erases persons: destroys their keys, drops what was derived
//! * [`start`] — opens and closes the node
//! * [`presence`] — says in the data folder which node runs on it
//! * [`storage`] — opens the folder, the log and its topics, the store, the keys
//! * [`testing`] — a node in a test's process, with systems of the test's own
//! * [`blobs`] — content that is too large for an event
//! * [`api`] — answers what HTTP and systems ask of the node

mod api;
pub mod blobs;
mod control;
mod effects;
pub(crate) mod erase;
mod facts;
mod inbox;
mod kafka;
mod metric_definitions;
mod outlet;
mod peers;
mod plugs;
pub(crate) mod presence;
mod process;
mod publish;
mod refused;
pub mod registry;
mod routing;
mod spelling;
mod standing;
mod start;
pub(crate) mod storage;
mod stream;
pub mod testing;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Instant;

use metrics_exporter_prometheus::PrometheusHandle;
use tol_config::Config;
use tol_events::personal::KeyStore;
use tol_kafka::EventLog;
use tol_plug::Platform;
use tol_projections::index::EventIndex;
use tol_projections::{ProjectionEngine, RocksStore};
use tol_runtime::admission::{AdmissionHandle, Kinds};
use tol_runtime::control::ControlGate;
use tol_runtime::effects::Effects;
use tol_runtime::supervision::RootHandle;

pub(crate) use kafka::kafka_options;
pub use start::run;

/// A node that may still be opening. Everything that asks is told so.
pub struct Node {
    config: Config,
    url: OnceLock<String>,
    metrics: PrometheusHandle,
    /// What opening is waiting for, or why it failed.
    phase: Mutex<String>,
    open: OnceLock<Arc<Open>>,
    closing: AtomicBool,
    started: Instant,
    gate: ControlGate,
    stops: control::Stops,
    /// The systems: what answers from memory does so from before the log is there until after it is gone.
    plugs: plugs::Plugs,
    standing: standing::StandingCell,
}

/// The parts of a node once it is open.
pub(crate) struct Open {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) store: Arc<RocksStore>,
    pub(crate) engine: ProjectionEngine,
    pub(crate) index: Arc<EventIndex>,
    pub(crate) admission: AdmissionHandle,
    /// Which topic the facts of each kind lie in.
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) root: RootHandle,
    pub(crate) effects: Effects,
    pub(crate) keys: Arc<dyn KeyStore>,
    /// The environments that services are known in.
    pub(crate) spellings: spelling::Spellings,
    pub(crate) blobs: Arc<blobs::FileBlobs>,
    pub(crate) erasures: Arc<erase::Erasures>,
    pub(crate) control: Arc<control::ControlLine>,
    pub(crate) redrives: api::Redrives,
    pub(crate) refusals: Arc<refused::Refusals>,
    pub(crate) partitions: u32,
    /// The node's name.
    pub(crate) name: String,
    pub(crate) routing: Arc<routing::Routing>,
    pub(crate) peers: peers::Peers,
    /// The node, as systems use it.
    pub(crate) platform: Weak<dyn Platform>,
    /// A permit for each request that other nodes may be asked for at a time.
    pub(crate) passing: Arc<tokio::sync::Semaphore>,
}

impl Node {
    /// A node that is not open yet.
    fn new(config: Config, metrics: PrometheusHandle, plugs: plugs::Plugs) -> Self {
        let gate = ControlGate::default();
        tol_runtime::metric_definitions::emergency_stop(None);
        Self {
            config,
            url: OnceLock::new(),
            metrics,
            phase: Mutex::new("starting".to_owned()),
            open: OnceLock::new(),
            closing: AtomicBool::new(false),
            started: Instant::now(),
            standing: standing::StandingCell::new(&gate),
            gate,
            stops: control::Stops::default(),
            plugs,
        }
    }

    fn data(&self) -> PathBuf {
        self.config.node.data.clone()
    }

    fn say(&self, phase: impl Into<String>) {
        let phase = phase.into();
        tracing::info!(phase, "node");
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    fn phase(&self) -> String {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
