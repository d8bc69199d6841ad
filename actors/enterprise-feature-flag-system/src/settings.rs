//! What `[systems.enterprise-feature-flag-system.settings]` may hold. What differs between businesses stands in the flags and their plans.

use serde::{Deserialize, Serialize};

/// Settings of the flag system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How many streams of flags SDKs may hold open on this node; one more is refused with 503.
    pub max_streams: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_streams: 10_000 }
    }
}
