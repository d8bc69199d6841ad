//! CloudEvents HTTP protocol binding: binary mode (`ce-` headers), structured mode and batches.

use super::{BATCH, Error, STRUCTURED, check_json_data, essence, finish, json, put};
use crate::event::{Attribute, Event};

const ACCEPTED: &str = "send application/cloudevents+json (one event), application/cloudevents-batch+json (an array of events), or ce-id, ce-source, ce-type and ce-specversion headers with any content type (binary mode)";

/// The mode of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Attributes in `ce-` headers, data in the body.
    Binary,
    /// One event as a JSON object.
    Structured,
    /// A JSON array of events.
    Batch,
}

/// The events of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The mode in which they came.
    pub mode: Mode,
    /// The events in the order of the request; exactly one unless it was a batch.
    pub events: Vec<Event>,
}

/// Reads a request. Names of headers are matched without regard to case.
///
/// # Errors
/// When the request does not carry CloudEvents; of a batch, nothing is accepted when one event is wrong.
pub fn decode<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])> + Clone, body: &[u8]) -> Result<Decoded, Error> {
    let content_type = headers.clone().find(|(name, _)| name.eq_ignore_ascii_case("content-type")).map(|(_, value)| String::from_utf8_lossy(value));
    match content_type.as_deref().map(essence).as_deref() {
        Some(STRUCTURED) => return Ok(Decoded { mode: Mode::Structured, events: vec![json::decode(body)?] }),
        Some(BATCH) => return Ok(Decoded { mode: Mode::Batch, events: json::decode_batch(body)? }),
        // Another event format (Avro, Protobuf): its attributes are not in the headers either.
        Some(other) if other.starts_with("application/cloudevents") => return Err(refused(content_type.as_deref())),
        _ => {}
    }
    if !headers.clone().any(|(name, _)| attribute_name(name).is_some()) {
        return Err(refused(content_type.as_deref()));
    }
    let mut event = Event { data: body.to_vec(), ..Event::default() };
    for (header, value) in headers {
        if header.eq_ignore_ascii_case("content-type") {
            let text = std::str::from_utf8(value).map_err(|_| Error::invalid("datacontenttype", "is not UTF-8"))?;
            put(&mut event, Attribute::DataContentType.name(), text.to_owned())?;
        } else if let Some(name) = attribute_name(header).filter(|name| name != "datacontenttype") {
            let text = decode_value(value).map_err(|problem| Error::invalid(name.as_str(), problem))?;
            put(&mut event, &name, text)?;
        }
    }
    finish(&mut event)?;
    check_json_data(&event)?;
    Ok(Decoded { mode: Mode::Binary, events: vec![event] })
}

fn refused(content_type: Option<&str>) -> Error {
    Error::ContentType { found: content_type.map_or("(none)".to_owned(), |found| format!("\"{found}\"")), accepted: ACCEPTED }
}

/// `type` of `ce-type` and `CE-Type`.
fn attribute_name(header: &str) -> Option<String> {
    let prefix = header.get(..3)?;
    prefix.eq_ignore_ascii_case("ce-").then(|| header[3..].to_ascii_lowercase())
}

/// HTTP binding 3.1.3.2: first undo double quotes (RFC 7230 3.2.6), then one round of percent-decoding.
fn decode_value(value: &[u8]) -> Result<String, &'static str> {
    let unquoted = unquote(value)?;
    let mut bytes = Vec::with_capacity(unquoted.len());
    let mut rest = unquoted.as_slice();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (Some(high), Some(low)) = (tail.first().copied().and_then(hex), tail.get(1).copied().and_then(hex)) else {
            return Err("has a % that two hexadecimal digits do not follow; write % itself as %25");
        };
        bytes.push(high << 4 | low);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 after percent-decoding")
}

fn unquote(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return Ok(value.to_vec());
    };
    let mut bytes = Vec::with_capacity(quoted.len());
    let mut rest = quoted.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => bytes.push(*rest.next().ok_or("ends inside a quoted string")?),
            b'"' if rest.as_slice().is_empty() => return Ok(bytes),
            b'"' => return Err("goes on after its closing quote"),
            other => bytes.push(*other),
        }
    }
    Err("has no closing quote")
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// Writes the headers of an event in binary mode; the body is its data.
pub fn encode_binary(event: &Event) -> Vec<(String, String)> {
    let mut headers = vec![("ce-specversion".to_owned(), "1.0".to_owned())];
    for (attribute, value) in &event.attributes {
        match attribute {
            Attribute::SpecVersion => {}
            Attribute::DataContentType => headers.push(("content-type".to_owned(), value.clone())),
            other => headers.push((format!("ce-{}", other.name()), encode_value(value))),
        }
    }
    headers.extend(event.extensions.iter().map(|(name, value)| (format!("ce-{name}"), encode_value(value))));
    headers
}

/// HTTP binding 3.1.3.2: space, double quote, percent and all outside U+0021 to U+007E are percent-encoded.
fn encode_value(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b' ' | b'"' | b'%' => out.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
