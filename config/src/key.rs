//! Keys: their levels, what they are called in the environment, and which of them hold secrets.

use tol_system::settings::key::levels;

/// Prefix of environment variables that set keys; `__` separates levels: `TOL__HTTP__LISTEN` is `http.listen`.
pub const ENVIRONMENT_PREFIX: &str = "TOL__";
/// Below it any key is passed through to librdkafka.
pub(crate) const KAFKA_SETTINGS: &str = "log.kafka.settings.";

/// (system's name, key below it) of `systems.<name>.<key>`.
pub(crate) fn system_key(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("systems.")?.split_once('.')
}

/// (system's name, key below its settings) of `systems.<name>.settings.<key>`; the key is empty for the table itself.
pub(crate) fn setting_key(key: &str) -> Option<(&str, &str)> {
    let (name, rest) = system_key(key)?;
    let below = rest.strip_prefix("settings")?;
    if below.is_empty() { Some((name, below)) } else { Some((name, below.strip_prefix('.')?)) }
}

/// The whole key of one of a system's own settings.
pub(crate) fn of_setting(system: &str, key: &str) -> String {
    let dot = if key.is_empty() { "" } else { "." };
    format!("systems.{system}.settings{dot}{key}")
}

/// The levels of a key; what lies below the table that passes keys through to librdkafka is one level, dots and all.
pub(crate) fn segments(key: &str) -> Vec<&str> {
    if let Some(setting) = key.strip_prefix(KAFKA_SETTINGS) {
        return vec!["log", "kafka", "settings", setting];
    }
    if let Some((name, below)) = setting_key(key) {
        return ["systems", name, "settings"].into_iter().chain(levels(below)).collect();
    }
    match system_key(key) {
        Some((name, rest)) => vec!["systems", name, rest],
        None => key.split('.').collect(),
    }
}

/// `TOL__SYSTEMS__REVENUE_AGENT_SYSTEM__ENABLED` is `systems.revenue-agent-system.enabled`: names of systems have dashes,
/// librdkafka's settings have dots, everything else has underscores.
pub(crate) fn of_variable(name: &str) -> String {
    let lower = name[ENVIRONMENT_PREFIX.len()..].to_lowercase();
    let mut levels: Vec<String> = lower.split("__").map(str::to_owned).collect();
    if levels.len() > 2 && levels[0] == "systems" {
        levels[1] = levels[1].replace('_', "-");
    }
    if levels.len() > 3 && levels[..3] == ["log", "kafka", "settings"] {
        levels[3] = levels[3].replace('_', ".");
    }
    levels.join(".")
}

/// Whether a key's value must not be shown. Of a system's own settings its type knows; this is a guess for those that nobody read.
pub(crate) fn is_secret(key: &str) -> bool {
    let hides = |name: &str| ["password", "secret", "token", "key", "credential", "config", "pem"].iter().any(|word| name.contains(word));
    match key.strip_prefix(KAFKA_SETTINGS) {
        Some(setting) => hides(setting),
        None if key == "security.master_key" || key == "security.node_key" => true,
        None => setting_key(key).is_some_and(|(_, setting)| hides(setting)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_names_any_level_of_a_systems_settings() {
        assert_eq!(of_variable("TOL__SYSTEMS__JOB_ENGINE__SETTINGS__LISTEN__FAKTORY_PORT"), "systems.job-engine.settings.listen.faktory_port");
        assert_eq!(of_variable("TOL__LOG__KAFKA__SETTINGS__SASL_PASSWORD"), "log.kafka.settings.sasl.password");
    }

    #[test]
    fn dots_are_levels_below_settings_and_none_for_librdkafka() {
        assert_eq!(segments("systems.x.settings.listen.\"a.b\""), ["systems", "x", "settings", "listen", "a.b"]);
        assert_eq!(segments("log.kafka.settings.sasl.password"), ["log", "kafka", "settings", "sasl.password"]);
        assert_eq!(setting_key("systems.x.settings"), Some(("x", "")));
        assert_eq!((setting_key("systems.x.settingsx"), setting_key("systems.x.enabled")), (None, None));
    }
}
