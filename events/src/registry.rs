//! The table of known types, and the check that every fact passes at admission.
//!
//! A known type in a known version is deserialised, checked by its rules, its amounts' bounds, and against its subject. An unknown version of a
//! known type is refused: it was meant for a newer node. So is a type that misses a known one by a letter or its version. Any other type is accepted as
//! it is: the log is open. What an accepted fact probably got wrong is told in [`Warning`]s.

use std::sync::LazyLock;

use schemars::Schema;
use serde::Deserialize;

use crate::domain::{DomainEvent, FieldError};
use crate::event::EventView;
use crate::kinds;
use crate::personal::{self, PERSONAL_SUBJECT};
use crate::{amounts, delivery, names};

/// One version of a type that the platform knows.
#[derive(Clone, Copy)]
pub struct KnownType {
    /// The type with its version: `commerce.order_placed.v1`.
    pub event_type: &'static str,
    /// The type without its version: `commerce.order_placed`.
    pub name: &'static str,
    /// The version, from 1.
    pub version: u32,
    /// The domain: `commerce`.
    pub domain: &'static str,
    /// The kind of its subjects: `customer`. Empty where subjects may be of any kind.
    pub kind: &'static str,
    /// Top-level data fields that are encrypted with the subject's key; `name.*` stands for each member of an object.
    pub personal: &'static [&'static str],
    /// Deserialises the data, checks its rules, its bounds and its subject, and adds warnings of what it passed over.
    pub validate: fn(&EventView<'_>, &mut Vec<Warning>) -> Result<(), ValidationError>,
    /// The JSON Schema of the data.
    pub schema: fn() -> Schema,
}

impl std::fmt::Debug for KnownType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.event_type)
    }
}

/// The result of the check of an accepted event.
#[derive(Clone, Copy, Debug)]
pub enum Validity {
    /// The type is known, and the data is valid.
    Known(&'static KnownType),
    /// The type is undeclared; its data was not checked.
    Open,
}

/// What an accepted fact probably got wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// The kind, for programs.
    pub kind: WarningKind,
    /// What is odd, and what follows from it.
    pub detail: String,
}

/// Kinds of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WarningKind {
    /// The domain is known, and the type is not.
    UnknownType,
    /// The type is known and has no such field.
    UnknownField,
    /// A name is known in another spelling.
    Spelling,
}

impl WarningKind {
    /// Gives the kind's name for clients.
    pub fn as_str(self) -> &'static str {
        match self {
            WarningKind::UnknownType => "unknown-type",
            WarningKind::UnknownField => "unknown-field",
            WarningKind::Spelling => "spelling",
        }
    }
}

/// Unknown fields that one fact is warned about; senders choose how many there are.
const MOST_FIELDS: usize = 16;

/// Why an event of a known type is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidationError {
    /// The type is known, but not in this version.
    #[error("{event_type} is a version this node does not know; it knows {known}")]
    UnknownVersion {
        /// The type as sent.
        event_type: String,
        /// The known versions, as a list for people.
        known: String,
    },
    /// The type is not known, and misses a known one by a letter or by its version.
    #[error("{event_type} is not a type that this node knows; did you mean {meant}?")]
    Misspelt {
        /// The type as sent.
        event_type: String,
        /// The known type that was probably meant.
        meant: &'static str,
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
        /// The field, and what would be right.
        error: FieldError,
    },
    /// The extension `personalsubject` names no subject.
    #[error("{PERSONAL_SUBJECT} must name a person as kind/id, for example customer/42, not \"{0}\"")]
    PersonalSubject(String),
    /// The subject differs from the one that the data names.
    #[error("the subject of {event_type} must be \"{expected}\" as its data says, not \"{found}\"")]
    Subject {
        /// The type.
        event_type: &'static str,
        /// The subject that the data names.
        expected: String,
        /// The subject of the event.
        found: String,
    },
}

pub(crate) fn check<'a, T: DomainEvent + Deserialize<'a>>(view: &EventView<'a>, warnings: &mut Vec<Warning>) -> Result<(), ValidationError> {
    let data: T = view.data_as().map_err(|error| ValidationError::Data { event_type: T::TYPE, detail: describe(view.data(), &error) })?;
    let members = data.validate().and_then(|()| amounts::check(T::TYPE, view.data())).map_err(|error| ValidationError::Field { event_type: T::TYPE, error })?;
    if !members.are_known() {
        let before = warnings.len();
        warn_of_unknown_fields::<T>(view.data(), T::TYPE, warnings);
        if warnings.len() == before {
            members.remember();
        }
    }
    let subject = view.subject();
    let of_kind = subject.strip_prefix(T::SUBJECT_KIND).and_then(|rest| rest.strip_prefix('/')).is_some_and(|id| id == data.subject_id());
    if !(of_kind || T::SUBJECT_KIND.is_empty() && subject == data.subject_id()) {
        let expected = data.subject();
        return Err(ValidationError::Subject { event_type: T::TYPE, expected, found: subject.to_owned() });
    }
    Ok(())
}

