//! Protocols that the SDKs of others speak, unchanged.
//!
//! * `segment` — Segment's and RudderStack's SDKs, below `/compat/segment`
//! * `posthog` — PostHog's SDKs, below `/compat/posthog`
//! * `body` — bodies as these SDKs send them

mod body;
mod posthog;
mod segment;

use tol_plug::{Kind, Protocol, Scope};

use crate::serving::CdpService;

/// Sending calls.
pub(crate) const COLLECT: Scope = Scope("cdp:collect");

/// The protocols, each below `/compat/<name>`.
pub(crate) static PROTOCOLS: &[Protocol<CdpService>] = &[segment::PROTOCOL, posthog::PROTOCOL];

/// A handler's request.
type Request = tol_plug::Request<CdpService>;

/// What admission may answer to calls.
const PROBLEMS: &[&Kind] = &[
    Kind::INVALID_EVENT,
    Kind::INVALID_DATA,
    Kind::ID_CONFLICT,
    Kind::UNAVAILABLE,
    Kind::DISK_FULL,
    Kind::EMERGENCY_STOP,
    Kind::MALFORMED_JSON,
    Kind::INVALID_BODY,
    Kind::UNSUPPORTED_CONTENT_TYPE,
];
