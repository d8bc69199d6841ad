//! API keys: made once, stored as a hash, compared in constant time.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::Error;
use crate::secret::{REDACTED, Secret};

/// What begins every key, so that a leaked one is recognised by scanners.
pub const KEY_PREFIX: &str = "tol_";
const HASH_PREFIX: &str = "sha256:";

/// What a key may be used for. A scope does not contain another, except that `admin` contains all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// `POST /events`.
    Publish,
    /// Every `GET` but the unauthenticated ones.
    Read,
    /// Pause, resume and restart systems, rebuild, redrive.
    Operate,
    /// Everything, and releasing the emergency stop.
    Admin,
    /// What nodes of one cluster ask each other (`POST /nodes/ask`).
    Node,
    /// Flags' answers for a context, and reports of what was counted: what an SDK in a browser or an app needs, whose key everybody can read.
    Evaluate,
    /// Flags with their rules: what an SDK needs that evaluates itself.
    Definitions,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Scope; 7] = [Scope::Publish, Scope::Read, Scope::Operate, Scope::Admin, Scope::Node, Scope::Evaluate, Scope::Definitions];

    /// The scope's name in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Publish => "publish",
            Scope::Read => "read",
            Scope::Operate => "operate",
            Scope::Admin => "admin",
            Scope::Node => "node",
            Scope::Evaluate => "evaluate",
            Scope::Definitions => "definitions",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        Scope::ALL.into_iter().find(|scope| scope.name() == text).ok_or_else(|| Error::Scope(text.to_owned()))
    }
}

/// A configured key: its hash, never the key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Who uses it; appears in logs and audit events.
    pub name: String,
    /// `sha256:` and 64 hex digits of the key's SHA-256. A key holds 256 random bits, so a slow hash would add nothing.
    pub hash: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// Requests a second it may send; 0 is no limit. Without it, `http.requests_per_second`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
    /// The environment whose flags an SDK with this key is served; `production` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

impl ApiKey {
    /// Whether the key may be used for `scope`.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("name", &self.name)
            .field("hash", &REDACTED)
            .field("scopes", &self.scopes)
            .field("requests_per_second", &self.requests_per_second)
            .field("environment", &self.environment)
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

    #[test]
    fn a_new_key_is_found_by_its_hash_and_no_other() {
        let (key, other) = (generate_key().unwrap(), generate_key().unwrap());
        assert_ne!(key.expose(), other.expose());
        assert_eq!(key.expose().len(), 4 + 43);
        let hash = hash_key(key.expose());
        assert!(is_hash(&hash) && verify_key(key.expose(), &hash) && !verify_key(other.expose(), &hash));
        let keys = [ApiKey { name: "ci".into(), hash, scopes: vec![Scope::Publish], requests_per_second: None, environment: None }];
        let (place, found) = find_key(key.expose(), &keys).unwrap();
        assert_eq!(place, 0);
        assert!(found.allows(Scope::Publish) && !found.allows(Scope::Read) && find_key("tol_x", &keys).is_none());
    }

    #[test]
    fn hash_is_plain_sha256() {
        // printf abc | sha256sum
        assert_eq!(hash_key("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(!is_hash("sha256:BA") && !is_hash("md5:00"));
    }

    #[test]
    fn admin_may_do_everything_and_scopes_read_back() {
        let key = ApiKey { name: "root".into(), hash: hash_key("x"), scopes: vec![Scope::Admin], requests_per_second: None, environment: None };
        assert!(Scope::ALL.into_iter().all(|scope| key.allows(scope) && scope.name().parse::<Scope>().unwrap() == scope));
        assert!("root".parse::<Scope>().is_err());
        assert!(!format!("{key:?}").contains("sha256"));
    }
}
