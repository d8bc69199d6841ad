//! What the configuration says of one system, and what the loader is told of the systems there are.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use tol_system::SettingError;
use tol_system::settings::{self, REDACTED};

/// Reads a table as a system's settings, and gives it back as an operator may see it.
pub type ReadSettings = fn(&Value) -> Result<Value, SettingError>;

/// A system that may be named below `systems`.
#[derive(Clone, Debug)]
pub struct KnownSystem {
    /// Its name.
    pub name: String,
    /// Reads its settings; for a type `T` that needs no checks of its own it is [`read_settings::<T>`].
    pub read: ReadSettings,
}

impl KnownSystem {
    /// A system whose settings are a `T`; `()` for one that has none.
    pub fn new<T: serde::de::DeserializeOwned + Serialize + Default>(name: impl Into<String>) -> Self {
        Self { name: name.into(), read: read_settings::<T> }
    }
}

/// The [`ReadSettings`] of type `T`.
///
/// # Errors
/// As [`settings::read`].
pub fn read_settings<T: serde::de::DeserializeOwned + Serialize + Default>(table: &Value) -> Result<Value, SettingError> {
    settings::read::<T>(table).map(|read| settings::shown(&read))
}

/// A system's own settings before they are read as its type. Secrets may be among them, so `Debug` and `Serialize` show the outermost keys alone.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct SettingsTable(Map<String, Value>);

impl SettingsTable {
    /// A table as it would stand in a file; anything else than a table is an empty one.
    pub fn new(table: Value) -> Self {
        match table {
            Value::Object(table) => Self(table),
            _ => Self::default(),
        }
    }

    /// Reads the settings as `T`. A loaded configuration has been read so before, and was refused where this fails.
    ///
    /// # Errors
    /// As [`settings::read`].
    pub fn read<T: serde::de::DeserializeOwned + Serialize + Default>(&self) -> Result<T, SettingError> {
        settings::read(&self.expose())
    }

    /// The table with its secrets, for what reads it.
    pub fn expose(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SettingsTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|key| (key, REDACTED))).finish()
    }
}

impl Serialize for SettingsTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.keys().map(|key| (key, REDACTED)))
    }
}
