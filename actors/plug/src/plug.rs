//! [`Plug`]: what a system declares, so that a node can mount it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tol_system::AnySystem;

use crate::cli::Verb;
use crate::listener::Listener;
use crate::mounted::{Mount, MountedProjection};
use crate::platform::{Check, Platform};
use crate::problem::Kind;
use crate::protocol::Protocol;
use crate::question::Question;
use crate::route::{Route, Scope};
use crate::runner::Runner;
use crate::settings::SettingError;

/// Declares a whole system: its rules, read models, routes, protocols, effects and settings. One folder implements it once; a line of the registry mounts it.
pub trait Plug: 'static {
    /// The folder's name, e.g. `revenue-agent-system`; the configuration names the system by it.
    const NAME: &'static str;
    /// The short name, e.g. `flags`: first word of the paths, tag of the routes, prefix of scopes and questions.
    const SHORT: &'static str;
    /// The type of `[systems.<NAME>.settings]`. Its default must show every key.
    type Settings: Serialize + DeserializeOwned + Default + Send + Sync + 'static;
    /// The serving side: what answers from memory. It lives from before the log is open until after the log is closed.
    type Serving: Send + Sync + 'static;

    /// Checks what the type of the settings cannot.
    ///
    /// # Errors
    /// The wrong setting, and what would be right.
    fn check(_settings: &Self::Settings) -> Result<(), SettingError> {
        Ok(())
    }

    /// Makes the serving side, before the log is open.
    ///
    /// # Errors
    /// What keeps the node from starting.
    fn serving(settings: Self::Settings, start: &Start) -> Result<Self::Serving, StartError>;

    /// Makes the pure rules. Only settings that are passed to them here may reach `decide`.
    fn systems(settings: &Self::Settings) -> Vec<Arc<dyn AnySystem>>;

    /// Makes the system's projections, once, before the log is open.
    fn projections(_serving: &Arc<Self::Serving>) -> Vec<MountedProjection> {
        Vec::new()
    }

    /// Gives the tables: routes, protocols, ports, runners, questions, scopes, problems, metrics, verbs.
    fn tables() -> Tables<Self::Serving>;

    /// Checks what must be well for the node to be ready, beside supervision and projections.
    fn checks(_serving: &Self::Serving) -> Vec<Check> {
        Vec::new()
    }

    /// Called when the log is open. Keep `platform` to publish and query; it answers from now on.
    fn opened(_serving: &Arc<Self::Serving>, _platform: &Arc<dyn Platform>) {}

    /// Called when this node's share of the partitions changes; it decides for `partitions` from now on.
    fn owns(_serving: &Self::Serving, _partitions: &BTreeSet<u32>) {}

    /// Called when a subject was erased: drop whatever memory holds of it. It may be called again for the same subject.
    fn erased(_serving: &Self::Serving, _subject: &str) {}

    /// Called when the node closes: end streams, and wake whatever waits.
    fn closing(_serving: &Self::Serving) {}
}

/// What a starting node gives to [`Plug::serving`].
#[derive(Clone, Debug)]
pub struct Start {
    /// The node's data folder.
    pub data: PathBuf,
    /// How many partitions each topic has.
    pub partitions: u32,
    /// A random seed, drawn anew at each start; for what need not be the same twice.
    pub seed: u64,
}

/// Why a system cannot start.
#[derive(Debug, thiserror::Error)]
#[error("{system} cannot start: {problem}")]
pub struct StartError {
    /// The system.
    pub system: &'static str,
    /// What failed, on what, and what to do.
    pub problem: String,
}

/// The tables of a plug. Leave out empty ones: `Tables { routes: ROUTES, ..Tables::EMPTY }`.
pub struct Tables<S: 'static> {
    /// Further words that its paths begin with, beside [`Plug::SHORT`].
    pub words: &'static [&'static str],
    /// Routes of the system's own.
    pub routes: &'static [Route<S>],
    /// Foreign protocols below `/compat/<name>`.
    pub protocols: &'static [Protocol<S>],
    /// Ports of the system's own, each closed until the setting `listen.<name>` has an address.
    pub listeners: &'static [Listener<S>],
    /// Runners of its effects: what touches the world outside.
    pub runners: &'static [Runner<S>],
    /// Questions that only the owner of a subject can answer.
    pub questions: &'static [Question<S>],
    /// Scopes of the system's own, each with what it allows.
    pub scopes: &'static [(Scope, &'static str)],
    /// Kinds of problem of the system's own.
    pub problems: &'static [&'static Kind],
    /// Describes its metrics to the recorder; called once, at the start.
    pub metrics: fn(),
    /// Makes the components of the OpenAPI document that its routes name: an object of schemas by name.
    pub components: fn() -> Value,
    /// Verbs of the command line.
    pub verbs: &'static [Verb],
}

impl<S> Tables<S> {
    /// Tables without a row.
    pub const EMPTY: Self = Self {
        words: &[],
        routes: &[],
        protocols: &[],
        listeners: &[],
        runners: &[],
        questions: &[],
        scopes: &[],
        problems: &[],
        metrics: || {},
        components: || Value::Object(serde_json::Map::new()),
        verbs: &[],
    };
}

/// Makes the registry's line of a plug.
pub const fn mount<P: Plug>() -> Mount {
    Mount::of::<P>()
}
