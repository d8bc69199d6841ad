//! The table of known types, and the check every fact passes at admission.
//!
//! A known type in a known version is deserialised, checked by its rules and against its subject. An unknown version of a
//! known type is refused: it was meant for a newer node. Any other type is accepted as it is: the log is open.

use schemars::Schema;
use serde::Deserialize;

use crate::domain::{DomainEvent, FieldError};
use crate::event::EventView;
use crate::{billing, commerce, delivery, flags, revenue, supervision, tree, usage};

/// One version of a type that the platform knows.
pub struct KnownType {
    /// The type with its version: `commerce.order_placed.v1`.
    pub event_type: &'static str,
    /// The type without its version: `commerce.order_placed`.
    pub name: &'static str,
    /// The version, from 1.
    pub version: u32,
    /// The domain: `commerce`.
    pub domain: &'static str,
    /// Top-level data fields that are encrypted with the subject's key.
    pub personal: &'static [&'static str],
    /// Deserialises the data, checks its rules and its subject.
    pub validate: fn(&EventView<'_>) -> Result<(), ValidationError>,
    /// The JSON Schema of the data.
    pub schema: fn() -> Schema,
}

impl std::fmt::Debug for KnownType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.event_type)
    }
}

/// What the check found out about an event it accepts.
#[derive(Clone, Copy, Debug)]
pub enum Validity {
    /// A known type whose data is right.
    Known(&'static KnownType),
    /// A type nobody declared; its data was not looked at.
    Open,
}

/// Why an event of a known type is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidationError {
    /// The type is known, this version is not.
    #[error("{event_type} is a version this node does not know; it knows {known}")]
    UnknownVersion {
        /// The type as sent.
        event_type: String,
        /// The versions that are known, as a list for people.
        known: String,
    },
    /// The data does not have the type's shape.
    #[error("the data does not fit {event_type}: {detail}")]
    Data {
        /// The type.
        event_type: &'static str,
        /// What does not fit, with the field where it is known.
        detail: String,
    },
    /// The data breaks a rule of the type.
    #[error("the data does not fit {event_type}: {error}")]
    Field {
        /// The type.
        event_type: &'static str,
        /// Which field, and what would be right.
        error: FieldError,
    },
    /// The subject is not the one the data names.
    #[error("the subject of {event_type} must be \"{expected}\" as its data says, not \"{found}\"")]
    Subject {
        /// The type.
        event_type: &'static str,
        /// What the data names.
        expected: String,
        /// What the event says.
        found: String,
    },
}

fn check<'a, T: DomainEvent + Deserialize<'a>>(view: &EventView<'a>) -> Result<(), ValidationError> {
    let data: T = view.data_as().map_err(|error| ValidationError::Data { event_type: T::TYPE, detail: describe(view.data(), &error) })?;
    data.validate().map_err(|error| ValidationError::Field { event_type: T::TYPE, error })?;
    let subject = view.subject();
    let fits = subject.strip_prefix(T::SUBJECT_KIND).and_then(|rest| rest.strip_prefix('/')).is_some_and(|id| id == data.subject_id());
    if !fits {
        let expected = format!("{}/{}", T::SUBJECT_KIND, data.subject_id());
        return Err(ValidationError::Subject { event_type: T::TYPE, expected, found: subject.to_owned() });
    }
    Ok(())
}

/// serde_json's message, with the top-level field in which the error lies (the message alone names a column).
fn describe(data: &[u8], error: &serde_json::Error) -> String {
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;
    let line_start = data.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum::<usize>();
    let offset = line_start + error.column();
    let Ok(fields) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(data) else {
        return error.to_string();
    };
    let base = data.as_ptr() as usize;
    let holds = |raw: &RawValue| {
        let start = raw.get().as_ptr() as usize - base;
        start < offset && offset <= start + raw.get().len()
    };
    match fields.iter().find(|(_, raw)| holds(raw)) {
        Some((field, _)) => format!("{field}: {error}"),
        None => error.to_string(),
    }
}

/// `name` of `commerce.order_placed.v1` and its version; the version is `None` when the type has none.
pub fn split_version(event_type: &str) -> (&str, Option<u32>) {
    let parsed = event_type.rsplit_once(".v").and_then(|(name, digits)| {
        let number = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
        number.then(|| digits.parse().ok().map(|version| (name, Some(version)))).flatten()
    });
    parsed.unwrap_or((event_type, None))
}

const fn version_at(event_type: &str) -> usize {
    // `.v` is the last one: every type of the table ends in `.v` and digits (a test checks it).
    let bytes = event_type.as_bytes();
    let mut at = bytes.len() - 1;
    while bytes[at] != b'v' {
        at -= 1;
    }
    at - 1
}

