//! A system's own settings, the table `[systems.<name>.settings]` of the configuration: read as the system's type, refused by name where they are wrong.
//!
//! * [`read()`] — reads the table as the type; [`shown`] — writes it back, with secrets hidden
//! * [`key`] — joins and splits dotted keys
//! * [`Secret`] — a text that is never printed
//! * [`nearest`] — finds the known name that a misspelt one probably means
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use tol_system::settings::{self, Secret};
//!
//! #[derive(Default, Deserialize, Serialize)]
//! #[serde(default)]
//! struct Settings {
//!     limit: u32,
//!     webhook_secret: Option<Secret>,
//! }
//!
//! let table = serde_json::json!({"limit": 3, "webhook_secret": "whsec_1"});
//! let read: Settings = settings::read(&table)?;
//! assert_eq!(read.limit, 3);
//! assert_eq!(settings::shown(&read), serde_json::json!({"limit": 3, "webhook_secret": "***"}));
//! let wrong = settings::read::<Settings>(&serde_json::json!({"limitt": 3})).err();
//! assert_eq!(wrong.map(|error| error.to_string()), Some("limitt is unknown; did you mean limit?".to_owned()));
//! # Ok::<(), tol_system::settings::SettingError>(())
//! ```

mod deserializer;
pub mod key;
pub mod nearest;
pub mod secret;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use secret::{REDACTED, Secret};

/// Why a setting of a system is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct SettingError {
    /// The key below the system's `settings`, levels joined by dots; empty for the table itself.
    pub key: String,
    /// The value as JSON, `***` for a secret; `None` where the key is wrong.
    pub value: Option<String>,
    /// What is wrong, or what would be right.
    pub advice: String,
}

impl SettingError {
    /// Makes the error of a refused value.
    pub fn new(key: impl Into<String>, value: impl std::fmt::Display, advice: impl Into<String>) -> Self {
        Self { key: key.into(), value: Some(value.to_string()), advice: advice.into() }
    }

    /// Makes the error of an unknown or missing key.
    pub fn of_key(key: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, advice: advice.into() }
    }

    fn message(&self) -> String {
        let key = if self.key.is_empty() { "settings" } else { &self.key };
        match &self.value {
            Some(value) => format!("{key} = {value}: {}", self.advice),
            None => format!("{key} {}", self.advice),
        }
    }
}

/// Reads a table of settings as `T`. A type whose fields all have defaults (`#[serde(default)]`) lets an operator write only what differs.
///
/// # Errors
/// [`SettingError`] with the first key that `T` does not have, and the nearest that it has; or the first value that does not fit.
pub fn read<T: DeserializeOwned + Serialize + Default>(table: &Value) -> Result<T, SettingError> {
    let default = T::default();
    match table {
        Value::Null => return Ok(default),
        Value::Object(keys) if keys.is_empty() => return Ok(default),
        Value::Object(_) => {}
        _ => return Err(SettingError::of_key("", "must be a table")),
    }
    let default = shown(&default);
    if default.is_null() {
        return Err(unknown_key(table, &default, &default, "").unwrap_or_else(|| SettingError::of_key("", "is unknown; this system has no settings")));
    }
    let read = deserializer::read::<T>(table, &default)?;
    // What `T` ignored is missing from what it writes.
    match unknown_key(table, &shown(&read), &default, "") {
        Some(error) => Err(error),
        None => Ok(read),
    }
}

/// Settings as an operator may see them: secrets as `***`.
pub fn shown<T: Serialize>(settings: &T) -> Value {
    serde_json::to_value(settings).unwrap_or_default()
}

/// The first key of `given` that `read` does not have.
fn unknown_key(given: &Value, read: &Value, default: &Value, at: &str) -> Option<SettingError> {
    match (given, read) {
        (Value::Object(given), Value::Object(read)) => given.iter().find_map(|(key, given)| {
            let path = key::join(at, key);
            match read.get(key) {
                Some(read) => unknown_key(given, read, default.get(key).unwrap_or(&Value::Null), &path),
                None => Some(unknown(&path, at, &Value::Object(read.clone()), default)),
            }
        }),
        (Value::Array(given), Value::Array(read)) => {
            given.iter().zip(read).enumerate().find_map(|(place, (given, read))| unknown_key(given, read, &Value::Null, &key::join(at, &place.to_string())))
        }
        (Value::Object(given), Value::Null) => given.keys().next().map(|key| unknown(&key::join(at, key), at, read, default)),
        _ => None,
    }
}

/// The error of a key at `path` in the table at `at`; `tables` are where its known neighbours are.
fn unknown(path: &str, at: &str, read: &Value, default: &Value) -> SettingError {
    let keys =
        |table: &Value| table.as_object().into_iter().flat_map(|table| table.keys().map(|key| key::join(at, key)).collect::<Vec<_>>()).collect::<Vec<_>>();
    let mut known = keys(default);
    known.extend(keys(read));
    let advice = match nearest::find(path, known.iter().map(String::as_str)) {
        Some(nearest) => format!("is unknown; {}", nearest.advice("setting")),
        None if at.is_empty() => "is unknown; this system has no settings".to_owned(),
        None => format!("is unknown; {at} has no settings below it"),
    };
    SettingError::of_key(path, advice)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
