//! [`Request`]: a request as a handler sees it.
//!
//! * [`query`] — query parameters
//! * [`body`] — bodies: bounded, decompressed, as JSON
//! * [`percent`] — percent-encoding

pub mod body;
mod caller;
pub mod percent;
pub mod query;

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header::HeaderMap;
use actix_web::web::Bytes;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use crate::platform::{Answer, Platform};
use crate::problem::{Kind, Problem};
use crate::protocol::Credential;

pub use body::BodyLimits;
pub use caller::{Caller, Key};
pub use query::Query;

/// Values of the path's parameters, by name.
pub type PathValues = SmallVec<[(&'static str, String); 2]>;

/// The parts of a request without the serving side. The server makes them; [`Request`] adds the serving side.
#[derive(Clone)]
pub struct Parts {
    /// The node.
    pub platform: Arc<dyn Platform>,
    /// The head of the request.
    pub http: HttpRequest,
    /// Values of the path's parameters, decoded.
    pub path: PathValues,
    /// The caller that the guard let in.
    pub caller: Caller,
    /// How long its body may be, and how long it may take.
    pub limits: BodyLimits,
    /// How its protocol presents a key; `None` on routes of the node's own interface.
    pub credential: Option<Credential>,
}

/// A request that the guard let in.
pub struct Request<S> {
    /// The system's serving side.
    pub serving: Arc<S>,
    /// Everything else of the request.
    pub parts: Parts,
}

impl<S> Request<S> {
    /// Gives the node.
    pub fn platform(&self) -> &Arc<dyn Platform> {
        &self.parts.platform
    }

    /// Runs `question` on a thread that may block: for methods of [`Platform`] that may read the disk.
    ///
    /// # Errors
    /// The error of `question`; `unavailable` while the node stops.
    pub async fn block<T: Send + 'static>(&self, question: impl FnOnce(&dyn Platform) -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
        let platform = self.parts.platform.clone();
        run_blocking(move || question(&*platform)).await
    }

    /// Gives the head of the request.
    pub fn http(&self) -> &HttpRequest {
        &self.parts.http
    }

    /// Gives its headers.
    pub fn headers(&self) -> &HeaderMap {
        self.parts.http.headers()
    }

    /// Reads a header as text; `None` where it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// Reads a path parameter, decoded; empty where the path has none of that name.
    pub fn path(&self, name: &str) -> &str {
        self.parts.path.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// Decodes its query parameters.
    ///
    /// # Errors
    /// `invalid-parameter` where the query string does not decode.
    pub fn query(&self) -> Result<Query<'_>, Problem> {
        Query::of(&self.parts.http)
    }

    /// Gives the caller that sent it.
    pub fn caller(&self) -> &Caller {
        &self.parts.caller
    }

    /// Reads the key or token as the protocol's clients present it, whether it is a key of the node or not.
    pub fn token(&self) -> Option<std::borrow::Cow<'_, str>> {
        self.parts.credential.as_ref().and_then(|credential| credential.presented(&self.parts.http, &self.parts.path))
    }

    /// Gives the address of the client.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.parts.http.peer_addr()
    }

    /// Reads its body, which may be as long as its route allows.
    ///
    /// # Errors
    /// The body is too long, too slow, broken off, or compressed.
    pub async fn body(&self, payload: Payload) -> Result<Bytes, Problem> {
        body::read(&self.parts.http, payload, self.parts.limits).await
    }

    /// Reads its body, which may have `bytes` bytes.
    ///
    /// # Errors
    /// As [`Request::body`].
    pub async fn body_within(&self, payload: Payload, bytes: usize) -> Result<Bytes, Problem> {
        body::read(&self.parts.http, payload, BodyLimits { bytes, ..self.parts.limits }).await
    }

    /// Reads its body and undoes `gzip` and `deflate`. As sent and as unpacked it may be as long as its route allows.
    ///
    /// # Errors
    /// As [`Request::body`]; or the body has another encoding, or does not unpack.
    pub async fn unpacked_body(&self, payload: Payload) -> Result<Bytes, Problem> {
        body::read_unpacked(&self.parts.http, payload, self.parts.limits).await
    }

    /// Reads its body as JSON, as long as its route allows. An empty body is read as `{}`.
    ///
    /// # Errors
    /// As [`Request::body`]; or the body is no JSON, or JSON of another shape.
    pub async fn json<T: DeserializeOwned>(&self, payload: Payload) -> Result<T, Problem> {
        body::json(&self.parts.http, payload, self.parts.limits).await
    }

    /// Reads its body as [`Request::json`] does, with the limit of a route that takes a little JSON.
    ///
    /// # Errors
    /// As [`Request::json`].
    pub async fn small_json<T: DeserializeOwned>(&self, payload: Payload) -> Result<T, Problem> {
        body::json(&self.parts.http, payload, BodyLimits { bytes: self.parts.limits.bytes.min(body::SMALL_BODY), ..self.parts.limits }).await
    }
}

/// Runs a function on a thread that may block.
///
/// # Errors
/// The function's error; `unavailable` while the node stops.
pub async fn run_blocking<T: Send + 'static>(question: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    match actix_web::web::block(question).await {
        Ok(answer) => answer,
        Err(_) => Err(Problem::new(Kind::UNAVAILABLE, "the node is stopping, or too busy for this query").retry_after(1)),
    }
}

/// Makes an [`Answer`] of a known result.
pub fn known<'a, T: Send + 'a>(answer: Result<T, Problem>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}
