//! A node: the log, the store, admission, the systems and the projections, wired together.
//!
//! * [`registry`] — the systems there are
//! * [`publish`] — events to candidates: validated, encrypted, routed
//! * [`facts`] — to the owners of their partitions, here or on another node
//! * [`flags`] — the flags that are served, and how that stands
//! * [`routing`] — who owns a partition
//! * [`peers`] — what nodes ask each other
//! * [`control`] — the thread of the `clock` and `control` topics
//! * [`outlet`] — effects, dead-letter copies and observations on their way out
//! * [`inbox`] — facts that Kafka publishers wrote
//! * [`metric_definitions`] — names of metrics
//! * [`kafka`] — the configuration's options of Kafka
//! * [`start`] — opening and closing
//! * [`storage`] — what is opened: the folder, the log and its topics, the store, the keys
//! * [`testing`] — a node in a test's process, with systems of the test's own
//! * [`api`] — what HTTP asks for

mod api;
mod control;
mod facts;
mod flags;
mod inbox;
mod kafka;
mod metric_definitions;
mod outlet;
mod peers;
mod publish;
pub mod registry;
mod routing;
mod start;
mod storage;
mod stream;
pub mod testing;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use metrics_exporter_prometheus::PrometheusHandle;
use tol_config::Config;
use tol_events::personal::KeyStore;
use tol_kafka::EventLog;
use tol_projections::index::EventIndex;
use tol_projections::{ProjectionEngine, RocksStore};
use tol_runtime::admission::AdmissionHandle;
use tol_runtime::control::ControlGate;
use tol_runtime::effects::Pool;
use tol_runtime::supervision::RootHandle;

use crate::flags::FlagServer;

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
    /// Serves from before the log is there until after it is gone.
    flags: Arc<FlagServer>,
}

/// The parts of a node once it is open.
pub(crate) struct Open {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) store: Arc<RocksStore>,
    pub(crate) engine: ProjectionEngine,
    pub(crate) index: Arc<EventIndex>,
    pub(crate) admission: AdmissionHandle,
    pub(crate) root: RootHandle,
    pub(crate) pool: Pool,
    pub(crate) keys: Arc<dyn KeyStore>,
    pub(crate) control: Arc<control::ControlLine>,
    pub(crate) redrives: api::Redrives,
    pub(crate) partitions: u32,
    pub(crate) routing: Arc<routing::Routing>,
    pub(crate) peers: peers::Peers,
    /// A permit for each request that other nodes may be asked for at a time.
    pub(crate) passing: Arc<tokio::sync::Semaphore>,
}

impl Node {
    /// A node that is not open yet.
    fn new(config: Config, metrics: PrometheusHandle) -> Self {
        Self {
            config,
            url: OnceLock::new(),
            metrics,
            phase: Mutex::new("starting".to_owned()),
            open: OnceLock::new(),
            closing: AtomicBool::new(false),
            started: Instant::now(),
            gate: ControlGate::default(),
            stops: control::Stops::default(),
            flags: Arc::default(),
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
