//! Query parameters and bodies. What is wrong is told by name; a parameter nobody knows is an error, because a misspelt
//! `as_of` would silently answer about now.

use std::borrow::Cow;
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpMessage as _, HttpRequest, web};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use tol_events::EventTime;
use tol_kafka::{Position, TopicPartition};

use super::api::Past;
use super::guard::percent_encoding;
use super::problem::{Kind, Problem};
use super::routes::Route;
use super::routes::parameters::{LIMIT_DEFAULT, LIMIT_MAX, TIMEOUT_DEFAULT_MS, TIMEOUT_MAX_MS};
use super::server::Shared;
use super::unread::BodyRead;

/// Most positions one request may wait for: more than a topic has partitions.
const POSITIONS_MAX: usize = 1_024;
/// A body over the limit is read on, up to so many times the limit, and thrown away: a client that is still sending would
/// see its connection reset instead of the answer.
const DRAIN_FACTOR: usize = 4;
/// Longest body of a route that takes a little JSON, bytes.
const SMALL_BODY: usize = 64 << 10;
/// Memory taken for a body before any of it came; a promised length costs its sender nothing.
const FIRST_CAPACITY: usize = 1 << 20;
/// Bytes of a body that buy it another second.
const BYTES_A_SECOND: u64 = 16 << 10;

/// The query parameters of a request, decoded.
pub(crate) struct Query<'r>(Vec<(Cow<'r, str>, Cow<'r, str>)>);

impl<'r> Query<'r> {
    /// Decodes them.
    pub(crate) fn of(request: &'r HttpRequest) -> Result<Self, Problem> {
        let text = request.query_string();
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        if let Err(why) = percent_encoding(text) {
            return Err(Problem::new(Kind::InvalidParameter, format!("the query string {why}; encode it as UTF-8 and write % itself as %25")));
        }
        Ok(Self(url::form_urlencoded::parse(text.as_bytes()).collect()))
    }

    /// Refuses parameters that the route does not have, and a second value of one that takes one.
    pub(crate) fn check(&self, route: &Route) -> Result<(), Problem> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !route.takes(name) {
                let known: Vec<&str> = route.query_parameters().collect();
                let known = if known.is_empty() { "this route takes none".to_owned() } else { format!("this route takes {}", known.join(", ")) };
                return Err(Problem::parameter(name, format!("is not known; {known}")));
            }
            if name != "min_position" && self.0[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::parameter(name, "is given twice"));
            }
        }
        Ok(())
    }

    /// Names and values in their order.
    pub(crate) fn pairs(self) -> impl Iterator<Item = (Cow<'r, str>, Cow<'r, str>)> {
        self.0.into_iter()
    }

    /// All of them by name.
    pub(crate) fn all(self) -> std::collections::BTreeMap<String, String> {
        self.0.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    /// A text; an empty one counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(found, value)| found == name && !value.is_empty()).map(|(_, value)| value.clone().into_owned())
    }

    fn integer(&self, name: &str, min: u64, max: u64, default: u64) -> Result<u64, Problem> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let number = text.parse::<u64>().ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| Problem::parameter(name, format!("\"{text}\" is not a whole number from {min} to {max}")))
    }

    /// One of a few words; an empty one counts as absent.
    pub(crate) fn one_of(&self, name: &str, words: &[&str]) -> Result<Option<String>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if words.contains(&text.as_str()) { Ok(Some(text)) } else { Err(Problem::parameter(name, format!("is \"{text}\"; use {}", words.join(" or ")))) }
    }

    /// `limit`.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        Ok(self.integer("limit", 1, LIMIT_MAX, LIMIT_DEFAULT)? as usize)
    }

    /// `timeout_ms`.
    pub(crate) fn timeout(&self) -> Result<Duration, Problem> {
        Ok(Duration::from_millis(self.integer("timeout_ms", 0, TIMEOUT_MAX_MS, TIMEOUT_DEFAULT_MS)?))
    }

    /// `timeout_ms`, of a route that waits longer where it is not given.
    pub(crate) fn timeout_or(&self, default_ms: u64) -> Result<Duration, Problem> {
        Ok(Duration::from_millis(self.integer("timeout_ms", 0, TIMEOUT_MAX_MS, default_ms)?))
    }

    /// A moment; a date is its last microsecond.
    pub(crate) fn end_of(&self, name: &str) -> Result<Option<EventTime>, Problem> {
        self.text(name).map(|text| EventTime::parse_end_of(&text).ok_or_else(|| not_a_moment(name, &text))).transpose()
    }

    /// A moment; a date is its first microsecond.
    pub(crate) fn start_of(&self, name: &str) -> Result<Option<EventTime>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let midnight = || (text.len() == 10).then(|| EventTime::parse(&format!("{text}T00:00:00Z"))).flatten();
        EventTime::parse(&text).or_else(midnight).map(Some).ok_or_else(|| not_a_moment(name, &text))
    }

    /// `as_of` or `known_at`.
    pub(crate) fn past(&self) -> Result<Option<Past>, Problem> {
        match (self.end_of("as_of")?, self.end_of("known_at")?) {
            (None, None) => Ok(None),
            (Some(time), None) => Ok(Some(Past::AsOf(time))),
            (None, Some(time)) => Ok(Some(Past::KnownAt(time))),
            (Some(_), Some(_)) => Err(Problem::parameter("known_at", "cannot be given together with as_of; choose one")),
        }
    }

    /// All of `min_position`.
    pub(crate) fn min_positions(&self) -> Result<Vec<(TopicPartition, Position)>, Problem> {
        let texts: Vec<&str> = self.0.iter().filter(|(name, _)| name == "min_position").map(|(_, value)| value.as_ref()).collect();
        if texts.len() > POSITIONS_MAX {
            return Err(Problem::parameter("min_position", format!("is given {} times; at most {POSITIONS_MAX} are taken", texts.len())));
        }
        texts.into_iter().map(parse_position).collect()
    }
}

