//! The mounted systems: makes their serving sides, feeds them rows of followed projections, and calls them at events of the node.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use tol_config::Config;
use tol_plug::mounted::{Follower, Mounted};
use tol_plug::platform::Check;
use tol_plug::{Mount, MountedProjection, Platform, SettingError, Start, StartError};
use tol_projections::{ProjectionEngine, RocksStore};
use tol_system::{AnyProjection, Followed};

use super::registry;
use crate::http::PlugEntry;
use crate::http::listeners::Port;

/// Why the systems cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] registry::Error),
    /// A system cannot start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// All systems' tables, and what serves those that are enabled.
pub(crate) struct Plugs {
    entries: Vec<PlugEntry>,
    /// With their defaults, secrets hidden; in the order of `entries`.
    settings: Vec<Value>,
    projections: Vec<MountedProjection>,
}

impl Plugs {
    /// Makes what answers from memory, of the registry's systems and of `more`. Before the log is open.
    ///
    /// # Errors
    /// A setting that is wrong, or a system that cannot start.
    pub(crate) fn start(config: &Config, more: &[Mount]) -> Result<Self, Error> {
        let start = Start { data: config.node.data.clone(), partitions: config.log.partitions, seed: uuid::Uuid::new_v4().as_u64_pair().0 };
        let (mut entries, mut all_settings, mut projections) = (Vec::new(), Vec::new(), Vec::new());
        for plug in registry::plugs().map(|(plug, _)| plug).chain(more) {
            let description = (plug.describe)();
            let settings = registry::settings(config, plug, description.name)?;
            let mounted = if config.system(description.name).enabled { Some((plug.start)(&settings, &start)?) } else { None };
            projections.extend(mounted.iter().flat_map(|mounted| mounted.projections()));
            let name = description.name;
            entries.push(PlugEntry { description, mounted });
            all_settings.push(registry::shown(plug, name, &settings)?);
        }
        Ok(Self { entries, settings: all_settings, projections })
    }

    /// The tables, for the server.
    pub(crate) fn into_entries(self) -> Vec<PlugEntry> {
        self.entries
    }

    /// The tables, for the server.
    pub(crate) fn entries(&self) -> &[PlugEntry] {
        &self.entries
    }

    /// Each enabled system with its settings.
    pub(crate) fn enabled(&self) -> impl Iterator<Item = (&PlugEntry, &Arc<dyn Mounted>, &Value)> {
        self.entries.iter().zip(&self.settings).filter_map(|(entry, settings)| Some((entry, entry.mounted.as_ref()?, settings)))
    }

    /// The ports that settings ask for.
    ///
    /// # Errors
    /// A setting below `listen` that no listener of its system has.
    pub(crate) fn ports(&self) -> Result<Vec<Port>, SettingError> {
        let mut wanted = Vec::new();
        for (entry, mounted, settings) in self.enabled() {
            for (name, address) in settings.get("listen").and_then(Value::as_object).into_iter().flatten() {
                let Some(address) = address.as_str().filter(|address| !address.is_empty()) else { continue };
                let listeners = &entry.description.listeners;
                let Some(number) = listeners.iter().position(|(known, _)| known == name) else {
                    let known: Vec<&str> = listeners.iter().map(|(known, _)| *known).collect();
                    let advice =
                        format!("{} has no such port; it has {}", entry.description.name, if known.is_empty() { "none".to_owned() } else { known.join(", ") });
                    return Err(SettingError::new(format!("listen.{name}"), address, advice));
                };
                let (name, protocol) = listeners[number];
                wanted.push(Port { system: entry.description.name, name, number, protocol, address: address.to_owned(), mounted: mounted.clone() });
            }
        }
        Ok(wanted)
    }

    fn mounted(&self) -> impl Iterator<Item = &Arc<dyn Mounted>> {
        self.entries.iter().filter_map(|entry| entry.mounted.as_ref())
    }

    /// Tells followers what the store held when the node last ran: the log may be away.
    pub(crate) fn preload(&self, store: &RocksStore) {
        for (projection, follower) in self.followed() {
            match ProjectionEngine::last_stored(store, &*projection.projection) {
                Ok(rows) => follower(Followed { anew: true, rows, caught_up: false, last_known: true }),
                Err(problem) => {
                    let projection = projection.projection.name();
                    tracing::warn!(%problem, projection, "the rows last known could not be read; they are served when the log has been");
                }
            }
        }
    }

    /// Registers the systems' projections, and has their followers told of each change. Before the engine starts.
    ///
    /// # Errors
    /// A projection that two follow.
    pub(crate) fn register(&self, engine: &mut ProjectionEngine) -> Result<(), tol_projections::Error> {
        for projection in &self.projections {
            engine.register_erased(projection.projection.clone());
        }
        for (projection, follower) in self.followed() {
            let follower = follower.clone();
            engine.follow_stored(projection.projection.name(), Box::new(move |followed| follower(followed)))?;
        }
        Ok(())
    }

    /// The systems' projections.
    pub(crate) fn projections(&self) -> impl Iterator<Item = Arc<dyn AnyProjection>> {
        self.projections.iter().map(|projection| projection.projection.clone())
    }

    /// Topics that the systems' projections are folded from.
    pub(crate) fn projection_topics(&self) -> impl Iterator<Item = &'static str> {
        self.projections.iter().map(|projection| projection.projection.topic())
    }

    /// Whether a system holds the rows of this projection in memory.
    pub(crate) fn follows(&self, projection: &str) -> bool {
        self.followed().any(|(followed, _)| followed.projection.name() == projection)
    }

    fn followed(&self) -> impl Iterator<Item = (&MountedProjection, &Follower)> {
        self.projections.iter().filter_map(|projection| Some((projection, projection.follower.as_ref()?)))
    }

    /// What the systems say of readiness.
    pub(crate) fn checks(&self) -> Vec<Check> {
        self.mounted().flat_map(|mounted| mounted.checks()).collect()
    }

    /// The log is open.
    pub(crate) fn opened(&self, platform: &Arc<dyn Platform>) {
        self.mounted().for_each(|mounted| mounted.opened(platform));
    }

    /// This node decides for these partitions now.
    pub(crate) fn owns(&self, partitions: &BTreeSet<u32>) {
        self.mounted().for_each(|mounted| mounted.owns(partitions));
    }

    /// A subject was erased.
    pub(crate) fn erased(&self, subject: &str) {
        self.mounted().for_each(|mounted| mounted.erased(subject));
    }

    /// The node closes.
    pub(crate) fn closing(&self) {
        self.mounted().for_each(|mounted| mounted.closing());
    }

    /// The system that answers a question, and the question's number there.
    pub(crate) fn question(&self, name: &str) -> Option<(&Arc<dyn Mounted>, usize)> {
        self.entries.iter().find_map(|entry| {
            let number = entry.description.questions.iter().position(|known| *known == name)?;
            Some((entry.mounted.as_ref()?, number))
        })
    }
}
