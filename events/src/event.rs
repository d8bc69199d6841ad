//! The CloudEvents envelope in two forms: [`Event`], owned and easy to build, and [`EventView`], a few offsets into a batch
//! that was decoded once and is shared by all its readers.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::time::EventTime;

mod attribute;

pub use attribute::Attribute;

/// A piece of a batch's buffer: offset and length in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Length in bytes; 0 with `start` 0 means absent.
    pub len: u32,
}

impl Span {
    /// Gives the bytes of `buffer` that it stands for; empty where it lies outside.
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        let start = self.start as usize;
        buffer.get(start..start + self.len as usize).unwrap_or_default()
    }
}

/// The places of one event's parts in a buffer. The decoder makes them, once for each batch.
#[derive(Clone, Debug, Default)]
pub struct EventMeta {
    /// The attributes, by their numbers. A `start` of 0 means absent, since no attribute lies at offset 0.
    pub attributes: [Span; Attribute::COUNT],
    /// Other extensions as (name without `ce_`, value).
    pub extensions: Vec<(Span, Span)>,
    /// The data.
    pub data: Span,
}

/// One event, borrowed from its decoded batch. Copying it copies two pointers.
#[derive(Clone, Copy)]
pub struct EventView<'a> {
    buffer: &'a [u8],
    meta: &'a EventMeta,
}

impl<'a> EventView<'a> {
    /// Views the event whose parts `meta` finds in `buffer`.
    pub fn new(buffer: &'a [u8], meta: &'a EventMeta) -> Self {
        Self { buffer, meta }
    }

    /// Reads an attribute; `None` when absent or not UTF-8.
    pub fn attribute(&self, attribute: Attribute) -> Option<&'a str> {
        let span = self.meta.attributes[attribute as usize];
        if span.start == 0 {
            return None;
        }
        std::str::from_utf8(span.of(self.buffer)).ok()
    }

    /// Reads `id`; empty when absent.
    pub fn id(&self) -> &'a str {
        self.attribute(Attribute::Id).unwrap_or_default()
    }

    /// Reads `source`; empty when absent.
    pub fn source(&self) -> &'a str {
        self.attribute(Attribute::Source).unwrap_or_default()
    }

    /// Reads `type`, with its version; empty when absent.
    pub fn event_type(&self) -> &'a str {
        self.attribute(Attribute::Type).unwrap_or_default()
    }

    /// Reads `subject` as `kind/id`; empty when absent.
    pub fn subject(&self) -> &'a str {
        self.attribute(Attribute::Subject).unwrap_or_default()
    }

    /// Reads the id of the subject without its kind: `42` of `customer/42`.
    pub fn subject_id(&self) -> &'a str {
        let subject = self.subject();
        subject.split_once('/').map_or(subject, |(_, id)| id)
    }

    /// Reads `time`; `None` when absent or not RFC 3339.
    pub fn time(&self) -> Option<EventTime> {
        EventTime::parse(self.attribute(Attribute::Time)?)
    }

    /// Reads `recordedtime`; `None` when absent or not RFC 3339.
    pub fn recorded_time(&self) -> Option<EventTime> {
        EventTime::parse(self.attribute(Attribute::RecordedTime)?)
    }

    /// Reads `correlationid`; the event's own id where the event starts a correlation.
    pub fn correlation_id(&self) -> &'a str {
        self.attribute(Attribute::CorrelationId).unwrap_or_else(|| self.id())
    }

    /// Reads `target`; `None` where the event is meant for its own subject.
    pub fn target(&self) -> Option<&'a str> {
        self.attribute(Attribute::Target)
    }

    /// Reads `sequence`.
    pub fn sequence(&self) -> Option<u64> {
        self.attribute(Attribute::Sequence)?.parse().ok()
    }

    /// Reads `epoch`.
    pub fn epoch(&self) -> Option<u64> {
        self.attribute(Attribute::Epoch)?.parse().ok()
    }

    /// Reads `inputindex` as (i, n); `None` when absent or malformed.
    pub fn input_index(&self) -> Option<(u32, u32)> {
        let (i, n) = self.attribute(Attribute::InputIndex)?.split_once('/')?;
        Some((i.parse().ok()?, n.parse().ok()?))
    }

    /// Lists the other extensions, as (name, value).
    pub fn extensions(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let buffer = self.buffer;
        self.meta
            .extensions
            .iter()
            .filter_map(move |(name, value)| Some((std::str::from_utf8(name.of(buffer)).ok()?, std::str::from_utf8(value.of(buffer)).ok()?)))
    }

    /// Gives the data's bytes, as written.
    pub fn data(&self) -> &'a [u8] {
        self.meta.data.of(self.buffer)
    }

    /// Reads the data as a type, which may borrow from the batch.
    ///
    /// # Errors
    /// The data is not JSON, or not of that shape.
    pub fn data_as<T: serde::Deserialize<'a>>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.data())
    }

    /// Makes an owned copy.
    pub fn to_event(&self) -> Event {
        let mut event = Event { attributes: BTreeMap::new(), extensions: BTreeMap::new(), data: self.data().to_vec() };
        for attribute in Attribute::ALL {
            if let Some(value) = self.attribute(attribute) {
                event.attributes.insert(attribute, value.to_owned());
            }
        }
        for (name, value) in self.extensions() {
            event.extensions.insert(name.to_owned(), value.to_owned());
        }
        event
    }
}

