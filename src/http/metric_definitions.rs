//! Names of the metrics of the HTTP interface.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Requests answered, by `method`, `route` (the template) and `status`.
pub const REQUESTS: &str = "tol_http_requests_total";
/// Time until the answer's head was ready, by `method` and `route`.
pub const REQUEST_SECONDS: &str = "tol_http_request_seconds";
/// Streams of events that are open.
pub const STREAMS: &str = "tol_http_streams";

/// Describes them to the recorder.
pub fn describe() {
    describe_counter!(REQUESTS, "HTTP requests answered");
    describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "Time until the head of the answer was ready");
    describe_gauge!(STREAMS, "Streams of events that are open");
}
