//! What can be wrong with a configuration.

use tol_system::SettingError;

use crate::origin::Origin;

/// Why a configuration was refused. Every message names the key, where its value came from, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("configuration file {path} cannot be read: {why}; check the path given with --config")]
    Read {
        /// The path as given.
        path: String,
        /// What the operating system says.
        why: String,
    },
    /// The file is not TOML.
    #[error("configuration file {path} is not valid TOML: {why}")]
    Syntax {
        /// The path as given.
        path: String,
        /// What the parser says, with line and column.
        why: String,
    },
    /// A key nobody knows.
    #[error("unknown key {key} (from {origin}); {advice}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it came from.
        origin: Origin,
        /// The nearest known key, or where to find them all.
        advice: String,
    },
    /// A value of the wrong type.
    #[error("{key} (from {origin}) cannot be used: {why}")]
    Type {
        /// The key.
        key: String,
        /// Where it came from.
        origin: Origin,
        /// What was expected.
        why: String,
    },
    /// A value outside its range, or one that contradicts another.
    #[error("{key} = {value} (from {origin}): {advice}")]
    Value {
        /// The key.
        key: String,
        /// The value; `***` for a secret.
        value: String,
        /// Where it came from.
        origin: Origin,
        /// What is allowed, and what to do.
        advice: String,
    },
    /// One of a system's own settings that the system does not take; its key is the whole one.
    #[error("{error} (from {origin})")]
    Setting {
        /// Where it came from.
        origin: Origin,
        /// The key, its value, and what to do.
        error: SettingError,
    },
    /// Reachable by others, and anybody could use it.
    #[error(
        "http.listen = {listen} (from {origin}) can be reached from other machines, but no API key is configured; \
         run `tol keys new --name admin --scopes admin`, paste what it prints into the configuration file, or listen on 127.0.0.1"
    )]
    OpenToAll {
        /// The address.
        listen: String,
        /// Where it came from.
        origin: Origin,
    },
    /// `--set` without `=`.
    #[error("\"{0}\" is not key=value; write for example --set http.listen=127.0.0.1:7800")]
    NotKeyValue(String),
    /// Not a scope.
    #[error("\"{written}\" is not a scope; {nearest} The scopes are {known}")]
    Scope {
        /// What was written.
        written: String,
        /// The nearest scope there is.
        nearest: String,
        /// All scopes there are.
        known: String,
    },
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
    /// The master key cannot be used.
    #[error("security.master_key: {0}; it must be 32 bytes as 64 hex digits or as base64, for example from `openssl rand -hex 32`")]
    MasterKey(String),
}