/// Warns of fields that the type does not have.
fn warn_of_unknown_fields<'a, T: Deserialize<'a>>(data: &'a [u8], event_type: &str, warnings: &mut Vec<Warning>) {
    let mut reader = serde_json::Deserializer::from_slice(data);
    let mut unknown = |path: serde_ignored::Path<'_>| {
        if warnings.len() < MOST_FIELDS {
            let detail = format!("{event_type} has no field \"{path}\"; it is kept, and nothing reads it");
            warnings.push(Warning { kind: WarningKind::UnknownField, detail });
        }
    };
    // The data was read by this type before, so there is no error.
    let _ = serde_ignored::deserialize::<_, _, T>(&mut reader, &mut unknown);
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

/// `commerce.order_placed` of `commerce.order_placed.v1`.
pub(crate) const fn name_of(event_type: &str) -> &str {
    event_type.split_at(version_at(event_type)).0
}

/// The version that a type's name ends in.
pub(crate) const fn version_of(event_type: &str) -> u32 {
    let bytes = event_type.as_bytes();
    let mut at = version_at(event_type) + 2;
    let mut version = 0;
    while at < bytes.len() {
        version = version * 10 + (bytes[at] - b'0') as u32;
        at += 1;
    }
    version
}

/// What a type's name begins with, up to the first dot.
pub(crate) const fn domain_of(event_type: &str) -> &str {
    let bytes = event_type.as_bytes();
    let mut at = 0;
    while bytes[at] != b'.' {
        at += 1;
    }
    event_type.split_at(at).0
}

/// Builds `TYPES`, the known types of a domain's module, from the names of its structs.
macro_rules! known_types {
    ($($name:ident),* $(,)?) => {
        /// The types of this domain that the platform knows.
        pub(crate) const TYPES: &[crate::registry::KnownType] = &[$(crate::registry::KnownType {
            event_type: <$name<'static> as crate::domain::DomainEvent>::TYPE,
            name: crate::registry::name_of(<$name<'static> as crate::domain::DomainEvent>::TYPE),
            version: crate::registry::version_of(<$name<'static> as crate::domain::DomainEvent>::TYPE),
            domain: crate::registry::domain_of(<$name<'static> as crate::domain::DomainEvent>::TYPE),
            kind: <$name<'static> as crate::domain::DomainEvent>::SUBJECT_KIND,
            personal: <$name<'static> as crate::domain::DomainEvent>::PERSONAL,
            validate: |view, warnings| crate::registry::check::<$name<'_>>(view, warnings),
            schema: || schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<$name<'static>>(),
        }),*];
    };
}
pub(crate) use known_types;

/// Gathers the known types of the domains' modules, sorted by type: the look-up is a binary search.
macro_rules! domains {
    ($($domain:ident),* $(,)?) => {
        static KNOWN: LazyLock<Box<[KnownType]>> = LazyLock::new(|| {
            let mut types = [$(crate::$domain::TYPES),*].concat();
            types.sort_unstable_by_key(|known| known.event_type);
            types.into_boxed_slice()
        });
    };
}

domains![billing, cdp, commerce, delivery, engagement, flags, revenue, supervision, tree, usage];

/// All known types, sorted by type.
pub fn all() -> &'static [KnownType] {
    &KNOWN
}

/// Finds a known type by its name with version.
pub fn known(event_type: &str) -> Option<&'static KnownType> {
    KNOWN.binary_search_by(|known| known.event_type.cmp(event_type)).ok().map(|at| &KNOWN[at])
}

/// Checks an event as admission does.
///
/// # Errors
/// The data, the rules or the subject of a known type do not fit, its version is unknown, or its name is misspelt.
pub fn validate(view: &EventView<'_>) -> Result<Validity, ValidationError> {
    examine(view).map(|(validity, _)| validity)
}

/// Checks an event as admission does, and warns of what it probably got wrong.
///
/// # Errors
/// As [`validate`].
pub fn examine(view: &EventView<'_>) -> Result<(Validity, Vec<Warning>), ValidationError> {
    let person = personal::person_of_view(view);
    if person != view.subject() && (kinds::kind_of(person).is_none() || person.chars().any(char::is_control)) {
        return Err(ValidationError::PersonalSubject(person.to_owned()));
    }
    let event_type = view.event_type();
    let mut warnings = Vec::new();
    if let Some(known) = known(event_type) {
        (known.validate)(view, &mut warnings)?;
        if known.domain == "delivery" {
            delivery::check_environment(view.data()).map_err(|error| ValidationError::Field { event_type: known.event_type, error })?;
        }
        return Ok((Validity::Known(known), warnings));
    }
    let (name, version) = split_version(event_type);
    let versions: Vec<&str> = KNOWN.iter().filter(|known| version.is_some() && known.name == name).map(|known| known.event_type).collect();
    if !versions.is_empty() {
        return Err(ValidationError::UnknownVersion { event_type: event_type.to_owned(), known: versions.join(", ") });
    }
    let bare = names::without_version(event_type);
    if let Some(meant) = KNOWN.iter().rev().find(|known| names::is_near(bare, known.name)) {
        return Err(ValidationError::Misspelt { event_type: event_type.to_owned(), meant: meant.event_type });
    }
    let domain = event_type.split('.').next().unwrap_or_default();
    if KNOWN.iter().any(|known| known.domain.eq_ignore_ascii_case(domain)) {
        let form = if version.is_none() { ", and it has no version (.v1)" } else { "" };
        let detail = format!("{event_type} is not a type that this node knows in the domain {domain}{form}; it is kept, and nothing checks or reads it");
        warnings.push(Warning { kind: WarningKind::UnknownType, detail });
    }
    Ok((Validity::Open, warnings))
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
