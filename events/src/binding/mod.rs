//! CloudEvents 1.0 on the wire: JSON ([`json`]), HTTP ([`http`]) and Kafka ([`kafka`]), over neutral inputs.
//!
//! Decoding gives an [`Event`] with checked attributes: `id`, `source` and `type` are there and not empty,
//! `time` is RFC 3339 in UTC, JSON data is well-formed and kept byte for byte as the sender wrote it.

pub mod http;
pub mod json;
pub mod kafka;

use crate::event::{Attribute, Event};
use crate::time::EventTime;

/// Media type of one event in JSON.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// Media type of a batch of events in JSON.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// Why an input is no CloudEvent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input is not JSON, or JSON of another shape.
    #[error("malformed JSON: {0}")]
    Json(String),
    /// The binding does not read this content type.
    #[error("content type {found} is not accepted; {accepted}")]
    ContentType {
        /// The given content type, quoted, or "(none)".
        found: String,
        /// What would be right.
        accepted: &'static str,
    },
    /// A required attribute is absent.
    #[error("attribute \"{0}\" is missing; a CloudEvent has id, source, type and specversion")]
    Missing(&'static str),
    /// An attribute has a value it must not have.
    #[error("attribute \"{attribute}\" is invalid: {problem}")]
    Invalid {
        /// Its name.
        attribute: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// One event of a batch is wrong, so nothing of the batch is accepted.
    #[error("event {index} of the batch: {error}")]
    InBatch {
        /// Its place in the batch, from 0.
        index: usize,
        /// What is wrong with it.
        error: Box<Error>,
    },
}

impl Error {
    /// Gives the place of the wrong event in the batch, from 0.
    pub fn index(&self) -> Option<usize> {
        match self {
            Error::InBatch { index, .. } => Some(*index),
            _ => None,
        }
    }

    fn invalid(attribute: impl Into<String>, problem: impl Into<String>) -> Self {
        Error::Invalid { attribute: attribute.into(), problem: problem.into() }
    }
}

/// Attributes that only the platform sets. Admission removes them from events from outside with [`clear_platform`].
pub const PLATFORM: [Attribute; 8] = [
    Attribute::RecordedTime,
    Attribute::Sequence,
    Attribute::Epoch,
    Attribute::InputPosition,
    Attribute::InputIndex,
    Attribute::InboxPosition,
    Attribute::TimeFlag,
    Attribute::CausationId,
];

/// Removes the attributes that only the platform sets. (`causationid` stays when `keep_cause`: a sender may name what caused its fact.)
pub fn clear_platform(event: &mut Event, keep_cause: bool) {
    for attribute in PLATFORM {
        if !(keep_cause && attribute == Attribute::CausationId) {
            event.unset(attribute);
        }
    }
}

/// Sets one attribute or extension by its CloudEvents name. `specversion` is checked and not kept: every event is 1.0.
pub(crate) fn put(event: &mut Event, name: &str, value: String) -> Result<(), Error> {
    match Attribute::from_name(name) {
        Some(attribute) => put_attribute(event, attribute, value),
        None => put_extension(event, name, value),
    }
}

pub(crate) fn put_attribute(event: &mut Event, attribute: Attribute, value: String) -> Result<(), Error> {
    check_text(attribute.name(), &value)?;
    if event.attributes.insert(attribute, value).is_some() {
        return Err(Error::invalid(attribute.name(), "is given twice"));
    }
    Ok(())
}

pub(crate) fn put_extension(event: &mut Event, name: &str, value: String) -> Result<(), Error> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err(Error::invalid(name, "an extension's name consists of lower-case letters a-z and digits"));
    }
    if name == "data" {
        return Err(Error::invalid(name, "\"data\" is not the name of an attribute"));
    }
    check_text(name, &value)?;
    if event.extensions.insert(name.to_owned(), value).is_some() {
        return Err(Error::invalid(name, "is given twice"));
    }
    Ok(())
}

/// CloudEvents' String: no control characters.
fn check_text(name: &str, value: &str) -> Result<(), Error> {
    let ascii_control = value.bytes().any(|b| b < 0x20 || b == 0x7f);
    // U+0080 to U+009F are C2 80 to C2 9F.
    if ascii_control || (!value.is_ascii() && value.chars().any(char::is_control)) {
        return Err(Error::invalid(name, "contains a control character"));
    }
    Ok(())
}

/// Checks the attributes that every event must have, normalises `time`, and drops `specversion`.
pub(crate) fn finish(event: &mut Event) -> Result<(), Error> {
    match event.attributes.remove(&Attribute::SpecVersion).as_deref() {
        Some("1.0") => {}
        Some(other) => return Err(Error::invalid("specversion", format!("is \"{other}\"; this node reads 1.0"))),
        None => return Err(Error::Missing("specversion")),
    }
    for required in [Attribute::Id, Attribute::Source, Attribute::Type] {
        match event.attributes.get(&required).map(String::as_str) {
            Some("") => return Err(Error::invalid(required.name(), "is empty")),
            Some(_) => {}
            None => return Err(Error::Missing(required.name())),
        }
    }
    if event.attributes.get(&Attribute::Subject).is_some_and(String::is_empty) {
        return Err(Error::invalid("subject", "is empty; leave it out or name the entity as kind/id"));
    }
    if let Some(text) = event.attributes.get_mut(&Attribute::Time) {
        let time = EventTime::parse(text).ok_or_else(|| Error::invalid("time", format!("\"{text}\" is not RFC 3339, for example 2026-01-31T12:00:00Z")))?;
        // Text that already is UTC is kept: it may be finer than microseconds, and writing it anew costs as much as all the rest.
        if !(text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T')) {
            *text = time.to_string();
        }
    }
    Ok(())
}

/// Whether data of that media type is JSON; without one it is.
pub fn is_json(content_type: Option<&str>) -> bool {
    content_type.is_none_or(|content_type| {
        let essence = essence(content_type);
        let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
        subtype == "json" || subtype.ends_with("+json")
    })
}

/// The media type without parameters, in lower case.
pub(crate) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Refuses data that says (or, saying nothing, implies) it is JSON and is not. No data at all is fine.
pub(crate) fn check_json_data(event: &Event) -> Result<(), Error> {
    let content_type = event.attributes.get(&Attribute::DataContentType).map(String::as_str);
    if event.data.is_empty() || !is_json(content_type) {
        return Ok(());
    }
    match serde_json::from_slice::<&serde_json::value::RawValue>(&event.data) {
        Ok(_) => Ok(()),
        Err(error) if content_type.is_none() => Err(Error::Json(format!("{error} (data without a content type is read as JSON)"))),
        Err(error) => Err(Error::Json(error.to_string())),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
