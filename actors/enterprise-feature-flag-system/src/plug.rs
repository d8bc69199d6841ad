//! How the flag system is mounted on a node.

use std::sync::Arc;

use tol_plug::platform::Check;
use tol_plug::{MountedProjection, Platform, Plug, Start, StartError, Tables};
use tol_system::AnySystem;

use crate::projections::FlagsProjection;
use crate::{EnterpriseFeatureFlagSystem, FlagAttribution, FlagService, SHORT, Settings, compat, http, metric_definitions, problems, questions};

/// The flag system and flag-attribution, with all that serves flags.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags;

impl Plug for Flags {
    const NAME: &'static str = "enterprise-feature-flag-system";
    const SHORT: &'static str = SHORT;
    type Settings = Settings;
    type Serving = FlagService;

    fn serving(settings: Settings, start: &Start) -> Result<FlagService, StartError> {
        Ok(FlagService::new(settings.max_streams, start.seed))
    }

    fn systems(_settings: &Settings) -> Vec<Arc<dyn AnySystem>> {
        vec![tol_system::erase(EnterpriseFeatureFlagSystem), tol_system::erase(FlagAttribution)]
    }

    fn projections(serving: &Arc<FlagService>) -> Vec<MountedProjection> {
        let service = serving.clone();
        vec![MountedProjection::followed(FlagsProjection, move |followed| service.server.take(followed))]
    }

    fn tables() -> Tables<FlagService> {
        Tables {
            words: &["flag-exposures", "flag-environments", "flag-experiments"],
            routes: http::ROUTES,
            protocols: compat::PROTOCOLS,
            questions: questions::QUESTIONS,
            scopes: &[
                (compat::EVALUATE, "answers about flags for a context, and reports of what was counted"),
                (compat::DEFINITIONS, "flags with their rules"),
            ],
            problems: problems::ALL,
            metrics: metric_definitions::describe,
            components: http::components,
            ..Tables::EMPTY
        }
    }

    fn checks(serving: &FlagService) -> Vec<Check> {
        vec![serving.check()]
    }

    fn opened(serving: &Arc<FlagService>, platform: &Arc<dyn Platform>) {
        serving.opened(platform);
    }

    fn closing(serving: &FlagService) {
        serving.server.close();
    }
}
