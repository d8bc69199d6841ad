//! [`Handler`]: the function that answers a route.

use actix_web::HttpResponse;
use actix_web::dev::Payload;
use futures_util::future::LocalBoxFuture;

use crate::problem::Problem;
use crate::request::Request;

/// The answer of a handler, or its problem.
pub type Outcome = Result<HttpResponse, Problem>;

/// A function that answers a route.
pub enum Handler<S: 'static> {
    /// A function that reads no body and waits for nothing. It is called on a worker and must return within microseconds.
    Immediate(fn(&Request<S>) -> Outcome),
    /// A function that may read the body and wait; it must not block. [`waiting!`](crate::waiting) and [`with_body!`](crate::with_body) make it of
    /// an `async fn`.
    Waiting(fn(Request<S>, Payload) -> LocalBoxFuture<'static, Outcome>),
}

impl<S> Clone for Handler<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Handler<S> {}

impl<S> std::fmt::Debug for Handler<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Handler::Immediate(_) => "Immediate",
            Handler::Waiting(_) => "Waiting",
        })
    }
}

/// Makes a [`Handler::Waiting`](crate::Handler::Waiting) of an `async fn(Request<S>) -> Outcome`.
#[macro_export]
macro_rules! waiting {
    ($function:expr) => {
        $crate::Handler::Waiting(|request, _| ::std::boxed::Box::pin($function(request)))
    };
}

/// Makes a [`Handler::Waiting`](crate::Handler::Waiting) of an `async fn(Request<S>, Payload) -> Outcome`, which reads the body.
#[macro_export]
macro_rules! with_body {
    ($function:expr) => {
        $crate::Handler::Waiting(|request, payload| ::std::boxed::Box::pin($function(request, payload)))
    };
}
