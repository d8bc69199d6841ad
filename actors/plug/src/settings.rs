//! Reading a system's own settings, `[systems.<name>.settings]`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A setting that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {advice}")]
pub struct SettingError {
    /// The key below `settings`, with dots.
    pub key: String,
    /// Its value, hidden where it is a secret.
    pub value: String,
    /// What is wrong and what would be right.
    pub advice: String,
}

impl SettingError {
    /// A setting that is wrong.
    pub fn new(key: impl Into<String>, value: impl std::fmt::Display, advice: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.to_string(), advice: advice.into() }
    }
}

/// Reads settings over their defaults.
///
/// # Errors
/// A value of the wrong type, or a key that the settings do not have.
pub fn read<T: Serialize + DeserializeOwned + Default>(given: &Value) -> Result<T, SettingError> {
    let mut whole = serde_json::to_value(T::default()).unwrap_or_default();
    if !given.is_null() {
        merge("", &mut whole, given)?;
    }
    serde_json::from_value(whole).map_err(|error| SettingError::new("settings", given, error.to_string()))
}

/// Puts what is given over the defaults. An object of the defaults that is empty takes any key.
fn merge(path: &str, whole: &mut Value, given: &Value) -> Result<(), SettingError> {
    let (Value::Object(known), Value::Object(given)) = (&mut *whole, given) else {
        *whole = given.clone();
        return Ok(());
    };
    let open = known.is_empty();
    for (name, value) in given {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match known.get_mut(name) {
            Some(default) => merge(&key, default, value)?,
            None if open => drop(known.insert(name.clone(), value.clone())),
            None => {
                let names: Vec<&str> = known.keys().map(String::as_str).collect();
                return Err(SettingError::new(key, value, format!("there is no such setting; there are {}", names.join(", "))));
            }
        }
    }
    Ok(())
}

/// Of a system that has no settings: any key is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoSettings;

impl Serialize for NoSettings {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde::ser::SerializeMap::end(serializer.serialize_map(Some(0))?)
    }
}

impl<'de> serde::Deserialize<'de> for NoSettings {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = serde_json::Map::<String, Value>::deserialize(deserializer)?;
        match given.keys().next() {
            None => Ok(Self),
            Some(key) => Err(serde::de::Error::custom(format!("this system has no settings, and no {key}"))),
        }
    }
}
