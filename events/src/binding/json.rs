//! CloudEvents JSON format: one event, or a batch, read in one pass without an intermediate tree.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::kafka::fill_id;
use super::{Error, essence, finish, is_json, put_attribute, put_extension};
use crate::event::{Attribute, Event};

/// Reads one event.
///
/// # Errors
/// When it is not JSON, or not a CloudEvent.
pub fn decode(json: &[u8]) -> Result<Event, Error> {
    decode_with(json, None)
}

/// Reads one event as [`decode`] does; an event without an `id` gets that of `default_id`.
pub(super) fn decode_with(json: &[u8], default_id: Option<&dyn Fn() -> String>) -> Result<Event, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let event = EventSeed(default_id).deserialize(&mut deserializer).map_err(|error| Error::Json(error.to_string()))??;
    deserializer.end().map_err(|error| Error::Json(error.to_string()))?;
    Ok(event)
}

/// Reads a batch. One bad event refuses all of it; the error names its index.
///
/// # Errors
/// When it is not a JSON array, or one of its events is wrong.
pub fn decode_batch(json: &[u8]) -> Result<Vec<Event>, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let mut batch = BatchVisitor { events: Vec::with_capacity(json.len() / 512 + 1), bad: None, in_event: false };
    if let Err(error) = deserializer.deserialize_seq(&mut batch) {
        let error = Error::Json(error.to_string());
        return Err(match batch.bad {
            Some(first) => first,
            None if batch.in_event => Error::InBatch { index: batch.events.len(), error: Box::new(error) },
            None => error,
        });
    }
    deserializer.end().map_err(|error| Error::Json(error.to_string()))?;
    match batch.bad {
        Some(error) => Err(error),
        None => Ok(batch.events),
    }
}

struct BatchVisitor {
    events: Vec<Event>,
    bad: Option<Error>,
    /// Whether an event was begun and not ended: then an error belongs to it.
    in_event: bool,
}

impl<'de> Visitor<'de> for &mut BatchVisitor {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of CloudEvents")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        loop {
            self.in_event = true;
            match seq.next_element_seed(EventSeed(None))? {
                None => {
                    self.in_event = false;
                    return Ok(());
                }
                Some(Ok(event)) => self.events.push(event),
                Some(Err(error)) => {
                    self.bad = Some(Error::InBatch { index: self.events.len(), error: Box::new(error) });
                    self.in_event = false;
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(());
                }
            }
        }
    }
}

/// Reads one event. What is wrong as JSON is the deserializer's error; what is wrong as a CloudEvent is the inner one.
struct EventSeed<'f>(Option<&'f dyn Fn() -> String>);

impl<'de> DeserializeSeed<'de> for EventSeed<'_> {
    type Value = Result<Event, Error>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(EventVisitor(self.0))
    }
}

struct EventVisitor<'f>(Option<&'f dyn Fn() -> String>);

impl<'de> Visitor<'de> for EventVisitor<'_> {
    type Value = Result<Event, Error>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvent as a JSON object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut event = Event::default();
        let mut payload = Payload::default();
        let mut first_problem = None;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let outcome = match key {
                Key::Data => payload.set_data(map.next_value()?),
                Key::DataBase64 => payload.set_base64(map.next_value_seed(ScalarSeed)?),
                Key::Attribute(attribute) => match map.next_value_seed(ScalarSeed)? {
                    Scalar::Null => Ok(()),
                    Scalar::Text(text) => put_attribute(&mut event, attribute, text),
                    // Extensions of ours that are numbers may come as numbers.
                    Scalar::Other(text) if is_extension(attribute) => put_attribute(&mut event, attribute, text),
                    _ => Err(Error::invalid(attribute.name(), "must be a string")),
                },
                Key::Extension(name) => match map.next_value_seed(ScalarSeed)? {
                    Scalar::Null => Ok(()),
                    Scalar::Text(text) | Scalar::Other(text) => put_extension(&mut event, &name, text),
                    Scalar::Compound => Err(Error::invalid(name, "must be a string, an integer or a boolean")),
                },
            };
            if let Err(error) = outcome {
                first_problem.get_or_insert(error);
            }
        }
        Ok(match first_problem {
            Some(error) => Err(error),
            None => {
                fill_id(&mut event, self.0);
                payload.fill(&mut event).and_then(|()| finish(&mut event)).map(|()| event)
            }
        })
    }
}

fn is_extension(attribute: Attribute) -> bool {
    use Attribute::{DataContentType, DataSchema, Id, Source, SpecVersion, Subject, Time, Type};
    !matches!(attribute, Id | Source | Type | Subject | Time | DataSchema | DataContentType | SpecVersion)
}

