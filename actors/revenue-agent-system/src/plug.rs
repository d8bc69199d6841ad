//! How the system is mounted.

use std::sync::Arc;

use tol_plug::settings::NoSettings;
use tol_plug::{Plug, Start, StartError, Tables};
use tol_system::{AnySystem, erase};

use crate::RevenueAgentSystem;

/// The system's line of the registry.
#[derive(Debug)]
pub struct Revenue;

impl Plug for Revenue {
    const NAME: &'static str = "revenue-agent-system";
    const SHORT: &'static str = "revenue";
    type Settings = NoSettings;
    type Serving = ();

    fn serving(_: NoSettings, _: &Start) -> Result<(), StartError> {
        Ok(())
    }

    fn systems(_: &NoSettings) -> Vec<Arc<dyn AnySystem>> {
        vec![erase(RevenueAgentSystem)]
    }

    fn tables() -> Tables<()> {
        Tables::EMPTY
    }
}
