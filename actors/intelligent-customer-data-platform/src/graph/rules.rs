//! Which identifiers there are, how strong they are, and how many of a type one person may have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One type of identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentifierRule {
    /// How many of this type one profile may have. Ids that alias calls made one count once.
    pub limit: usize,
    /// Strength: the type with the smallest number names the profile, and is what a call is about.
    pub priority: u32,
}

/// What `decide` knows of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// The types by name; another type has [`OTHER`].
    pub identifiers: BTreeMap<String, IdentifierRule>,
}

/// The rule of a type that the settings do not name.
pub const OTHER: IdentifierRule = IdentifierRule { limit: 5, priority: 50 };
/// Names that alias calls may give one identifier.
pub const MOST_NAMES: usize = 5;

impl Default for Rules {
    fn default() -> Self {
        let rule = |name: &str, limit, priority| (name.to_owned(), IdentifierRule { limit, priority });
        Self { identifiers: BTreeMap::from([rule("user_id", 1, 0), rule("email", 5, 10), rule("anonymous_id", 5, 20)]) }
    }
}

impl Rules {
    /// The rule of a type.
    pub fn of(&self, identifier_type: &str) -> &IdentifierRule {
        self.identifiers.get(identifier_type).unwrap_or(&OTHER)
    }

    /// How many identifiers of a type one identifier keeps links to: the earliest. More than the limit, so that undoing a merge finds the links that
    /// it hid; bounded, so that a shared device cannot make a graph of everybody.
    pub fn degree(&self, identifier_type: &str) -> usize {
        self.of(identifier_type).limit.saturating_mul(4).saturating_add(4).min(64)
    }
}
