//! Names of the metrics of the flag system.

use metrics::describe_gauge;

/// Streams of flags that are open.
pub(crate) const FLAG_STREAMS: &str = "tol_http_flag_streams";

/// Describes them to the recorder.
pub(crate) fn describe() {
    describe_gauge!(FLAG_STREAMS, "Streams of flags that SDKs follow");
}
