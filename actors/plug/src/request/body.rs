//! Request bodies: bounded, patient with slow senders within reason, and refused by name.

use std::io::Read;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::web::Bytes;
use actix_web::{HttpMessage as _, HttpRequest};
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use crate::problem::{Kind, Problem};

/// A body over the limit is read and thrown away up to this many times the limit: a client that is still sending would
/// see its connection reset instead of the answer.
const DRAIN_FACTOR: usize = 4;
/// Longest body of a route that takes a little JSON, bytes.
pub const SMALL_BODY: usize = 64 << 10;
/// Bytes allocated for a body before any of it came; a promised length costs its sender nothing.
const FIRST_CAPACITY: usize = 1 << 20;
/// Bytes of a body that buy it another second.
const BYTES_A_SECOND: u64 = 16 << 10;

/// The limits of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimits {
    /// Longest body, bytes.
    pub bytes: usize,
    /// How long it may take to arrive; it gets one second more for each 16 KB.
    pub patience: Duration,
}

/// Marks a request whose chunked body was read to its end; the server keeps its connection.
#[derive(Clone, Copy, Debug)]
pub struct BodyRead;

/// Reads a body as it was sent.
///
/// # Errors
/// The body is too long, too slow, broken off, or encoded.
pub async fn read(request: &HttpRequest, payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin, limits: BodyLimits) -> Result<Bytes, Problem> {
    if let Some(encoding) = encoding_of(request) {
        let detail = format!("content encoding \"{encoding}\" is not read; send the body as it is");
        return Err(Problem::new(Kind::UNSUPPORTED_CONTENT_TYPE, detail));
    }
    collect(request, payload, limits).await
}

/// Reads a body and undoes `gzip` and `deflate`. The limit holds for the body as sent and as unpacked.
///
/// # Errors
/// As [`read`]; another encoding, or a body that does not unpack.
pub async fn read_unpacked(
    request: &HttpRequest,
    payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin,
    limits: BodyLimits,
) -> Result<Bytes, Problem> {
    let encoding = encoding_of(request).map(str::to_ascii_lowercase);
    let sent = collect(request, payload, limits).await?;
    match encoding.as_deref() {
        None => Ok(sent),
        Some("gzip" | "x-gzip") => unpacked(MultiGzDecoder::new(&*sent), limits.bytes),
        Some("deflate") => unpacked(ZlibDecoder::new(&*sent), limits.bytes),
        Some(other) => Err(Problem::new(Kind::UNSUPPORTED_CONTENT_TYPE, format!("content encoding \"{other}\" is not read; use gzip, deflate or none"))),
    }
}

fn unpacked(decoder: impl Read, limit: usize) -> Result<Bytes, Problem> {
    let mut whole = Vec::new();
    let read = decoder.take(limit as u64 + 1).read_to_end(&mut whole);
    read.map_err(|error| Problem::new(Kind::INVALID_BODY, format!("the body does not unpack: {error}")))?;
    if whole.len() > limit { Err(too_large(limit)) } else { Ok(whole.into()) }
}

fn encoding_of(request: &HttpRequest) -> Option<&str> {
    let encoding = request.headers().get(CONTENT_ENCODING).and_then(|value| value.to_str().ok())?;
    (!encoding.eq_ignore_ascii_case("identity")).then_some(encoding)
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body is longer than {limit} bytes; send smaller batches, or raise http.body_limit_bytes on the node");
    Problem::new(Kind::BODY_TOO_LARGE, detail).with("limit_bytes", limit)
}

