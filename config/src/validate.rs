//! Ranges, and values that contradict each other.

use std::fmt::Display;

use crate::error::Error;
use crate::keys::is_hash;
use crate::model::Config;
use crate::origin::Origin;

/// Checks what types alone cannot.
///
/// # Errors
/// The first value that is out of range, named with its origin.
pub(crate) fn validate(config: &Config, origin_of: &dyn Fn(&str) -> Origin) -> Result<(), Error> {
    let refuse = |key: &str, value: &dyn Display, advice: &str| {
        Err(Error::Value { key: key.to_owned(), value: value.to_string(), origin: origin_of(key), advice: advice.to_owned() })
    };
    let ranges: [(&str, u64, u64, u64); 22] = [
        ("http.body_limit_bytes", config.http.body_limit_bytes, 1_000, 1 << 30),
        ("http.workers", config.http.workers.into(), 1, 256),
        ("http.requests_per_second", config.http.requests_per_second.into(), 0, 1_000_000),
        ("http.max_connections", config.http.max_connections.into(), 16, 1_000_000),
        ("http.request_timeout_s", config.http.request_timeout_s, 1, 3_600),
        ("http.write_timeout_s", config.http.write_timeout_s, 1, 3_600),
        ("log.partitions", config.log.partitions.into(), 1, 1_024),
        ("log.segment_bytes", config.log.segment_bytes, 1 << 16, 1 << 30),
        ("log.kafka.replication_factor", config.log.kafka.replication_factor.into(), 1, 16),
        ("log.kafka.inbox_retention_hours", config.log.kafka.inbox_retention_hours.into(), 1, 8_760),
        ("supervision.restart_limit", config.supervision.restart_limit.into(), 1, 1_000),
        ("supervision.restart_window_s", config.supervision.restart_window_s, 1, 86_400),
        ("supervision.backoff_initial_ms", config.supervision.backoff_initial_ms, 1, 60_000),
        ("supervision.backoff_max_ms", config.supervision.backoff_max_ms, 1, 3_600_000),
        ("supervision.hung_after_ms", config.supervision.hung_after_ms, 10, 3_600_000),
        ("supervision.max_abandoned", config.supervision.max_abandoned.into(), 1, 100),
        ("projections.cache_bytes", config.projections.cache_bytes, 1 << 20, 1 << 40),
        ("projections.rebuild_memory_bytes", config.projections.rebuild_memory_bytes, 1 << 20, 1 << 40),
        ("blobs.max_bytes", config.blobs.max_bytes, 1_000, 1 << 40),
        ("clock.tick_ms", config.clock.tick_ms, 10, 3_600_000),
        ("stop.lease_ms", config.stop.lease_ms, 50, 10_000),
        ("node.name", config.node.name.len() as u64, 1, 255),
    ];
    for (key, value, least, most) in ranges {
        if !(least..=most).contains(&value) {
            return refuse(key, &value, &format!("must lie between {least} and {most}"));
        }
    }
    let supervision = &config.supervision;
    if supervision.backoff_max_ms < supervision.backoff_initial_ms {
        return refuse("supervision.backoff_max_ms", &supervision.backoff_max_ms, "must not be below supervision.backoff_initial_ms");
    }
    let port = config.http.listen.rsplit_once(':').map(|(host, port)| (!host.is_empty(), port.parse::<u16>()));
    if !matches!(port, Some((true, Ok(_)))) {
        return refuse("http.listen", &config.http.listen, "must be host:port, for example 127.0.0.1:7700");
    }
    if config.log.kafka.bootstrap.as_deref().is_some_and(|bootstrap| bootstrap.split(',').any(|server| !server.contains(':'))) {
        return refuse("log.kafka.bootstrap", &config.log.kafka.bootstrap.as_deref().unwrap_or_default(), "must be host:port, or several separated by commas");
    }
    // With the host's name alone, `https://a.example` would let `https://a.example.org` pass.
    let names_host =
        |url: &str| ["http://", "https://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| rest.find('/').is_some_and(|at| at > 0)));
    if let Some(prefix) = config.effects.allow.iter().find(|prefix| !names_host(prefix)) {
        return refuse("effects.allow", prefix, "must begin with http:// or https://, a host and a slash, for example https://hooks.example/");
    }
    validate_systems(config, origin_of)?;
    validate_security(config, origin_of)
}

fn validate_systems(config: &Config, origin_of: &dyn Fn(&str) -> Origin) -> Result<(), Error> {
    for (name, system) in &config.systems {
        let refuse = |leaf: &str, value: String, advice: &str| {
            let key = format!("systems.{name}.{leaf}");
            Err(Error::Value { origin: origin_of(&key), key, value, advice: advice.to_owned() })
        };
        if let Some(percent) = system.uptime_target.filter(|percent| !(*percent > 0.0 && *percent <= 100.0)) {
            return refuse("uptime_target", percent.to_string(), "is a percentage: above 0, at most 100");
        }
        if !(1..=1_000).contains(&system.retry_attempts) {
            return refuse("retry_attempts", system.retry_attempts.to_string(), "must lie between 1 and 1000");
        }
    }
    Ok(())
}

fn validate_security(config: &Config, origin_of: &dyn Fn(&str) -> Origin) -> Result<(), Error> {
    let security = &config.security;
    let refuse = |value: &str, advice: &str| {
        Err(Error::Value { key: "security.api_keys".into(), value: value.to_owned(), origin: origin_of("security.api_keys"), advice: advice.to_owned() })
    };
    for (index, key) in security.api_keys.iter().enumerate() {
        if !is_hash(&key.hash) {
            return refuse(&key.name, "its hash is not sha256: and 64 hex digits; `tol keys new` prints an entry to paste");
        }
        if key.name.is_empty() || key.scopes.is_empty() {
            return refuse(&key.name, "every key needs a name and at least one scope");
        }
        if let Some(limit) = key.requests_per_second.filter(|limit| *limit > 1_000_000) {
            return refuse(&key.name, &format!("its requests_per_second is {limit}; it must lie between 0, which is no limit, and 1000000"));
        }
        if security.api_keys[..index].iter().any(|earlier| earlier.name == key.name) {
            return refuse(&key.name, "two keys have this name; names tell in the log who did something");
        }
    }
    if security.master_key.is_some() && security.master_key_file.is_some() {
        let advice = "is set together with security.master_key; keep one";
        let value = "a file".to_owned();
        return Err(Error::Value { key: "security.master_key_file".into(), value, origin: origin_of("security.master_key_file"), advice: advice.into() });
    }
    if security.master_key.is_some() {
        security.master_key_bytes()?;
    }
    if security.api_keys.is_empty() && !config.listens_on_loopback_only() {
        return Err(Error::OpenToAll { listen: config.http.listen.clone(), origin: origin_of("http.listen") });
    }
    Ok(())
}
