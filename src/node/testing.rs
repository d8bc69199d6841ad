//! A whole node inside a test's process: the same log, store, admission, supervision and HTTP as `tol run`, with systems of the
//! test's own beside the registered ones. A test that needs no system of its own is better run against the binary.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use tol_config::Config;
use tol_plug::Mount;
use tol_runtime::supervision::Registered;

pub use super::erase::{Erased, PurgeError};
use super::plugs::{Error, Plugs};
use super::{Node, registry, start, storage};
use crate::http::PlugEntry;
use tol_plug::Problem;

/// How long the end of a node waits for its store to be freed: a system that hangs holds it for ever.
const STORE_FREED: Duration = Duration::from_secs(5);

/// A running node; dropped, it is closed.
#[derive(Debug)]
pub struct TestNode {
    url: String,
    node: Weak<Node>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl TestNode {
    /// Starts a node with the registered systems and `more`, and waits until it listens. It may still be opening: ask `/readyz`.
    ///
    /// # Errors
    /// What kept it from listening.
    pub fn start(config: Config, more: Vec<Registered>) -> anyhow::Result<Self> {
        Self::launch(config, Vec::new(), more)
    }

    /// The same with whole systems of the test's own, mounted as those of the registry are.
    ///
    /// # Errors
    /// What kept it from listening.
    pub fn with_plugs(config: Config, plugs: Vec<Mount>) -> anyhow::Result<Self> {
        Self::launch(config, plugs, Vec::new())
    }

    fn launch(config: Config, mounts: Vec<Mount>, more: Vec<Registered>) -> anyhow::Result<Self> {
        let (told, listens) = mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::Builder::new().name("node".to_owned()).spawn(move || {
            std::fs::create_dir_all(&config.node.data)?;
            let _lock = storage::lock_folder(&config.node.data)?;
            let mut registered = registry::register(&config, &mounts)?;
            registered.extend(more);
            let plugs = Plugs::start(&config, &mounts)?;
            let metrics = recorder()?;
            let ended = async move {
                let _ = ended.await;
                "the test's end"
            };
            let system = actix::System::new();
            let outcome =
                system.block_on(start::serve(config, metrics, plugs, registered, |url, node| drop(told.send((url.to_owned(), Arc::downgrade(node)))), ended));
            // The system's own loop tells its arbiters to end; without it they, and what they hold, stay for as long as the process.
            actix::System::current().stop();
            let _ = system.run();
            outcome
        })?;
        match listens.recv() {
            Ok((url, node)) => Ok(Self { url, node, end: Some(end), thread: Some(thread) }),
            Err(_) => match thread.join() {
                Ok(outcome) => Err(outcome.err().unwrap_or_else(|| anyhow::anyhow!("the node ended before it listened"))),
                Err(_) => Err(anyhow::anyhow!("the node panicked before it listened")),
            },
        }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Erases a person, as an operator's request does: see [`Erased`]. Blocking; the node must be open.
    ///
    /// # Errors
    /// The problem as it is answered.
    pub fn erase(&self, subject: &str, by: &str, reason: &str) -> Result<Erased, Problem> {
        self.node()?.opened()?.erase(subject, by, reason)
    }

    /// Calls `purge` with each erased person, as whatever derived something of them does.
    ///
    /// # Errors
    /// The node is not open yet.
    pub fn on_erased(&self, purge: impl Fn(&str) -> Result<(), PurgeError> + Send + Sync + 'static) -> Result<(), Problem> {
        self.node()?.opened()?.erasures.on_erased(Arc::new(purge));
        Ok(())
    }

    fn node(&self) -> Result<Arc<Node>, Problem> {
        self.node.upgrade().ok_or_else(|| Problem::unavailable("the node was closed", 1))
    }

    /// Whether its main thread runs.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Closes it.
    ///
    /// # Errors
    /// What ended it before.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.close().unwrap_or(Ok(()))
    }

    fn close(&mut self) -> Option<anyhow::Result<()>> {
        let store = self.node.upgrade().and_then(|node| Some(Arc::downgrade(&node.open.get()?.store)));
        drop(self.end.take());
        let joined = self.thread.take()?.join();
        // Arbiters are not joined. Until they are gone they hold the store, which a next node on the same folder locks.
        let until = Instant::now() + STORE_FREED;
        while store.as_ref().is_some_and(|store| store.strong_count() > 0) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(joined.unwrap_or_else(|_| Err(anyhow::anyhow!("the node panicked"))))
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// The tables of the registry's systems and of `more`, as a server takes them, for tests of the HTTP interface without a node.
///
/// # Errors
/// A setting that is wrong, or a system that cannot start.
pub fn plug_entries(config: &Config, more: &[Mount]) -> Result<Vec<PlugEntry>, Error> {
    Plugs::start(config, more).map(Plugs::into_entries)
}

/// A process has one recorder, however many nodes a test starts.
fn recorder() -> anyhow::Result<PrometheusHandle> {
    static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut recorder = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    if recorder.is_none() {
        *recorder = Some(start::metrics_recorder().context("a test process has one recorder")?);
    }
    recorder.clone().context("the recorder was just installed")
}
