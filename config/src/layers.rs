//! Layers: defaults, then the file, then the environment, then flags; each value remembers which one it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::error::Error;
use crate::model::{Config, SystemSettings};
use crate::secret::REDACTED;
use crate::{suggest, validate};

/// Prefix of environment variables that set keys; `__` separates levels: `TOL__HTTP__LISTEN` is `http.listen`.
pub const ENVIRONMENT_PREFIX: &str = "TOL__";
/// Below it any key is passed through to librdkafka.
const KAFKA_SETTINGS: &str = "log.kafka.settings.";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// The path as given.
        path: PathBuf,
        /// The line of the key, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A command-line flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A value and where it came from.
#[derive(Clone, Debug)]
struct Setting {
    value: Value,
    origin: Origin,
}

/// One line of [`Loaded::explain`].
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The key.
    pub key: String,
    /// Its value; `***` for a secret that is set, null for one that is not.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// What the layers above the defaults are made from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file, if one is used.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with [`ENVIRONMENT_PREFIX`] are ignored.
    pub environment: Vec<(String, String)>,
    /// (key, value, flag) from the command line; the last wins.
    pub flags: Vec<(String, String, String)>,
    /// Names of the systems that exist; empty accepts any.
    pub known_systems: Vec<String>,
}

impl Sources {
    /// The file and this process's environment.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self { file, environment: std::env::vars().collect(), ..Self::default() }
    }

    /// Adds a flag's value, text or TOML.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>, flag: impl Into<String>) -> &mut Self {
        self.flags.push((key.into(), value.into(), flag.into()));
        self
    }

    /// Adds `key=value` of `--set`.
    ///
    /// # Errors
    /// When there is no `=`.
    pub fn set_pair(&mut self, pair: &str) -> Result<&mut Self, Error> {
        let (key, value) = pair.split_once('=').ok_or_else(|| Error::NotKeyValue(pair.to_owned()))?;
        Ok(self.set(key.trim(), value.trim(), "--set"))
    }
}

/// A configuration, and where each of its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    settings: BTreeMap<String, Setting>,
}

impl Loaded {
    /// Lays the sources over the defaults and checks the result.
    ///
    /// # Errors
    /// See [`Error`]: an unreadable file, an unknown key, a wrong type, a value out of range, an open port without keys.
    pub fn load(sources: &Sources) -> Result<Loaded, Error> {
        let mut layers = Layers::new(&sources.known_systems);
        if let Some(path) = &sources.file {
            layers.add_file(path)?;
        }
        let mut variables: Vec<_> = sources.environment.iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
        variables.sort();
        for (name, text) in variables {
            layers.add_text(&key_of_variable(name), text, Origin::Environment(name.clone()))?;
        }
        for (key, text, flag) in &sources.flags {
            layers.add_text(key, text, Origin::Flag(flag.clone()))?;
        }
        let loaded = layers.finish()?;
        validate::validate(&loaded.config, &|key| loaded.origin(key))?;
        Ok(loaded)
    }

    /// Every key with its value (secrets as `***`) and origin, sorted by key.
    pub fn explain(&self) -> Vec<Explained> {
        let line = |(key, setting): (&String, &Setting)| Explained { key: key.clone(), value: shown(key, &setting.value), origin: setting.origin.clone() };
        self.settings.iter().map(line).collect()
    }

    /// Where a key's value came from; of a section, where its first value that is not a default did.
    pub fn origin(&self, key: &str) -> Origin {
        self.settings.get(key).map_or(Origin::Default, |setting| setting.origin.clone())
    }
}

/// The settings while layers are added.
struct Layers<'s> {
    settings: BTreeMap<String, Setting>,
    system_keys: BTreeMap<String, Value>,
    known_systems: &'s [String],
}

