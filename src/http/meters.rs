//! Counts the requests of each row; the counters are looked up in the recorder once.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Instant;

use actix_web::http::StatusCode;
use metrics::{Counter, Histogram};

use super::metric_definitions::{REQUEST_SECONDS, REQUESTS};

/// What answers mostly are: these are counted without a look into the recorder's table.
const USUAL: [u16; 3] = [200, 202, 304];

/// Requests of one row.
#[derive(Default)]
pub(crate) struct RowMeter {
    seconds: OnceLock<Histogram>,
    answered: [OnceLock<Counter>; USUAL.len()],
}

impl RowMeter {
    /// Counts an answered request.
    pub(crate) fn count(&self, method: &'static str, path: impl Fn() -> Cow<'static, str>, status: StatusCode, started: Instant) {
        let counter = |status: Cow<'static, str>| metrics::counter!(REQUESTS, "method" => method, "route" => path(), "status" => status);
        match USUAL.iter().position(|usual| *usual == status.as_u16()) {
            Some(at) => self.answered[at].get_or_init(|| counter(USUAL[at].to_string().into())).increment(1),
            None => counter(status.as_u16().to_string().into()).increment(1),
        }
        let seconds = self.seconds.get_or_init(|| metrics::histogram!(REQUEST_SECONDS, "method" => method, "route" => path()));
        seconds.record(started.elapsed().as_secs_f64());
    }
}
