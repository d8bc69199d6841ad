//! Layers: defaults, then the file, then the environment, then flags; each value remembers which one it came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tol_system::settings::{REDACTED, nearest};
use toml::de::DeTable;

use crate::error::Error;
use crate::key::{self, ENVIRONMENT_PREFIX, KAFKA_SETTINGS, is_secret, setting_key, system_key};
use crate::model::{Config, SystemSettings};
use crate::origin::{Explained, Origin};
use crate::parse::{self, insert_at, leaves_of};
use crate::scope;
use crate::systems::KnownSystem;
use crate::validate;

/// A value and where it came from.
#[derive(Clone, Debug)]
struct Setting {
    value: Value,
    /// The text that `value` was read from as TOML: a system's setting that must be text takes it instead.
    text: Option<String>,
    origin: Origin,
}

/// What the layers above the defaults are made from, and what a configuration may name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The TOML file, if one is used.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with [`ENVIRONMENT_PREFIX`] are ignored.
    pub environment: Vec<(String, String)>,
    /// (key, value, flag) from the command line; the last wins.
    pub flags: Vec<(String, String, String)>,
    /// The systems that exist; empty accepts any, and their settings unread.
    pub systems: Vec<KnownSystem>,
    /// The scopes that systems declare, beside [`scope::CORE`].
    pub scopes: Vec<String>,
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
    /// The settings of the systems as their types read them, defaults among them, secrets hidden; by system.
    read: BTreeMap<String, Value>,
}

impl Loaded {
    /// Lays the sources over the defaults and checks the result.
    ///
    /// # Errors
    /// See [`Error`]: an unreadable file, an unknown key, a wrong type, a value out of range, an open port without keys.
    pub fn load(sources: &Sources) -> Result<Loaded, Error> {
        let mut layers = Layers::new(&sources.systems);
        if let Some(path) = &sources.file {
            layers.add_file(path)?;
        }
        let mut variables: Vec<_> = sources.environment.iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
        variables.sort();
        for (name, text) in variables {
            layers.add_text(&key::of_variable(name), text, &Origin::Environment(name.clone()))?;
        }
        for (key, text, flag) in &sources.flags {
            layers.add_text(key, text, &Origin::Flag(flag.clone()))?;
        }
        let mut loaded = layers.finish()?;
        for key in &mut loaded.config.security.api_keys {
            for scope in &mut key.scopes {
                *scope = scope::resolve(scope, &sources.scopes).map_err(|error| Error::Value {
                    key: "security.api_keys".into(),
                    value: key.name.clone(),
                    origin: loaded.settings.get("security.api_keys").map_or(Origin::Default, |setting| setting.origin.clone()),
                    advice: error.to_string(),
                })?;
            }
        }
        validate::validate(&loaded.config, &|key| loaded.origin(key))?;
        Ok(loaded)
    }

    /// Every key with its value (secrets as `***`) and origin, sorted by key.
    pub fn explain(&self) -> Vec<Explained> {
        let is_read = |key: &str| setting_key(key).is_some_and(|(system, _)| self.read.contains_key(system));
        let set = self.settings.iter().filter(|(key, _)| !is_read(key));
        let mut lines: Vec<Explained> =
            set.map(|(key, setting)| Explained { key: key.clone(), value: shown(key, &setting.value), origin: setting.origin.clone() }).collect();
        for (system, settings) in &self.read {
            lines.extend(leaves_of(settings).into_iter().filter(|(key, _)| !key.is_empty()).map(|(key, value)| {
                let key = key::of_setting(system, &key);
                Explained { origin: self.origin(&key), key, value }
            }));
        }
        lines.sort_by(|a, b| a.key.cmp(&b.key));
        lines
    }

    /// Where a key's value came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.settings.get(key).map_or(Origin::Default, |setting| setting.origin.clone())
    }
}

/// The settings while layers are added.
struct Layers<'s> {
    settings: BTreeMap<String, Setting>,
    system_keys: BTreeMap<String, Value>,
    systems: &'s [KnownSystem],
}