fn not_a_moment(name: &str, text: &str) -> Problem {
    // A plus sign in a query string is a space, so an offset arrives as " 02:00" when it was not encoded.
    let hint = if text.contains(' ') { "; write the + of an offset as %2B" } else { "" };
    Problem::parameter(name, format!("\"{text}\" is neither RFC 3339 (2026-01-31T12:00:00Z) nor a date (2026-01-31){hint}"))
}

fn parse_position(text: &str) -> Result<(TopicPartition, Position), Problem> {
    let parsed = text.rsplit_once(':').and_then(|(place, position)| Some((place.parse().ok()?, position.parse().ok()?)));
    parsed.ok_or_else(|| Problem::parameter("min_position", format!("\"{text}\" is not topic/partition:position, for example facts.customer/3:120")))
}

/// Reads a body of at most `limit` bytes, as long as it keeps coming.
pub(crate) async fn body(request: &HttpRequest, mut payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin, limit: usize) -> Result<Bytes, Problem> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let too_large = || {
        let detail = format!("the body is longer than {limit} bytes; send smaller batches, or raise http.body_limit_bytes on the node");
        Problem::new(Kind::BodyTooLarge, detail).with("limit_bytes", limit)
    };
    if let Some(encoding) = header("content-encoding").filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        let detail = format!("content encoding \"{encoding}\" is not read; send the body as it is");
        return Err(Problem::new(Kind::UnsupportedContentType, detail));
    }
    let announced = header("content-length").and_then(|text| text.parse::<usize>().ok()).unwrap_or_default();
    let drain_limit = limit.saturating_mul(DRAIN_FACTOR);
    if announced > drain_limit {
        return Err(too_large());
    }
    let mut whole = actix_web::web::BytesMut::with_capacity(announced.min(limit).min(FIRST_CAPACITY));
    let mut read = 0usize;
    let patience = request.app_data::<web::Data<Shared>>().map_or(Duration::from_secs(10), |shared| shared.request_timeout);
    let began = tokio::time::Instant::now();
    loop {
        let next = match payload.next().now_or_never() {
            Some(next) => next,
            // Only who waits needs a timer.
            None => {
                let deadline = began + patience + Duration::from_secs(read as u64 / BYTES_A_SECOND);
                tokio::time::timeout_at(deadline, payload.next()).await.map_err(|_| too_slow(read))?
            }
        };
        let Some(chunk) = next else {
            // Of another body nobody asks.
            if request.headers().contains_key(TRANSFER_ENCODING) {
                request.extensions_mut().insert(BodyRead);
            }
            break;
        };
        let chunk = chunk.map_err(|error| Problem::new(Kind::InvalidBody, format!("the body could not be read: {error}")))?;
        read = read.saturating_add(chunk.len());
        if read > drain_limit {
            break;
        }
        if read <= limit {
            whole.extend_from_slice(&chunk);
        }
    }
    if read > limit { Err(too_large()) } else { Ok(whole.freeze()) }
}

