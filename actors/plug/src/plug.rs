//! What a system declares to be mounted.

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

/// A system as a whole: what decides, what is folded, what answers, what acts. One folder implements it once; a line of the registry mounts it.
pub trait Plug: 'static {
    /// The folder's name, e.g. `revenue-agent-system`; settings and switching off go by it.
    const NAME: &'static str;
    /// The short name, e.g. `flags`: tag of its routes, prefix of its scopes, runners and questions.
    const SHORT: &'static str;
    /// What `[systems.<NAME>.settings]` may hold; the default shows every key.
    type Settings: Serialize + DeserializeOwned + Default + Send + Sync + 'static;
    /// What answers from memory. It lives from before the log is open until after it is closed.
    type Serving: Send + Sync + 'static;

    /// Checks settings that their types alone cannot.
    ///
    /// # Errors
    /// The setting that is wrong, and what would be right.
    fn check(_settings: &Self::Settings) -> Result<(), SettingError> {
        Ok(())
    }

    /// Makes what answers from memory, before the log is open.
    ///
    /// # Errors
    /// What keeps the node from starting.
    fn serving(settings: Self::Settings, start: &Start) -> Result<Self::Serving, StartError>;

    /// The systems that decide; only settings passed to them here may reach `decide`.
    fn systems(settings: &Self::Settings) -> Vec<Arc<dyn AnySystem>>;

    /// The projections it brings. Made once, before the log is open.
    fn projections(_serving: &Arc<Self::Serving>) -> Vec<MountedProjection> {
        Vec::new()
    }

    /// Routes, protocols and all else that is declared in tables.
    fn tables() -> Tables<Self::Serving>;

    /// What must be well for the node to be ready, beside its systems and projections.
    fn checks(_serving: &Self::Serving) -> Vec<Check> {
        Vec::new()
    }

    /// The log is open: the platform answers.
    fn opened(_serving: &Arc<Self::Serving>, _platform: &Arc<dyn Platform>) {}

    /// This node decides for these partitions from now on.
    fn owns(_serving: &Self::Serving, _partitions: &BTreeSet<u32>) {}

    /// A subject was erased: forget whatever is held of it in memory.
    fn erased(_serving: &Self::Serving, _subject: &str) {}

    /// The node closes: end streams and waits.
    fn closing(_serving: &Self::Serving) {}
}

/// What a node tells a plug when it starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// The node's data folder.
    pub data: PathBuf,
    /// Partitions of each topic.
    pub partitions: u32,
    /// Drawn anew at each start; for what need not be the same twice.
    pub seed: u64,
}

/// What keeps a node from starting.
#[derive(Debug, thiserror::Error)]
#[error("{system} cannot start: {problem}")]
pub struct StartError {
    /// Which system.
    pub system: &'static str,
    /// What failed, on what, and what to do.
    pub problem: String,
}

/// What a plug declares in tables. Empty ones are left out: `Tables { routes: ROUTES, ..Tables::EMPTY }`.
pub struct Tables<S: 'static> {
    /// Words its paths begin with, beside [`Plug::SHORT`].
    pub words: &'static [&'static str],
    /// Its own routes.
    pub routes: &'static [Route<S>],
    /// Foreign protocols below `/compat/<name>`.
    pub protocols: &'static [Protocol<S>],
    /// Ports of its own.
    pub listeners: &'static [Listener<S>],
    /// What touches the world outside.
    pub runners: &'static [Runner<S>],
    /// What only the owner of a subject can answer.
    pub questions: &'static [Question<S>],
    /// Scopes of its own, with what they allow.
    pub scopes: &'static [(Scope, &'static str)],
    /// Kinds of problem of its own.
    pub problems: &'static [&'static Kind],
    /// Describes its metrics to the recorder.
    pub metrics: fn(),
    /// Components of the OpenAPI document that its routes name: an object of schemas.
    pub components: fn() -> Value,
    /// Verbs of the command line.
    pub verbs: &'static [Verb],
}

impl<S> Tables<S> {
    /// Nothing.
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

/// The registry's line for a plug.
pub const fn mount<P: Plug>() -> Mount {
    Mount::of::<P>()
}
