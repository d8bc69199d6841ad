//! CloudEvents Kafka protocol binding: binary mode (`ce_` headers) and structured mode, over any iterator of headers.

use super::{BATCH, Error, STRUCTURED, check_json_data, essence, finish, json, put};
use crate::event::{Attribute, Event};

const ACCEPTED: &str = "send ce_ headers with any content-type (binary mode) or content-type application/cloudevents+json (structured mode)";

/// Reads one record. An event without an `id` gets that of `default_id`: in `inbox` the record's position.
///
/// # Errors
/// When the record is not a CloudEvent.
pub fn decode<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])> + Clone, value: &[u8], default_id: Option<&dyn Fn() -> String>) -> Result<Event, Error> {
    let content_type = headers.clone().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map(|(_, value)| String::from_utf8_lossy(value));
    if let Some(content_type) = &content_type {
        let essence = essence(content_type);
        if essence == STRUCTURED {
            return json::decode_with(value, default_id);
        }
        if essence == BATCH || essence.starts_with("application/cloudevents") {
            return Err(Error::ContentType { found: format!("\"{content_type}\""), accepted: ACCEPTED });
        }
    }
    if !headers.clone().any(|(name, _)| name.starts_with("ce_")) {
        return Err(Error::ContentType { found: content_type.map_or("(none)".to_owned(), |found| format!("\"{found}\"")), accepted: ACCEPTED });
    }
    let mut event = Event { data: value.to_vec(), ..Event::default() };
    for (header, value) in headers {
        let name = match header.strip_prefix("ce_") {
            // Its value travels as content-type.
            Some("datacontenttype") => continue,
            Some(name) => name,
            None if header.eq_ignore_ascii_case("content-type") => Attribute::DataContentType.name(),
            None => continue,
        };
        let text = std::str::from_utf8(value).map_err(|_| Error::invalid(name, "is not UTF-8"))?;
        put(&mut event, name, text.to_owned())?;
    }
    fill_id(&mut event, default_id);
    finish(&mut event)?;
    check_json_data(&event)?;
    Ok(event)
}

pub(super) fn fill_id(event: &mut Event, default_id: Option<&dyn Fn() -> String>) {
    if let (Some(default_id), false) = (default_id, event.attributes.contains_key(&Attribute::Id)) {
        event.set(Attribute::Id, default_id());
    }
}

/// Writes the headers of an event in binary mode; the record's value is its data.
pub fn encode_binary(event: &Event) -> Vec<(String, String)> {
    let mut headers = vec![(Attribute::SpecVersion.header().to_owned(), "1.0".to_owned())];
    for (attribute, value) in &event.attributes {
        match attribute {
            Attribute::SpecVersion => {}
            Attribute::DataContentType => headers.push(("content-type".to_owned(), value.clone())),
            other => headers.push((other.header().to_owned(), value.clone())),
        }
    }
    headers.extend(event.extensions.iter().map(|(name, value)| (format!("ce_{name}"), value.clone())));
    headers
}

/// Writes the header and value of an event in structured mode.
pub fn encode_structured(event: &Event) -> ((&'static str, &'static str), Vec<u8>) {
    (("content-type", STRUCTURED), json::encode(event))
}
