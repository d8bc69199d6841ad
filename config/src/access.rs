//! What is read from a configuration by more than one field.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::error::Error;
use crate::model::{Config, Effects, LogKind, Security, SystemSettings};

impl Config {
    /// Which log is used.
    pub fn log_kind(&self) -> LogKind {
        match self.log.kafka.bootstrap {
            Some(_) => LogKind::Kafka,
            None => LogKind::Embedded,
        }
    }

    /// How a system runs: as configured, or the defaults.
    pub fn system(&self, name: &str) -> SystemSettings {
        self.systems.get(name).cloned().unwrap_or_default()
    }

    /// Whether only this machine can reach the HTTP server.
    pub fn listens_on_loopback_only(&self) -> bool {
        let host = self.http.listen.rsplit_once(':').map_or("", |(host, _)| host);
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl SystemSettings {
    /// The uptime target in millionths (99.99 % is 999,900), so that no float reaches the ledger.
    pub fn uptime_target_ppm(&self) -> Option<u32> {
        self.uptime_target.map(|percent| (percent * 10_000.0).round() as u32)
    }
}

impl Effects {
    /// Whether an effect may call a URL that came in an event's data.
    pub fn allows(&self, url: &str) -> bool {
        self.allow.iter().any(|prefix| url.starts_with(prefix.as_str()))
    }
}

impl Security {
    /// The master key, from `master_key` or from the file; `None` when neither is configured.
    ///
    /// # Errors
    /// When the file cannot be read or the key is not 32 bytes as hex or base64.
    pub fn master_key_bytes(&self) -> Result<Option<[u8; 32]>, Error> {
        let text = match (&self.master_key, &self.master_key_file) {
            (Some(secret), _) => secret.expose().to_owned(),
            (None, Some(path)) => std::fs::read_to_string(path).map_err(|error| Error::MasterKey(format!("{} cannot be read: {error}", path.display())))?,
            (None, None) => return Ok(None),
        };
        decode_key(text.trim()).map(Some)
    }
}

fn decode_key(text: &str) -> Result<[u8; 32], Error> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        let mut key = [0u8; 32];
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |d: u8| char::from(d).to_digit(16).unwrap_or_default() as u8;
            *byte = digit(digits[0]) << 4 | digit(digits[1]);
        }
        return Ok(key);
    }
    let engines = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
    let decoded = engines.iter().find_map(|engine| engine.decode(text).ok());
    // The text itself is a secret and stays out of the message.
    let bytes = decoded.ok_or_else(|| Error::MasterKey("is neither hex nor base64".into()))?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| Error::MasterKey(format!("has {length} bytes")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use tol_system::Secret;

    #[test]
    fn master_key_is_read_as_hex_as_base64_and_from_a_file() {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8 * 7);
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        for text in [hex, STANDARD.encode(key), URL_SAFE_NO_PAD.encode(key)] {
            assert_eq!(decode_key(&text).unwrap(), key);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, format!("{}\n", STANDARD.encode(key))).unwrap();
        let security = Security { master_key_file: Some(path), ..Security::default() };
        assert_eq!(security.master_key_bytes().unwrap(), Some(key));
        let wrong = Security { master_key: Some(Secret::new("c2hvcnQ=")), ..Security::default() };
        let message = wrong.master_key_bytes().unwrap_err().to_string();
        assert!(message.contains("5 bytes") && !message.contains("c2hvcnQ"), "{message}");
    }

    #[test]
    fn urls_of_data_are_allowed_by_prefix() {
        let effects = Effects { allow: vec!["https://hooks.example/in/".into()] };
        assert!(effects.allows("https://hooks.example/in/1") && !effects.allows("https://hooks.example/out") && !Effects::default().allows("https://a/"));
    }

    #[test]
    fn uptime_target_is_exact_in_millionths() {
        for (percent, ppm) in [(99.99, 999_900), (99.9, 999_000), (99.5, 995_000), (90.0, 900_000)] {
            assert_eq!(SystemSettings { uptime_target: Some(percent), ..SystemSettings::default() }.uptime_target_ppm(), Some(ppm));
        }
    }

    #[test]
    fn only_loopback_addresses_count_as_loopback() {
        for (listen, loopback) in
            [("127.0.0.1:1", true), ("[::1]:1", true), ("localhost:1", true), ("0.0.0.0:1", false), ("[::]:1", false), ("tol.example:1", false)]
        {
            let mut config = Config::default();
            config.http.listen = listen.into();
            assert_eq!(config.listens_on_loopback_only(), loopback, "{listen}");
        }
    }
}
