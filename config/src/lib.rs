//! Typed, layered configuration: defaults < TOML file < environment < flags.
//!
//! * [`model`] — the types and their defaults; their fields are the keys that exist
//! * [`layers`] — loading; [`origin`] — where each value came from
//! * [`systems`] — a system's own settings, before and after its type is known
//! * [`keys`] — API keys: making, hashing, comparing; [`scope`] — what they may be used for
//! * [`error`] — what can be wrong, and what to do
//!
//! Inside: `key` (the levels of keys), `parse` (from TOML), `access` (what several fields say together), `validate` (ranges, contradictions).

mod access;
pub mod error;
mod key;
pub mod keys;
pub mod layers;
pub mod model;
pub mod origin;
mod parse;
pub mod scope;
pub mod systems;
mod validate;

pub use error::Error;
pub use key::ENVIRONMENT_PREFIX;
pub use keys::{ApiKey, find_key, generate_key, hash_key, verify_key};
pub use layers::{Loaded, Sources};
pub use model::{Blobs, Clock, Config, Effects, Http, Kafka, Log, LogKind, Node, Projections, Security, Stop, Supervision, SystemSettings};
pub use origin::{Explained, Origin};
pub use systems::{KnownSystem, SettingsTable};
pub use tol_system::Secret;
