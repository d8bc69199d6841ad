//! What the system remembers about a %KIND%.

use serde::{Deserialize, Serialize};

/// The fold of the system's own events of one %KIND%.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct %SUBJECT% {
    /// Notes so far.
    pub count: u64,
}
