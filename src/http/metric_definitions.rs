//! Names of the metrics of the HTTP interface.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Requests answered, by `method`, `route` (the template) and `status`.
pub const REQUESTS: &str = "tol_http_requests_total";
/// Time until the answer's head was ready, by `method` and `route`. Set buckets for it ([`REQUEST_SECONDS_BUCKETS`]).
pub const REQUEST_SECONDS: &str = "tol_http_request_seconds";
/// Streams of events that are open.
pub const STREAMS: &str = "tol_http_streams";
/// Streams of flags that are open.
pub const FLAG_STREAMS: &str = "tol_http_flag_streams";

/// Buckets for [`REQUEST_SECONDS`]: dense around what point queries and durable appends take.
pub const REQUEST_SECONDS_BUCKETS: &[f64] = &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Describes them to the recorder.
pub fn describe() {
    describe_counter!(REQUESTS, "HTTP requests answered");
    describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "Time until the head of the answer was ready");
    describe_gauge!(STREAMS, "Streams of events that are open");
    describe_gauge!(FLAG_STREAMS, "Streams of flags that SDKs follow");
}