impl<'s> Layers<'s> {
    fn new(known_systems: &'s [String]) -> Self {
        let mut settings = BTreeMap::new();
        for (key, value) in leaves_of(&Config::default()) {
            settings.insert(key, Setting { value, origin: Origin::Default });
        }
        Self { settings, system_keys: leaves_of(&SystemSettings::default()).into_iter().collect(), known_systems }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let shown_path = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error::Read { path: shown_path.clone(), why: error.to_string() })?;
        let table = DeTable::parse(&text).map_err(|error| Error::Syntax { path: shown_path, why: error.to_string() })?;
        let mut found = Vec::new();
        collect(table.get_ref(), "", &mut found);
        for (key, value, offset) in found {
            let line = 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count();
            self.add(&key, value, Origin::File { path: path.to_owned(), line })?;
        }
        Ok(())
    }

    /// Adds a value given as text: TOML where it fits the key's type, else the text itself.
    fn add_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), Error> {
        let parsed = toml::from_str::<toml::Table>(&format!("v = {text}")).ok().and_then(|mut table| table.remove("v"));
        match parsed {
            Some(value) => self.add(key, json_of(&value), origin.clone()).or_else(|error| match error {
                Error::Type { .. } => self.add(key, Value::from(text), origin).map_err(|_| error),
                other => Err(other),
            }),
            None => self.add(key, Value::from(text), origin),
        }
    }

    fn add(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), Error> {
        let value = if key.starts_with(KAFKA_SETTINGS) { Value::from(plain_text(&value)) } else { value };
        self.check_known(key, &origin)?;
        if let Some((name, _)) = system_key(key) {
            self.add_defaults_of_system(name);
        }
        let before = self.settings.insert(key.to_owned(), Setting { value, origin: origin.clone() });
        if let Err(error) = self.to_config() {
            let why = if is_secret(key) { "expected text".to_owned() } else { error.to_string() };
            match before {
                Some(setting) => self.settings.insert(key.to_owned(), setting),
                None => self.settings.remove(key),
            };
            return Err(Error::Type { key: key.to_owned(), origin, why });
        }
        Ok(())
    }

    fn check_known(&self, key: &str, origin: &Origin) -> Result<(), Error> {
        let unknown = |advice: String| Err(Error::UnknownKey { key: key.to_owned(), origin: origin.clone(), advice });
        if let Some((name, rest)) = system_key(key) {
            if !self.known_systems.is_empty() && !self.known_systems.iter().any(|known| known == name) {
                return unknown(suggest::advice(name, self.known_systems.iter().map(String::as_str)));
            }
            if self.system_keys.contains_key(rest) || rest.starts_with("settings.") {
                return Ok(());
            }
            let siblings: Vec<String> = self.system_keys.keys().map(|leaf| format!("systems.{name}.{leaf}")).collect();
            return unknown(suggest::advice(key, siblings.iter().map(String::as_str)));
        }
        if self.settings.contains_key(key) || (key.starts_with(KAFKA_SETTINGS) && key.len() > KAFKA_SETTINGS.len()) {
            return Ok(());
        }
        unknown(suggest::advice(key, self.settings.keys().map(String::as_str)))
    }

    fn add_defaults_of_system(&mut self, name: &str) {
        for (leaf, value) in &self.system_keys {
            self.settings.entry(format!("systems.{name}.{leaf}")).or_insert_with(|| Setting { value: value.clone(), origin: Origin::Default });
        }
    }

    fn to_config(&self) -> Result<Config, serde_json::Error> {
        let mut root = Map::new();
        for (key, setting) in &self.settings {
            insert_at(&mut root, &segments(key), setting.value.clone());
        }
        serde_json::from_value(Value::Object(root))
    }

    fn finish(self) -> Result<Loaded, Error> {
        // Each value was tried when it was added, so this fails only where defaults themselves do.
        let config = self.to_config().map_err(|error| Error::Type { key: "configuration".into(), origin: Origin::Default, why: error.to_string() })?;
        Ok(Loaded { config, settings: self.settings })
    }
}

