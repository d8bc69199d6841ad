//! The table of systems, one line each. Serving, access, documents and tests take from that line what a system declares.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};
use tol_config::{Config, KnownSystem, Sources};
use tol_plug::mounted::Description;
use tol_plug::{Kind, Mount, SettingError, mount};
use tol_projections::customers::Customers;
use tol_projections::deployments::ServiceDeployments;
use tol_projections::revenue::RevenueByMonth;
use tol_runtime::supervision::Registered;
use tol_system::{AnyProjection, AnySystem, QuerySpec, projection};

use super::plugs::Plugs;

/// Every system, by tier. To add a system, add its folder, its module of events and a line here.
const PLUGS: &[Mount] = &[
    mount::<tol_tree_of_life_system::Hub>(),
    mount::<tol_revenue_agent_system::Revenue>(),
    mount::<tol_intelligent_ci_cd_orchestrator::Delivery>(),
    mount::<tol_enterprise_feature_flag_system::Flags>(),
    mount::<tol_intelligent_customer_data_platform::Cdp>(),
];

/// The folder of the hub, which keeps the uptime of all others.
const HUB: &str = "tree-of-life-system";

/// A system's settings that are wrong.
#[derive(Debug, thiserror::Error)]
#[error("systems.{system}.settings.{error}")]
pub struct Error {
    system: &'static str,
    error: SettingError,
}

/// Lines of the registry with what each declares, in the same order.
pub(crate) fn plugs() -> impl Iterator<Item = (&'static Mount, &'static Description)> {
    PLUGS.iter().zip(descriptions())
}

/// What all systems declare.
pub fn descriptions() -> &'static [Description] {
    static DESCRIPTIONS: OnceLock<Vec<Description>> = OnceLock::new();
    DESCRIPTIONS.get_or_init(|| PLUGS.iter().map(|plug| (plug.describe)()).collect())
}

/// All kinds of problem: the platform's, then those of each system.
pub fn problems() -> impl Iterator<Item = &'static Kind> {
    Kind::CORE.iter().copied().chain(descriptions().iter().flat_map(|plug| plug.problems.iter().copied()))
}

/// A plug's settings as configured, checked, secrets among them. The hub's have the uptime targets of all systems, and which are enabled, so that its claims
/// tell whether nodes agree.
///
/// # Errors
/// The setting that is wrong.
pub(crate) fn settings(config: &Config, plug: &Mount, name: &'static str) -> Result<Value, Error> {
    let mut given = config.system(name).settings.expose();
    if name == HUB {
        let members = hub_settings(config)?;
        match &mut given {
            Value::Object(given) => given.extend(members),
            given => *given = Value::Object(members),
        }
    }
    shown(plug, name, &given)?;
    Ok(given)
}

/// A plug's settings for people: with the defaults, and without secrets.
///
/// # Errors
/// The setting that is wrong.
pub(crate) fn shown(plug: &Mount, name: &'static str, given: &Value) -> Result<Value, Error> {
    (plug.settings)(given).map_err(|error| Error { system: name, error })
}

fn hub_settings(config: &Config) -> Result<Map<String, Value>, Error> {
    let mut targets = Map::new();
    let mut enabled = Vec::new();
    for (plug, description) in plugs().filter(|(_, description)| description.name != HUB) {
        if config.system(description.name).enabled {
            enabled.push(Value::from(description.name));
        }
        let own = (plug.systems)(&config.system(description.name).settings.expose()).map_err(|error| Error { system: description.name, error })?;
        for system in own {
            let own = system.describe();
            let configured = config.system(own.name).uptime_target_ppm().map(|ppm| f64::from(ppm) / 1e6);
            targets.insert(own.name.to_owned(), configured.unwrap_or(own.uptime_target).into());
        }
    }
    if let Some(ppm) = config.system(HUB).uptime_target_ppm() {
        targets.insert(HUB.to_owned(), (f64::from(ppm) / 1e6).into());
    }
    Ok(Map::from_iter([("uptime_targets".to_owned(), targets.into()), ("enabled".to_owned(), enabled.into())]))
}

