//! How the system is mounted on a node.

use std::collections::BTreeSet;
use std::sync::Arc;

use tol_plug::settings::SettingError;
use tol_plug::{MountedProjection, Platform, Plug, Start, StartError, Tables};
use tol_system::AnySystem;

use crate::projections::{AudienceMembers, Audiences, Identifiers, Profiles};
use crate::serving::CdpService;
use crate::{IntelligentCustomerDataPlatform, Settings, compat, effects, http, metric_definitions, questions};

/// The customer data platform, with all that serves it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cdp;

impl Plug for Cdp {
    const NAME: &'static str = "intelligent-customer-data-platform";
    const SHORT: &'static str = http::SHORT;
    type Settings = Settings;
    type Serving = CdpService;

    fn check(settings: &Settings) -> Result<(), SettingError> {
        settings.check()
    }

    fn serving(settings: Settings, start: &Start) -> Result<CdpService, StartError> {
        CdpService::new(settings, &start.data).map_err(|error| StartError { system: Self::NAME, problem: error.to_string() })
    }

    fn systems(settings: &Settings) -> Vec<Arc<dyn AnySystem>> {
        vec![tol_system::erase(IntelligentCustomerDataPlatform::new(settings.rules()))]
    }

    fn projections(serving: &Arc<CdpService>) -> Vec<MountedProjection> {
        let service = serving.clone();
        let members = MountedProjection::followed(AudienceMembers, move |followed| {
            if followed.anew {
                service.members.clear();
            }
            for (profile_id, audiences) in &followed.rows {
                service.members.set(profile_id, audiences.iter().flatten().map(String::as_str));
            }
        });
        let service = serving.clone();
        let audiences = MountedProjection::followed(Audiences, move |followed| {
            if followed.rows.iter().any(|(_, audience)| audience.is_some()) {
                service.evaluator.audience_defined();
            }
        });
        vec![MountedProjection::of(Identifiers), MountedProjection::of(Profiles), audiences, members]
    }

    fn tables() -> Tables<CdpService> {
        Tables {
            routes: http::ROUTES,
            protocols: compat::PROTOCOLS,
            runners: effects::RUNNERS,
            questions: questions::QUESTIONS,
            scopes: &[(compat::COLLECT, "sends calls of analytics SDKs, and asks for flags as PostHog's SDKs do")],
            metrics: metric_definitions::describe,
            components: http::components,
            ..Tables::EMPTY
        }
    }

    fn opened(serving: &Arc<CdpService>, platform: &Arc<dyn Platform>) {
        serving.opened(platform);
    }

    fn owns(serving: &CdpService, partitions: &BTreeSet<u32>) {
        serving.owns(partitions);
    }

    fn erased(serving: &CdpService, _subject: &str) {
        serving.named.clear();
    }

    fn closing(serving: &CdpService) {
        serving.evaluator.close();
    }
}
