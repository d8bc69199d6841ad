//! A real store, a real projection and a real follower on each simulated node: stopped, restarted and rebuilt while everything else goes wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tol_enterprise_feature_flag_system::FlagsProjection;
use tol_enterprise_feature_flag_system::served::FlagSet;
use tol_enterprise_feature_flag_system::serving::FlagServer;
use tol_flag_simulation::FlagGuest;
use tol_kafka::EventLog;
use tol_projections::{EngineOptions, ProjectionEngine, RocksStore, StoreOptions};
use tol_runtime::simulation::{Companion, Guest, Recorded, run_with};
use tol_system::Followed;

type Row = tol_enterprise_feature_flag_system::projections::flags::FlagRow;

/// What a follower does wrong.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Broken {
    /// A change of a rebuilt projection does not reach it.
    MissesOfARebuild,
    /// Nor does one of what was folded since the start.
    MissesAChange,
}

struct Node {
    engine: ProjectionEngine,
    server: Arc<FlagServer>,
    log: Arc<dyn EventLog>,
}

fn open(folder: &Path, log: &Arc<dyn EventLog>, broken: Option<Broken>) -> Result<(ProjectionEngine, Arc<FlagServer>), String> {
    let options = StoreOptions { cache_bytes: 1 << 20, write_buffer_bytes: 1 << 20, open_files: 16 };
    let store = Arc::new(RocksStore::open(folder, &options).map_err(|problem| problem.to_string())?);
    let server = Arc::new(FlagServer::default());
    let rows = ProjectionEngine::last_known::<FlagsProjection>(&store).map_err(|problem| problem.to_string())?;
    server.take(Followed { anew: true, rows, caught_up: false, last_known: true });
    let mut engine =
        ProjectionEngine::new(log.clone(), store, EngineOptions { read_bytes: 700, ..EngineOptions::default() }).map_err(|problem| problem.to_string())?;
    engine.register(FlagsProjection);
    let (told, begun) = (server.clone(), Mutex::new(false));
    let follower = move |mut followed: Followed<Row>| {
        let mut begun = begun.lock().unwrap();
        let rebuilt = followed.anew && *begun;
        *begun |= followed.caught_up;
        match broken {
            Some(Broken::MissesOfARebuild) if rebuilt => drop(followed.rows.pop()),
            Some(Broken::MissesAChange) if !followed.anew => drop(followed.rows.pop()),
            _ => {}
        }
        told.take(followed);
    };
    engine.follow::<FlagsProjection>(follower).map_err(|problem| problem.to_string())?;
    engine.resume_rebuilds();
    Ok((engine, server))
}

/// All of a set that can differ.
fn shown(set: &FlagSet) -> BTreeMap<String, String> {
    let flags = set.sorted().into_iter().map(|(key, served)| (format!("flag/{key}"), format!("{served:?}")));
    let shared = set.environments().into_iter().filter_map(|name| Some((format!("flag-set/{name}"), format!("{:?}", set.shared(&name)?))));
    flags.chain(shared).collect()
}

impl Companion for Node {
    fn step(&mut self) -> Result<bool, String> {
        let more = self.engine.step();
        match self.engine.status_of("flags").map_err(|problem| problem.to_string())?.failed {
            Some(problem) => Err(format!("the projection stopped: {problem}")),
            None => Ok(more),
        }
    }

    fn rebuild(&mut self) {
        // One that runs already goes on.
        let _ = self.engine.rebuild("flags");
    }

    fn check(&mut self, events: &[Recorded]) -> Result<(), String> {
        let text = |problem: tol_projections::Error| problem.to_string();
        let folder = tempfile::tempdir().map_err(|problem| problem.to_string())?;
        let (fresh, served) = open(folder.path(), &self.log, None)?;
        while fresh.step() {}
        let (ours, theirs) = (self.engine.digest("flags").map_err(text)?, fresh.digest("flags").map_err(text)?);
        if ours != theirs {
            return Err(format!("the projection's digest is {ours:?}, and {theirs:?} folded anew"));
        }
        let (ours, theirs) = (shown(&self.server.current()), shown(&served.current()));
        if ours != theirs {
            return Err(format!("{ours:?} is served, and folded anew {theirs:?}"));
        }
        let plain = plainly(events);
        let set = self.server.current();
        let ours: BTreeMap<String, (u64, Value)> = set
            .sorted()
            .into_iter()
            .map(|(key, served)| (key.to_owned(), (served.version, serde_json::to_value(&served.definition).unwrap_or_default())))
            .collect();
        if ours != plain {
            return Err(format!("{ours:?} is served, and the log says {plain:?}"));
        }
        Ok(())
    }
}

/// Versions and definitions by key, read off the events.
fn plainly(events: &[Recorded]) -> BTreeMap<String, (u64, Value)> {
    let mut flags = BTreeMap::new();
    for event in events {
        if let (Some(key), Some(definition), Some(version)) =
            (event.subject.strip_prefix("flag/"), event.data.get("definition"), event.data["version"].as_u64())
        {
            flags.insert(key.to_owned(), (version, definition.clone()));
        }
    }
    flags
}

/// A flag system whose nodes each have a folder of their own, which outlives their crashes.
fn followed(broken: Option<Broken>) -> Arc<dyn Guest> {
    let folders: Mutex<BTreeMap<String, TempDir>> = Mutex::default();
    Arc::new(FlagGuest::followed(Box::new(move |node, log| {
        let mut folders = folders.lock().unwrap();
        let folder = folders.entry(node.to_owned()).or_insert_with(|| tempfile::tempdir().unwrap());
        let (engine, server) = open(folder.path(), &log, broken)?;
        Ok(Box::new(Node { engine, server, log }))
    })))
}

#[test]
fn what_nodes_serve_is_what_the_log_says_after_crashes_and_rebuilds() {
    let mut events = 0;
    for seed in 0..40 {
        // Folders of its own for each seed: they belong to its log.
        match run_with(seed, false, Some(&followed(None))) {
            Ok(stats) => events += stats.of_guest,
            Err(failure) => panic!("{failure}"),
        }
    }
    assert!(events > 300, "{events}");
}

#[test]
fn a_follower_that_misses_something_is_noticed() {
    for broken in [Broken::MissesOfARebuild, Broken::MissesAChange] {
        let noticed = (0..1_000).find_map(|seed| run_with(seed, false, Some(&followed(Some(broken)))).err());
        let noticed = noticed.unwrap_or_else(|| panic!("{broken:?} was not noticed")).to_string();
        println!("{broken:?}: {}", noticed.chars().take(60).collect::<String>());
        assert!(noticed.contains("is served"), "{broken:?}: {noticed}");
    }
}
