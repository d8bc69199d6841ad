//! Typed, layered configuration: defaults < TOML file < environment < flags.
//!
//! * [`model`] — the types and their defaults; their fields are the keys that exist
//! * [`layers`] — loading, and where each value came from
//! * [`keys`] — API keys: making, hashing, comparing
//! * [`secret`] — a text that is never printed
//! * [`error`] — what can be wrong, and what to do

mod access;
pub mod error;
pub mod keys;
pub mod layers;
pub mod model;
pub mod secret;
mod suggest;
mod validate;

pub use error::Error;
pub use keys::{ApiKey, Scope, find_key, generate_key, hash_key, verify_key};
pub use layers::{Explained, Loaded, Origin, Sources};
pub use model::{Clock, Config, Http, Kafka, Log, LogKind, Node, Projections, Security, Stop, Supervision, SystemSettings};
pub use secret::Secret;
