//! A request as a handler sees it.
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

/// What is known of a request before its handler is called. The server makes it; [`Request`] adds the serving side.
#[derive(Clone)]
pub struct Parts {
    /// The node.
    pub platform: Arc<dyn Platform>,
    /// The head of the request.
    pub http: HttpRequest,
    /// What stands in the path, decoded.
    pub path: PathValues,
    /// Who sent it, once the guard let it in.
    pub caller: Caller,
    /// What its body may cost.
    pub limits: BodyLimits,
    /// How its protocol presents a key; `None` on routes of the node's own interface.
    pub credential: Option<Credential>,
}

/// A request that was let in.
pub struct Request<S> {
    /// What answers from memory.
    pub serving: Arc<S>,
    /// Everything else that is known of it.
    pub parts: Parts,
}

impl<S> Request<S> {
    /// The node.
    pub fn platform(&self) -> &Arc<dyn Platform> {
        &self.parts.platform
    }

    /// Asks the node something that may read the disk, on a thread that may block.
    ///
    /// # Errors
    /// The answer's, or unavailable while the node stops.
    pub async fn block<T: Send + 'static>(&self, question: impl FnOnce(&dyn Platform) -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
        let platform = self.parts.platform.clone();
        run_blocking(move || question(&*platform)).await
    }

    /// The head of the request.
    pub fn http(&self) -> &HttpRequest {
        &self.parts.http
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        self.parts.http.headers()
    }

    /// A header as text, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// A path parameter, decoded; empty where the path has none of that name.
    pub fn path(&self, name: &str) -> &str {
        self.parts.path.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }

    /// Its query parameters.
    ///
    /// # Errors
    /// When the query string does not decode.
    pub fn query(&self) -> Result<Query<'_>, Problem> {
        Query::of(&self.parts.http)
    }

    /// Who sent it.
    pub fn caller(&self) -> &Caller {
        &self.parts.caller
    }

    /// The key or token as the protocol's clients present it, whether it is a key of the node or not.
    pub fn token(&self) -> Option<std::borrow::Cow<'_, str>> {
        self.parts.credential.as_ref().and_then(|credential| credential.presented(&self.parts.http, &self.parts.path))
    }

    /// Where it came from.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.parts.http.peer_addr()
    }

    /// Its body, at most as long as its route allows.
    ///
    /// # Errors
    /// Too long, too slow, or broken off.
    pub async fn body(&self, payload: Payload) -> Result<Bytes, Problem> {
        body::read(&self.parts.http, payload, self.parts.limits).await
    }

    /// Its body, at most `bytes` long.
    ///
    /// # Errors
    /// As [`Request::body`].
    pub async fn body_within(&self, payload: Payload, bytes: usize) -> Result<Bytes, Problem> {
        body::read(&self.parts.http, payload, BodyLimits { bytes, ..self.parts.limits }).await
    }

    /// Its body with `gzip` and `deflate` undone; as sent and as unpacked it is at most as long as its route allows.
    ///
    /// # Errors
    /// As [`Request::body`]; another encoding, or one that does not unpack.
    pub async fn unpacked_body(&self, payload: Payload) -> Result<Bytes, Problem> {
        body::read_unpacked(&self.parts.http, payload, self.parts.limits).await
    }

    /// Its body as JSON, at most as long as its route allows. An empty one is `{}`.
    ///
    /// # Errors
    /// As [`Request::body`]; no JSON, or JSON of another shape.
    pub async fn json<T: DeserializeOwned>(&self, payload: Payload) -> Result<T, Problem> {
        body::json(&self.parts.http, payload, self.parts.limits).await
    }

    /// As [`Request::json`], with the limit for a route that takes a little JSON.
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
/// The function's, or unavailable while the node stops.
pub async fn run_blocking<T: Send + 'static>(question: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    match actix_web::web::block(question).await {
        Ok(answer) => answer,
        Err(_) => Err(Problem::new(Kind::UNAVAILABLE, "the node is stopping, or too busy for this query").retry_after(1)),
    }
}

/// An answer that is known already.
pub fn known<'a, T: Send + 'a>(answer: Result<T, Problem>) -> Answer<'a, T> {
    Box::pin(std::future::ready(answer))
}
