//! Why a configuration is refused.

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A target that no system can have.
    #[error("the uptime target of {system} is {target}; write a share above 0 and at most 1, for example 0.999")]
    Target {
        /// The system.
        system: String,
        /// What was configured.
        target: f64,
    },
}