impl<'s> Layers<'s> {
    fn new(systems: &'s [KnownSystem]) -> Self {
        let mut settings = BTreeMap::new();
        for (key, value) in leaves_of(&Config::default()) {
            settings.insert(key, Setting { value, text: None, origin: Origin::Default });
        }
        Self { settings, system_keys: leaves_of(&SystemSettings::default()).into_iter().collect(), systems }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let shown_path = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error::Read { path: shown_path.clone(), why: error.to_string() })?;
        let table = DeTable::parse(&text).map_err(|error| Error::Syntax { path: shown_path, why: error.to_string() })?;
        let mut found = Vec::new();
        parse::collect(table.get_ref(), "", &|key| setting_key(key).is_some(), &mut found);
        for (key, value, offset) in found {
            let line = 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count();
            self.add(&key, value, None, &Origin::File { path: path.to_owned(), line })?;
        }
        Ok(())
    }

    /// Adds a value given as text: TOML where it fits the key's type, else the text itself.
    fn add_text(&mut self, key: &str, text: &str, origin: &Origin) -> Result<(), Error> {
        match parse::from_text(text) {
            Some(value) => self.add(key, value, Some(text), origin).or_else(|error| match error {
                Error::Type { .. } => self.add(key, Value::from(text), None, origin).map_err(|_| error),
                other => Err(other),
            }),
            None => self.add(key, Value::from(text), None, origin),
        }
    }

    fn add(&mut self, key: &str, value: Value, text: Option<&str>, origin: &Origin) -> Result<(), Error> {
        if setting_key(key).is_some() {
            return self.add_setting(key, value, text, origin);
        }
        let value = if key.starts_with(KAFKA_SETTINGS) { Value::from(parse::plain_text(&value)) } else { value };
        self.check_known(key, origin)?;
        if let Some((name, _)) = system_key(key) {
            self.add_defaults_of_system(name);
        }
        let before = self.settings.insert(key.to_owned(), Setting { value, text: None, origin: origin.clone() });
        if let Err(error) = self.to_config() {
            let why = if is_secret(key) { "expected text".to_owned() } else { error.to_string() };
            match before {
                Some(setting) => self.settings.insert(key.to_owned(), setting),
                None => self.settings.remove(key),
            };
            return Err(Error::Type { key: key.to_owned(), origin: origin.clone(), why });
        }
        Ok(())
    }

    /// Adds one of a system's own settings, or each value of a table of them. Its type is known at the end alone, when all layers are there.
    fn add_setting(&mut self, key: &str, value: Value, text: Option<&str>, origin: &Origin) -> Result<(), Error> {
        if let Value::Object(table) = value {
            let quoted = |name: &str| tol_system::settings::key::join(key, name);
            return table.into_iter().try_for_each(|(name, inner)| self.add_setting(&quoted(&name), inner, None, origin));
        }
        self.check_known(key, origin)?;
        // A value stands in the way of values below it, and they in its.
        let below = format!("{key}.");
        self.settings.retain(|other, _| !other.starts_with(&below) && !key.strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with('.')));
        self.settings.insert(key.to_owned(), Setting { value, text: text.map(str::to_owned), origin: origin.clone() });
        Ok(())
    }

    fn check_known(&self, key: &str, origin: &Origin) -> Result<(), Error> {
        let unknown = |wrong: &str, known: &mut dyn Iterator<Item = &str>| {
            let advice = nearest::find(wrong, known).map_or_else(|| "`tol config check` lists all keys".to_owned(), |nearest| nearest.advice("key"));
            let advice = if advice.ends_with('?') { advice } else { format!("{advice}; `tol config check` lists all") };
            Err(Error::UnknownKey { key: key.to_owned(), origin: origin.clone(), advice })
        };
        if let Some((name, rest)) = system_key(key) {
            if !self.systems.is_empty() && !self.systems.iter().any(|known| known.name == name) {
                return unknown(name, &mut self.systems.iter().map(|known| known.name.as_str()));
            }
            if self.system_keys.contains_key(rest) || setting_key(key).is_some_and(|(_, setting)| !setting.is_empty()) {
                return Ok(());
            }
            let siblings: Vec<String> = self.system_keys.keys().map(|leaf| format!("systems.{name}.{leaf}")).collect();
            return unknown(key, &mut siblings.iter().map(String::as_str));
        }
        if self.settings.contains_key(key) || (key.starts_with(KAFKA_SETTINGS) && key.len() > KAFKA_SETTINGS.len()) {
            return Ok(());
        }
        unknown(key, &mut self.settings.keys().map(String::as_str))
    }

    fn add_defaults_of_system(&mut self, name: &str) {
        for (leaf, value) in &self.system_keys {
            let default = || Setting { value: value.clone(), text: None, origin: Origin::Default };
            self.settings.entry(format!("systems.{name}.{leaf}")).or_insert_with(default);
        }
    }

    fn to_config(&self) -> Result<Config, serde_json::Error> {
        serde_json::from_value(Value::Object(self.tree(|_| true)))
    }

    /// The settings whose keys are wanted, as nested tables.
    fn tree(&self, wants: impl Fn(&str) -> bool) -> Map<String, Value> {
        let mut root = Map::new();
        for (key, setting) in self.settings.iter().filter(|(key, _)| wants(key)) {
            insert_at(&mut root, &key::segments(key), setting.value.clone());
        }
        root
    }

    /// Reads the settings of a system as its type.
    fn read_settings(&mut self, system: &KnownSystem) -> Result<Value, Error> {
        let is_its = |key: &str| setting_key(key).is_some_and(|(name, _)| name == system.name);
        loop {
            let mut tree = Value::Object(self.tree(is_its));
            let error = match (system.read)(&tree["systems"][&system.name]["settings"].take()) {
                Ok(read) => return Ok(read),
                Err(error) => error,
            };
            let key = key::of_setting(&system.name, &error.key);
            // `42` of an environment variable is a number, until a setting wants text.
            if let Some(setting) = self.settings.get_mut(&key)
                && let Some(text) = setting.text.take()
                && setting.value.as_str() != Some(text.as_str())
            {
                setting.value = Value::from(text);
                continue;
            }
            return Err(Error::Setting { origin: self.origin_near(&key), error: tol_system::SettingError { key, ..error } });
        }
    }

    /// The origin of a key, of the first below it, or of the one it lies below.
    fn origin_near(&self, key: &str) -> Origin {
        let exact = self.settings.get(key);
        let below = || self.settings.iter().find(|(other, _)| other.strip_prefix(key).is_some_and(|rest| rest.starts_with('.'))).map(|(_, setting)| setting);
        let above = || {
            self.settings.iter().rev().find(|(other, _)| key.strip_prefix(other.as_str()).is_some_and(|rest| rest.starts_with('.'))).map(|(_, setting)| setting)
        };
        exact.or_else(below).or_else(above).map_or(Origin::Default, |setting| setting.origin.clone())
    }

    fn finish(mut self) -> Result<Loaded, Error> {
        let mut read = BTreeMap::new();
        for system in self.systems {
            read.insert(system.name.clone(), self.read_settings(system)?);
        }
        // Each value was tried when it was added, so this fails only where defaults themselves do.
        let config = self.to_config().map_err(|error| Error::Type { key: "configuration".into(), origin: Origin::Default, why: error.to_string() })?;
        Ok(Loaded { config, settings: self.settings, read })
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