async fn collect(request: &HttpRequest, mut payload: impl Stream<Item = Result<Bytes, PayloadError>> + Unpin, limits: BodyLimits) -> Result<Bytes, Problem> {
    let limit = limits.bytes;
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<usize>().ok()).unwrap_or_default();
    let drain_limit = limit.saturating_mul(DRAIN_FACTOR);
    if announced > drain_limit {
        return Err(too_large(limit));
    }
    let mut whole = actix_web::web::BytesMut::with_capacity(announced.min(limit).min(FIRST_CAPACITY));
    let mut read = 0usize;
    let began = tokio::time::Instant::now();
    loop {
        let next = match payload.next().now_or_never() {
            Some(next) => next,
            // A timer is made only where the body is awaited.
            None => {
                let deadline = began + limits.patience + Duration::from_secs(read as u64 / BYTES_A_SECOND);
                tokio::time::timeout_at(deadline, payload.next()).await.map_err(|_| too_slow(read))?
            }
        };
        let Some(chunk) = next else {
            // Only a chunked body has an end that the server must know of.
            if request.headers().contains_key(TRANSFER_ENCODING) {
                request.extensions_mut().insert(BodyRead);
            }
            break;
        };
        let chunk = chunk.map_err(|error| Problem::new(Kind::INVALID_BODY, format!("the body could not be read: {error}")))?;
        read = read.saturating_add(chunk.len());
        if read > drain_limit {
            break;
        }
        if read <= limit {
            whole.extend_from_slice(&chunk);
        }
    }
    if read > limit { Err(too_large(limit)) } else { Ok(whole.freeze()) }
}

fn too_slow(read: usize) -> Problem {
    let detail = format!("of the body only {read} bytes came in time; send smaller batches, or raise http.request_timeout_s on the node");
    Problem::new(Kind::REQUEST_TIMEOUT, detail)
}

/// Reads a JSON body; an empty one is `{}`. A content type other than JSON is refused, also because browsers send JSON
/// across origins only after asking.
///
/// # Errors
/// As [`read`]; another content type, no JSON, or JSON of another shape.
pub async fn json<T: serde::de::DeserializeOwned>(request: &HttpRequest, payload: Payload, limits: BodyLimits) -> Result<T, Problem> {
    let text = json_text(request, payload, limits).await?;
    serde_json::from_str(if text.is_empty() { "{}" } else { &text }).map_err(|error| {
        let kind = if error.is_data() { Kind::INVALID_BODY } else { Kind::MALFORMED_JSON };
        Problem::new(kind, error.to_string())
    })
}

/// Reads the text of a JSON body, as it came.
///
/// # Errors
/// As [`read`]; another content type, or no UTF-8.
pub async fn json_text(request: &HttpRequest, payload: Payload, limits: BodyLimits) -> Result<String, Problem> {
    let bytes = read(request, payload, limits).await?;
    let content_type = request.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !bytes.is_empty() && !essence.eq_ignore_ascii_case("application/json") {
        let found = if essence.is_empty() { "(none)" } else { essence };
        return Err(Problem::new(Kind::UNSUPPORTED_CONTENT_TYPE, format!("content type {found} is not accepted; send application/json")));
    }
    String::from_utf8(bytes.into()).map_err(|error| Problem::new(Kind::MALFORMED_JSON, format!("the body is not UTF-8: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use actix_web::test::TestRequest;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    const LIMITS: BodyLimits = BodyLimits { bytes: 1_000, patience: Duration::from_secs(1) };

    fn sent(encoding: &str, body: Vec<u8>) -> Result<Bytes, Problem> {
        let (request, payload) = TestRequest::default().insert_header(("content-encoding", encoding)).set_payload(body).to_http_parts();
        futures_util::FutureExt::now_or_never(read_unpacked(&request, payload, LIMITS)).unwrap()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_bodies_are_unpacked_within_the_limit() {
        assert_eq!(sent("gzip", gzip(b"{}")).unwrap(), "{}");
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"[1]").unwrap();
        assert_eq!(sent("Deflate", encoder.finish().unwrap()).unwrap(), "[1]");
        assert_eq!(sent("identity", b"as it is".to_vec()).unwrap(), "as it is");
        // 100 KB of zeros are 130 bytes packed.
        assert_eq!(sent("gzip", gzip(&[0; 100_000])).unwrap_err().kind, Kind::BODY_TOO_LARGE);
        assert_eq!(sent("gzip", b"no gzip".to_vec()).unwrap_err().kind, Kind::INVALID_BODY);
        assert_eq!(sent("br", b"x".to_vec()).unwrap_err().kind, Kind::UNSUPPORTED_CONTENT_TYPE);
    }
}
