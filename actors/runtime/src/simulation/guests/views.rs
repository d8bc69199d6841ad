//! What nodes fold from the log beside their systems: projections, as far as the simulation has to know them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tol_kafka::EventLog;

use super::super::guest::Companion;
use super::super::oracle::Recorded;

/// Why a view does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ViewError(String);

impl ViewError {
    /// With what went wrong.
    pub fn new(problem: impl std::fmt::Display) -> Self {
        Self(problem.to_string())
    }
}

/// Opens the views of nodes. What a node stored outlives its crashes.
pub trait Views: Send + Sync {
    /// The views of a node on its client of the log. A name that was never opened before has nothing stored.
    ///
    /// # Errors
    /// They do not open.
    fn open(&self, node: &str, log: Arc<dyn EventLog>) -> Result<Box<dyn View>, ViewError>;
}

/// The views of one node; dropped where it crashes, and opened again where it starts.
pub trait View {
    /// Folds on; whether there may be more to fold. A log that cannot be read now is no error.
    ///
    /// # Errors
    /// They do not go on.
    fn step(&mut self) -> Result<bool, ViewError>;

    /// All of it is to be folded anew, while everything else goes on.
    fn rebuild(&mut self);

    /// The content of each view in one text, by the view's name.
    ///
    /// # Errors
    /// It does not read.
    fn digests(&mut self) -> Result<BTreeMap<String, String>, ViewError>;
}

/// Views beside a node's systems.
pub(super) struct Viewed {
    views: Arc<dyn Views>,
    view: Box<dyn View>,
    node: String,
    log: Arc<dyn EventLog>,
}

impl Viewed {
    pub(super) fn open(views: Arc<dyn Views>, node: &str, log: Arc<dyn EventLog>) -> Result<Self, ViewError> {
        Ok(Self { view: views.open(node, log.clone())?, views, node: node.to_owned(), log })
    }
}

impl Companion for Viewed {
    fn step(&mut self) -> Result<bool, String> {
        self.view.step().map_err(|problem| problem.to_string())
    }

    fn rebuild(&mut self) {
        self.view.rebuild();
    }

    /// Compared with a fold from zero; so are those of the other nodes, which thus are equal.
    fn check(&mut self, _: &[Recorded]) -> Result<(), String> {
        let text = |problem: ViewError| problem.to_string();
        let mut from_zero = self.views.open(&format!("{} from zero", self.node), self.log.clone()).map_err(text)?;
        while from_zero.step().map_err(text)? {}
        let (ours, theirs) = (self.view.digests().map_err(text)?, from_zero.digests().map_err(text)?);
        if ours == theirs { Ok(()) } else { Err(format!("digests of views are {ours:?}, and folded from zero {theirs:?}")) }
    }
}
