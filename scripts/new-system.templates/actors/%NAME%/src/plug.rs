//! How the system is mounted.

use std::sync::Arc;

use tol_plug::settings::NoSettings;
use tol_plug::{MountedProjection, Plug, Start, StartError, Tables};
use tol_system::{AnySystem, erase};

use crate::projections::%SUBJECT%Counts;
use crate::{%SYSTEM%, http};

/// The system's line of the registry.
#[derive(Debug)]
pub struct %PLUG%;

impl Plug for %PLUG% {
    const NAME: &'static str = "%NAME%";
    const SHORT: &'static str = http::SHORT;
    type Settings = NoSettings;
    type Serving = ();

    fn serving(_: NoSettings, _: &Start) -> Result<(), StartError> {
        Ok(())
    }

    fn systems(_: &NoSettings) -> Vec<Arc<dyn AnySystem>> {
        vec![erase(%SYSTEM%)]
    }

    fn projections(_: &Arc<()>) -> Vec<MountedProjection> {
        vec![MountedProjection::of(%SUBJECT%Counts)]
    }

    fn tables() -> Tables<()> {
        Tables { routes: http::ROUTES, components: http::components, ..Tables::EMPTY }
    }
}
