//! Ends connections whose chunked body is not read to its end.
//!
//! actix-http drops what is left of a body, but waits for the end of a chunked one, without a time limit: anybody could hold a
//! connection for ever with a request that is refused at once. Where the body is still held while the answer is written, it
//! closes the connection after the answer instead, within its time limit for closing.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage as _;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::ConnectionType;
use actix_web::http::header::TRANSFER_ENCODING;
use actix_web::web::Bytes;
use futures_util::Stream;
use tol_plug::request::body::BodyRead;

/// The body of a request, shared by its handler and the layer that holds it.
#[derive(Clone)]
pub(super) struct Held(Rc<RefCell<Payload>>);

impl Held {
    /// Takes hold of a chunked body; `None` where the request has none.
    pub(super) fn of(request: &mut ServiceRequest) -> Option<Self> {
        if !request.headers().contains_key(TRANSFER_ENCODING) {
            return None;
        }
        let held = Self(Rc::new(RefCell::new(request.take_payload())));
        request.set_payload(Payload::Stream { payload: Box::pin(held.clone()) });
        Some(held)
    }

    /// Has the connection closed after the answer, unless the body was read.
    pub(super) fn close_after(self, mut response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        if response.request().extensions().get::<BodyRead>().is_some() {
            return response;
        }
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        response.map_body(|_, body| BoxBody::new(Holding { body, _held: self }))
    }
}

impl Stream for Held {
    type Item = Result<Bytes, PayloadError>;
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

/// The body of an answer, and that of its request until it is written.
struct Holding {
    body: BoxBody,
    _held: Held,
}

impl MessageBody for Holding {
    type Error = <BoxBody as MessageBody>::Error;
    fn size(&self) -> BodySize {
        self.body.size()
    }
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
