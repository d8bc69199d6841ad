//! How the hub is mounted.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tol_plug::{Plug, SettingError, Start, StartError, Tables};
use tol_system::{AnySystem, erase};

use crate::{Configuration, TreeOfLifeSystem};

/// The hub's line of the registry.
#[derive(Debug)]
pub struct Hub;

/// What the node tells the hub of all systems; none of it is written by hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Share of the time each system is meant to be up, 0 to 1.
    pub uptime_targets: BTreeMap<String, f64>,
    /// Folders of the systems that this node runs: part of the hub's claims, so that nodes notice when they disagree.
    pub enabled: Vec<String>,
}

impl Plug for Hub {
    const NAME: &'static str = "tree-of-life-system";
    const SHORT: &'static str = "tree";
    type Settings = Settings;
    type Serving = ();

    fn check(settings: &Settings) -> Result<(), SettingError> {
        match Configuration::new(settings.uptime_targets.clone()) {
            Ok(_) => Ok(()),
            Err(error) => Err(SettingError::new("uptime_targets", serde_json::json!(settings.uptime_targets), error.to_string())),
        }
    }

    fn serving(_: Settings, _: &Start) -> Result<(), StartError> {
        Ok(())
    }

    fn systems(settings: &Settings) -> Vec<Arc<dyn AnySystem>> {
        let targets = Configuration::new(settings.uptime_targets.clone()).unwrap_or_default();
        vec![erase(TreeOfLifeSystem::new(targets.running(settings.enabled.clone())))]
    }

    fn tables() -> Tables<()> {
        Tables::EMPTY
    }
}
