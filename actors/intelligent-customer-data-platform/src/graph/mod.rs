//! The graph of identifiers, as pure functions.
//!
//! * [`rules`] — types of identifiers, their limits and strength
//! * [`links`] — nodes and evidence, and how two graphs are joined
//! * [`resolve`] — from a graph to profiles and merges

pub mod links;
pub mod resolve;
pub mod rules;

pub use links::{Graph, link_id, link_of, profile_of};
pub use resolve::{Refusal, Resolution, parting, resolve};
pub use rules::{IdentifierRule, Rules};
