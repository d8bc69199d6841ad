//! How the system is mounted.

use std::sync::Arc;

use tol_plug::settings::NoSettings;
use tol_plug::{Plug, Start, StartError, Tables};
use tol_system::{AnySystem, erase};

use crate::IntelligentCiCdOrchestrator;

/// The system's line of the registry.
#[derive(Debug)]
pub struct Delivery;

impl Plug for Delivery {
    const NAME: &'static str = "intelligent-ci-cd-orchestrator";
    const SHORT: &'static str = "delivery";
    type Settings = NoSettings;
    type Serving = ();

    fn serving(_: NoSettings, _: &Start) -> Result<(), StartError> {
        Ok(())
    }

    fn systems(_: &NoSettings) -> Vec<Arc<dyn AnySystem>> {
        vec![erase(IntelligentCiCdOrchestrator)]
    }

    fn tables() -> Tables<()> {
        Tables::EMPTY
    }
}