/// Hash of the hub's configuration, as its claims carry it: nodes that run the same systems have the same.
///
/// # Errors
/// A setting that is wrong.
pub(crate) fn hub_hash(config: &Config) -> Result<String, Error> {
    let mut hubs = Vec::new();
    for (plug, description) in plugs().filter(|(_, description)| description.name == HUB) {
        hubs.extend(systems_of(config, plug, description.name)?);
    }
    Ok(hubs.first().map(|hub| tol_runtime::owner::configuration_hash(hub.as_ref())).unwrap_or_default())
}

/// The systems of one plug, as configured.
fn systems_of(config: &Config, plug: &Mount, name: &'static str) -> Result<Vec<Arc<dyn AnySystem>>, Error> {
    (plug.systems)(&settings(config, plug, name)?).map_err(|error| Error { system: name, error })
}

/// All systems, made anew, whether they are enabled or not.
///
/// # Errors
/// A setting that is wrong.
pub fn systems(config: &Config) -> Result<Vec<Arc<dyn AnySystem>>, Error> {
    let mut all = Vec::new();
    for (plug, description) in plugs() {
        all.extend(systems_of(config, plug, description.name)?);
    }
    Ok(all)
}

/// All systems with their default settings. Settings that fail the checks of their own defaults are found by the contract suite.
fn defaults() -> Vec<Arc<dyn AnySystem>> {
    systems(&Config::default()).unwrap_or_default()
}

/// The read models folded from events of several systems, which are served whatever is disabled.
pub(crate) fn shared_projections() -> [Arc<dyn AnyProjection>; 3] {
    [projection::erase(Customers), projection::erase(RevenueByMonth), projection::erase(ServiceDeployments)]
}

/// All projections that a node folds: those above, then those of the systems that are enabled.
///
/// # Errors
/// A setting that is wrong, or a system that cannot start.
pub fn projections(config: &Config) -> Result<Vec<Arc<dyn AnyProjection>>, super::plugs::Error> {
    let plugs = Plugs::start(config, &[])?;
    Ok(shared_projections().into_iter().chain(plugs.projections()).collect())
}

/// The queries of all systems, by the system's name.
pub fn queries() -> Vec<(&'static str, &'static [QuerySpec])> {
    defaults().iter().map(|system| (system.describe().name, system.queries())).collect()
}

/// The names of all systems, and of the folders they live in.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = descriptions().iter().map(|plug| plug.name.to_owned()).collect();
    names.extend(defaults().iter().map(|system| system.describe().name.to_owned()));
    names.sort();
    names.dedup();
    names
}

/// The scopes of API keys that systems declare.
pub fn scopes() -> Vec<String> {
    descriptions().iter().flat_map(|plug| plug.scopes).map(|(scope, _)| scope.0.to_owned()).collect()
}

/// Tells the sources of a configuration what it may name: the systems with their settings, and the scopes they declare.
pub fn describe_to(sources: &mut Sources) {
    // A system that shares the folder of another is enabled by a name of its own, and has no settings beside the folder's.
    let readers = || plugs().map(|(plug, description)| (description.name, plug.settings));
    let known = |name: String| match readers().find(|(folder, _)| *folder == name) {
        Some((_, read)) => KnownSystem { name, read },
        None => KnownSystem::new::<()>(name),
    };
    sources.systems = names().into_iter().map(known).collect();
    sources.scopes = scopes();
}

/// The systems of the registry and of `more` that are enabled, for supervision.
///
/// # Errors
/// A setting that is wrong.
pub fn register(config: &Config, more: &[Mount]) -> Result<Vec<Registered>, Error> {
    let mut registered = Vec::new();
    for plug in PLUGS.iter().chain(more) {
        let folder = (plug.describe)().name;
        if !config.system(folder).enabled {
            continue;
        }
        for system in systems_of(config, plug, folder)? {
            let mut description = system.describe();
            let name = description.name;
            let settings = config.system(description.name);
            if !settings.enabled {
                continue;
            }
            if let Some(ppm) = settings.uptime_target_ppm() {
                description.uptime_target = f64::from(ppm) / 1e6;
            }
            let (config, plug) = (config.clone(), *plug);
            // Made anew at each start: a system that kept something in itself begins without it.
            let make = move || {
                let made = systems_of(&config, &plug, folder).map_err(|error| error.to_string())?;
                made.into_iter().find(|system| system.describe().name == name).ok_or_else(|| format!("{folder} does not make {name} any more"))
            };
            registered.push(Registered { description, factory: Arc::new(make) });
        }
    }
    Ok(registered)
}