impl std::fmt::Debug for EventView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} of {} ({})", self.event_type(), self.id(), self.subject(), self.source())
    }
}

/// An owned event: built before it is written, and printed by tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The attributes that the platform knows.
    pub attributes: BTreeMap<Attribute, String>,
    /// Any other extension, name without `ce_`.
    pub extensions: BTreeMap<String, String>,
    /// The data's bytes: JSON, or what `datacontenttype` says.
    pub data: Vec<u8>,
}

impl Event {
    /// Makes an event with the four attributes that every event needs, and without data.
    pub fn new(id: impl Into<String>, source: impl Into<String>, event_type: impl Into<String>, subject: impl Into<String>) -> Self {
        let mut event = Event::default();
        event.set(Attribute::Id, id);
        event.set(Attribute::Source, source);
        event.set(Attribute::Type, event_type);
        event.set(Attribute::Subject, subject);
        event
    }

    /// Sets an attribute.
    pub fn set(&mut self, attribute: Attribute, value: impl Into<String>) -> &mut Self {
        self.attributes.insert(attribute, value.into());
        self
    }

    /// Removes an attribute.
    pub fn unset(&mut self, attribute: Attribute) -> &mut Self {
        self.attributes.remove(&attribute);
        self
    }

    /// Sets `time` and returns the event, for building in one expression.
    #[must_use]
    pub fn at(mut self, time: EventTime) -> Self {
        self.set(Attribute::Time, time.to_string());
        self
    }

    /// Sets the data to `value` as JSON and returns the event.
    ///
    /// # Errors
    /// `value` cannot be written as JSON (a map with keys that are not strings).
    pub fn with_data<T: serde::Serialize + ?Sized>(mut self, value: &T) -> Result<Self, serde_json::Error> {
        self.data = serde_json::to_vec(value)?;
        Ok(self)
    }

    /// Reads an attribute; empty when absent.
    pub fn get(&self, attribute: Attribute) -> &str {
        self.attributes.get(&attribute).map_or("", String::as_str)
    }

    /// Reads the data as a type.
    ///
    /// # Errors
    /// The data is not JSON, or not of that shape.
    pub fn data_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.data)
    }

    /// Copies the event into one buffer, so that an [`EventView`] can show it.
    pub fn encode(&self) -> EncodedEvent {
        let mut buffer = vec![0u8]; // offset 0 is never an attribute
        let mut put = |bytes: &[u8]| {
            let span = Span { start: buffer.len() as u32, len: bytes.len() as u32 };
            buffer.extend_from_slice(bytes);
            span
        };
        let mut meta = EventMeta::default();
        for (attribute, value) in &self.attributes {
            meta.attributes[*attribute as usize] = put(value.as_bytes());
        }
        for (name, value) in &self.extensions {
            let name = put(name.as_bytes());
            meta.extensions.push((name, put(value.as_bytes())));
        }
        meta.data = put(&self.data);
        EncodedEvent { buffer, meta }
    }

    /// Writes the event as a CloudEvents JSON object (structured mode). Data that is JSON is embedded, other data goes into `data_base64`.
    pub fn to_json(&self) -> serde_json::Value {
        use base64::Engine as _;
        let mut object = serde_json::Map::new();
        object.insert("specversion".into(), "1.0".into());
        for (attribute, value) in &self.attributes {
            object.insert(attribute.name().into(), value.clone().into());
        }
        for (name, value) in &self.extensions {
            object.insert(name.clone(), value.clone().into());
        }
        if !self.data.is_empty() {
            match serde_json::from_slice::<Box<RawValue>>(&self.data).and_then(|raw| serde_json::from_str(raw.get())) {
                Ok(data) => object.insert("data".into(), data),
                Err(_) => object.insert("data_base64".into(), base64::engine::general_purpose::STANDARD.encode(&self.data).into()),
            };
        }
        object.into()
    }
}

/// An [`Event`] in one buffer.
#[derive(Clone, Debug, Default)]
pub struct EncodedEvent {
    buffer: Vec<u8>,
    meta: EventMeta,
}

impl EncodedEvent {
    /// Views the event as readers see it.
    pub fn view(&self) -> EventView<'_> {
        EventView::new(&self.buffer, &self.meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_event_reads_back_as_written() {
        let mut event = Event::new("1", "/shop", "commerce.order_placed.v1", "customer/42").at(EventTime::from_micros(1_000_001));
        event.set(Attribute::InputIndex, "2/3").set(Attribute::Sequence, "17");
        event.extensions.insert("color".into(), "green".into());
        event.data = br#"{"a":1}"#.to_vec();
        let encoded = event.encode();
        let view = encoded.view();
        assert_eq!((view.id(), view.subject_id(), view.input_index(), view.sequence()), ("1", "42", Some((2, 3)), Some(17)));
        assert_eq!(view.correlation_id(), "1");
        assert_eq!(view.time(), Some(EventTime::from_micros(1_000_001)));
        assert_eq!(view.extensions().collect::<Vec<_>>(), [("color", "green")]);
        assert_eq!(view.to_event(), event);
    }

    #[test]
    fn every_header_maps_back_to_its_attribute() {
        for (number, attribute) in Attribute::ALL.into_iter().enumerate() {
            assert_eq!(attribute as usize, number);
            assert_eq!(Attribute::from_header(attribute.header()), Some(attribute));
        }
        assert_eq!(Attribute::from_header("content-type"), Some(Attribute::DataContentType));
        assert_eq!(Attribute::from_header("ce_other"), None);
    }
}
