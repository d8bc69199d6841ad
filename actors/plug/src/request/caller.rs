//! [`Caller`]: the sender of a request.

use std::collections::BTreeMap;
use std::sync::Arc;

/// An API key that was presented, without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Its name, which is recorded with what its holder does.
    pub name: String,
    /// Attributes of its configuration, e.g. `environment` for SDKs of flags.
    pub attributes: BTreeMap<String, String>,
}

/// The sender of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// A caller without a key: on this machine, where the node has no API keys, or on a route that asks for none.
    #[default]
    Anybody,
    /// The holder of a key.
    Key(Arc<Key>),
}

impl Caller {
    /// Gives the name that is recorded with what the caller does.
    pub fn name(&self) -> &str {
        match self {
            Caller::Anybody => "local",
            Caller::Key(key) => &key.name,
        }
    }

    /// Gives the key, if one was presented.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Caller::Anybody => None,
            Caller::Key(key) => Some(key),
        }
    }

    /// Reads an attribute of the key.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.key().and_then(|key| key.attributes.get(name)).map(String::as_str)
    }
}
