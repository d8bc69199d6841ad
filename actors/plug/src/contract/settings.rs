//! Settings of a plug.

use serde_json::{Value, json};

use super::{Broken, Rule, caught};
use crate::Mount;

/// What an operator has who set nothing.
pub(super) fn none() -> Value {
    json!({})
}

pub(super) fn check(mount: &Mount, broken: &mut Broken) {
    let Some(shown) = caught(broken, "settings", || (mount.settings)(&none())) else { return };
    match shown {
        Ok(shown) => {
            broken.check(Rule::Settings, shown.is_object(), || format!("the settings are no table: {shown}"));
            // Secrets are shown as asterisks, which are valid text.
            if let Some(Err(error)) = caught(broken, "settings", || (mount.settings)(&shown)) {
                broken.add(Rule::Settings, format!("the defaults, written out, are refused: {error}"));
            }
        }
        Err(error) => broken.add(Rule::Settings, format!("the defaults are refused: {error}")),
    }
    let unknown = json!({"a-key-that-nobody-declared": 1});
    if let Some(Ok(_)) = caught(broken, "settings", || (mount.settings)(&unknown)) {
        broken.add(Rule::Settings, format!("{unknown} is accepted"));
    }
}