const fn version_of(event_type: &str) -> u32 {
    let bytes = event_type.as_bytes();
    let mut at = version_at(event_type) + 2;
    let mut version = 0;
    while at < bytes.len() {
        version = version * 10 + (bytes[at] - b'0') as u32;
        at += 1;
    }
    version
}

const fn domain_of(event_type: &str) -> &str {
    let bytes = event_type.as_bytes();
    let mut at = 0;
    while bytes[at] != b'.' {
        at += 1;
    }
    event_type.split_at(at).0
}

macro_rules! known_types {
    ($($domain:ident :: $name:ident),* $(,)?) => {
        [$(KnownType {
            event_type: <$domain::$name<'static> as DomainEvent>::TYPE,
            name: <$domain::$name<'static> as DomainEvent>::TYPE.split_at(version_at(<$domain::$name<'static> as DomainEvent>::TYPE)).0,
            version: version_of(<$domain::$name<'static> as DomainEvent>::TYPE),
            domain: domain_of(<$domain::$name<'static> as DomainEvent>::TYPE),
            personal: <$domain::$name<'static> as DomainEvent>::PERSONAL,
            validate: |view| check::<$domain::$name<'_>>(view),
            schema: || schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<$domain::$name<'static>>(),
        }),*]
    };
}

/// All known types, sorted by type (a test checks it): the lookup is a binary search.
static KNOWN: [KnownType; 70] = known_types![
    billing::PaymentFailed,
    billing::PaymentSucceeded,
    billing::RefundIssued,
    billing::SubscriptionCancelled,
    billing::SubscriptionChanged,
    billing::SubscriptionStarted,
    commerce::CustomerRegistered,
    commerce::OrderPlaced,
    commerce::OrderRefunded,
    delivery::DeploymentFinished,
    delivery::DeploymentRolledBack,
    delivery::DeploymentStarted,
    delivery::IncidentOpened,
    delivery::IncidentResolved,
    delivery::ReleasePromoted,
    delivery::RollbackRequested,
    flags::BanditAllocated,
    flags::ChangeRequested,
    flags::CountsReported,
    flags::DeploymentAttributed,
    flags::DeploymentNoted,
    flags::DeploymentObserved,
    flags::ExperimentConcluded,
    flags::ExperimentObserved,
    flags::ExperimentRequested,
    flags::ExperimentStarted,
    flags::ExposureFollowed,
    flags::ExposureForgotten,
    flags::ExposureObserved,
    flags::FlagChanged,
    flags::FlagKilled,
    flags::FlagStale,
    flags::KillRequested,
    flags::MetricReported,
    flags::MetricsObserved,
    flags::OutcomeAttributed,
    flags::OutcomeCounted,
    flags::OutcomeNoted,
    flags::RequestRefused,
    flags::RollbackRequested,
    flags::RolloutAdvanced,
    flags::RolloutHeld,
    flags::RolloutObserved,
    flags::RolloutRequested,
    flags::RolloutRolledBack,
    flags::SampleRatioMismatchDetected,
    flags::ServiceFollowed,
    flags::ServiceNamed,
    flags::SharedChangeRequested,
    flags::SharedChanged,
    revenue::MrrMoved,
    revenue::Recognized,
    revenue::Refunded,
    supervision::SystemDegradedObserved,
    supervision::SystemFailedObserved,
    supervision::SystemRecoveredObserved,
    supervision::SystemRestartedObserved,
    supervision::SystemStartedObserved,
    supervision::SystemStoppedObserved,
    tree::EmergencyStopEngaged,
    tree::EmergencyStopReleased,
    tree::SystemDegraded,
    tree::SystemFailed,
    tree::SystemPaused,
    tree::SystemRecovered,
    tree::SystemRestarted,
    tree::SystemResumed,
    tree::SystemStarted,
    tree::SystemStopped,
    usage::FeatureUsed,
];

/// All known types, sorted by type.
pub fn all() -> &'static [KnownType] {
    &KNOWN
}

/// The known type of that name and version.
pub fn known(event_type: &str) -> Option<&'static KnownType> {
    KNOWN.binary_search_by(|known| known.event_type.cmp(event_type)).ok().map(|at| &KNOWN[at])
}

/// Checks an event as admission does.
///
/// # Errors
/// When a known type's data, rules or subject do not fit, or its version is unknown.
pub fn validate(view: &EventView<'_>) -> Result<Validity, ValidationError> {
    let event_type = view.event_type();
    if let Some(known) = known(event_type) {
        (known.validate)(view)?;
        return Ok(Validity::Known(known));
    }
    let (name, version) = split_version(event_type);
    let versions: Vec<&str> = KNOWN.iter().filter(|known| version.is_some() && known.name == name).map(|known| known.event_type).collect();
    if versions.is_empty() {
        return Ok(Validity::Open);
    }
    Err(ValidationError::UnknownVersion { event_type: event_type.to_owned(), known: versions.join(", ") })
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
