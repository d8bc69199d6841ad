//! Configuration: the share of the time each system is meant to be up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Error;

/// The target of a system that none is configured for.
pub const DEFAULT_TARGET: f64 = 0.99;

/// Uptime targets by system. They are read when a ledger is shown, never when it is folded: a changed target changes no past.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    targets: BTreeMap<String, f64>,
    /// Folders of the systems that this node runs. Nothing is decided from it: it makes the claims of nodes that disagree differ.
    #[serde(default)]
    running: Vec<String>,
}

impl Configuration {
    /// With the targets given, by the system's name.
    ///
    /// # Errors
    /// When a target is not above 0 and at most 1.
    pub fn new(targets: impl IntoIterator<Item = (String, f64)>) -> Result<Self, Error> {
        let targets: BTreeMap<String, f64> = targets.into_iter().collect();
        match targets.iter().find(|(_, target)| !(**target > 0.0 && **target <= 1.0)) {
            Some((system, target)) => Err(Error::Target { system: system.clone(), target: *target }),
            None => Ok(Self { targets, running: Vec::new() }),
        }
    }

    /// The same on a node that runs these systems.
    #[must_use]
    pub fn running(self, running: Vec<String>) -> Self {
        Self { running, ..self }
    }

    /// The target of a system; [`DEFAULT_TARGET`] where none is configured.
    pub fn target(&self, system: &str) -> f64 {
        self.targets.get(system).copied().unwrap_or(DEFAULT_TARGET)
    }
}
