//! The names of this crate's metrics.

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

const COMMIT_SECONDS: &str = "tol_log_commit_seconds";
const RECORDS_APPENDED: &str = "tol_log_records_appended_total";

/// Describes the metrics to the installed recorder.
pub fn describe() {
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Time of one write and sync of the embedded log");
    describe_counter!(RECORDS_APPENDED, "Records made durable by this node");
}

pub(crate) fn commit_seconds() -> Histogram {
    histogram!(COMMIT_SECONDS)
}

pub(crate) fn records_appended() -> Counter {
    counter!(RECORDS_APPENDED)
}