/// (system's name, key below it) of `systems.<name>.<key>`.
fn system_key(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("systems.")?.split_once('.')
}

/// The levels of a key; what lies below a table that passes keys through is one level, dots and all.
fn segments(key: &str) -> Vec<&str> {
    if let Some(setting) = key.strip_prefix(KAFKA_SETTINGS) {
        return vec!["log", "kafka", "settings", setting];
    }
    if let Some((name, rest)) = system_key(key) {
        return match rest.strip_prefix("settings.") {
            Some(setting) => vec!["systems", name, "settings", setting],
            None => vec!["systems", name, rest],
        };
    }
    key.split('.').collect()
}

fn insert_at(table: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [leaf] => {
            table.insert((*leaf).to_owned(), value);
        }
        [section, rest @ ..] => {
            let inner = table.entry(*section).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert_at(inner, rest, value);
            }
        }
    }
}

/// `TOL__SYSTEMS__REVENUE_AGENT_SYSTEM__ENABLED` is `systems.revenue-agent-system.enabled`: names of systems have dashes,
/// librdkafka's settings have dots, everything else has underscores.
fn key_of_variable(name: &str) -> String {
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

/// The leaves of a default as (dotted key, value).
fn leaves_of<T: Serialize>(value: &T) -> Vec<(String, Value)> {
    fn walk(prefix: &str, value: &Value, found: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(table) => table.iter().for_each(|(key, inner)| walk(&join(prefix, key), inner, found)),
            leaf => found.push((prefix.to_owned(), leaf.clone())),
        }
    }
    let mut found = Vec::new();
    walk("", &serde_json::to_value(value).unwrap_or_default(), &mut found);
    found
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

/// The values of a TOML table as (key, value, offset of the key in the file).
fn collect(table: &DeTable<'_>, prefix: &str, found: &mut Vec<(String, Value, usize)>) {
    for (name, value) in table {
        let key = join(prefix, name.get_ref());
        // A system's own settings may be tables; they are one value.
        let is_system_setting = system_key(&key).is_some_and(|(_, rest)| rest.starts_with("settings."));
        match value.get_ref() {
            DeValue::Table(inner) if !is_system_setting => collect(inner, &key, found),
            _ => found.push((key, json_of_spanned(value.get_ref()), name.span().start)),
        }
    }
}

fn json_of_spanned(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).map_or_else(|_| Value::from(number.as_str()), Value::from),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or_else(|_| Value::from(number.as_str()), Value::from),
        DeValue::Array(items) => items.iter().map(|item| json_of_spanned(item.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(table.iter().map(|(key, inner)| (key.get_ref().to_string(), json_of_spanned(inner.get_ref()))).collect()),
    }
}

fn json_of(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(flag) => Value::from(*flag),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(items) => items.iter().map(json_of).collect(),
        toml::Value::Table(table) => Value::Object(table.iter().map(|(key, inner)| (key.clone(), json_of(inner))).collect()),
    }
}

fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a key's value must not be shown.
fn is_secret(key: &str) -> bool {
    let hides = |name: &str| ["password", "secret", "token", "key", "credential", "config", "pem"].iter().any(|word| name.contains(word));
    match key.strip_prefix(KAFKA_SETTINGS) {
        Some(setting) => hides(setting),
        None if key == "security.master_key" || key == "security.node_key" => true,
        None => system_key(key).and_then(|(_, rest)| rest.strip_prefix("settings.")).is_some_and(hides),
    }
}

fn shown(key: &str, value: &Value) -> Value {
    if key == "security.api_keys" {
        let mut keys = value.clone();
        for entry in keys.as_array_mut().into_iter().flatten() {
            entry["hash"] = Value::from(REDACTED);
        }
        return keys;
    }
    if is_secret(key) && !value.is_null() { Value::from(REDACTED) } else { value.clone() }
}