fn too_slow(read: usize) -> Problem {
    let detail = format!("of the body only {read} bytes came in time; send smaller batches, or raise http.request_timeout_s on the node");
    Problem::new(Kind::RequestTimeout, detail)
}

/// Reads a small JSON body. An empty one is `{}`. A content type other than JSON is refused, also because browsers send JSON
/// across origins only after asking.
pub(crate) async fn json_body<T: serde::de::DeserializeOwned>(request: &HttpRequest, payload: Payload) -> Result<T, Problem> {
    json_body_within(request, payload, SMALL_BODY).await
}

/// Reads a JSON body of at most `limit` bytes; as [`json_body`] otherwise.
pub(crate) async fn json_body_within<T: serde::de::DeserializeOwned>(request: &HttpRequest, payload: Payload, limit: usize) -> Result<T, Problem> {
    let text = json_text(request, payload, limit).await?;
    serde_json::from_str(if text.is_empty() { "{}" } else { &text }).map_err(|error| {
        let kind = if error.is_data() { Kind::InvalidBody } else { Kind::MalformedJson };
        Problem::new(kind, error.to_string())
    })
}

/// The text of a JSON body, as it came.
pub(crate) async fn json_text(request: &HttpRequest, payload: Payload, limit: usize) -> Result<String, Problem> {
    let bytes = body(request, payload, limit).await?;
    let content_type = request.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !bytes.is_empty() && !essence.eq_ignore_ascii_case("application/json") {
        let found = if essence.is_empty() { "(none)" } else { essence };
        return Err(Problem::new(Kind::UnsupportedContentType, format!("content type {found} is not accepted; send application/json")));
    }
    String::from_utf8(bytes.into()).map_err(|error| Problem::new(Kind::MalformedJson, format!("the body is not UTF-8: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Query<'static> {
        Query(pairs.iter().map(|(name, value)| ((*name).to_owned().into(), (*value).to_owned().into())).collect())
    }

    #[test]
    fn a_date_means_its_end_for_as_of_and_its_start_for_from() {
        let query = query(&[("as_of", "1997-06-30"), ("from", "1997-06-30")]);
        assert_eq!(query.end_of("as_of").unwrap().unwrap().to_string(), "1997-06-30T23:59:59.999999Z");
        assert_eq!(query.start_of("from").unwrap().unwrap().to_string(), "1997-06-30T00:00:00Z");
    }

    #[test]
    fn an_offset_whose_plus_became_a_space_is_explained() {
        let problem = query(&[("as_of", "2026-01-31T12:00:00 02:00")]).past().unwrap_err();
        assert!(problem.detail.contains("%2B"), "{}", problem.detail);
    }

    #[test]
    fn positions_may_be_repeated_and_must_read() {
        let positions = query(&[("min_position", "facts.customer/3:120"), ("min_position", "facts.customer/0:7")]).min_positions().unwrap();
        assert_eq!(positions, [(TopicPartition::new("facts.customer", 3), 120), (TopicPartition::new("facts.customer", 0), 7)]);
        for wrong in ["facts.customer/3", "facts.customer:3", "facts.customer/3:-1", "/3:1", "facts.customer/x:1", ""] {
            assert_eq!(query(&[("min_position", wrong)]).min_positions().unwrap_err().kind, Kind::InvalidParameter, "{wrong}");
        }
    }

    #[test]
    fn limits_are_bounded() {
        assert_eq!(query(&[]).limit().unwrap(), 100);
        for wrong in ["0", "10001", "-1", "many"] {
            assert!(query(&[("limit", wrong)]).limit().is_err(), "{wrong}");
        }
        assert!(query(&[("timeout_ms", "30001")]).timeout().is_err());
    }
}
