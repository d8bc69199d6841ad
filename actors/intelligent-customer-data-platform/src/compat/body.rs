//! Bodies as analytics SDKs send them: packed or not, under whatever content type.

use std::io::Read as _;

use actix_web::dev::Payload;
use actix_web::web::Bytes;
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use tol_events::EventTime;
use tol_plug::{Kind, Problem};

use super::Request;

/// Longest body, packed and unpacked: Segment's limit of a batch.
pub(super) const MOST_BYTES: usize = 500 << 10;
/// Longest event: Segment's limit.
pub(super) const MOST_EVENT_BYTES: usize = 32 << 10;
/// Skew below this is the network's, not a clock's: correcting it would give a repeat another time.
const SKEW: i64 = 60_000_000;

/// The body as JSON text. Some SDKs pack it and say so nowhere.
pub(super) async fn read(request: &Request, payload: Payload) -> Result<Bytes, Problem> {
    let bytes = request.unpacked_body(payload).await?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut whole = Vec::new();
    let read = MultiGzDecoder::new(&*bytes).take(MOST_BYTES as u64 + 1).read_to_end(&mut whole);
    read.map_err(|error| Problem::new(Kind::INVALID_BODY, format!("the body does not unpack: {error}")))?;
    if whole.len() > MOST_BYTES {
        return Err(Problem::new(Kind::BODY_TOO_LARGE, format!("the body is longer than {MOST_BYTES} bytes unpacked; send smaller batches")));
    }
    Ok(whole.into())
}

/// A text or a number as a text; `None` where it is absent or null.
pub(super) fn id(value: Option<&Value>) -> Result<Option<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok((!text.trim().is_empty()).then(|| text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err("neither a text nor a number".to_owned()),
    }
}

/// An object; an absent one is empty.
pub(super) fn object(value: Option<&Value>) -> Result<Map<String, Value>, String> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object.clone()),
        Some(_) => Err("no object".to_owned()),
    }
}

/// A moment. A time without an offset is taken as UTC.
pub(super) fn time(text: &str) -> Option<EventTime> {
    let parsed = EventTime::parse(text).or_else(|| EventTime::parse(&format!("{text}Z")))?;
    // What no calendar of the log writes is no moment.
    (0..=253_402_300_799_000_000).contains(&parsed.as_micros()).then_some(parsed)
}

/// The time of a call by the node's clock, as Segment corrects it: the client's clock was wrong by as much as its time of sending is.
pub(super) fn corrected(given: Option<EventTime>, sent: Option<EventTime>, now: EventTime) -> EventTime {
    let Some(given) = given else { return now };
    let skew = sent.map_or(0, |sent| now.micros_since(sent));
    // Whole minutes: a repeat, sent a moment later, gets the same time.
    let skew = if skew.abs() < SKEW { 0 } else { skew - skew.rem_euclid(SKEW) };
    given.plus_micros(skew)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_corrected_and_a_slow_network_is_not() {
        let at = |text: &str| time(text).unwrap();
        let now = at("2026-11-29T12:00:00Z");
        assert_eq!(corrected(Some(at("2026-11-29T11:59:50Z")), Some(at("2026-11-29T11:59:58Z")), now), at("2026-11-29T11:59:50Z"));
        // A clock that is an hour behind: the call is ten seconds old.
        assert_eq!(corrected(Some(at("2026-11-29T10:59:50Z")), Some(at("2026-11-29T11:00:00Z")), now), at("2026-11-29T11:59:50Z"));
        assert_eq!(corrected(Some(at("2027-11-29T12:00:00Z")), Some(at("2027-11-29T12:00:10Z")), now), at("2026-11-29T11:59:00Z"));
        assert_eq!(corrected(None, None, now), now);
        assert_eq!(time("2026-11-29T00:25:14.18"), time("2026-11-29T00:25:14.18+00:00"));
        assert_eq!(time("yesterday"), None);
    }
}
