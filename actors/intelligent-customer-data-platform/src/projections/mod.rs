//! Read models, one file each.
//!
//! * [`identifiers`] — what was told about each identifier, folded from facts
//! * [`profiles`] — graphs, profiles, audiences of a profile, erasures, folded from the system's own events
//! * [`audiences`] — conditions of audiences
//! * [`members`] — the audiences of each profile that is in one

pub mod audiences;
pub mod identifiers;
pub mod members;
pub mod profiles;

pub use audiences::Audiences;
pub use identifiers::Identifiers;
pub use members::AudienceMembers;
pub use profiles::Profiles;

/// The topic of the system's own events.
pub(crate) const OWN_TOPIC: &str = "intelligent-customer-data-platform.events";
/// The topic of facts about identifiers, profiles, audiences and erasures.
pub(crate) const FACTS_TOPIC: &str = "facts.identifier";
/// The source of the system's own events, for examples.
pub(crate) const SOURCE: &str = "/systems/intelligent-customer-data-platform";
