//! The outermost layer, around every request: its id, the headers that every answer has, and bodies that are not read.
//!
//! Requests of foreign protocols ([`protocols`]) go from here to their handlers, past actix-web's router.

use std::future::{Ready, ready};

use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use futures_util::future::{Either, LocalBoxFuture};

use super::protocols::{self, Answer};
use super::server::State;
use super::unread::Held;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// What the browsable documentation may load.
const OF_DOCUMENTATION: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);
const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Makes the layer for each worker.
pub(crate) struct Front(pub(crate) State);

/// The layer around the routes.
pub(crate) struct FrontService<S> {
    routes: S,
    state: State,
}

impl<S> Transform<S, ServiceRequest> for Front
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error>,
    S::Future: 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type InitError = ();
    type Transform = FrontService<S>;
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, routes: S) -> Self::Future {
        ready(Ok(FrontService { routes, state: self.0.clone() }))
    }
}

impl<S> Service<ServiceRequest> for FrontService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error>,
    S::Future: 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = Either<Ready<Result<Self::Response, Error>>, LocalBoxFuture<'static, Result<Self::Response, Error>>>;

    forward_ready!(routes);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let after = After::of(&mut request, &self.state);
        match protocols::answer(&self.state, request) {
            Answer::Now(response) => Either::Left(ready(Ok(after.finish(response)))),
            Answer::Later(response) => Either::Right(Box::pin(async move { Ok(after.finish(response.await)) })),
            Answer::Elsewhere(request) => {
                let response = self.routes.call(request);
                Either::Right(Box::pin(async move { Ok(after.finish(response.await?)) }))
            }
        }
    }
}

/// What is known of a request when it comes, for its answer.
pub(super) struct After {
    held: Option<Held>,
    request_id: HeaderValue,
    documentation: bool,
}

impl After {
    pub(super) fn of(request: &mut ServiceRequest, state: &State) -> Self {
        let held = Held::of(request);
        Self { held, request_id: request_id(request, state), documentation: request.path().starts_with("/docs") }
    }

    pub(super) fn finish(self, mut response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
        headers.insert(header::CONTENT_SECURITY_POLICY, if self.documentation { OF_DOCUMENTATION } else { NOTHING });
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(if self.documentation { "public, max-age=3600" } else { "no-store" }));
        headers.insert(REQUEST_ID, self.request_id);
        match self.held {
            Some(held) => held.close_after(response),
            None => response,
        }
    }
}

/// The sender's request id where it is a sane one, else a new one.
fn request_id(request: &ServiceRequest, state: &State) -> HeaderValue {
    let given = request.headers().get(&REQUEST_ID);
    let sane = |value: &&HeaderValue| !value.is_empty() && value.len() <= 128 && value.as_bytes().iter().all(|byte| byte.is_ascii_graphic());
    if let Some(given) = given.filter(sane) {
        return given.clone();
    }
    HeaderValue::from_maybe_shared(Bytes::from(state.next_request_id())).unwrap_or(HeaderValue::from_static("-"))
}
