//! Reading a system's own settings, `[systems.<name>.settings]`; see [`tol_system::settings`].

use serde::{Deserialize, Serialize};

pub use tol_system::settings::{Secret, SettingError, read, shown};

/// The settings of a system that has none: every key is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoSettings {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_settings_takes_none() {
        assert_eq!(read::<NoSettings>(&serde_json::json!({})), Ok(NoSettings {}));
        let error = read::<NoSettings>(&serde_json::json!({"limit": 1})).map_err(|error| error.to_string());
        assert_eq!(error, Err("limit is unknown; this system has no settings".to_owned()));
    }
}
