//! The node's projections on real stores, one a simulated node, as views of the simulation.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tol_config::Config;
use tol_events::{Event, EventView};
use tol_kafka::EventLog;
use tol_projections::{EngineOptions, ProjectionEngine, RocksStore, StoreOptions};
use tol_runtime::simulation::guests::{View, ViewError, Views};
use tol_system::{AnyProjection, Projection, Rows, projection};
use tree_of_life::node::registry;

/// Folders of the nodes of one seed, which outlive their crashes.
struct Folders {
    folders: Mutex<BTreeMap<String, TempDir>>,
    projections: Vec<Arc<dyn AnyProjection>>,
}

struct OfNode {
    engine: ProjectionEngine,
}

/// The projections of a node.
pub fn on_folders() -> Arc<dyn Views> {
    static ALL: LazyLock<Vec<Arc<dyn AnyProjection>>> = LazyLock::new(|| registry::projections(&Config::default()).unwrap());
    Arc::new(Folders { folders: Mutex::default(), projections: ALL.clone() })
}

/// One projection, which does not fold what the process already folded.
pub fn with_one_that_forgets() -> Arc<dyn Views> {
    Arc::new(Folders { folders: Mutex::default(), projections: vec![projection::erase(Forgets)] })
}

fn open(folder: &Path, log: Arc<dyn EventLog>, projections: &[Arc<dyn AnyProjection>]) -> Result<OfNode, tol_projections::Error> {
    let options = StoreOptions { cache_bytes: 1 << 20, write_buffer_bytes: 1 << 20, open_files: 16 };
    let store = Arc::new(RocksStore::open(folder, &options)?);
    let mut engine = ProjectionEngine::new(log, store, EngineOptions { read_bytes: 700, ..EngineOptions::default() })?;
    projections.iter().for_each(|projection| engine.register_erased(projection.clone()));
    engine.resume_rebuilds();
    Ok(OfNode { engine })
}

impl Views for Folders {
    fn open(&self, node: &str, log: Arc<dyn EventLog>) -> Result<Box<dyn View>, ViewError> {
        let mut folders = self.folders.lock().unwrap();
        let folder = folders.entry(node.to_owned()).or_insert_with(|| tempfile::tempdir().unwrap());
        Ok(Box::new(open(folder.path(), log, &self.projections).map_err(ViewError::new)?))
    }
}

impl OfNode {
    fn names(&self) -> Vec<String> {
        self.engine.status().into_iter().map(|status| status.name.to_owned()).collect()
    }
}

impl View for OfNode {
    fn step(&mut self) -> Result<bool, ViewError> {
        let more = self.engine.step();
        match self.engine.status().into_iter().find_map(|status| Some((status.name, status.failed?))) {
            Some((name, problem)) => Err(ViewError::new(format!("the projection {name} stopped: {problem}"))),
            // Nothing that the simulated business does is beyond any fold.
            None => match self.engine.status().into_iter().find(|status| status.set_aside > 0) {
                Some(status) => Err(ViewError::new(format!("the projection {} set {} events aside", status.name, status.set_aside))),
                None => Ok(more),
            },
        }
    }

    fn rebuild(&mut self) {
        for name in self.names() {
            // One that runs already goes on.
            let _ = self.engine.rebuild(&name);
        }
    }

    fn digests(&mut self) -> Result<BTreeMap<String, String>, ViewError> {
        let digest = |name: String| Ok((name.clone(), format!("{:?}", self.engine.digest(&name).map_err(ViewError::new)?)));
        self.names().into_iter().map(digest).collect()
    }
}

/// Counts events by subject, but for each hundredth that the process folds.
#[derive(Clone, Copy)]
struct Forgets;

static FOLDED: AtomicU64 = AtomicU64::new(0);

impl Projection for Forgets {
    type Row = u64;
    const NAME: &'static str = "forgets";
    const VERSION: u32 = 1;
    const TOPIC: &'static str = "facts.customer";

    fn fold(&self, event: EventView<'_>, rows: &mut Rows<'_, u64>) -> Result<(), projection::Error> {
        if FOLDED.fetch_add(1, Ordering::Relaxed) % 100 != 99 {
            *rows.get_mut(event.subject())? += 1;
        }
        Ok(())
    }

    fn merge(a: u64, b: u64) -> u64 {
        a + b
    }

    fn value(row: &u64, _: &str) -> Value {
        (*row).into()
    }

    fn examples(&self) -> Vec<Event> {
        Vec::new()
    }
}
