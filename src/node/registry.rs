//! The systems there are. One line each; `tests/contract.rs` runs the contract suite over every one of them, `tol doctor` its quick part.

use std::sync::Arc;

use tol_config::Config;
use tol_runtime::supervision::Registered;
use tol_system::{AnySystem, QuerySpec, erase};

/// Makes one system from the configuration.
type Make = fn(&Config) -> Arc<dyn AnySystem>;

/// Every system, by tier. Adding one means adding its folder and a line here.
const SYSTEMS: [Make; 5] = [
    |config| erase(tol_tree_of_life_system::TreeOfLifeSystem::new(hub_configuration(config))),
    |_| erase(tol_revenue_agent_system::RevenueAgentSystem),
    |_| erase(tol_intelligent_ci_cd_orchestrator::IntelligentCiCdOrchestrator),
    |_| erase(tol_enterprise_feature_flag_system::EnterpriseFeatureFlagSystem),
    // Lives in the same folder: what it joins is for the flags alone.
    |_| erase(tol_enterprise_feature_flag_system::FlagAttribution),
];

fn hub_configuration(config: &Config) -> tol_tree_of_life_system::Configuration {
    // Each system's own target, unless the configuration has another.
    let own = [
        erase(tol_tree_of_life_system::TreeOfLifeSystem::default()).describe(),
        erase(tol_revenue_agent_system::RevenueAgentSystem).describe(),
        erase(tol_intelligent_ci_cd_orchestrator::IntelligentCiCdOrchestrator).describe(),
        erase(tol_enterprise_feature_flag_system::EnterpriseFeatureFlagSystem).describe(),
        erase(tol_enterprise_feature_flag_system::FlagAttribution).describe(),
    ];
    let own = own.iter().map(|description| (description.name.to_owned(), description.uptime_target));
    let configured = config.systems.iter().filter_map(|(name, settings)| Some((name.clone(), f64::from(settings.uptime_target_ppm()?) / 1e6)));
    // The configuration was validated when it was loaded; what the hub would refuse falls back to the defaults by tier.
    tol_tree_of_life_system::Configuration::new(own.chain(configured)).unwrap_or_default()
}

/// All systems, made anew.
pub fn systems(config: &Config) -> Vec<Arc<dyn AnySystem>> {
    SYSTEMS.iter().map(|make| make(config)).collect()
}

/// The queries of all systems, by the system's name.
pub fn queries() -> Vec<(&'static str, &'static [QuerySpec])> {
    systems(&Config::default()).iter().map(|system| (system.describe().name, system.queries())).collect()
}

/// The names of all systems.
pub fn names() -> Vec<String> {
    systems(&Config::default()).iter().map(|system| system.describe().name.to_owned()).collect()
}

/// Registers the enabled systems. Nothing is checked here: whatever a node does at its start its takeover waits for, and what the contract suite says
/// about a build is the same at each of its starts.
pub fn register(config: &Config) -> Vec<Registered> {
    let mut registered = Vec::new();
    for make in SYSTEMS {
        let mut description = make(config).describe();
        let settings = config.system(description.name);
        if !settings.enabled {
            continue;
        }
        if let Some(ppm) = settings.uptime_target_ppm() {
            description.uptime_target = f64::from(ppm) / 1e6;
        }
        let config = config.clone();
        registered.push(Registered { description, factory: Arc::new(move || Ok(make(&config))) });
    }
    registered
}
