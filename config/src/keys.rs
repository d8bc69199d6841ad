//! API keys: made once, stored as a hash, compared in constant time.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tol_system::settings::{REDACTED, Secret};

use crate::error::Error;
use crate::scope::ADMIN;

/// What begins every key, so that a leaked one is recognised by scanners.
pub const KEY_PREFIX: &str = "tol_";
const HASH_PREFIX: &str = "sha256:";

/// A configured key: its hash, never the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct ApiKey {
    /// Who uses it; appears in logs and audit events.
    pub name: String,
    /// `sha256:` and 64 hex digits of the key's SHA-256. A key holds 256 random bits, so a slow hash would add nothing.
    pub hash: String,
    /// What it may be used for; see [`crate::scope`].
    pub scopes: Vec<String>,
    /// Requests a second it may send; 0 is no limit. Without it, `http.requests_per_second`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// What systems ask about a key, for example its `environment`; each system's README names the attributes it reads.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// A key as it may stand in a configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    hash: String,
    scopes: Vec<String>,
    requests_per_second: Option<u32>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// The attribute of that name, which was a field of its own first.
    environment: Option<String>,
}

impl TryFrom<Written> for ApiKey {
    type Error = TwoEnvironments;
    fn try_from(written: Written) -> Result<Self, TwoEnvironments> {
        let Written { name, hash, scopes, requests_per_second, mut attributes, environment } = written;
        if let Some(environment) = environment
            && attributes.insert(ENVIRONMENT.to_owned(), environment.clone()).is_some_and(|other| other != environment)
        {
            return Err(TwoEnvironments(name));
        }
        Ok(Self { name, hash, scopes, requests_per_second, attributes })
    }
}

const ENVIRONMENT: &str = "environment";

/// A key whose environment is said twice.
#[derive(Debug, thiserror::Error)]
#[error("key \"{0}\" has the attribute environment and another environment beside it; keep the attribute")]
struct TwoEnvironments(String);

impl ApiKey {
    /// A key that its secret text has already been taken from.
    pub fn new(name: impl Into<String>, hash: impl Into<String>, scopes: &[&str]) -> Self {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Self { name: name.into(), hash: hash.into(), scopes, requests_per_second: None, attributes: BTreeMap::new() }
    }

    /// The same key with an attribute.
    #[must_use]
    pub fn with(mut self, attribute: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(attribute.into(), value.into());
        self
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    /// Whether the key may be used for `scope`.
    pub fn allows(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own == scope || own == ADMIN)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("name", &self.name)
            .field("hash", &REDACTED)
            .field("scopes", &self.scopes)
            .field("requests_per_second", &self.requests_per_second)
            .field("attributes", &self.attributes)
            .finish()
    }
}

/// A new key: `tol_` and 32 random bytes from the operating system in base64url.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn generate_key() -> Result<Secret, Error> {
    let mut bytes = [0u8; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|error| Error::Random(error.to_string()))?;
    Ok(Secret::new(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
}

/// The hash of a key as it stands in the configuration: `sha256:<hex>`.
pub fn hash_key(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    // Asked with every request of an SDK: in one piece of memory.
    let mut text = String::with_capacity(HASH_PREFIX.len() + 2 * digest.len());
    text.push_str(HASH_PREFIX);
    for byte in digest {
        let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    text
}

/// Whether a text is `sha256:` and 64 lower-case hex digits.
pub(crate) fn is_hash(text: &str) -> bool {
    let is_hex = |digits: &str| digits.len() == 64 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    text.strip_prefix(HASH_PREFIX).is_some_and(is_hex)
}

/// Whether `key` is the one that was hashed. Takes the same time whichever byte differs.
pub fn verify_key(key: &str, hash: &str) -> bool {
    hash_key(key).as_bytes().ct_eq(hash.as_bytes()).into()
}

/// The configured key that `presented` is, and its place. All are compared, and each in constant time, so the time tells nothing
/// about which, nor how much of one was right.
pub fn find_key<'k>(presented: &str, keys: &'k [ApiKey]) -> Option<(usize, &'k ApiKey)> {
    let presented_hash = hash_key(presented);
    let mut found = None;
    for (place, key) in keys.iter().enumerate() {
        if bool::from(presented_hash.as_bytes().ct_eq(key.hash.as_bytes())) {
            found = Some((place, key));
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::scope::{PUBLISH, READ};

    #[test]
    fn a_new_key_is_found_by_its_hash_and_no_other() {
        let (key, other) = (generate_key().unwrap(), generate_key().unwrap());
        assert_ne!(key.expose(), other.expose());
        assert_eq!(key.expose().len(), 4 + 43);
        let hash = hash_key(key.expose());
        assert!(is_hash(&hash) && verify_key(key.expose(), &hash) && !verify_key(other.expose(), &hash));
        let keys = [ApiKey::new("ci", hash, &[PUBLISH])];
        let (place, found) = find_key(key.expose(), &keys).unwrap();
        assert_eq!(place, 0);
        assert!(found.allows(PUBLISH) && !found.allows(READ) && find_key("tol_x", &keys).is_none());
    }

    #[test]
    fn hash_is_plain_sha256() {
        // printf abc | sha256sum
        assert_eq!(hash_key("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(!is_hash("sha256:BA") && !is_hash("md5:00"));
    }

    #[test]
    fn admin_may_do_everything_and_a_hash_is_not_printed() {
        let key = ApiKey::new("root", hash_key("x"), &[ADMIN]);
        assert!(key.allows(READ) && key.allows("shop:browse"));
        assert!(!format!("{key:?}").contains("sha256"));
    }

    #[test]
    fn an_environment_is_an_attribute() {
        let read = |more: serde_json::Value| -> Result<ApiKey, serde_json::Error> {
            let mut entry = serde_json::json!({"name": "sdk", "hash": hash_key("x"), "scopes": ["read"]});
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(entry)
        };
        let old = read(serde_json::json!({"environment": "staging"})).unwrap();
        assert_eq!(old, read(serde_json::json!({"attributes": {"environment": "staging"}})).unwrap());
        assert_eq!((old.attribute("environment"), old.attribute("team")), (Some("staging"), None));
        assert_eq!(serde_json::to_value(&old).unwrap()["attributes"]["environment"], "staging");
        let twice = read(serde_json::json!({"environment": "staging", "attributes": {"environment": "production"}}));
        assert!(twice.unwrap_err().to_string().contains("key \"sdk\" has the attribute environment"));
        assert!(read(serde_json::json!({"colour": "red"})).is_err());
    }
}