#[derive(Default)]
struct Payload<'de> {
    raw: Option<&'de RawValue>,
    base64: Option<String>,
}

impl<'de> Payload<'de> {
    fn set_data(&mut self, raw: &'de RawValue) -> Result<(), Error> {
        match self.raw.replace(raw) {
            Some(_) => Err(Error::invalid("data", "is given twice")),
            None => Ok(()),
        }
    }

    fn set_base64(&mut self, value: Scalar) -> Result<(), Error> {
        match value {
            Scalar::Null => Ok(()),
            Scalar::Text(text) if self.base64.is_none() => {
                self.base64 = Some(text);
                Ok(())
            }
            Scalar::Text(_) => Err(Error::invalid("data_base64", "is given twice")),
            _ => Err(Error::invalid("data_base64", "must be a string")),
        }
    }

    fn fill(self, event: &mut Event) -> Result<(), Error> {
        let json = is_json(event.attributes.get(&Attribute::DataContentType).map(String::as_str));
        match (self.raw, self.base64) {
            (Some(_), Some(_)) => return Err(Error::invalid("data_base64", "is given together with data; send one of them")),
            (None, None) => {}
            (Some(raw), None) if json => event.data = raw.get().as_bytes().to_vec(),
            // Data that is not JSON travels as a JSON string that holds it.
            (Some(raw), None) => {
                event.data = match serde_json::from_str::<String>(raw.get()) {
                    Ok(text) => text.into_bytes(),
                    Err(_) => raw.get().as_bytes().to_vec(),
                }
            }
            (None, Some(text)) => {
                event.data = BASE64.decode(text).map_err(|error| Error::invalid("data_base64", format!("is not base64: {error}")))?;
                super::check_json_data(event)?;
            }
        }
        Ok(())
    }
}

enum Key {
    Data,
    DataBase64,
    Attribute(Attribute),
    Extension(String),
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an attribute")
    }
    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        Ok(match name {
            "data" => Key::Data,
            "data_base64" => Key::DataBase64,
            _ => Attribute::from_name(name).map_or_else(|| Key::Extension(name.to_owned()), Key::Attribute),
        })
    }
}

/// An attribute's value as text.
enum Scalar {
    /// Unset.
    Null,
    Text(String),
    /// An integer or a boolean, in its canonical form.
    Other(String),
    /// A fraction, an object or an array.
    Compound,
}

struct ScalarSeed;

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Scalar;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Scalar;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute's value")
    }
    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }
    fn visit_string<E>(self, text: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(text))
    }
    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other(value.to_string()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Other(value.to_string()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Other(value.to_string()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        // 5.0 is an integer of JSON; CloudEvents' has 32 bits.
        let integer = value.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value);
        Ok(if integer { Scalar::Other((value as i32).to_string()) } else { Scalar::Compound })
    }
    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Compound)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Compound)
    }
}

/// Writes one event; JSON data stays as it is, text becomes a string, anything else goes into `data_base64`.
pub fn encode(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(event.data.len() + 512);
    encode_to(event, &mut out);
    out
}

/// Writes a batch.
pub fn encode_batch<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<u8> {
    let mut out = vec![b'['];
    for (index, event) in events.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        encode_to(event, &mut out);
    }
    out.push(b']');
    out
}

/// Writes one event at the end of `out`.
pub fn encode_to(event: &Event, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"specversion":"1.0""#);
    let attributes = event.attributes.iter().filter(|(attribute, _)| **attribute != Attribute::SpecVersion).map(|(attribute, value)| (attribute.name(), value));
    for (name, value) in attributes.chain(event.extensions.iter().map(|(name, value)| (name.as_str(), value))) {
        put_member(out, name, value);
    }
    if !event.data.is_empty() {
        let content_type = event.attributes.get(&Attribute::DataContentType).map(String::as_str);
        let json = is_json(content_type) && serde_json::from_slice::<&RawValue>(&event.data).is_ok();
        let text = std::str::from_utf8(&event.data).ok().filter(|_| content_type.is_some_and(|t| !is_json(Some(t)) && essence(t).starts_with("text/")));
        match text {
            _ if json => {
                out.extend_from_slice(br#","data":"#);
                out.extend_from_slice(&event.data);
            }
            Some(text) => put_member(out, "data", text),
            None => put_member(out, "data_base64", &BASE64.encode(&event.data)),
        }
    }
    out.push(b'}');
}

fn put_member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b',');
    put_string(out, name);
    out.push(b':');
    put_string(out, value);
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string into a Vec cannot fail.
    let _ = serde_json::to_writer(out, text);
}
