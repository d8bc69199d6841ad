//! What `[systems.intelligent-customer-data-platform.settings]` may hold.

use std::collections::BTreeMap;

use regex::RegexSet;
use serde::{Deserialize, Serialize};
use tol_plug::settings::{Secret, SettingError};

use crate::graph::{IdentifierRule, Rules};

/// Settings of the customer data platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Types of identifiers: how many of one a profile may have, and how strong they are. They reach `decide`.
    pub identifiers: BTreeMap<String, IdentifierRule>,
    /// Traits whose value is an identifier: the trait's name to the identifier's type.
    pub identifier_traits: BTreeMap<String, String>,
    /// Values that identify nobody, as regular expressions without regard to case. Nothing is merged on them.
    pub blocked: Vec<String>,
    /// The names of properties whose numbers audiences may sum. They are kept unsealed.
    pub measures: Vec<String>,
    /// The trait with the company's own number of a customer.
    pub customer_trait: String,
    /// 64 hexadecimal digits: the key of the hashes of identifiers, the same on all nodes. Without it a node makes its own, in its data folder.
    pub identifier_key: Option<Secret>,
    /// Calls that may be on their way into the log at a time; beyond, SDKs are told to wait (429).
    pub calls_at_once: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let blocked = ["[0-]*", "-1", "null", "nil", "none", "nan", "undefined", "anonymous", "unknown", "guest", "n/a", "true", "false", r"\[object object\]"];
        let measures = ["revenue", "value", "amount", "total", "subtotal", "price", "quantity", "tax", "discount", "shipping"];
        Self {
            identifiers: Rules::default().identifiers,
            identifier_traits: BTreeMap::from([("email".to_owned(), "email".to_owned())]),
            blocked: blocked.map(str::to_owned).to_vec(),
            measures: measures.map(str::to_owned).to_vec(),
            customer_trait: "customer_id".to_owned(),
            identifier_key: None,
            calls_at_once: 20_000,
        }
    }
}

/// The longest name of a type of identifiers.
const LONGEST_TYPE: usize = 64;

impl Settings {
    /// What `decide` may know.
    pub(crate) fn rules(&self) -> Rules {
        Rules { identifiers: self.identifiers.clone() }
    }

    /// The patterns of blocked values. Each must fit the whole value.
    pub(crate) fn blocked_set(&self) -> Result<RegexSet, regex::Error> {
        RegexSet::new(self.blocked.iter().map(|pattern| format!("^(?i:{pattern})$")))
    }

    /// The key of the hashes, where one is given.
    pub(crate) fn key(&self) -> Result<Option<[u8; 32]>, SettingError> {
        let Some(secret) = &self.identifier_key else { return Ok(None) };
        let text = secret.expose();
        let digits: Option<Vec<u8>> =
            (text.len() == 64 && text.is_ascii()).then(|| (0..32).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect()).flatten();
        match digits.and_then(|digits| <[u8; 32]>::try_from(digits).ok()) {
            Some(key) => Ok(Some(key)),
            None => Err(SettingError::new("identifier_key", "***", "must be 64 hexadecimal digits, for example of `openssl rand -hex 32`")),
        }
    }

    pub(crate) fn check(&self) -> Result<(), SettingError> {
        self.key()?;
        if let Err(error) = self.blocked_set() {
            return Err(SettingError::new("blocked", format!("{:?}", self.blocked), format!("must be regular expressions: {error}")));
        }
        for (name, rule) in &self.identifiers {
            let named =
                !name.is_empty() && name.len() <= LONGEST_TYPE && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
            if !named {
                return Err(SettingError::new("identifiers", name, "must be named with lower-case letters, digits and underscores"));
            }
            if rule.limit == 0 {
                return Err(SettingError::new(format!("identifiers.{name}.limit"), "0", "must be 1 or more"));
            }
        }
        if self.calls_at_once == 0 {
            return Err(SettingError::new("calls_at_once", "0", "must be 1 or more"));
        }
        Ok(())
    }
}
