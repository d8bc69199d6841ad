//! Who sent a request.

use std::collections::BTreeMap;
use std::sync::Arc;

/// An API key that was presented, without its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Its name; recorded with what its holder does.
    pub name: String,
    /// What its configuration says beside scopes, e.g. `environment` for SDKs.
    pub attributes: BTreeMap<String, String>,
}

/// Who sent a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// Somebody on this machine, on a node without API keys; or anybody, on a route without a key.
    #[default]
    Anybody,
    /// The holder of a key.
    Key(Arc<Key>),
}

impl Caller {
    /// The name that is recorded with what the caller does.
    pub fn name(&self) -> &str {
        match self {
            Caller::Anybody => "local",
            Caller::Key(key) => &key.name,
        }
    }

    /// The key, if one was presented.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Caller::Anybody => None,
            Caller::Key(key) => Some(key),
        }
    }

    /// An attribute of the key.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.key().and_then(|key| key.attributes.get(name)).map(String::as_str)
    }
}
